package verification_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

// Where a connection may break in the first device request on it: before or after each
// message. Until the statement has been sent, nothing is lost, and another connection is
// taken; after it, the commit has happened, though nobody heard of it.
var cuts = []struct {
	name  string
	write int64
	after bool
	heals bool
}{
	{"before preparing", 1, false, true},
	{"after preparing", 1, true, true},
	{"before the statement", 2, false, true},
	{"after the statement", 2, true, false},
}

// mortal is a device service whose process dies at a cut, and how to arm it.
func (f *fixture) mortal(t *testing.T) (s *verification.Service, arm func(write int64, after bool)) {
	t.Helper()
	return f.mortalAs(t, "carillon_device", f.world.Device)
}

// mortalAs is a service under a role, whose keys another handle of that role reads.
func (f *fixture) mortalAs(t *testing.T, role string, keys *tenant.DB) (s *verification.Service, arm func(write int64, after bool)) {
	t.Helper()
	var cut tenanttest.Scissors
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: f.world.Database.DSN(role), MaxOpen: 1, Dialer: &cut})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s = f.service(db, func(c *verification.Config) { c.Keys = key.NewRing(keys, f.world.Root) })
	return s, func(write int64, after bool) {
		if err := db.Ping(t.Context()); err != nil { // a connection is ready
			t.Fatal(err)
		}
		cut.Cut(write, after)
	}
}

// A code is claimed once, whether or not its phone hears of it.
func TestVerifyCrash(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, c := range cuts {
		t.Run(c.name, func(t *testing.T) {
			service, arm := f.mortal(t)
			issued := f.issue(t, f.north, verification.IssueRequest{})
			tokens := f.countTokens(t, f.north)
			arm(c.write, c.after)
			_, err := service.Verify(t.Context(), f.north, verification.VerifyRequest{Code: issued.Code})
			var p *verification.Problem
			if (err == nil) != c.heals || errors.As(err, &p) {
				t.Fatalf("Verify over a cut connection: %v; it heals: %t", err, c.heals)
			}
			if !f.status(t, f.north, issued).Claimed {
				t.Error("the code is not claimed")
			}
			if got := f.countTokens(t, f.north); got != tokens+1 {
				t.Errorf("%d tokens more, want 1", got-tokens)
			}
		})
	}
}

// A phone whose certificate was lost on any way can have it again, and nobody
// else can.
func TestCertificateCrash(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, c := range cuts {
		t.Run(c.name, func(t *testing.T) {
			service, arm := f.mortal(t)
			tok := f.token(t, f.north, verification.IssueRequest{})
			arm(c.write, c.after)
			r := verification.CertificateRequest{Token: tok, EKeyHMAC: hmacText}
			if signed, err := service.Certificate(t.Context(), f.north, r); (err == nil) != c.heals || (signed != "") != c.heals {
				t.Fatalf("Certificate over a cut connection: %v; it heals: %t", err, c.heals)
			}
			_, err := f.device.Certificate(t.Context(), f.north, verification.CertificateRequest{Token: tok, EKeyHMAC: otherHMACText})
			wantProblem(t, err, verification.ErrTokenInvalid, "") // it belongs to the first HMAC now
			f.certificate(t, f.north, tok, hmacText)
		})
	}
}

// A connection that is found dead when a transaction is to be opened costs nobody a
// request, and does nothing twice.
func TestOpeningHeals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, after := range []bool{false, true} {
		service, arm := f.mortalAs(t, "carillon_issuer", f.world.Issuer)
		codes := f.countCodes(t, f.north)
		arm(1, after)
		r := verification.IssueRequest{TestType: "confirmed", UUID: uuid.NewString()}
		if _, err := service.Issue(t.Context(), f.north, backEnd, r); err != nil {
			t.Errorf("cut after opening %t: %v", after, err)
		}
		if got := f.countCodes(t, f.north); got != codes+1 {
			t.Errorf("cut after opening %t: %d codes more, want 1", after, got-codes)
		}
	}
}

// Code and report exist both or not at all, and the number is free again at the
// latest when an unclaimed report's time is over.
func TestReportCrash(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	for write := int64(2); write <= 4; write++ { // code, number, commit; opening heals
		for _, after := range []bool{false, true} {
			done := write == 4 && after
			service, arm := f.mortalAs(t, "carillon_report", f.world.Report)
			warm := request(1) // the connection has prepared its statements
			warm.Phone = fmt.Sprintf("+1206555014%d", f.countReports(t, f.north))
			if _, err := service.Report(t.Context(), f.north, app, warm); err != nil {
				t.Fatal(explain(err))
			}
			sent := f.sms.Attempts()
			arm(write, after)
			codes, reports := f.countCodes(t, f.north), f.countReports(t, f.north)
			if _, err := service.Report(t.Context(), f.north, app, request(1)); err == nil {
				t.Fatalf("message %d: Report over a cut connection succeeded", write)
			}
			left := 0
			if done {
				left = 1
			}
			if c, r := f.countCodes(t, f.north)-codes, f.countReports(t, f.north)-reports; c != left || r != left {
				t.Errorf("message %d, lost after it %t: %d codes and %d reports more, want %d of each", write, after, c, r, left)
			}
			if f.sms.Attempts() != sent {
				t.Errorf("message %d: a message was sent for a report that did not end well", write)
			}
		}
	}
	f.masked(t, f.north, request(2)) // nobody knows the code of the last one
	f.world.Advance(time.Hour)
	f.report(t, f.north, request(2))
}
