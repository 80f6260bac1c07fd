package bench

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"carillon/deploy/phone"
	"carillon/signing/certificate"
	"carillon/tenant/export"
)

// kind is a kind of request, or the flow of several.
type kind struct {
	name     string
	requests int // in one operation
	once     func(c *caller, s *stack, earlier, later *harvest) error
	// floor is what it is compared with, share the percentage of it that is wanted, and
	// cpu how many milliseconds of the server's it may take; 0 is any.
	floor      least
	share, cpu float64
	// ready, if it is set, makes what so many requests use up.
	ready func(ctx context.Context, s *stack, n int) (*harvest, error)
}

const (
	fewKeys  = 14 // what a phone has after two weeks
	manyKeys = 30 // the most that an upload may have
)

// kinds are what the table has a line for, in the order of a diagnosis: each but the
// flow uses up what was made ready for it, or what the one before has yielded.
func kinds() []kind {
	all := []kind{
		step("issue", issue), step("verify", verify), step("certificate", certifyDigest),
		upload("publish", fewKeys), upload("publish-30", manyKeys),
		flow(),
		download("index", export.IndexName), download("file", fileName),
	}
	all[0].once = func(c *caller, s *stack, _, later *harvest) error { return later.keep(s.patient(), issue, c) }
	return all
}

// step is one of the requests that insert or change one row.
func step(name string, do func(*caller, *patient) error) kind {
	return kind{
		name: name, requests: 1, share: 40, cpu: 0.4,
		once: func(c *caller, _ *stack, earlier, later *harvest) error {
			p := earlier.take()
			if p == nil {
				return errExhausted
			}
			return later.keep(p, do, c)
		},
	}
}

// upload publishes so many keys.
func upload(name string, keys int) kind {
	k := step(name, send)
	k.floor, k.share, k.cpu = least{keys: keys}, 50, 0
	k.ready = func(ctx context.Context, s *stack, n int) (*harvest, error) { return s.certified(ctx, n, keys) }
	return k
}

// flow is all that one phone asks for, one after the other. No floor is like it, so it has
// no share to reach: the row beside it is the small one.
func flow() kind {
	steps := []func(*caller, *patient) error{issue, verify, certifyKeys, publish}
	return kind{name: "flow", requests: len(steps), cpu: 0.4, once: func(c *caller, s *stack, _, _ *harvest) error {
		p := s.patient()
		for _, do := range steps {
			if err := do(c, p); err != nil {
				return err
			}
		}
		return nil
	}}
}

// download gets a file of a tenant.
func download(name, file string) kind {
	return kind{name: name, requests: 1, share: 50, floor: least{file: file}, once: func(c *caller, s *stack, _, _ *harvest) error {
		return c.get(s.anyone().path + "exports/" + file)
	}}
}

// patient is a person on the way from a diagnosis to an upload.
type patient struct {
	tenant                *target
	keys                  phone.Keys
	mac                   []byte // of the keys
	code, token, assigned string // assigned is the certificate
	upload                []byte // the body to publish, if it was made ready
}

// patient of one of the tenants.
func (s *stack) patient() *patient { return &patient{tenant: s.anyone()} }

// anyone is one of the tenants, at random.
func (s *stack) anyone() *target { return s.tenants[rand.IntN(len(s.tenants))] } //nolint:gosec // no secret

// harvest is what one kind of request has yielded for the next.
type harvest struct {
	mu       sync.Mutex
	patients []*patient // guarded by mu
}

func (h *harvest) put(p *patient) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.patients = append(h.patients, p)
}

// keep does a step for a patient, who is there for the next one if it succeeds.
func (h *harvest) keep(p *patient, do func(*caller, *patient) error, c *caller) error {
	err := do(c, p)
	if err == nil {
		h.put(p)
	}
	return err
}

func (h *harvest) take() *patient {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.patients) == 0 {
		return nil
	}
	p := h.patients[len(h.patients)-1]
	h.patients = h.patients[:len(h.patients)-1]
	return p
}

// filler pads requests as phones do.
var filler = strings.Repeat("carillon", 200)

// padded is a request's body: members of plain texts, names and values in turns, and padding.
func (c *caller) padded(members ...string) []byte {
	c.body = c.body[:0]
	for i, text := range members {
		c.body = append(c.body, []string{`{"`, `":"`, `","`}[min(i, 1+(i+1)%2)]...)
		c.body = append(c.body, text...)
	}
	c.body = append(c.body, `","padding":"`...)
	c.body = append(c.body, filler...)
	return append(c.body, `"}`...)
}

func issue(c *caller, p *patient) error {
	symptoms := time.Now().UTC().AddDate(0, 0, -2).Format(time.DateOnly)
	answer, err := c.post(p.tenant.path+"api/issue", p.tenant.adminKey, c.padded("testType", "confirmed", "symptomDate", symptoms))
	if err != nil {
		return err
	}
	p.code, err = member(answer, `"code":"`)
	return err
}

func verify(c *caller, p *patient) error {
	answer, err := c.post(p.tenant.path+"api/verify", p.tenant.deviceKey, c.padded("code", p.code))
	if err != nil {
		return err
	}
	p.token, err = member(answer, `"token":"`)
	return err
}

func certify(c *caller, p *patient) error {
	answer, err := c.post(p.tenant.path+"api/certificate", p.tenant.deviceKey,
		c.padded("token", p.token, "ekeyhmac", base64.StdEncoding.EncodeToString(p.mac)))
	if err != nil {
		return err
	}
	p.assigned, err = member(answer, `"certificate":"`)
	return err
}

// certifyDigest asks for a certificate for keys that nobody has: making them is the
// phone's work, and takes longer than asking.
func certifyDigest(c *caller, p *patient) error {
	p.mac = make([]byte, sha256.Size)
	crand.Read(p.mac)
	return certify(c, p)
}

func certifyKeys(c *caller, p *patient) (err error) {
	p.keys = (&phone.Phone{Now: time.Now}).NewKeys(fewKeys, false)
	if p.mac, err = certificate.MAC(p.keys.Secret, p.keys.TEKs); err != nil {
		return err
	}
	return certify(c, p)
}

func publish(c *caller, p *patient) error {
	var err error
	if p.upload, err = p.body(); err != nil {
		return err
	}
	return send(c, p)
}

// body is an upload of the patient's keys.
func (p *patient) body() ([]byte, error) {
	upload := phone.Upload(p.tenant.healthAuthorityID, p.keys, p.assigned, "")
	upload["padding"] = filler
	return json.Marshal(upload)
}

func send(c *caller, p *patient) error {
	answer, err := c.post(p.tenant.path+"v1/publish", "", p.upload)
	p.upload = nil
	if err != nil {
		return err
	}
	_, err = member(answer, `"revisionToken":"`)
	return err
}
