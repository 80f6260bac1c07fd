package bench

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"carillon/deploy/phone"
	"carillon/signing/certificate"
)

// kind is a kind of request, or the flow of all of them.
type kind struct {
	name     string
	requests int // in one operation
	once     func(c *caller, s *stack, earlier, later *harvest) error
}

// kinds are what the table has a line for, in the order of a diagnosis: each but the
// flow uses up what the one before has yielded.
func kinds() []kind {
	steps := []struct {
		name string
		do   func(*caller, *patient) error
	}{{"issue", issue}, {"verify", verify}, {"certificate", certify}, {"publish", publish}}
	var all []kind
	for i, step := range steps {
		all = append(all, kind{name: step.name, requests: 1, once: func(c *caller, s *stack, earlier, later *harvest) error {
			var p *patient
			if i == 0 {
				p = s.patient()
			} else if p = earlier.take(); p == nil {
				return errExhausted
			}
			if err := step.do(c, p); err != nil {
				return err
			}
			later.put(p)
			return nil
		}})
	}
	return append(all, kind{name: "flow", requests: len(steps), once: func(c *caller, s *stack, _, _ *harvest) error {
		p := s.patient()
		for _, step := range steps {
			if err := step.do(c, p); err != nil {
				return err
			}
		}
		return nil
	}})
}

// patient is a person on the way from a diagnosis to an upload.
type patient struct {
	tenant                *target
	keys                  phone.Keys
	code, token, assigned string // assigned is the certificate
}

// patient of one of the tenants, at random.
func (s *stack) patient() *patient { return &patient{tenant: s.tenants[rand.IntN(len(s.tenants))]} } //nolint:gosec // no secret

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

// keysPerUpload is what a phone has after two weeks.
const keysPerUpload = 14

// filler pads requests as phones do.
var filler = strings.Repeat("carillon", 200)

func issue(c *caller, p *patient) error {
	answer, err := c.post(p.tenant.path+"api/issue", p.tenant.adminKey, fmt.Appendf(nil,
		`{"testType":"confirmed","symptomDate":%q,"tzOffset":0,"padding":%q}`,
		time.Now().UTC().AddDate(0, 0, -2).Format(time.DateOnly), filler))
	if err != nil {
		return err
	}
	p.code, err = member(answer, "code")
	return err
}

func verify(c *caller, p *patient) error {
	answer, err := c.post(p.tenant.path+"api/verify", p.tenant.deviceKey, fmt.Appendf(nil,
		`{"code":%q,"accept":["confirmed","likely"],"padding":%q}`, p.code, filler))
	if err != nil {
		return err
	}
	p.token, err = member(answer, "token")
	return err
}

func certify(c *caller, p *patient) error {
	p.keys = (&phone.Phone{Now: time.Now}).NewKeys(keysPerUpload, false)
	mac, err := certificate.MAC(p.keys.Secret, p.keys.TEKs)
	if err != nil {
		return err
	}
	answer, err := c.post(p.tenant.path+"api/certificate", p.tenant.deviceKey, fmt.Appendf(nil,
		`{"token":%q,"ekeyhmac":%q,"padding":%q}`, p.token, base64.StdEncoding.EncodeToString(mac), filler))
	if err != nil {
		return err
	}
	p.assigned, err = member(answer, "certificate")
	return err
}

func publish(c *caller, p *patient) error {
	upload := phone.Upload(p.tenant.healthAuthorityID, p.keys, p.assigned, "")
	upload["padding"] = filler
	body, err := json.Marshal(upload)
	if err != nil {
		return err
	}
	answer, err := c.post(p.tenant.path+"v1/publish", "", body)
	if err != nil {
		return err
	}
	_, err = member(answer, "revisionToken")
	return err
}
