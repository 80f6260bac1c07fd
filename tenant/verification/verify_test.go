package verification_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant"
	"carillon/tenant/verification"
)

func TestVerifyAnswer(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	day := func(n int) string { return f.world.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }
	cases := []struct {
		name string
		r    verification.IssueRequest
		want verification.Verified
	}{
		{"no dates", verification.IssueRequest{TestType: "confirmed"}, verification.Verified{TestType: "confirmed"}},
		{
			"symptom date",
			verification.IssueRequest{TestType: "likely", SymptomDate: day(-3)},
			verification.Verified{TestType: "likely", SymptomDate: day(-3)},
		},
		{
			"test date",
			verification.IssueRequest{TestType: "negative", TestDate: day(0)},
			verification.Verified{TestType: "negative", TestDate: day(0)},
		},
		{
			"both, user report",
			verification.IssueRequest{TestType: "user-report", SymptomDate: day(-28), TestDate: day(-1), Phone: phone},
			verification.Verified{TestType: "user-report", SymptomDate: day(-28), TestDate: day(-1)},
		},
	}
	for _, c := range cases {
		got := *f.verify(t, f.north, f.issue(t, f.north, c.r).Code)
		if got.Token == "" {
			t.Errorf("%s: no token", c.name)
		}
		got.Token = ""
		if got != c.want {
			t.Errorf("%s: got %s %s %s, want %s %s %s", c.name,
				got.TestType, got.SymptomDate, got.TestDate, c.want.TestType, c.want.SymptomDate, c.want.TestDate)
		}
	}
}

// Each way to be refused (§1.2). None of them claims the code.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	likely := f.issue(t, f.north, verification.IssueRequest{TestType: "likely"})
	claimed := f.issue(t, f.north, verification.IssueRequest{})
	f.verify(t, f.north, claimed.Code)
	const (
		invalid     = "verification code invalid"
		unsupported = "verification code has unsupported test type"
	)
	cases := []struct {
		name   string
		tenant *tenant.Tenant
		r      verification.VerifyRequest
		kind   error
		text   string
	}{
		{"unknown code", f.north, verification.VerifyRequest{Code: flip(likely.Code)}, verification.ErrCodeInvalid, invalid},
		{"no code", f.north, verification.VerifyRequest{}, verification.ErrCodeInvalid, invalid},
		{"huge code", f.north, verification.VerifyRequest{Code: strings.Repeat("7", 60_000)}, verification.ErrCodeInvalid, invalid},
		{"code with NUL", f.north, verification.VerifyRequest{Code: "\x00"}, verification.ErrCodeInvalid, invalid},
		{"part of the code", f.north, verification.VerifyRequest{Code: likely.Code[:7]}, verification.ErrCodeInvalid, invalid},
		{"another tenant's code", f.south, verification.VerifyRequest{Code: likely.Code}, verification.ErrCodeInvalid, invalid},
		{"claimed code", f.north, verification.VerifyRequest{Code: claimed.Code}, verification.ErrCodeInvalid, invalid},
		{"type not accepted", f.north, verification.VerifyRequest{Code: likely.Code, Accept: []string{"confirmed"}}, verification.ErrUnsupportedTestType, unsupported},
		{"type not accepted, any nonce", f.north, verification.VerifyRequest{Code: likely.Code, Accept: []string{"user-report"}, Nonce: "AAAA"}, verification.ErrUnsupportedTestType, unsupported},
		{"unknown type accepted", f.north, verification.VerifyRequest{Code: likely.Code, Accept: []string{"likely", "x"}}, verification.ErrInvalidTestType, "invalid accepted test type: x"},
		{"nonce", f.north, verification.VerifyRequest{Code: likely.Code, Nonce: "#"}, verification.ErrUnparsable, ""},
		{"accept before nonce", f.north, verification.VerifyRequest{Code: likely.Code, Accept: []string{"x"}, Nonce: "#"}, verification.ErrInvalidTestType, ""},
		{"nonce before code", f.north, verification.VerifyRequest{Nonce: "#"}, verification.ErrUnparsable, ""},
		{"claimed before type", f.north, verification.VerifyRequest{Code: claimed.Code, Accept: []string{"user-report"}}, verification.ErrCodeInvalid, invalid},
	}
	for _, c := range cases {
		v, err := f.device.Verify(t.Context(), c.tenant, c.r)
		if v != nil {
			t.Errorf("%s: got a token", c.name)
		}
		t.Run(c.name, func(t *testing.T) { wantProblem(t, err, c.kind, c.text) })
	}
	if f.status(t, f.north, likely).Claimed {
		t.Error("a refusal claimed the code")
	}
	if n := f.countTokens(t, f.north); n != 1 {
		t.Errorf("%d tokens, want the one of the claimed code", n)
	}
	f.verify(t, f.north, likely.Code)
}

