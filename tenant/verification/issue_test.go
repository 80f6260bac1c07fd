package verification_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/message"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/verification"
)

// Each row of §4.2 alone: a request that breaks only this rule.
func TestIssueRules(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	today := f.world.Now().UTC()
	day := func(n int) string { return today.AddDate(0, 0, n).Format(time.DateOnly) }
	dated := with(f.north, func(s *tenant.Settings) { s.RequireDate = true })
	mute := with(f.north, func(s *tenant.Settings) { s.SMSEnabled = false })
	fewTypes := with(f.north, func(s *tenant.Settings) { s.TestTypes = []string{"confirmed"} })
	noSelf := with(f.north, func(s *tenant.Settings) { s.IssueUserReport = false })
	known := f.issue(t, f.north, verification.IssueRequest{}).ID.String()
	window := func(what, got string) string {
		return fmt.Sprintf("%s must be on/after %s and on/before %s. Received %s", what, day(-28), day(0), got)
	}
	cases := []struct {
		name   string
		tenant *tenant.Tenant
		r      verification.IssueRequest
		kind   error
		text   string
	}{
		{"2 uuid", f.north, verification.IssueRequest{UUID: "one"}, verification.ErrUnparsable, "uuid is not a valid UUID"},
		{"2 externalIssuerID too long", f.north, verification.IssueRequest{ExternalIssuerID: strings.Repeat("é", 128)}, verification.ErrUnparsable, "externalIssuerID must be at most 255 bytes of text"},
		{"2 externalIssuerID with NUL", f.north, verification.IssueRequest{ExternalIssuerID: "a\x00"}, verification.ErrUnparsable, ""},
		{"2 externalIssuerID not UTF-8", f.north, verification.IssueRequest{ExternalIssuerID: "\xff"}, verification.ErrUnparsable, ""},
		{"3 no date", dated, verification.IssueRequest{}, verification.ErrMissingDate, "missing either test or symptom date"},
		{"4 symptom date", f.north, verification.IssueRequest{SymptomDate: "soon"}, verification.ErrUnparsable, `failed to process symptom onset date: parsing time "soon" as "2006-01-02": cannot parse "soon" as "2006"`},
		{"4 test date", f.north, verification.IssueRequest{TestDate: "2026-02-30"}, verification.ErrUnparsable, `failed to process test date: parsing time "2026-02-30": day out of range`},
		{"5 symptom date too old", f.north, verification.IssueRequest{SymptomDate: day(-29)}, verification.ErrInvalidDate, window("symptom onset date", day(-29))},
		{"5 test date in the future", f.north, verification.IssueRequest{TestDate: day(1)}, verification.ErrInvalidDate, window("test date", day(1))},
		{"6 phone", f.north, verification.IssueRequest{Phone: "call me"}, verification.ErrPhoneInvalid, ""},
		{"7 generating not permitted", f.south, verification.IssueRequest{OnlyGenerateSMS: true, Phone: phone}, verification.ErrUnparsable, "realm is not permitted to use onlyGenerateSMS"},
		{"8 generating without phone", f.north, verification.IssueRequest{OnlyGenerateSMS: true}, verification.ErrNothingToGenerate, "generated sms requested, but no phone number was provided"},
		{"9 no provider", mute, verification.IssueRequest{Phone: phone}, verification.ErrNoProvider, "phone provided, but no sms provider is configured"},
		{"10 uuid known", f.north, verification.IssueRequest{UUID: strings.ToUpper(known)}, verification.ErrUUIDExists, "code for " + known + " already exists"},
		{"11 user report by key", noSelf, verification.IssueRequest{TestType: "User-Report", Phone: phone}, verification.ErrUnsupportedTestType, "unsupported test type: User-Report"},
		{"12 unknown type", f.north, verification.IssueRequest{TestType: "positive"}, verification.ErrInvalidTestType, "invalid test type"},
		{"12 empty type", f.north, verification.IssueRequest{TestType: " "}, verification.ErrInvalidTestType, "invalid test type"},
		{"13 type not enabled", fewTypes, verification.IssueRequest{TestType: "Likely"}, verification.ErrUnsupportedTestType, "unsupported test type: Likely"},
		{"15 user report without phone", f.north, verification.IssueRequest{TestType: "user-report"}, verification.ErrMissingPhone, ""},
		{"18 unknown template", f.north, verification.IssueRequest{Phone: phone, SMSTemplateLabel: "Spring"}, verification.ErrSMSFailed, ""},
		{"18 unknown template for generating", f.north, verification.IssueRequest{Phone: phone, SMSTemplateLabel: "Spring", OnlyGenerateSMS: true}, verification.ErrTemplate, ""},
	}
	before := f.countCodes(t, f.north) + f.countCodes(t, f.south)
	for _, c := range cases {
		if c.r.TestType == "" {
			c.r.TestType = "confirmed"
		}
		issued, err := f.issuer.Issue(t.Context(), c.tenant, backEnd, c.r)
		if issued != nil {
			t.Errorf("%s: got a code", c.name)
		}
		t.Run(c.name, func(t *testing.T) { wantProblem(t, err, c.kind, c.text) })
	}
	if got := f.countCodes(t, f.north) + f.countCodes(t, f.south); got != before {
		t.Errorf("%d codes after refusals, want %d", got, before)
	}
	if n := f.sms.Attempts(); n != 0 {
		t.Errorf("%d messages after refusals, want none", n)
	}
}

