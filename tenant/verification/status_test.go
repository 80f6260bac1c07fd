package verification_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/verification"
)

const notFoundText = "code not found, it may have expired and been removed"

func TestStatus(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued := f.issue(t, f.north, verification.IssueRequest{})
	want := verification.Status{ID: issued.ID, ExpiresAt: issued.ExpiresAt, LongExpiresAt: issued.LongExpiresAt}
	if got := f.status(t, f.north, issued); got != want {
		t.Errorf("status %+v, want %+v", got, want)
	}
	f.verify(t, f.north, issued.Code)
	want.Claimed = true
	if got := f.status(t, f.north, issued); got != want {
		t.Errorf("status after the claim %+v, want %+v", got, want)
	}
	if got, err := f.portal.Status(t.Context(), f.north, caseworker, "{"+issued.ID.String()+"} "); err != nil || got != want {
		t.Errorf("a person's status %+v, %v, want %+v", got, err, want)
	}
}

// Unknown, malformed and another tenant's UUIDs are the same, for reading and
// for ending.
func TestStatusAndExpireNotFound(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued := f.issue(t, f.north, verification.IssueRequest{})
	for _, id := range []string{issued.ID.String(), uuid.NewString(), "", "x", "' or true --", "\x00"} {
		_, err := f.issuer.Status(t.Context(), f.south, backEnd, id)
		wantProblem(t, err, verification.ErrCodeNotFound, notFoundText)
		_, err = f.issuer.Expire(t.Context(), f.south, backEnd, id)
		wantProblem(t, err, verification.ErrCodeNotFound, notFoundText)
	}
	if got := f.status(t, f.north, issued); !got.ExpiresAt.Equal(issued.ExpiresAt) {
		t.Errorf("another tenant ended the code at %v, want %v", got.ExpiresAt, issued.ExpiresAt)
	}
	f.verify(t, f.north, issued.Code)
}

func TestStatusAndExpireForbidden(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued := f.issue(t, f.north, verification.IssueRequest{})
	for _, by := range []authz.Subject{{}, stranger, {Kind: authz.APIKey, Roles: []authz.Role{authz.KeyDevice}}} {
		for _, id := range []string{issued.ID.String(), uuid.NewString()} {
			if _, err := f.issuer.Status(t.Context(), f.north, by, id); !errors.Is(err, authz.ErrForbidden) {
				t.Errorf("Status by %v: %v, want ErrForbidden", by, err)
			}
			if _, err := f.issuer.Expire(t.Context(), f.north, by, id); !errors.Is(err, authz.ErrForbidden) {
				t.Errorf("Expire by %v: %v, want ErrForbidden", by, err)
			}
		}
	}
}

func TestExpire(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now().UTC().Truncate(time.Second)
	clock := func(c *verification.Config) { c.Now = func() time.Time { return now } }
	f.issuer, f.device = f.service(f.world.Issuer, clock), f.service(f.world.Device, clock)
	issued, long := f.messaged(t, f.north)

	now = now.Add(time.Minute)
	want := verification.Status{ID: issued.ID, ExpiresAt: now, LongExpiresAt: now}
	for range 2 { // the second time it has expired already
		got, err := f.issuer.Expire(t.Context(), f.north, backEnd, issued.ID.String())
		if err != nil || got != want {
			t.Errorf("Expire = %+v, %v, want %+v", got, explain(err), want)
		}
	}
	if got := f.status(t, f.north, issued); got != want {
		t.Errorf("status %+v, want %+v", got, want)
	}
	for _, code := range []string{issued.Code, long} {
		_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: code})
		wantProblem(t, err, verification.ErrCodeExpired, "")
	}
	entries := f.audit(t, f.north)
	if len(entries) != 1 || entries[0].Action != string(authz.CodeExpire) || entries[0].Target != issued.ID.String() {
		t.Errorf("audit entries %+v, want one code:expire of %s", entries, issued.ID)
	}

	now = now.Add(time.Hour)
	if got, err := f.issuer.Expire(t.Context(), f.north, backEnd, issued.ID.String()); err != nil || got != want {
		t.Errorf("Expire an hour later = %+v, %v, want the old times", got, explain(err))
	}
}

// The long form may live on when the short one has ended; then there is still
// something to end, and the short one keeps its time.
func TestExpireLongForm(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now().UTC().Truncate(time.Second)
	clock := func(c *verification.Config) { c.Now = func() time.Time { return now } }
	f.issuer = f.service(f.world.Issuer, clock)
	issued, _ := f.messaged(t, f.north)
	now = now.Add(time.Hour)
	want := verification.Status{ID: issued.ID, ExpiresAt: issued.ExpiresAt, LongExpiresAt: now}
	if got, err := f.issuer.Expire(t.Context(), f.north, backEnd, issued.ID.String()); err != nil || got != want {
		t.Errorf("Expire = %+v, %v, want %+v", got, explain(err), want)
	}
}

func TestExpireClaimed(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now().UTC().Truncate(time.Second)
	clock := func(c *verification.Config) { c.Now = func() time.Time { return now } }
	f.issuer, f.device = f.service(f.world.Issuer, clock), f.service(f.world.Device, clock)
	issued := f.issue(t, f.north, verification.IssueRequest{})
	f.verify(t, f.north, issued.Code)
	want := f.status(t, f.north, issued)

	_, err := f.issuer.Expire(t.Context(), f.north, backEnd, issued.ID.String())
	wantProblem(t, err, verification.ErrAlreadyClaimed, "bad request")

	now = now.Add(24 * time.Hour) // claimed and expired: the times, unchanged
	if got, err := f.issuer.Expire(t.Context(), f.north, backEnd, issued.ID.String()); err != nil || got != want {
		t.Errorf("Expire after expiry = %+v, %v, want %+v", got, explain(err), want)
	}
	if entries := f.audit(t, f.north); len(entries) != 0 {
		t.Errorf("audit entries %+v, want none: nothing changed", entries)
	}
}

// Of a claim and an expiry at once, one happens.
func TestExpireAgainstVerify(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for range 40 {
		issued := f.issue(t, f.north, verification.IssueRequest{})
		var verified, expired error
		var wg sync.WaitGroup
		wg.Go(func() {
			_, verified = f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: issued.Code})
		})
		wg.Go(func() {
			_, expired = f.issuer.Expire(t.Context(), f.north, backEnd, issued.ID.String())
		})
		wg.Wait()
		switch {
		case verified == nil && errors.Is(expired, verification.ErrAlreadyClaimed):
		case expired == nil && errors.Is(verified, verification.ErrCodeExpired):
		default:
			t.Errorf("claim: %v, expiry: %v, want one of them to happen", explain(verified), explain(expired))
		}
	}
}

// Every caller is the same tenant's: settings of another do not reach its codes.
func TestStatusSeesOnlyOwn(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := uuid.NewString()
	for _, at := range []*tenant.Tenant{f.north, f.south} {
		f.issue(t, at, verification.IssueRequest{UUID: id})
	}
	if _, err := f.issuer.Expire(t.Context(), f.north, backEnd, id); err != nil {
		t.Fatal(explain(err))
	}
	s, err := f.issuer.Status(t.Context(), f.south, backEnd, id)
	if err != nil || !s.ExpiresAt.After(f.world.Now()) {
		t.Errorf("the other tenant's code with the same UUID: %+v, %v, want it alive", s, err)
	}
}