// flip is a code of the same form that was not issued.
func flip(code string) string {
	return strings.Map(func(r rune) rune { return '0' + (r-'0'+5)%10 }, code)
}

func TestVerifyAccepts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	cases := []struct {
		testType string
		accept   []string
	}{
		{"user-report", nil},
		{"negative", []string{}},
		{"confirmed", []string{"user-report"}},
		{"likely", []string{"NEGATIVE"}},
		{"user-report", []string{"confirmed", "likely", "negative", "user-report"}},
	}
	for i, c := range cases {
		number := fmt.Sprintf("+1206555010%d", i) // a number reports once
		code := f.issue(t, f.north, verification.IssueRequest{TestType: c.testType, Phone: number}).Code
		r := verification.VerifyRequest{Code: "\t " + code + "\n", Accept: c.accept, Nonce: "-_8="}
		if _, err := f.device.Verify(t.Context(), f.north, r); err != nil {
			t.Errorf("%s accepted by %v: %v", c.testType, c.accept, explain(err))
		}
	}
}

// Either form of a code claims both.
func TestVerifyShortAndLong(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, longFirst := range []bool{false, true} {
		issued, long := f.messaged(t, f.north)
		first, second := issued.Code, long
		if longFirst {
			first, second = long, issued.Code
		}
		f.verify(t, f.north, first)
		for _, again := range []string{second, first} {
			_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: again})
			wantProblem(t, err, verification.ErrCodeInvalid, "verification code invalid")
		}
	}
}

// A code has expired when its expiry is now. Each form has its own expiry, and
// expired wins over claimed (§1.2).
func TestVerifyExpiry(t *testing.T) {
	t.Parallel()
	const life, longLife = 15 * time.Minute, 24 * time.Hour
	cases := []struct {
		name        string
		after       time.Duration
		long, claim bool
		kind        error
	}{
		{"short, last moment", life - time.Nanosecond, false, false, nil},
		{"short, expired", life, false, false, verification.ErrCodeExpired},
		{"long after the short one expired", life, true, false, nil},
		{"long, last moment", longLife - time.Nanosecond, true, false, nil},
		{"long, expired", longLife, true, false, verification.ErrCodeExpired},
		{"claimed and short expired", life, false, true, verification.ErrCodeExpired},
		{"claimed and long not expired", life, true, true, verification.ErrCodeInvalid},
		{"claimed and long expired", longLife, true, true, verification.ErrCodeExpired},
	}
	f := setUp(t)
	at := with(f.north, func(s *tenant.Settings) { s.CodeLife, s.LongCodeLife = life, longLife })
	for _, c := range cases {
		start := f.world.Now().UTC().Truncate(time.Second).Add(time.Hour)
		now := start
		clock := func(c *verification.Config) { c.Now = func() time.Time { return now } }
		issuer, device := f.service(f.world.Issuer, clock), f.service(f.world.Device, clock)
		f.issuer = issuer
		issued, long := f.messaged(t, at)
		code := issued.Code
		if c.long {
			code = long
		}
		if c.claim {
			if _, err := device.Verify(t.Context(), at, verification.VerifyRequest{Code: issued.Code}); err != nil {
				t.Fatal(explain(err))
			}
		}
		now = start.Add(c.after)
		_, err := device.Verify(t.Context(), at, verification.VerifyRequest{Code: code})
		if !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", c.name, explain(err), c.kind)
		}
		if errors.Is(c.kind, verification.ErrCodeExpired) {
			wantProblem(t, err, c.kind, "verification code expired")
		}
	}
}