// A request that breaks every rule is refused by the first; with each rule that
// it obeys, by the next one.
func TestIssueOrder(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	known := f.issue(t, f.south, verification.IssueRequest{}).ID.String()
	spent := false
	s := f.service(f.world.Issuer, func(c *verification.Config) {
		c.Quota = budget(func(tenant.ID) bool { return !spent })
	})
	now := f.world.Now().UTC()
	at := with(f.south, func(s *tenant.Settings) {
		s.RequireDate, s.SMSEnabled, s.IssueUserReport, s.GenerateSMS, s.TestTypes = true, false, false, false, []string{"likely"}
	})
	spent = true
	r := verification.IssueRequest{
		UUID: "x", TestType: "user-report", Phone: "x", OnlyGenerateSMS: true, SMSTemplateLabel: "x",
	}
	steps := []struct {
		obey func()
		kind error
	}{
		{func() {}, verification.ErrUnparsable},
		{func() { r.UUID = known }, verification.ErrMissingDate},
		{func() { r.SymptomDate, r.TestDate = "2001-01-01", "x" }, verification.ErrUnparsable},
		{func() { r.TestDate = "2001-01-01" }, verification.ErrInvalidDate},
		{func() { r.SymptomDate = now.Format(time.DateOnly) }, verification.ErrInvalidDate},
		{func() { r.TestDate = "" }, verification.ErrPhoneInvalid},
		{func() { r.Phone = "" }, verification.ErrUnparsable},
		{func() { at.Settings.GenerateSMS = true }, verification.ErrNothingToGenerate},
		{func() { r.OnlyGenerateSMS, r.Phone = false, phone }, verification.ErrNoProvider},
		{func() { r.Phone = "" }, verification.ErrUUIDExists},
		{func() { r.UUID = uuid.NewString() }, verification.ErrUnsupportedTestType},
		{func() { r.TestType = "x" }, verification.ErrInvalidTestType},
		{func() { r.TestType = "negative" }, verification.ErrUnsupportedTestType},
		{func() {
			r.TestType, at.Settings.IssueUserReport, at.Settings.TestTypes = "user-report", true, []string{"user-report"}
		}, verification.ErrQuota},
		{func() { spent = false }, verification.ErrMissingPhone},
	}
	for i, step := range steps {
		step.obey()
		_, err := s.Issue(t.Context(), at, backEnd, r)
		if !errors.Is(err, step.kind) {
			t.Errorf("step %d: %v, want %v", i, explain(err), step.kind)
		}
	}
	at.Settings.SMSEnabled, r.Phone, r.SMSTemplateLabel = true, phone, ""
	if _, err := s.Issue(t.Context(), at, backEnd, r); err != nil {
		t.Errorf("a request that obeys every rule: %v", explain(err))
	}
}

