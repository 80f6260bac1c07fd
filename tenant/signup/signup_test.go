package signup_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/mail"
	"carillon/tenant/mail/mailtest"
	"carillon/tenant/member"
	"carillon/tenant/onboarding"
	"carillon/tenant/signup"
	"carillon/tenant/signup/localdns"
	"carillon/tenant/tenanttest"
)

// world is a service with everything it needs around it.
type world struct {
	*tenanttest.World
	*signup.Service
	t    *testing.T
	mail *mailtest.Recorder
	dns  *localdns.Server
}

const issuer = "https://login.example"

func newWorld(t *testing.T, change ...func(*signup.Config)) *world {
	t.Helper()
	w := &world{World: tenanttest.New(t), t: t, mail: &mailtest.Recorder{}}
	var err error
	if w.dns, err = localdns.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.dns.Close() })
	c := signup.Config{
		DB: w.Operator, Root: w.Root, Mail: w.mail, DNS: w.dns.Resolver(), BaseURL: "https://carillon.example", Issuer: issuer,
		Limits: signup.DefaultLimits(), Log: slog.New(slog.DiscardHandler), Now: w.World.Now,
	}
	for _, ch := range change {
		ch(&c)
	}
	w.Service = signup.New(c)
	t.Cleanup(w.Wait)
	return w
}

// Now is the world's clock; the service has the same.
func (w *world) Now() time.Time { return w.World.Now() }

var (
	ada = signup.Applicant{Email: "ada@health.lakeland.example", Confirmed: signup.ByProvider}
	eve = signup.Applicant{Email: "eve@elsewhere.example", Confirmed: signup.ByLink}
	bob = authz.Subject{Kind: authz.Person, ID: "bob", Name: "Bob", Roles: []authz.Role{authz.Operator}}
)

