package verification_test

import (
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/verification"
)

// noting is the fixture with a memory of refusals.
func noting(t *testing.T) (*fixture, *verification.Refusals) {
	t.Helper()
	f, m := setUp(t), verification.NewRefusals()
	f.device = f.service(f.world.Device, func(c *verification.Config) { c.Refusals = m })
	return f, m
}

func (f *fixture) refused(t *testing.T, at *tenant.Tenant, r verification.VerifyRequest) {
	t.Helper()
	if _, err := f.device.Verify(t.Context(), at, r); err == nil {
		t.Fatal("the code was taken")
	}
}

// Staff learn why a phone was refused a code; the last refusal stands.
func TestWhyACodeWasRefused(t *testing.T) {
	t.Parallel()
	f, m := noting(t)
	likely := f.issue(t, f.north, verification.IssueRequest{TestType: "likely"})
	flush := func() {
		t.Helper()
		if err := m.Flush(t.Context(), f.world.Device); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(cause verification.Cause) {
		t.Helper()
		got := f.status(t, f.north, likely).Refused
		if got == nil || got.Cause != cause || !got.At.Equal(f.world.Now().UTC().Truncate(time.Second)) {
			t.Fatalf("refused: %+v, want %s", got, cause)
		}
	}
	f.refused(t, f.north, verification.VerifyRequest{Code: flip(likely.Code)})
	f.refused(t, f.south, verification.VerifyRequest{Code: likely.Code})
	f.refused(t, f.north, verification.VerifyRequest{Code: likely.Code, Accept: []string{"confirmed"}})
	if got := f.status(t, f.north, likely).Refused; got != nil {
		t.Errorf("noted before it is written: %+v", got)
	}
	flush()
	wants(verification.CauseType)
	f.verify(t, f.north, likely.Code)
	f.refused(t, f.north, verification.VerifyRequest{Code: likely.Code})
	flush()
	wants(verification.CauseUsed)
	f.world.Advance(time.Hour)
	f.refused(t, f.north, verification.VerifyRequest{Code: likely.Code})
	flush()
	wants(verification.CauseExpired)
}

// A self-report's code is for one phone.
func TestWhyASelfReportWasRefused(t *testing.T) {
	t.Parallel()
	f, m := setUpReports(t), verification.NewRefusals()
	f.device = f.service(f.world.Device, func(c *verification.Config) { c.Refusals = m })
	code := f.report(t, f.north, request(1))
	f.refused(t, f.north, verification.VerifyRequest{Code: code, Nonce: nonceOf(2)})
	if err := m.Flush(t.Context(), f.world.Device); err != nil {
		t.Fatal(err)
	}
	id, err := f.portal.Find(t.Context(), f.north, caseworker, code)
	if err != nil {
		t.Fatal(err)
	}
	got := f.status(t, f.north, &verification.Issued{ID: id}).Refused
	if got == nil || got.Cause != verification.CauseNonce {
		t.Errorf("refused: %+v", got)
	}
}

// What the database does not take is forgotten, and nothing waits for it.
func TestRefusalsAreForgottenWhenTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	f, m := noting(t)
	issued := f.issue(t, f.north, verification.IssueRequest{})
	f.verify(t, f.north, issued.Code)
	f.refused(t, f.north, verification.VerifyRequest{Code: issued.Code})
	if err := m.Flush(t.Context(), f.world.Issuer); err == nil { // may not write it
		t.Fatal("written under a role that may not")
	}
	if err := m.Flush(t.Context(), f.world.Device); err != nil {
		t.Fatal(err)
	}
	if got := f.status(t, f.north, issued).Refused; got != nil {
		t.Errorf("refused: %+v", got)
	}
}