func TestIssueAnswer(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now().UTC().Truncate(time.Second)
	shortEnd, longEnd := now.Add(15*time.Minute), now.Add(24*time.Hour)
	cases := []struct {
		name string
		r    verification.IssueRequest
		long time.Time
	}{
		{"no message", verification.IssueRequest{}, shortEnd},
		{"message", verification.IssueRequest{Phone: phone}, longEnd},
		{"generated message", verification.IssueRequest{Phone: phone, OnlyGenerateSMS: true}, longEnd},
		{"user report", verification.IssueRequest{TestType: "USER-REPORT", Phone: phone}, shortEnd},
	}
	for _, c := range cases {
		got := f.issue(t, f.north, c.r)
		if !got.ExpiresAt.Equal(shortEnd) || !got.LongExpiresAt.Equal(c.long) {
			t.Errorf("%s: expires %v and %v, want %v and %v", c.name, got.ExpiresAt, got.LongExpiresAt, shortEnd, c.long)
		}
		if s := f.status(t, f.north, got); !s.ExpiresAt.Equal(shortEnd) || !s.LongExpiresAt.Equal(c.long) || s.ID != got.ID || s.Claimed {
			t.Errorf("%s: status %+v, want the times of the answer", c.name, s)
		}
		if !regexp.MustCompile(`^[0-9]{8}$`).MatchString(got.Code) {
			t.Errorf("%s: code %q, want 8 digits", c.name, got.Code)
		}
		if got.ID.Version() != 4 {
			t.Errorf("%s: UUID %s has version %d, want 4", c.name, got.ID, got.ID.Version())
		}
	}
}

// A long code never ends before the short one, whatever the settings say.
func TestIssueLongLifeBelowShort(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	hasty := with(f.north, func(s *tenant.Settings) { s.LongCodeLife = time.Second })
	got := f.issue(t, hasty, verification.IssueRequest{Phone: phone})
	if !got.LongExpiresAt.Equal(got.ExpiresAt) {
		t.Errorf("the long code expires at %v, want %v", got.LongExpiresAt, got.ExpiresAt)
	}
}

// The database holds nothing that reveals a code or a number.
func TestIssueStoresDigestsOnly(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued, long := f.messaged(t, f.north)
	if _, err := f.portal.Issue(t.Context(), f.north, caseworker, verification.IssueRequest{TestType: "likely", Phone: phone}); err != nil {
		t.Fatal(err)
	}
	var stored []string
	in(t, f.world.Portal, f.north.ID, func(ctx context.Context, tx *tenant.Tx) error {
		return tx.Select(ctx, &stored, `
select c::text from verification_code c
 union all
select a::text from audit_entry a`)
	})
	all := strings.Join(stored, "\n")
	if !strings.Contains(all, issued.ID.String()) {
		t.Fatalf("the code is not among the rows:\n%s", all)
	}
	for _, canary := range []string{issued.Code, long, phone, "2065550100"} {
		if strings.Contains(all, canary) || strings.Contains(all, fmt.Sprintf("%x", canary)) {
			t.Errorf("the database holds %q:\n%s", canary, all)
		}
	}
}

func TestIssueUUID(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const id = "0b4ab9ff-17d3-4a43-9a4a-5a5bcb3a7e11"
	got := f.issue(t, f.north, verification.IssueRequest{UUID: " {" + strings.ToUpper(id) + "}\n"})
	if got.ID.String() != id {
		t.Errorf("UUID %s, want %s", got.ID, id)
	}
	for _, again := range []string{id, strings.ReplaceAll(id, "-", "")} {
		_, err := f.issuer.Issue(t.Context(), f.north, backEnd, verification.IssueRequest{TestType: "confirmed", UUID: again})
		wantProblem(t, err, verification.ErrUUIDExists, "code for "+id+" already exists")
	}
	if other := f.issue(t, f.south, verification.IssueRequest{UUID: id}); other.ID.String() != id {
		t.Errorf("the other tenant's UUID is %s, want the same", other.ID)
	}
}