func form(change ...func(*signup.Form)) signup.Form {
	f := signup.Form{
		Name: "Lakeland Department of Health", Region: "us-mn", Domain: "https://Health.Lakeland.example/about",
		ContactName: "Ada Lake", ContactEmail: "Team@health.lakeland.example", ContactPhone: "+1 206 555 0142",
		Languages: "en, es-419", Codes: "1,200",
	}
	for _, c := range change {
		c(&f)
	}
	return f
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wants(want, got error) {
	w.t.Helper()
	if !errors.Is(got, want) {
		w.t.Errorf("error %v, want %v", got, want)
	}
}

func (w *world) mine(who signup.Applicant) *signup.Application {
	w.t.Helper()
	a, err := w.Mine(w.t.Context(), who)
	w.must(err)
	return a
}

// proven applies and proves, and returns what waits for an operator.
func (w *world) proven(who signup.Applicant, f signup.Form) *signup.Application {
	w.t.Helper()
	w.must(w.Submit(w.t.Context(), who, f))
	a := w.mine(who)
	w.dns.Set(a.Record, "something else", a.Value)
	w.must(w.CheckRecord(w.t.Context(), who))
	return w.mine(who)
}

func (w *world) tenant(slug tenant.Slug) *tenant.Tenant {
	w.t.Helper()
	t, err := tenant.NewDirectory(w.Portal).BySlug(w.t.Context(), string(slug))
	w.must(err)
	return t
}

// subject is the applicant as the portal would know her.
func (w *world) subject(who signup.Applicant, slug tenant.Slug) (authz.Subject, error) {
	w.t.Helper()
	return member.Authenticate(w.t.Context(), w.Portal, w.tenant(slug), oidc.Identity{Issuer: issuer, Subject: "s-" + who.Email, Email: who.Email})
}

func TestFromDraftToProduction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.must(w.Save(ctx, ada, signup.Form{Name: "Lakeland"}))
	if a := w.mine(ada); a.State != signup.Draft || a.Form.Name != "Lakeland" || a.Details != nil {
		t.Errorf("draft: %+v", a)
	}
	w.must(w.Submit(ctx, ada, form()))
	a := w.mine(ada)
	want := &signup.Details{
		Name: "Lakeland Department of Health", Region: "US-MN", Domain: "health.lakeland.example", ContactName: "Ada Lake",
		ContactEmail: "team@health.lakeland.example", ContactPhone: "+1 206 555 0142", Languages: []string{"en", "es-419"}, CodesPerDay: 1200,
	}
	if diff := cmp.Diff(want, a.Details); a.State != signup.Proving || diff != "" {
		t.Errorf("%s, details (-want +got):\n%s", a.State, diff)
	}

	w.wants(signup.ErrNoRecord, w.CheckRecord(ctx, ada))
	w.dns.Set(a.Record, a.Value+"x")
	w.wants(signup.ErrNoRecord, w.CheckRecord(ctx, ada))
	w.dns.Set(a.Record, "v=spf1 -all", a.Value)
	w.must(w.CheckRecord(ctx, ada))
	a = w.mine(ada)
	if a.State != signup.Waiting || a.ProvenBy != signup.ByDNS || a.Sandbox == nil || a.Production != nil {
		t.Fatalf("proven: %+v", a)
	}
	sandbox := w.tenant(a.Sandbox.Slug)
	if sandbox.Kind != tenant.Sandbox || !strings.HasSuffix(string(sandbox.Slug), "-sandbox") || sandbox.State != tenant.Active {
		t.Errorf("sandbox: %+v", sandbox)
	}
	if by, err := w.subject(ada, a.Sandbox.Slug); err != nil || !cmp.Equal(by.Roles, []authz.Role{authz.Owner}) {
		t.Errorf("owner of the sandbox: %v, %v", by, err)
	}

	approved, err := w.Approve(ctx, bob, a.ID, signup.Terms{})
	w.must(err)
	if approved.State != signup.Approved || !approved.Told || approved.Production.Slug != "us-mn" {
		t.Fatalf("approved: %+v", approved)
	}
	got := w.tenant("us-mn")
	if got.Kind != tenant.Production || got.Region != "US-MN" || got.HealthAuthorityID != "example.lakeland.health" || got.Settings.Issuer != "health.lakeland.example" {
		t.Errorf("production: %+v", got)
	}
	if s := got.Settings; s.Language != "en" || s.SMSCountry != "US" || !s.QuotaEnforced || s.QuotaFactor != 2 {
		t.Errorf("settings: %+v", s)
	}
	if by, err := w.subject(ada, "us-mn"); err != nil || !cmp.Equal(by.Roles, []authz.Role{authz.Owner}) {
		t.Errorf("owner: %v, %v", by, err)
	}
	letters := w.mail.To(ada.Email)
	if len(letters) != 1 || !strings.Contains(letters[0].Text, "https://carillon.example/portal/us-mn/") {
		t.Errorf("letters: %+v", letters)
	}
	w.wants(signup.ErrNone, func() error { _, err := w.Mine(ctx, eve); return err }())
}

// The same link proves a domain whoever opens it, once, and for the domain it was sent to.
func TestProofByLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.must(w.Submit(ctx, ada, form()))
	for typed, want := range map[string]error{
		"": signup.ErrAddress, "web master@health.lakeland.example": signup.ErrAddress, "x@evil.example": signup.ErrOtherDomain,
		"x@sub.health.lakeland.example": signup.ErrOtherDomain, "x@lakeland.example": signup.ErrOtherDomain,
	} {
		w.wants(want, w.SendProof(ctx, ada, typed))
	}
	w.must(w.SendProof(ctx, ada, "Webmaster@Health.Lakeland.example"))
	w.Wait()
	first := w.token("webmaster@health.lakeland.example", 0)
	// Another domain now: the letter was for the first.
	w.must(w.Submit(ctx, ada, form(func(f *signup.Form) { f.Domain = "lakeland.example" })))
	w.wants(signup.ErrState, w.Prove(ctx, first))
	w.must(w.Submit(ctx, ada, form()))
	if a, err := w.Claim(ctx, first); err != nil || a.Details.Domain != "health.lakeland.example" {
		t.Errorf("claim: %v, %v", a, err)
	}
	errs := race(4, func() error { return w.Prove(ctx, first) })
	if n := count(errs, nil); n != 1 {
		t.Errorf("%d of 4 opened the sandbox: %v", n, errs)
	}
	w.wants(signup.ErrLinkUsed, w.Prove(ctx, first))
	if a := w.mine(ada); a.State != signup.Waiting || a.ProvenBy != signup.ByMail {
		t.Errorf("after proof: %+v", a)
	}
	w.wants(signup.ErrLink, w.Prove(ctx, first+"x"))
}

