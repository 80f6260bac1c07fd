package provider_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/mail"
	"carillon/tenant/message"
	"carillon/tenant/message/delivery"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/provider"
	"carillon/tenant/message/provider/providertest"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

const (
	phone = "+12065550100"
	base  = "https://codes.example"
)

var (
	backEnd  = authz.Subject{Kind: authz.APIKey, ID: "5e2f", Name: "Back end", Roles: []authz.Role{authz.KeyAdmin}}
	operator = authz.Subject{Kind: authz.System, ID: "test", Name: "Test"}
)

type fixture struct {
	world         *tenanttest.World
	north, south  *tenant.Tenant
	first, second *providertest.Server
	fallback      *messagetest.Sender
	mail          mail.Sender // nil for none
	router        *provider.Router
	issuer        *verification.Service
	log           *bytes.Buffer
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{
		world: w, north: w.Create("north"), south: w.Create("south"), log: &bytes.Buffer{},
		first: providertest.New(t), second: providertest.New(t), fallback: &messagetest.Sender{},
	}
	f.restart(t, nil)
	return f
}

// restart makes a new router, which knows every change at once.
func (f *fixture) restart(t *testing.T, platform *provider.Settings) {
	t.Helper()
	keys := key.NewRing(f.world.Issuer, f.world.Root)
	var err error
	f.router, err = provider.NewRouter(provider.Config{
		DB: f.world.Issuer, Keys: keys, Networks: provider.NewNetworks(true), Platform: platform, Fallback: f.fallback, Mail: f.mail,
		BaseURL: base, Log: slog.New(slog.NewJSONHandler(f.log, nil)), Now: f.world.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.issuer = verification.New(verification.Config{
		DB: f.world.Issuer, Keys: keys, Policies: authz.NewPolicies(nil), Sender: f.router, Now: f.world.Now, Rand: rand.Reader,
	})
}

func twilio(server *providertest.Server) provider.Settings {
	return provider.Settings{
		Kind: provider.Twilio, Secret: providertest.Token,
		Options: json.RawMessage(fmt.Sprintf(`{"account":%q,"from":"+15005550006","reportFrom":"12345","api":%q}`, providertest.Account, server.URL)),
	}
}

func webhook(server *providertest.Server) provider.Settings {
	return provider.Settings{
		Kind: provider.Webhook, Secret: providertest.Secret,
		Options: json.RawMessage(fmt.Sprintf(`{"url":%q}`, server.URL+"/hook")),
	}
}

func (f *fixture) set(t *testing.T, to *tenant.Tenant, place int, s provider.Settings) {
	t.Helper()
	err := provider.Set(t.Context(), f.world.Operator, key.NewRing(f.world.Operator, f.world.Root),
		provider.NewNetworks(true), to.ID, operator, place, s, f.world.Now())
	if err != nil {
		t.Fatalf("Set: %v", err)
	}
}

// code makes a code that a message may carry.
func (f *fixture) code(t *testing.T, of *tenant.Tenant) message.Code {
	t.Helper()
	i, err := f.issuer.Issue(t.Context(), of, backEnd, verification.IssueRequest{TestType: "confirmed", SymptomDate: "2026-11-24"})
	if err != nil {
		t.Fatal(err)
	}
	return message.Code{ID: i.ID, Short: i.Code, ExpiresAt: i.ExpiresAt, LongExpiresAt: i.LongExpiresAt}
}

func (f *fixture) send(t *testing.T, of *tenant.Tenant) (message.Message, error) {
	t.Helper()
	m := message.Message{To: phone, Body: "Your code <link> & more", Purpose: message.Report, Code: f.code(t, of)}
	return m, f.router.Send(t.Context(), of, m)
}

// state is what is recorded of a code's message, as "provider state class".
func (f *fixture) state(t *testing.T, of *tenant.Tenant, c message.Code) string {
	t.Helper()
	var r delivery.Report
	err := f.world.Issuer.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
		r, err = delivery.Of(t.Context(), tx, c.ID)
		if errors.Is(err, delivery.ErrNone) {
			r.State, err = "none", nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(r.Provider + " " + string(r.State) + " " + string(r.Class))
}

func class(err error) string {
	if err == nil {
		return "sent"
	}
	f := message.AsFailure(err)
	return fmt.Sprintf("%s %v %s", f.Class, f.Certain, f.Code)
}

func TestTwilio(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	m, err := f.send(t, f.north)
	if err != nil {
		t.Fatal(err)
	}
	got := f.first.Taken()[0]
	if got.To != phone || got.Body != m.Body || got.From != "+15005550006" || !strings.HasPrefix(got.StatusCallback, base+"/t/north/api/receipts/status?m=") {
		t.Errorf("took %+v", got)
	}
	if strings.Contains(got.StatusCallback, m.Code.ID.String()) {
		t.Error("the provider learns the code's ID")
	}
	m.Purpose = message.UserReport
	if err := f.router.Send(t.Context(), f.north, m); err != nil || f.first.Taken()[1].From != "12345" {
		t.Errorf("a self-report: %v, %+v", err, f.first.Taken())
	}
	if state := f.state(t, f.north, m.Code); state != "twilio 1 sent" {
		t.Errorf("recorded %q", state)
	}
	service := twilio(f.first)
	service.Options = json.RawMessage(strings.Replace(string(service.Options), "+15005550006", "MG0123456789abcdef0123456789abcdef", 1))
	f.set(t, f.north, 1, service)
	f.restart(t, nil)
	if _, err := f.send(t, f.north); err != nil || f.first.Taken()[2].From != "MG0123456789abcdef0123456789abcdef" {
		t.Errorf("a messaging service: %v, %+v", err, f.first.Taken())
	}
}

func TestTwilioFailures(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	for _, c := range []struct {
		code int
		want string
	}{
		{21211, "invalid-number true 21211"},
		{21614, "landline true 21614"},
		{21610, "opted-out true 21610"},
		{21611, "queue-full true 21611"},
		{21612, "unreachable true 21612"},
		{21408, "region true 21408"},
		{20003, "rejected true 20003"},
		{30007, "filtered true 30007"},
		{99999, "other true 99999"},
	} {
		f.first.RefuseWith(c.code)
		m, err := f.send(t, f.north)
		if class(err) != c.want {
			t.Errorf("%d: %s, want %s", c.code, class(err), c.want)
		}
		if want := "twilio 1 failed " + strings.Fields(c.want)[0]; f.state(t, f.north, m.Code) != want {
			t.Errorf("%d: recorded %q, want %q", c.code, f.state(t, f.north, m.Code), want)
		}
	}
	for mode, want := range map[providertest.Mode]string{
		providertest.Busy: "queue-full true ", providertest.Down: "unavailable true ",
		providertest.Broken: "uncertain false ", providertest.Lose: "uncertain false ",
	} {
		f.first.Behave(mode)
		if _, err := f.send(t, f.north); class(err) != want {
			t.Errorf("mode %d: %s, want %s", mode, class(err), want)
		}
	}
	if strings.Contains(f.log.String(), "2065550100") || strings.Contains(f.log.String(), providertest.Token) {
		t.Errorf("log: %s", f.log.String())
	}
}

func TestASlowProviderIsGivenUp(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	f.set(t, f.north, 2, twilio(f.second))
	f.first.Behave(providertest.Slow)
	ctx, giveUp := context.WithCancel(t.Context())
	f.first.WhenAsked(giveUp)
	m := message.Message{To: phone, Body: "text", Code: f.code(t, f.north)}
	if err := f.router.Send(ctx, f.north, m); class(err) != "uncertain false " {
		t.Errorf("%s, want uncertain", class(err))
	}
	if f.second.Asked() != 0 {
		t.Error("the second provider was asked for a message that may have been sent")
	}
	if state := f.state(t, f.north, m.Code); state != "twilio 1 failed uncertain" {
		t.Errorf("recorded %q", state)
	}
}

// The second provider is asked only for what surely was not sent, and not because of
// the recipient.
func TestFailOver(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	f.set(t, f.north, 2, webhook(f.second))
	for _, c := range []struct {
		what   string
		break1 func()
		asked  int
		want   string
	}{
		{"good", func() { f.first.Behave(providertest.Good) }, 0, "twilio 1 sent"},
		{"busy", func() { f.first.Behave(providertest.Busy) }, 1, "webhook 2 sent"},
		{"down", func() { f.first.Behave(providertest.Down) }, 1, "webhook 2 sent"},
		{"queue full", func() { f.first.RefuseWith(21611) }, 1, "webhook 2 sent"},
		{"region", func() { f.first.RefuseWith(21408) }, 1, "webhook 2 sent"},
		{"opted out", func() { f.first.RefuseWith(21610) }, 0, "twilio 1 failed opted-out"},
		{"landline", func() { f.first.RefuseWith(21614) }, 0, "twilio 1 failed landline"},
		{"lost", func() { f.first.Behave(providertest.Lose) }, 0, "twilio 1 failed uncertain"},
		{"broken", func() { f.first.Behave(providertest.Broken) }, 0, "twilio 1 failed uncertain"},
	} {
		c.break1()
		before := f.second.Asked()
		m, err := f.send(t, f.north)
		if got := f.state(t, f.north, m.Code); got != c.want || (err == nil) != strings.Contains(c.want, "sent") {
			t.Errorf("%s: recorded %q (%v), want %q", c.what, got, err, c.want)
		}
		if got := f.second.Asked() - before; got != c.asked {
			t.Errorf("%s: the second provider was asked %d times, want %d", c.what, got, c.asked)
		}
	}
	f.first.Behave(providertest.Down)
	f.second.Behave(providertest.Busy)
	if m, err := f.send(t, f.north); class(err) != "queue-full true " || f.state(t, f.north, m.Code) != "webhook 2 failed queue-full" {
		t.Errorf("both down: %v, %q", err, f.state(t, f.north, m.Code))
	}
}

// A provider that cannot even be reached has not sent anything.
func TestUnreachableProviderFailsOver(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	gone := twilio(f.first)
	gone.Options = json.RawMessage(strings.Replace(string(gone.Options), f.first.URL, "http://127.0.0.1:1", 1))
	f.set(t, f.north, 1, gone)
	f.set(t, f.north, 2, twilio(f.second))
	if m, err := f.send(t, f.north); err != nil || f.state(t, f.north, m.Code) != "twilio 2 sent" {
		t.Errorf("%v, %q", err, f.state(t, f.north, m.Code))
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, webhook(f.first))
	m, err := f.send(t, f.north)
	if err != nil {
		t.Fatal(err)
	}
	raw := f.first.Taken()[0].Webhook
	if !bytes.Contains(raw, []byte(`\u003clink\u003e \u0026`)) {
		t.Errorf("body %s: want < > & escaped", raw)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"uuid": m.Code.ID.String(), "code": m.Code.Short, "generatedSMS": m.Body, "phone": phone,
		"expiresAt": m.Code.ExpiresAt.Format(time.RFC1123), "expiresAtTimestamp": float64(m.Code.ExpiresAt.Unix()),
		"longExpiresAt": m.Code.LongExpiresAt.Format(time.RFC1123), "longExpiresAtTimestamp": float64(m.Code.LongExpiresAt.Unix()),
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	for mode, want := range map[providertest.Mode]string{
		providertest.Busy: "queue-full true ", providertest.Down: "unavailable true ", providertest.Lose: "uncertain false ", providertest.Refuse: "rejected true ",
	} {
		f.first.Behave(mode)
		if _, err := f.send(t, f.north); class(err) != want {
			t.Errorf("mode %d: %s, want %s", mode, class(err), want)
		}
	}
}

func TestWhoSends(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 2, twilio(f.second)) // a second one alone is the first
	if m, err := f.send(t, f.north); err != nil || f.state(t, f.north, m.Code) != "twilio 2 sent" {
		t.Errorf("north: %v, %q", err, f.state(t, f.north, m.Code))
	}
	if m, err := f.send(t, f.south); err != nil || len(f.fallback.Delivered()) != 1 || f.state(t, f.south, m.Code) != "platform sent" {
		t.Errorf("south uses the fallback: %v, %q", err, f.state(t, f.south, m.Code))
	}
	f.fallback.Break(messagetest.QueueFull)
	if m, err := f.send(t, f.south); !errors.Is(err, message.ErrQueueFull) || f.state(t, f.south, m.Code) != "platform failed queue-full" {
		t.Errorf("the fallback is full: %v, %q", err, f.state(t, f.south, m.Code))
	}
	platform := twilio(f.first)
	f.restart(t, &platform)
	if m, err := f.send(t, f.south); err != nil || f.state(t, f.south, m.Code) != "platform sent" {
		t.Errorf("south uses the platform's: %v, %q", err, f.state(t, f.south, m.Code))
	}
	if err := provider.Remove(t.Context(), f.world.Operator, f.north.ID, operator, 2, f.world.Now()); err != nil {
		t.Fatal(err)
	}
	if err := provider.Remove(t.Context(), f.world.Operator, f.north.ID, operator, 2, f.world.Now()); !errors.Is(err, provider.ErrPlaceEmpty) {
		t.Errorf("removed twice: %v", err)
	}
	f.restart(t, &platform)
	if m, err := f.send(t, f.north); err != nil || f.state(t, f.north, m.Code) != "platform sent" {
		t.Errorf("north without its own: %v, %q", err, f.state(t, f.north, m.Code))
	}
}

// Whether anybody would send is known before a code is stored.
func TestProvided(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	platform := twilio(f.second)
	for _, c := range []struct {
		what         string
		platform     *provider.Settings
		fallback     message.Sender
		north, south bool
	}{
		{"nobody else", nil, nil, true, false},
		{"a fallback", nil, f.fallback, true, true},
		{"the platform's", &platform, nil, true, true},
	} {
		router, err := provider.NewRouter(provider.Config{
			DB: f.world.Portal, Keys: key.NewRing(f.world.Portal, f.world.Root), Networks: provider.NewNetworks(true),
			Platform: c.platform, Fallback: c.fallback, Log: slog.New(slog.DiscardHandler), Now: f.world.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		for of, want := range map[*tenant.Tenant]bool{f.north: c.north, f.south: c.south} {
			if got, err := router.Provided(t.Context(), of); err != nil || got != want {
				t.Errorf("%s, %s: %v, %v, want %v", c.what, of.Slug, got, err, want)
			}
		}
	}
}

// A message whose code is gone is not sent.
func TestNoCodeNoSending(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	m := message.Message{To: phone, Body: "text", Code: f.code(t, f.south)} // another tenant's, so none of this one's
	if err := f.router.Send(t.Context(), f.north, m); class(err) != "unavailable true " || f.first.Asked() != 0 {
		t.Errorf("%s, %d requests", class(err), f.first.Asked())
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	slow := twilio(f.first)
	slow.PerMinute = 1
	f.set(t, f.north, 1, slow)
	if _, err := f.send(t, f.north); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // less than the wait for the next one
	defer cancel()
	err := f.router.Send(ctx, f.north, message.Message{To: phone, Body: "text", Code: f.code(t, f.north)})
	if class(err) != "queue-full true " || f.first.Asked() != 1 {
		t.Errorf("%s after %d requests", class(err), f.first.Asked())
	}
}

// What goes to a mail address goes through the mail server alone, under the authority's
// name and nothing else.
func TestAMessageGoesByMail(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	box := mail.NewBox(f.world.Now)
	f.byMail(t, box)
	m := message.Message{To: "alex@example.com", Body: "Your code", Purpose: message.Report, Code: f.code(t, f.north)}
	if err := f.router.Send(t.Context(), f.north, m); err != nil {
		t.Fatal(err)
	}
	letters := box.List()
	if len(letters) != 1 || letters[0].Letter != (mail.Letter{To: m.To, Subject: f.north.Name, Text: "Your code\n"}) {
		t.Errorf("%d letters", len(letters))
	}
	if got := f.state(t, f.north, m.Code); got != "mail sent" || f.first.Asked() != 0 {
		t.Errorf("recorded as %q, %d text messages", got, f.first.Asked())
	}
	if strings.Contains(f.log.String(), "alex") {
		t.Error("the log names the recipient")
	}
}

// A letter that the server does not take for its address is not tried again; of one that
// may have been sent, nobody says that it was not.
func TestWhyALetterWasNotSent(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for want, sender := range map[string]mail.Sender{
		"mail failed invalid-address": refusing{mail.ErrRecipient},
		"mail failed uncertain":       refusing{mail.ErrUnavailable},
	} {
		f.byMail(t, sender)
		m := message.Message{To: "alex@example.com", Body: "Your code", Purpose: message.Report, Code: f.code(t, f.north)}
		if err := f.router.Send(t.Context(), f.north, m); err == nil {
			t.Errorf("%s: sent", want)
		}
		if got := f.state(t, f.north, m.Code); got != want {
			t.Errorf("recorded as %q, want %q", got, want)
		}
	}
}

type refusing struct{ err error }

func (r refusing) Send(context.Context, mail.Letter) error { return r.err }

// byMail is restart with a mail server.
func (f *fixture) byMail(t *testing.T, sender mail.Sender) {
	t.Helper()
	f.mail = sender
	f.restart(t, nil)
}