// Repeating a UUID takes nothing from the quota.
func TestIssueQuota(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	left := 1
	s := f.service(f.world.Issuer, func(c *verification.Config) {
		c.Quota = budget(func(id tenant.ID) bool {
			if id != f.north.ID {
				t.Errorf("asked for the budget of tenant %s, want %s", id, f.north.ID)
			}
			left--
			return left >= 0
		})
	})
	r := verification.IssueRequest{TestType: "confirmed", UUID: uuid.NewString()}
	if _, err := s.Issue(t.Context(), f.north, backEnd, r); err != nil {
		t.Fatal(explain(err))
	}
	_, err := s.Issue(t.Context(), f.north, backEnd, r)
	wantProblem(t, err, verification.ErrUUIDExists, "")
	if left != 0 {
		t.Errorf("budget is %d after one code and one refusal, want 0", left)
	}
	r.UUID = ""
	_, err = s.Issue(t.Context(), f.north, backEnd, r)
	wantProblem(t, err, verification.ErrQuota, "")
}

func TestIssueIsAudited(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.issue(t, f.north, verification.IssueRequest{})
	if entries := f.audit(t, f.north); len(entries) != 0 {
		t.Errorf("entries after an API key issued: %v, want none", entries)
	}
	issued, err := f.portal.Issue(t.Context(), f.north, caseworker, verification.IssueRequest{TestType: "confirmed", Phone: phone})
	if err != nil {
		t.Fatal(explain(err))
	}
	entries := f.audit(t, f.north)
	if len(entries) != 1 {
		t.Fatalf("entries after a person issued: %v, want one", entries)
	}
	e := entries[0]
	if e.Action != string(authz.CodeIssue) || e.Target != issued.ID.String() || e.ActorID != caseworker.ID || string(e.Detail) != "{}" {
		t.Errorf("entry %+v, want code:issue of %s by %s", e, issued.ID, caseworker.ID)
	}
	if entries := f.audit(t, f.south); len(entries) != 0 {
		t.Errorf("entries of the other tenant: %v, want none", entries)
	}
}

// A refused issue leaves neither code nor entry, and a withdrawn one leaves both
// entries.
func TestIssueAuditOfWithdrawal(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	r := verification.IssueRequest{TestType: "confirmed", Phone: phone, SMSTemplateLabel: "Spring"}
	_, err := f.portal.Issue(t.Context(), f.north, caseworker, r)
	wantProblem(t, err, verification.ErrSMSFailed, "")
	if entries := f.audit(t, f.north); len(entries) != 0 {
		t.Errorf("entries after a template failure: %v, want none", entries)
	}
	f.sms.Break(messagetest.Failed)
	r.SMSTemplateLabel = ""
	_, err = f.portal.Issue(t.Context(), f.north, caseworker, r)
	wantProblem(t, err, verification.ErrSMSFailed, "")
	var actions []string
	for _, e := range f.audit(t, f.north) {
		actions = append(actions, e.Action)
	}
	if got, want := strings.Join(actions, " "), "code:withdrawn code:issue"; got != want {
		t.Errorf("entries, newest first: %q, want %q", got, want)
	}
}

func TestIssueForbidden(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	subjects := []authz.Subject{
		{},
		stranger,
		{Kind: authz.APIKey, ID: "d", Roles: []authz.Role{authz.KeyDevice}},
		{Kind: authz.Person, ID: "p", Roles: []authz.Role{authz.KeyAdmin}},
	}
	for _, by := range subjects {
		// The request is wrong as well: who may not learns nothing about it.
		issued, err := f.issuer.Issue(t.Context(), f.north, by, verification.IssueRequest{UUID: "x"})
		if !errors.Is(err, authz.ErrForbidden) || issued != nil {
			t.Errorf("%v: %v, want ErrForbidden", by, err)
		}
	}
}