// token is what stands in the link of a letter.
func (w *world) token(to string, n int) string {
	w.t.Helper()
	letters := w.mail.To(to)
	if len(letters) <= n {
		w.t.Fatalf("%s has %d letters", to, len(letters))
	}
	link := mailtest.Link(letters[n])
	return link[strings.LastIndex(link, "/")+1:]
}

func TestAddressLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	for _, bad := range []string{"", "a@", "a b@c.example", "Ada <a@c.example>", "a@c.example\r\nBcc: x@y.example", "ада@c.example", strings.Repeat("a", 250) + "@c.example"} {
		w.wants(signup.ErrAddress, w.SendLink(ctx, bad, "browser"))
	}
	w.must(w.SendLink(ctx, " Eve@Elsewhere.example ", "browser"))
	w.Wait()
	token := w.token(eve.Email, 0)
	w.wants(signup.ErrOtherBrowser, w.CheckAddress(ctx, token, "another"))
	w.wants(signup.ErrOtherBrowser, confirm(w, token, "another"))
	w.wants(signup.ErrOtherBrowser, confirm(w, token, ""))
	w.must(w.CheckAddress(ctx, token, "browser"))
	who, err := w.ConfirmAddress(ctx, token, "browser")
	if err != nil || who != eve {
		t.Errorf("confirmed %v, %v", who, err)
	}
	w.wants(signup.ErrLinkUsed, confirm(w, token, "browser"))
	w.wants(signup.ErrLink, confirm(w, "made up", "browser"))

	w.must(w.SendLink(ctx, eve.Email, "browser"))
	w.Wait()
	w.Advance(signup.AddressLinkLife)
	w.wants(signup.ErrLinkExpired, confirm(w, w.token(eve.Email, 1), "browser"))
	if n := w.number(`select count(*) from signup_link where position($1 in encode(digest, 'escape')) > 0`, token); n != 0 {
		t.Error("a link is stored")
	}
}

func confirm(w *world, token, browser string) error {
	_, err := w.ConfirmAddress(w.t.Context(), token, browser)
	return err
}

func (w *world) number(query string, args ...any) (n int) {
	w.t.Helper()
	w.must(w.Database.Super().QueryRowContext(w.t.Context(), query, args...).Scan(&n))
	return n
}

// An address that has had its letters gets no more, and the same answer; everybody
// together get a day's worth.
func TestLettersAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *signup.Config) {
		c.Limits = signup.Limits{LettersAnHour: 2, LettersADay: 4, ApplicationsADay: 1}
	})
	ctx := t.Context()
	for range 3 {
		w.must(w.SendLink(ctx, eve.Email, "b"))
	}
	w.Wait()
	if n := len(w.mail.To(eve.Email)); n != 2 {
		t.Errorf("%d letters within an hour, want 2", n)
	}
	w.Advance(time.Hour + time.Second)
	w.must(w.SendLink(ctx, eve.Email, "b"))
	w.must(w.SendLink(ctx, "else@elsewhere.example", "b"))
	w.wants(signup.ErrBusy, w.SendLink(ctx, "more@elsewhere.example", "b"))
	w.must(w.Save(ctx, ada, form()))
	w.wants(signup.ErrBusy, w.Save(ctx, eve, form()))
	w.must(w.Save(ctx, ada, form())) // one that is begun can go on
	w.Advance(24 * time.Hour)
	w.must(w.SendLink(ctx, "more@elsewhere.example", "b"))
	w.must(w.Save(ctx, eve, form()))
}

func TestDNSThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *signup.Config) { c.DNS = deaf{} })
	w.must(w.Submit(t.Context(), ada, form()))
	w.wants(signup.ErrDNS, w.CheckRecord(t.Context(), ada))
	if a := w.mine(ada); a.State != signup.Proving || a.Sandbox != nil {
		t.Errorf("%+v", a)
	}
}

// A region that is taken is the operator's to know; the applicant gets as far as others.
func TestWhatIsTakenIsToldToOperatorsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.Create("old-one", func(s *onboarding.Spec) { s.Region, s.Name = "US-MN", "Lаkeland Department of Health" }) // a Cyrillic letter
	a := w.proven(ada, form())
	review, err := w.Read(ctx, a.ID)
	w.must(err)
	for _, want := range []signup.Warning{{Concern: signup.RegionTaken, About: "old-one"}, {Concern: signup.NameAlike, About: "Lаkeland Department of Health"}} {
		if !contains(review.Warnings, want) {
			t.Errorf("warnings %v, want %v among them", review.Warnings, want)
		}
	}
	_, err = w.Approve(ctx, bob, a.ID, signup.Terms{})
	w.wants(signup.ErrTaken, err)
	if err == nil || !strings.HasPrefix(err.Error(), "region ") {
		t.Errorf("%v does not say what is taken", err)
	}
	if a := w.mine(ada); a.State != signup.Waiting {
		t.Errorf("after a refusal by the schema: %s", a.State)
	}
	for _, id := range []string{"two words", "n\u043erth", "a\u200bb", strings.Repeat("x", 257)} {
		_, err = w.Approve(ctx, bob, a.ID, signup.Terms{HealthAuthorityID: id})
		w.wants(signup.ErrAuthorityID, err)
	}
	_, err = w.Approve(ctx, bob, a.ID, signup.Terms{Slug: "Not A Slug"})
	w.wants(tenant.ErrSlug, err)
}

func contains(list []signup.Warning, w signup.Warning) bool {
	for _, x := range list {
		if x == w {
			return true
		}
	}
	return false
}

func TestTwoOperatorsMakeOneTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.proven(ada, form())
	errs := race(4, func() error { _, err := w.Approve(t.Context(), bob, a.ID, signup.Terms{}); return err })
	if n := count(errs, nil); n != 4 {
		t.Errorf("answers: %v", errs)
	}
	if n := w.number(`select count(*) from tenant_directory where kind = 'production'`); n != 1 {
		t.Errorf("%d tenants, want 1", n)
	}
	if n := w.number(`select count(*) from platform_entry where action = 'application:approve'`); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
}

// A letter that is not sent changes nothing of the decision, and can be sent again.
func TestALetterThatIsNotSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	a := w.proven(ada, form())
	w.mail.Break(mail.ErrUnavailable)
	got, err := w.Approve(ctx, bob, a.ID, signup.Terms{})
	if err != nil || got.State != signup.Approved || got.Told {
		t.Fatalf("%+v, %v", got, err)
	}
	w.mail.Break(nil)
	if got, err = w.Tell(ctx, a.ID); err != nil || !got.Told || len(w.mail.To(ada.Email)) != 1 {
		t.Errorf("%+v, %v, %d letters", got, err, len(w.mail.To(ada.Email)))
	}
	if _, err = w.Approve(ctx, bob, a.ID, signup.Terms{}); err != nil || len(w.mail.To(ada.Email)) != 1 {
		t.Errorf("%v, %d letters", err, len(w.mail.To(ada.Email)))
	}
}

func TestAskedAndRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	a := w.proven(ada, form())
	w.wants(signup.ErrState, w.Save(ctx, ada, form()))
	for _, bad := range []string{"", " \n", strings.Repeat("x", 2001), "a\u202eb"} {
		_, err := w.Ask(ctx, bob, a.ID, bad)
		w.wants(signup.ErrReason, err)
	}
	_, err := w.Ask(ctx, bob, a.ID, "Which county?")
	w.must(err)
	other := form(func(f *signup.Form) { f.Domain = "other.example" })
	var wrong *signup.FormError
	if err := w.Submit(ctx, ada, other); !errors.As(err, &wrong) || wrong.Problems[0].Fault != signup.Fixed {
		t.Errorf("another domain after proof: %v", err)
	}
	w.must(w.Submit(ctx, ada, form(func(f *signup.Form) { f.Reply = "All of them." })))
	if a := w.mine(ada); a.State != signup.Waiting || a.Reply != "All of them." || a.Message != "Which county?" {
		t.Errorf("answered: %+v", a)
	}
	got, err := w.Refuse(ctx, bob, a.ID, "We do not know you.")
	w.must(err)
	if closed := w.tenant(got.Sandbox.Slug); got.State != signup.Refused || closed.State != tenant.Suspended || closed.StateReason == "" {
		t.Errorf("refused: %+v, sandbox %s because of %q", got, closed.State, closed.StateReason)
	}
	for name, act := range map[string]func() error{
		"approve": func() error { _, err := w.Approve(ctx, bob, a.ID, signup.Terms{}); return err },
		"ask":     func() error { _, err := w.Ask(ctx, bob, a.ID, "?"); return err },
		"refuse":  func() error { _, err := w.Refuse(ctx, bob, a.ID, "no"); return err },
	} {
		if err := act(); !errors.Is(err, signup.ErrState) {
			t.Errorf("%s after a refusal: %v", name, err)
		}
	}
	w.wants(signup.ErrNone, func() error { _, err := w.Approve(ctx, bob, uuid.New(), signup.Terms{}); return err }())
	w.must(w.Submit(ctx, ada, form())) // and again
	if again := w.mine(ada); again.ID == a.ID || again.State != signup.Proving {
		t.Errorf("applied again: %+v", again)
	}
}

func TestWhatCameToNothingIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	asked := w.proven(ada, form())
	_, err := w.Ask(ctx, bob, asked.ID, "Which county?")
	w.must(err)
	w.must(w.Save(ctx, eve, form()))
	w.must(w.SendLink(ctx, "x@elsewhere.example", "b"))
	w.Advance(signup.KeepUnfinished)
	w.must(w.Tidy(ctx))
	if n := w.number(`select count(*) from signup_link`); n != 0 {
		t.Errorf("%d links", n)
	}
	if w.mine(eve).State != signup.Draft || w.mine(ada).State != signup.Asked {
		t.Error("forgotten too early")
	}
	w.Advance(time.Second)
	w.must(w.Tidy(ctx))
	_, err = w.Mine(ctx, eve)
	w.wants(signup.ErrNone, err)
	if a := w.mine(ada); a.State != signup.Refused || w.tenant(a.Sandbox.Slug).State != tenant.Suspended {
		t.Errorf("unanswered: %+v", a)
	}
	w.Advance(signup.KeepRefused + time.Second)
	w.must(w.Tidy(ctx))
	_, err = w.Mine(ctx, ada)
	w.wants(signup.ErrNone, err)
}

// race calls fn n times at once.
func race(n int, fn func() error) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = fn() })
	}
	all.Wait()
	return errs
}

func count(errs []error, want error) (n int) {
	for _, err := range errs {
		if errors.Is(err, want) {
			n++
		}
	}
	return n
}
