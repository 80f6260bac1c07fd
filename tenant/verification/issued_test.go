package verification_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/message/delivery"
	"carillon/tenant/verification"
)

// On the day on which a key got into wrong hands its codes end, and no others.
func TestExpireOfKey(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	administrator := authz.Subject{Kind: authz.Person, ID: "88bb", Name: "Kim", Roles: []authz.Role{authz.Administrator}}
	lab := authz.Subject{Kind: authz.APIKey, ID: uuid.NewString(), Name: "Lab", Roles: []authz.Role{authz.KeyAdmin}}
	key := uuid.MustParse(lab.ID)
	issue := func(by authz.Subject) *verification.Issued {
		issued, err := f.issuer.Issue(t.Context(), f.north, by, verification.IssueRequest{TestType: "confirmed"})
		if err != nil {
			t.Fatal(explain(err))
		}
		return issued
	}
	claimed, live, other := issue(lab), issue(lab), issue(caseworker)
	f.verify(t, f.north, claimed.Code)
	count := func(want int) {
		t.Helper()
		if n, err := f.portal.LiveOfKey(t.Context(), f.north, administrator, key); err != nil || n != want {
			t.Errorf("%d live codes, %v; want %d", n, err, want)
		}
	}
	count(1)
	if _, err := f.portal.LiveOfKey(t.Context(), f.north, caseworker, key); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a caseworker counts: %v", err)
	}
	stats := authz.Subject{Kind: authz.Person, ID: "99cc", Roles: []authz.Role{authz.Analyst}}
	if _, err := f.portal.ExpireOfKey(t.Context(), f.north, stats, key); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("an analyst ends codes: %v", err)
	}
	if n, err := f.portal.ExpireOfKey(t.Context(), f.south, administrator, key); err != nil || n != 0 {
		t.Errorf("another tenant ends %d codes, %v", n, err)
	}
	count(1)
	if n, err := f.portal.ExpireOfKey(t.Context(), f.north, administrator, key); err != nil || n != 1 {
		t.Errorf("%d codes ended, %v", n, err)
	}
	count(0)
	_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: live.Code})
	wantProblem(t, err, verification.ErrCodeExpired, "")
	f.verify(t, f.north, other.Code)
	if s := f.status(t, f.north, claimed); !s.Claimed || !s.LongExpiresAt.Equal(claimed.LongExpiresAt) {
		t.Errorf("a claimed code was changed: %+v", s)
	}
	entries := f.audit(t, f.north) // a caseworker's code has one, too
	if len(entries) != 2 || entries[0].Action != "code:expire-of-key" || entries[0].Target != lab.ID || string(entries[0].Detail) != `{"codes": "1"}` {
		t.Errorf("audit entries %+v", entries)
	}
}

// Whoever looks at a code sees how far its message came; without one there is none.
func TestProgress(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued := f.issue(t, f.north, verification.IssueRequest{})
	id := issued.ID.String()
	p, err := f.issuer.Progress(t.Context(), f.north, caseworker, id)
	if err != nil || p.ID != issued.ID || p.Claimed || p.Message != nil || !p.ExpiresAt.Equal(issued.ExpiresAt) {
		t.Fatalf("progress: %+v, %v", p, err)
	}
	ref := delivery.NewReference()
	if err := delivery.Begin(t.Context(), f.world.Issuer, f.north.ID, issued.ID, "twilio", ref, f.world.Now()); err != nil {
		t.Fatal(err)
	}
	if err := delivery.Finish(t.Context(), f.world.Issuer, f.north.ID, ref, delivery.Failed, message.Landline, f.world.Now()); err != nil {
		t.Fatal(err)
	}
	p, err = f.issuer.Progress(t.Context(), f.north, caseworker, id)
	if err != nil || p.Message == nil || p.Message.State != delivery.Failed || p.Message.Class != message.Landline {
		t.Errorf("progress of a failed message: %+v, %v", p.Message, err)
	}
	if _, err := f.issuer.Progress(t.Context(), f.south, caseworker, id); !errors.Is(err, verification.ErrCodeNotFound) {
		t.Errorf("another authority's code: %v", err)
	}
	nobody := authz.Subject{Kind: authz.Person, ID: "88bb", Roles: []authz.Role{authz.Analyst}}
	if _, err := f.issuer.Progress(t.Context(), f.north, nobody, id); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("an analyst: %v", err)
	}
}

// A code is found by what somebody reads out, blanks and all, by its own authority alone;
// it is in the audit log that it was, without the code.
func TestFind(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued := f.issue(t, f.north, verification.IssueRequest{})
	grouped := issued.Code[:4] + " " + issued.Code[4:]
	if id, err := f.issuer.Find(t.Context(), f.north, caseworker, grouped); err != nil || id != issued.ID {
		t.Errorf("found %s, %v", id, err)
	}
	nobody := authz.Subject{Kind: authz.Person, ID: "88bb", Roles: []authz.Role{authz.Analyst}}
	for name, c := range map[string]struct {
		of   *tenant.Tenant
		by   authz.Subject
		code string
		want error
	}{
		"another authority": {f.south, caseworker, issued.Code, verification.ErrCodeNotFound},
		"nothing":           {f.north, caseworker, " - ", verification.ErrCodeNotFound},
		"too long":          {f.north, caseworker, strings.Repeat("1", 129), verification.ErrCodeNotFound},
		"an analyst":        {f.north, nobody, issued.Code, authz.ErrForbidden},
	} {
		if _, err := f.issuer.Find(t.Context(), c.of, c.by, c.code); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var entries, telling int
	err := f.world.Database.Super().QueryRowContext(t.Context(), `
  select count(*), count(*) filter (where e::text like '%' || $1 || '%')
    from audit_entry e
   where action = 'code:found'`, issued.Code).Scan(&entries, &telling)
	if err != nil || entries != 1 || telling != 0 {
		t.Errorf("%d entries, %d of them with the code, %v", entries, telling, err)
	}
}
