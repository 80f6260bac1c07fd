// Package rehearsal plays the simulated phones of a sandbox, over the network: see package
// carillon/tenant/rehearsal for what they are for.
package rehearsal

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"carillon/deploy/phone"
	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/rehearsal"
)

// Config is what [Phones] need.
type Config struct {
	// DB is a handle under the role carillon_portal. It tells which export key a sandbox's
	// phones were given.
	DB *tenant.DB
	// URL is where phones reach the service, https://host without a trailing slash.
	URL string
	// HTTP makes the requests; nil is a client of its own.
	HTTP *http.Client
	Now  func() time.Time
}

// Phones plays all of them. It remembers nothing, and is safe for concurrent use.
type Phones struct{ c Config }

// New returns it.
func New(c Config) *Phones {
	if c.HTTP == nil {
		c.HTTP = &http.Client{
			Timeout:       requestTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &Phones{c: c}
}

const (
	requestTimeout = 10 * time.Second
	// keys is how many the first phone has, one of each of the days before today.
	keys = 14
	// The phones were near each other from noon, UTC, for three intervals of ten minutes.
	noon            = 72
	metFor          = 3
	minutesEach     = 10
	intervalSeconds = 600
)

// memory is what two phones remember.
type memory struct {
	// Keys, Token and Answer are the first one's: its own keys, the token for a
	// certificate, and what the server said of its upload.
	Keys   phone.Keys
	Token  string
	Answer phone.Published
	// Heard and Read are the second one's: what it heard of the first one, and which file
	// it read last.
	Heard []heard
	Read  phone.Memory
}

// heard is what a phone heard from another one in one interval.
type heard struct {
	Interval int32
	ID       [16]byte
}

// Meet makes two phones. The second one has read all files that there are.
func (p *Phones) Meet(ctx context.Context, at rehearsal.Place) (rehearsal.Memory, error) {
	var m memory
	first := p.phone(at)
	m.Keys = first.NewKeys(keys, false)
	yesterday := m.Keys.TEKs[0]
	raw, err := base64.StdEncoding.DecodeString(yesterday.Key)
	if err != nil {
		return nil, err
	}
	for i := range int32(metFor) {
		interval := yesterday.RollingStart + noon + i
		id, err := phone.ProximityID([16]byte(raw), interval)
		if err != nil {
			return nil, err
		}
		m.Heard = append(m.Heard, heard{interval, id})
	}
	if err := p.phone(at).Skip(ctx, &m.Read); err != nil && !unpublished(err) {
		return nil, refusal(err)
	}
	return json.Marshal(m)
}

// Redeem swaps a code for a token.
func (p *Phones) Redeem(ctx context.Context, at rehearsal.Place, state rehearsal.Memory, code string) (rehearsal.Memory, rehearsal.Diagnosis, error) {
	m, err := recall(state)
	if err != nil {
		return nil, rehearsal.Diagnosis{}, err
	}
	d, err := p.phone(at).Verify(ctx, code)
	if err != nil {
		return nil, rehearsal.Diagnosis{}, refusal(err)
	}
	m.Token = d.Token
	state, err = json.Marshal(m)
	return state, rehearsal.Diagnosis{TestType: d.TestType, SymptomDate: d.SymptomDate, TestDate: d.TestDate}, err
}

// Publish gets a certificate and publishes the first phone's keys.
func (p *Phones) Publish(ctx context.Context, at rehearsal.Place, state rehearsal.Memory) (rehearsal.Memory, int, error) {
	m, err := recall(state)
	if err != nil {
		return nil, 0, err
	}
	first := p.phone(at)
	cert, err := first.Certificate(ctx, m.Token, m.Keys)
	if err == nil {
		m.Answer, err = first.Publish(ctx, m.Keys, cert, "")
	}
	if err != nil {
		return nil, 0, refusal(err)
	}
	state, err = json.Marshal(m)
	return state, m.Answer.Inserted, err
}

// Look reads new files, and looks in them for a key by which the phone that was near
// made what was heard.
func (p *Phones) Look(ctx context.Context, at rehearsal.Place, state rehearsal.Memory) (rehearsal.Memory, rehearsal.Sighting, error) {
	var saw rehearsal.Sighting
	m, err := recall(state)
	if err != nil {
		return nil, saw, err
	}
	trust, err := p.trust(ctx, at)
	if err != nil {
		return nil, saw, err
	}
	err = p.phone(at).Fresh(ctx, trust, &m.Read, func(f phone.Downloaded) error {
		saw.Files++
		saw.Keys += len(f.File.Keys)
		return match(m.Heard, f.File.Keys, &saw)
	})
	if err != nil && !unpublished(err) {
		return nil, saw, refusal(err)
	}
	state, err = json.Marshal(m)
	return state, saw, err
}

// unpublished reports whether there is no index: nothing has ever been published.
func unpublished(err error) bool {
	var answer *phone.Refusal
	return errors.As(err, &answer) && answer.Step == phone.IndexStep && answer.Status == http.StatusNotFound
}

// match looks which intervals were heard from the phones of the keys.
func match(ids []heard, list []exportfile.Key, saw *rehearsal.Sighting) error {
	for _, h := range ids {
		for _, k := range list {
			if h.Interval < k.RollingStart || h.Interval >= k.RollingStart+k.RollingPeriod {
				continue
			}
			id, err := phone.ProximityID(k.Data, h.Interval)
			if err != nil {
				return err
			}
			if id == h.ID {
				saw.Found, saw.Day = true, time.Unix(int64(h.Interval)*intervalSeconds, 0).UTC().Truncate(24*time.Hour)
				saw.Minutes += minutesEach
			}
		}
	}
	return nil
}

func recall(state rehearsal.Memory) (memory, error) {
	var m memory
	if err := json.Unmarshal(state, &m); err != nil {
		return m, fmt.Errorf("what phones remember: %w", err)
	}
	return m, nil
}

// phone is a phone with the sandbox's app.
func (p *Phones) phone(at rehearsal.Place) *phone.Phone {
	base := p.c.URL + "/t/" + string(at.Tenant.Slug) + "/"
	return &phone.Phone{HTTP: p.c.HTTP, Now: p.c.Now, Server: phone.Server{
		DeviceBase: base, PublishURL: base + "v1/publish", IndexURL: base + "exports/index.txt", DownloadBase: base + "exports/",
		DeviceKey: at.APIKey, HealthAuthorityID: at.Tenant.HealthAuthorityID,
	}}
}

// trust is the newest export key that signs now.
func (p *Phones) trust(ctx context.Context, at rehearsal.Place) (phone.Trust, error) {
	var versions []key.Version
	err := p.c.DB.InKeyList(ctx, at.Tenant.ID, func(tx *tenant.Tx) (err error) {
		versions, err = key.ExportVersions(ctx, tx)
		return err
	})
	if err != nil {
		return phone.Trust{}, err
	}
	for _, v := range slices.Backward(versions) {
		if v.State == key.Active {
			public, err := signing.ParsePublicDER(v.DER)
			return phone.Trust{KeyID: v.KeyID, KeyVersion: v.Label, Key: public}, err
		}
	}
	return phone.Trust{}, &rehearsal.Refusal{Reason: rehearsal.Untrusted}
}

// refusal says in a word why a server did not grant what a phone asked for. What it said
// itself may repeat what was sent, and is dropped.
func refusal(err error) error {
	var answer *phone.Refusal
	var failed net.Error
	reason := rehearsal.Failed
	switch {
	case errors.As(err, &answer):
		reason = refused(answer)
		err = fmt.Errorf("%s: status %d", answer.Step, answer.Status)
	case errors.As(err, &failed), errors.Is(err, context.DeadlineExceeded):
		reason = rehearsal.Unreachable
	case errors.Is(err, exportfile.ErrSignature), errors.Is(err, exportfile.ErrMalformed):
		reason = rehearsal.Untrusted
	}
	return &rehearsal.Refusal{Reason: reason, Cause: err}
}

// refused reads the error codes of the verification protocol §0.3.
func refused(r *phone.Refusal) rehearsal.Reason {
	switch {
	case r.Status == http.StatusUnauthorized:
		return rehearsal.NoKey
	case r.Code == "code_expired":
		return rehearsal.CodeExpired
	case r.Code == "code_invalid", r.Code == "code_not_found":
		return rehearsal.CodeInvalid
	case r.Code == "maintenance_mode":
		return rehearsal.Closed
	}
	return rehearsal.Failed
}