// A person may issue user reports though admin keys may not.
func TestIssueUserReportByPerson(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	noSelf := with(f.north, func(s *tenant.Settings) { s.IssueUserReport = false })
	r := verification.IssueRequest{TestType: "user-report", Phone: phone}
	if _, err := f.portal.Issue(t.Context(), noSelf, caseworker, r); err != nil {
		t.Error(explain(err))
	}
}

func TestIssueSends(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued := f.issue(t, f.north, verification.IssueRequest{Phone: "(206) 555-0100"})
	report := f.issue(t, f.north, verification.IssueRequest{TestType: "User-Report", Phone: phone})
	sent := f.sms.Delivered()
	if len(sent) != 2 {
		t.Fatalf("%d messages, want 2", len(sent))
	}
	want := regexp.MustCompile(`^Code [a-z0-9]{16} for 24 h, or ` + issued.Code + ` for 15 min$`)
	if m := sent[0]; m.Tenant != f.north.ID || m.To != phone || !want.MatchString(m.Body) {
		t.Errorf("message to %s: %q, want %v", m.To, m.Body, want)
	}
	if m := sent[1]; !strings.Contains(m.Body, report.Code) || !strings.Contains(m.Body, "15 minutes") {
		t.Errorf("message for a user report: %q, want its short code and life", m.Body)
	}
}

func TestIssueGenerates(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	mute := with(f.north, func(s *tenant.Settings) { s.SMSEnabled = false })
	got := f.issue(t, mute, verification.IssueRequest{Phone: "206 555 0100", OnlyGenerateSMS: true})
	if got.Phone != phone || !strings.Contains(got.GeneratedSMS, got.Code) {
		t.Errorf("message %q to %q, want one with the code to %s", got.GeneratedSMS, got.Phone, phone)
	}
	if n := f.sms.Attempts(); n != 0 {
		t.Errorf("%d messages sent, want none", n)
	}
}

func TestIssueWhenSendingFails(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	cases := []struct {
		name  string
		fault messagetest.Fault
		kind  error
	}{
		{"failed", messagetest.Failed, verification.ErrSMSFailed},
		{"queue full", messagetest.QueueFull, verification.ErrSMSQueueFull},
		{"delivered, said failed", messagetest.SaidFailed, verification.ErrSMSFailed},
		{"silent until the asker is gone", messagetest.Silent, verification.ErrSMSFailed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			f.sms.Break(c.fault)
			s := f.service(f.world.Issuer, func(c *verification.Config) {
				c.Sender = senderFunc(func(ctx context.Context, to *tenant.Tenant, m message.Message) error {
					leave()
					return f.sms.Send(ctx, to, m)
				})
			})
			r := verification.IssueRequest{TestType: "confirmed", Phone: phone, UUID: uuid.NewString()}
			issued, err := s.Issue(ctx, f.north, backEnd, r)
			if issued != nil {
				t.Error("got a code, want none")
			}
			wantProblem(t, err, c.kind, "")
			_, err = f.issuer.Status(t.Context(), f.north, backEnd, r.UUID)
			wantProblem(t, err, verification.ErrCodeNotFound, "")

			f.sms.Break(messagetest.None)
			if again := f.issue(t, f.north, r); again.ID.String() != r.UUID {
				t.Errorf("second try: UUID %s, want %s", again.ID, r.UUID)
			}
		})
	}
}