// Where a message carries the code of a user report, its long form lives no
// longer than the short one.
func TestVerifyUserReportLongCodeExpires(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now()
	clock := func(c *verification.Config) { c.Now = func() time.Time { return now } }
	at := with(f.north, func(s *tenant.Settings) { s.SMSTemplate = "[longcode]" })
	f.issuer = f.service(f.world.Issuer, clock)
	f.issue(t, at, verification.IssueRequest{TestType: "user-report", Phone: phone, SMSTemplateLabel: "Default SMS template"})
	now = now.Add(at.Settings.CodeLife)
	_, err := f.service(f.world.Device, clock).Verify(t.Context(), at, verification.VerifyRequest{Code: f.sms.Delivered()[0].Body})
	wantProblem(t, err, verification.ErrCodeExpired, "")
}

// A code outlives the rotation of its MAC key, and a token that of its own.
func TestVerifyUnderOlderKeys(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued, long := f.messaged(t, f.north)
	second := f.issue(t, f.north, verification.IssueRequest{})
	f.rotate(t, f.north, codeMAC)
	f.verify(t, f.north, long)
	tok := f.verify(t, f.north, second.Code).Token
	_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: issued.Code})
	wantProblem(t, err, verification.ErrCodeInvalid, "")

	f.rotate(t, f.north, tokenSeal)
	f.certificate(t, f.north, tok, hmacText)
	f.certificate(t, f.north, f.token(t, f.north, verification.IssueRequest{}), hmacText)
}

// One code, a thousand phones, one token; the pool is small and nobody fails for
// any other reason.
func TestVerifyOneWinner(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued, long := f.messaged(t, f.north)
	const callers = 1000
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		code := []string{issued.Code, long}[i%2]
		wg.Go(func() {
			_, errs[i] = f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: code})
		})
	}
	wg.Wait()
	wantOneWinner(t, errs, verification.ErrCodeInvalid)
	if n := f.countTokens(t, f.north); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
}

// A statement that fails after the claim, here for a token ID that exists
// already, takes the claim back.
func TestVerifyFailingStatement(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	stuck := f.service(f.world.Device, func(c *verification.Config) { c.Rand = zeroReader{} })
	first := f.issue(t, f.north, verification.IssueRequest{})
	second := f.issue(t, f.north, verification.IssueRequest{})
	if _, err := stuck.Verify(t.Context(), f.north, verification.VerifyRequest{Code: first.Code}); err != nil {
		t.Fatal(explain(err))
	}
	_, err := stuck.Verify(t.Context(), f.north, verification.VerifyRequest{Code: second.Code})
	if !tenant.Violates(err, "verification_token_pkey") {
		t.Fatalf("a token ID twice: %v, want a violation", err)
	}
	if f.status(t, f.north, second).Claimed {
		t.Error("the failed attempt claimed the code")
	}
	f.verify(t, f.north, second.Code)
}

func TestVerifyCancelled(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued := f.issue(t, f.north, verification.IssueRequest{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.device.Verify(ctx, f.north, verification.VerifyRequest{Code: issued.Code}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Verify: %v, want context.Canceled", err)
	}
	f.verify(t, f.north, issued.Code)
}

// A good code takes one round trip. All others take two, so that their number does not
// tell an unknown code from a claimed one.
func TestVerifyRoundTrips(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	claimed := f.issue(t, f.north, verification.IssueRequest{})
	f.verify(t, f.north, claimed.Code)
	fresh := f.issue(t, f.north, verification.IssueRequest{TestType: "likely"})
	_, long := f.messaged(t, f.north)
	attempts := []struct {
		name string
		r    verification.VerifyRequest
	}{
		{"unknown", verification.VerifyRequest{Code: flip(fresh.Code)}},
		{"claimed", verification.VerifyRequest{Code: claimed.Code}},
		{"unsupported", verification.VerifyRequest{Code: fresh.Code, Accept: []string{"confirmed"}}},
		{"good", verification.VerifyRequest{Code: fresh.Code}},
		{"good long", verification.VerifyRequest{Code: long}},
	}
	got := map[string]int{}
	for _, a := range attempts {
		got[a.name] = f.world.Trips(func() { _, _ = f.device.Verify(t.Context(), f.north, a.r) })
	}
	want := map[string]int{"unknown": 2, "claimed": 2, "unsupported": 2, "good": 1, "good long": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("round trips (-want +got)\n%s", diff)
	}
}

func (f *fixture) countTokens(tb testing.TB, of *tenant.Tenant) (n int) {
	tb.Helper()
	in(tb, f.world.Device, of.ID, func(ctx context.Context, tx *tenant.Tx) error {
		return tx.Get(ctx, &n, `select count(*) from verification_token`)
	})
	return n
}
