package service

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/authz"
	"carillon/deploy/phone"
	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/revision"
	"carillon/signing/token"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/key/keeping"
	"carillon/tenant/mail"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/onboarding"
	"carillon/tenant/role"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
)

// replaced is an authority whose keys were all replaced at once, on a clock that stands
// still, with what phones still have of the old versions.
type replaced struct {
	*rotating
	config Config
	keeper *keeping.Keeper
	// old is what the versions were that were replaced.
	signer  key.Signer
	secrets map[signing.Purpose]key.Secret
	codes   []phone.Code
	number  string
	sent    messagetest.Sender
}

func newReplaced(t *testing.T) *replaced {
	t.Helper()
	w := tenanttest.New(t)
	r := &replaced{rotating: &rotating{t: t, world: w, clock: w.Now}, secrets: map[signing.Purpose]key.Secret{}, number: phone.RandomNumber()}
	r.tenant = w.Create("north", func(s *onboarding.Spec) { s.ReleaseSameDay = true })
	by := authz.Subject{Kind: authz.System, ID: "test"}
	r.must(w.Operator.In(t.Context(), r.tenant.ID, func(tx *tenant.Tx) error {
		return setting.Change(t.Context(), tx, by, map[string]string{"sms": "on", "self-report": "on", "test-types": "confirmed,likely,user-report"}, w.Now())
	}))
	r.device = w.Key(r.tenant, client.Device)
	r.issuer[0].AdminKey = w.Key(r.tenant, client.Admin)
	r.config = config(t, w, Device, Issuer, Publish, Report)
	r.config.NoLimits, r.config.Now, r.config.Sender = true, w.Now, &r.sent
	r.staff = custody.NewStaff(w.Portal, role.NewPolicies(w.Portal), nil, w.Now)
	r.ann = r.custodian("ann")
	r.keeper = keeping.New(keeping.Config{
		DB: w.Jobs, Keys: key.NewRing(w.Jobs, w.Root), Directory: tenant.NewDirectory(w.Jobs), Policies: role.NewPolicies(w.Jobs),
		Mail: mail.None{}, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
	r.process()
	r.remember()
	for _, p := range overlapping {
		r.rotate(p)
	}
	r.keep()
	w.Advance(key.HandLead)
	r.keep()
	for _, p := range overlapping {
		if states := r.states(p); states != "verify-only active" {
			t.Fatalf("%s: %s", p, states)
		}
	}
	return r
}

// overlapping are the purposes whose old versions are good for a while and then refused.
var overlapping = []signing.Purpose{signing.Certificate, signing.Token, signing.CodeMAC, signing.Revision, signing.PhoneMAC}

func (r *replaced) exec(statement string, args ...any) {
	r.t.Helper()
	_, err := r.world.Database.Super().ExecContext(r.t.Context(), statement, args...)
	r.must(err)
}

// process has phones talk to a process that begins now: what it refuses it has not
// remembered, and what it takes neither.
func (r *replaced) process() {
	r.t.Helper()
	server := httptest.NewServer(open(r.t, r.config).Handler())
	r.t.Cleanup(server.Close)
	for i := range r.servers {
		r.servers[i] = server
		r.issuer[i] = phone.Issuer{Base: r.base(i), AdminKey: r.issuer[0].AdminKey, HTTP: server.Client()}
	}
}

func (r *replaced) keep() {
	r.t.Helper()
	r.must(r.keeper.Run(r.t.Context(), r.tenant.ID))
}

// remember keeps what the versions in use make, or are.
func (r *replaced) remember() {
	r.t.Helper()
	ctx := r.t.Context()
	var err error
	r.signer, err = key.NewRing(r.world.Device, r.world.Root).Signer(ctx, r.tenant.ID, signing.Certificate)
	r.must(err)
	for p, db := range map[signing.Purpose]*tenant.DB{signing.Token: r.world.Device, signing.Revision: r.world.Publish} {
		list, err := key.NewRing(db, r.world.Root).Secrets(ctx, r.tenant.ID, p)
		r.must(err)
		r.secrets[p] = list[0]
	}
	for range 2 {
		var h held
		r.must(r.issueTo(ctx, &h, "confirmed"))
		r.codes = append(r.codes, h.code)
	}
	r.must(r.report(ctx))
}

// A code, and a number that has reported, are known for so much shorter than their keys
// live that the test must lengthen their lives to see their keys end.
func (r *replaced) lengthen(end time.Time) {
	r.exec(`update verification_code set expires_at = $2, long_expires_at = $2 where tenant_id = $1`, r.tenant.ID.String(), end.Add(time.Hour))
	r.exec(`update user_report set created_at = $2 where tenant_id = $1`, r.tenant.ID.String(), end.Add(-time.Minute))
}

// uses says for each purpose how a phone comes with what an old version made. Each use is
// with something that was not used before.
func (r *replaced) uses() map[signing.Purpose]func(context.Context) error {
	return map[signing.Purpose]func(context.Context) error{
		signing.Certificate: func(ctx context.Context) error { return r.publishSigned(ctx, r.signer) },
		signing.Token:       r.certifyOld,
		signing.CodeMAC: func(ctx context.Context) error {
			code := r.codes[0]
			r.codes = r.codes[1:]
			return r.verify(ctx, &held{code: code})
		},
		signing.Revision: r.reviseOld,
		signing.PhoneMAC: r.reportAgain,
	}
}

// certifyOld comes with a token of the old key that lives as long as any.
func (r *replaced) certifyOld(ctx context.Context) error {
	c := token.Contents{ReportType: certificate.Confirmed, Expires: r.now().Add(time.Hour).Truncate(time.Second)}
	rand.Read(c.ID[:])
	old := r.secrets[signing.Token]
	text, err := token.Seal(old.KeyID, old.Bytes, r.tenant.ID.String(), c)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(c.ID[:])
	r.exec(`insert into verification_token (tenant_id, token_digest, expires_at, test_type, code_day) values ($1, $2, $3, 'confirmed', $3::timestamptz::date)`,
		r.tenant.ID.String(), digest[:], c.Expires)
	return r.certify(ctx, &held{token: text})
}

// reviseOld publishes keys and has them confirmed with a revision token that says the same
// as theirs under the old key.
func (r *replaced) reviseOld(ctx context.Context) error {
	h := &held{}
	r.must(r.issueTo(ctx, h, "likely"))
	for _, step := range []func(context.Context, *held) error{r.verify, r.certify, r.publish} {
		r.must(step(ctx, h))
	}
	now, err := key.NewRing(r.world.Publish, r.world.Root).Secrets(ctx, r.tenant.ID, signing.Revision)
	r.must(err)
	entries, err := revision.Open(now[0].Bytes, r.tenant.ID.String(), h.published.RevisionToken)
	r.must(err)
	old := r.secrets[signing.Revision]
	h.published.RevisionToken, err = revision.Seal(old.KeyID, old.Bytes, r.tenant.ID.String(), entries)
	r.must(err)
	return r.revise(ctx, h)
}

func (r *replaced) report(ctx context.Context) error {
	p, _ := r.phone()
	return p.Report(ctx, r.number, r.now().Add(-24*time.Hour), phone.NewNonce())
}

// errNew means that a number that has reported is not known again.
var errNew = errors.New("the number is taken for a new one")

// reportAgain reports a number once more. The answer is the same; only to a number that is
// not known is there a message.
func (r *replaced) reportAgain(ctx context.Context) error {
	before := len(r.sent.Delivered())
	if err := r.report(ctx); err != nil {
		return err
	}
	if len(r.sent.Delivered()) > before {
		return errNew
	}
	return nil
}

// What an old version made is good one second before the end of its overlap, and refused
// at its end: certificates, tokens, codes and revision tokens by their answers, and a
// telephone number is known no more. (What exports and messages are signed with phones
// check, not the service; audit keys are good for ever.)
func TestOldVersionsEndWithTheirOverlap(t *testing.T) {
	t.Parallel()
	r := newReplaced(t)
	uses := r.uses()
	for _, p := range overlapping {
		end := r.book().Versions[p][0].DestroyAt
		if end == nil {
			t.Fatalf("%s: no end", p)
		}
		r.lengthen(*end)
		r.world.SetNow(end.Add(-time.Second))
		r.keep()
		r.process()
		if err := uses[p](t.Context()); err != nil {
			t.Errorf("%s, one second before its end: %v", p, err)
		}
		r.world.SetNow(*end)
		r.keep()
		r.process()
		var refused *phone.Refusal
		if err := uses[p](t.Context()); !errors.As(err, &refused) && !errors.Is(err, errNew) {
			t.Errorf("%s, at its end: %v", p, err)
		} else {
			t.Logf("%s, %s after it was replaced: %v", p, key.Rule(p).Overlap, err)
		}
		if state := r.book().Versions[p][0].State; state != key.Destroyed {
			t.Errorf("%s is %s", p, state)
		}
	}
}