// Where somebody can read the code out, a failed message does not take it away.
func TestIssueKeepsWhenUnsent(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for fault, kind := range map[messagetest.Fault]error{
		messagetest.Failed:     verification.ErrSMSFailed,
		messagetest.QueueFull:  verification.ErrSMSQueueFull,
		messagetest.SaidFailed: verification.ErrSMSFailed,
	} {
		f.sms.Break(fault)
		issued, err := f.portal.Issue(t.Context(), f.north, caseworker,
			verification.IssueRequest{TestType: "confirmed", Phone: phone, KeepWhenUnsent: true})
		if err != nil {
			t.Fatalf("fault %d: %v", fault, explain(err))
		}
		wantProblem(t, issued.SendError, kind, "")
		f.verify(t, f.north, issued.Code)
	}
}

// A sender that reports failure although the phone has the code already: the
// claim proves that the message arrived, so the code stays and is no failure.
func TestIssueSaidFailedButClaimed(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	at := with(f.north, func(s *tenant.Settings) { s.SMSTemplate = "[longcode]" })
	s := f.service(f.world.Issuer, func(c *verification.Config) {
		c.Sender = senderFunc(func(_ context.Context, to *tenant.Tenant, m message.Message) error {
			f.verify(t, to, m.Body)
			return message.ErrFailed
		})
	})
	issued, err := s.Issue(t.Context(), at, backEnd, verification.IssueRequest{TestType: "confirmed", Phone: phone})
	if err != nil {
		t.Fatal(explain(err))
	}
	if !f.status(t, f.north, issued).Claimed {
		t.Error("the code is not claimed")
	}
}

// The provider is asked after the commit: a code in a message exists.
func TestIssueSendsAfterCommit(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := uuid.NewString()
	s := f.service(f.world.Issuer, func(c *verification.Config) {
		c.Sender = senderFunc(func(ctx context.Context, to *tenant.Tenant, _ message.Message) error {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the provider has no deadline")
			}
			_, err := f.issuer.Status(ctx, to, backEnd, id)
			return err
		})
	})
	r := verification.IssueRequest{TestType: "confirmed", Phone: phone, UUID: id}
	if _, err := s.Issue(t.Context(), f.north, backEnd, r); err != nil {
		t.Error(explain(err))
	}
}

func TestIssueWithoutSender(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for name, sender := range map[string]message.Sender{"nil": nil, "none": message.None{}} {
		s := f.service(f.world.Issuer, func(c *verification.Config) { c.Sender = sender })
		_, err := s.Issue(t.Context(), f.north, backEnd, verification.IssueRequest{TestType: "confirmed", Phone: phone})
		t.Run(name, func(t *testing.T) {
			wantProblem(t, err, verification.ErrNoProvider, "phone provided, but no sms provider is configured")
		})
	}
}

// Bytes that the source yields for one pair of codes: 8 digits, 16 characters.
const pairBytes = 8 + 16

func TestIssueRedraws(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issue := func(reads int64) (*verification.Issued, error) {
		s := f.service(f.world.Issuer, func(c *verification.Config) { c.Rand = zeros(reads) })
		return s.Issue(t.Context(), f.north, backEnd, verification.IssueRequest{TestType: "confirmed", UUID: uuid.NewString()})
	}
	first, err := issue(pairBytes)
	if err != nil || first.Code != "00000000" {
		t.Fatalf("first code: %v, %v, want 00000000", first, err)
	}
	if _, err := issue(6 * pairBytes); err != nil {
		t.Errorf("after six collisions: %v, want a seventh draw", explain(err))
	}
	before := f.countCodes(t, f.north)
	_, err = issue(7 * pairBytes)
	wantProblem(t, err, verification.ErrNoFreeCode, "failed to generate otp code, please try again")
	if got := f.countCodes(t, f.north); got != before {
		t.Errorf("%d codes, want %d", got, before)
	}
	// Another tenant may have the same code, and a claimed one is not free.
	other := f.service(f.world.Issuer, func(c *verification.Config) { c.Rand = zeros(pairBytes) })
	if _, err := other.Issue(t.Context(), f.south, backEnd, verification.IssueRequest{TestType: "confirmed", UUID: uuid.NewString()}); err != nil {
		t.Errorf("the same code for another tenant: %v", explain(err))
	}
	f.verify(t, f.north, first.Code)
	_, err = issue(7 * pairBytes)
	wantProblem(t, err, verification.ErrNoFreeCode, "")
}

// A code that only shares its long form is drawn again, too.
func TestIssueRedrawsForLongCode(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	six := with(f.north, func(s *tenant.Settings) { s.CodeDigits = 6 })
	s := f.service(f.world.Issuer, func(c *verification.Config) { c.Rand = zeros(pairBytes + 6 + 16) })
	for _, at := range []*tenant.Tenant{f.north, six} {
		_, err := s.Issue(t.Context(), at, backEnd, verification.IssueRequest{TestType: "confirmed", UUID: uuid.NewString()})
		if err != nil {
			t.Fatal(explain(err))
		}
	}
	if n := f.countCodes(t, f.north); n != 2 {
		t.Errorf("%d codes, want 2", n)
	}
}

// The same digits under an older MAC key are the same code.
func TestIssueSeesOlderKeys(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	draw := func() (*verification.Issued, error) {
		s := f.service(f.world.Issuer, func(c *verification.Config) { c.Rand = zeros(7 * pairBytes) })
		return s.Issue(t.Context(), f.north, backEnd, verification.IssueRequest{TestType: "confirmed", UUID: uuid.NewString()})
	}
	if _, err := draw(); err != nil {
		t.Fatal(explain(err))
	}
	f.rotate(t, f.north, codeMAC)
	_, err := draw()
	wantProblem(t, err, verification.ErrNoFreeCode, "")
}

// Of many who send one UUID at once, one gets a code.
func TestIssueOneUUIDAtOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	r := verification.IssueRequest{TestType: "confirmed", UUID: uuid.NewString()}
	const callers = 50
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { _, errs[i] = f.issuer.Issue(t.Context(), f.north, backEnd, r) })
	}
	wg.Wait()
	issued := 0
	for _, err := range errs {
		if err == nil {
			issued++
			continue
		}
		wantProblem(t, err, verification.ErrUUIDExists, "")
	}
	if n := f.countCodes(t, f.north); issued != 1 || n != 1 {
		t.Errorf("%d answers with a code and %d stored, want one each", issued, n)
	}
}

func (f *fixture) countCodes(tb testing.TB, of *tenant.Tenant) (n int) {
	tb.Helper()
	in(tb, f.world.Issuer, of.ID, func(ctx context.Context, tx *tenant.Tx) error {
		return tx.Get(ctx, &n, `select count(*) from verification_code`)
	})
	return n
}

func (f *fixture) audit(tb testing.TB, of *tenant.Tenant) (entries []audit.Entry) {
	tb.Helper()
	in(tb, f.world.Portal, of.ID, func(ctx context.Context, tx *tenant.Tx) (err error) {
		entries, err = audit.List(ctx, tx, 100)
		return err
	})
	// The fixture's own entries are about other things.
	var ours []audit.Entry
	for _, e := range entries {
		if strings.HasPrefix(e.Action, "code:") {
			ours = append(ours, e)
		}
	}
	return ours
}

// A program's code is one round trip. If it names a UUID, it is four: opening, a look at
// the UUID, storing and committing; a person's audit entry is one more.
func TestIssueRoundTrips(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.issue(t, f.north, verification.IssueRequest{}) // keys are cached now
	for _, c := range []struct {
		by   authz.Subject
		id   string
		want int
	}{{backEnd, "", 1}, {backEnd, uuid.NewString(), 4}, {caseworker, "", 4}, {caseworker, uuid.NewString(), 5}} {
		got := f.world.Trips(func() {
			r := verification.IssueRequest{TestType: "confirmed", UUID: c.id}
			if _, err := f.issuer.Issue(t.Context(), f.north, c.by, r); err != nil {
				t.Error(explain(err))
			}
		})
		if got != c.want {
			t.Errorf("%s, UUID %q: %d round trips, want %d", c.by.Kind, c.id, got, c.want)
		}
	}
}
