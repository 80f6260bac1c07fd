package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"carillon/api"
	"carillon/authz"
	"carillon/tenant/key"
	"carillon/tenant/message/outbox"
	"carillon/tenant/message/provider"
	"carillon/tenant/message/provider/providertest"
	"carillon/tenant/verification"
)

// withProvider gives north a provider of its own and starts a server that uses it.
func (f *fixture) withProvider(t *testing.T) {
	t.Helper()
	err := provider.Set(t.Context(), f.world.Operator, key.NewRing(f.world.Operator, f.world.Root), provider.NewNetworks(true),
		f.north.ID, authz.Subject{Kind: authz.System, ID: "test", Name: "Test"}, 1, provider.Settings{
			Kind: provider.Twilio, Secret: providertest.Token,
			Options: json.RawMessage(fmt.Sprintf(`{"account":%q,"from":"+15005550006","api":%q}`, providertest.Account, f.provider.URL)),
		}, f.world.Now())
	if err != nil {
		t.Fatal(err)
	}
	f.start(t, func(f *fixture, c *api.Config) {
		c.Issuer = f.verification(f.world.Issuer, func(v *verification.Config) { v.Sender = c.Receipts })
	})
}

// report sends a provider's report, as a form.
func (f *fixture) report(t *testing.T, r providertest.Receipt, h header) answer {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	all := header{"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": r.Signature}
	for k, v := range h {
		all[k] = v
	}
	return f.ask(t, http.MethodPost, u.RequestURI(), all, r.Form.Encode())
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.withProvider(t)
	must(t, f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{"testType": "confirmed", "phone": "+12065550100"}))
	taken := f.provider.Taken()
	if len(taken) != 1 {
		t.Fatalf("the provider took %d messages, want 1", len(taken))
	}
	if a := f.report(t, taken[0].Receipt("delivered", 0), nil); a.StatusCode != http.StatusOK || len(a.body) > 0 {
		t.Errorf("receipt: %v, want 200 without a body", a)
	}
	var state string
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select state from message_delivery`).Scan(&state); err != nil || state != "delivered" {
		t.Errorf("recorded %q, %v", state, err)
	}
	if a := f.report(t, providertest.ErrorReport("https://codes.example/t/north/api/receipts/errors", 30007), nil); a.StatusCode != http.StatusOK {
		t.Errorf("error: %v, want 200", a)
	}
}

// Whatever is not signed for this tenant is answered alike, unknown tenants included.
func TestForgedReceipts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.withProvider(t)
	const status, errs = "https://codes.example/t/north/api/receipts/status?m=X", "https://codes.example/t/north/api/receipts/errors"
	good := providertest.Sign(status, url.Values{"AccountSid": {providertest.Account}, "MessageStatus": {"sent"}})
	moved := func(r providertest.Receipt, slug string) providertest.Receipt {
		r.URL = strings.Replace(r.URL, "/north/", "/"+slug+"/", 1)
		return r
	}
	large := url.Values{"AccountSid": {providertest.Account}, "Payload": {strings.Repeat("x", 64<<10)}}
	for what, a := range map[string]answer{
		"another tenant": f.report(t, moved(good, "south"), nil),
		"unknown tenant": f.report(t, moved(good, "nobody"), nil),
		"no signature":   f.report(t, good, header{"X-Twilio-Signature": ""}),
		"JSON":           f.report(t, good, header{"Content-Type": "application/json"}),
		"too large":      f.report(t, providertest.Sign(errs, large), nil),
	} {
		if a.StatusCode != http.StatusBadRequest || string(a.body) != "bad request" {
			t.Errorf("%s: %v, want 400", what, a)
		}
	}
	if a := f.report(t, good, nil); a.StatusCode != http.StatusOK {
		t.Errorf("the good one: %v", a)
	}
}

// A back end has a message sent again, without a new code.
func TestResend(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.start(t, func(f *fixture, c *api.Config) {
		c.Issuer = f.verification(f.world.Issuer, func(v *verification.Config) { v.Outbox = outbox.New(v.Keys, f.world.Now) })
	})
	_, uuid := f.issue(t, f.north, nil)
	a := f.post(t, f.north.Tenant, "/api/codes/resend", f.north.admin, object{"uuid": uuid})
	if a.StatusCode != http.StatusBadRequest || a.text("errorCode") != "missing_phone" {
		t.Errorf("without a number: %v, want 400 missing_phone", a)
	}
	a = must(t, f.post(t, f.north.Tenant, "/api/codes/resend", f.north.admin, object{"uuid": uuid, "phone": "+12065550100"}))
	if a.text("uuid") != uuid || a.member("code") != nil {
		t.Errorf("answer %v", a)
	}
	wantPadding(t, a)
	var waiting int
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select count(*) from message_queue where state = 'waiting'`).Scan(&waiting); err != nil || waiting != 1 {
		t.Errorf("%d messages wait, %v", waiting, err)
	}
	if a := f.post(t, f.south.Tenant, "/api/codes/resend", f.south.admin, object{"uuid": uuid, "phone": "+12065550100"}); a.text("errorCode") != "code_not_found" {
		t.Errorf("the other tenant: %v", a)
	}
}

// A back end sees what became of a message, and what to do about a failure.
func TestDelivery(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.withProvider(t)
	issued := must(t, f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{"testType": "confirmed", "phone": "+12065550100"}))
	ask := func(of account) answer {
		return f.post(t, of.Tenant, "/api/codes/delivery", of.admin, object{"uuid": issued.text("uuid")})
	}
	if a := must(t, ask(f.north)); a.text("state") != "sent" || a.text("provider") != "twilio 1" || a.member("class") != nil {
		t.Errorf("sent: %v", a)
	}
	f.report(t, f.provider.Taken()[0].Receipt("undelivered", 30006), nil)
	a := must(t, ask(f.north))
	if a.text("state") != "failed" || a.text("class") != "landline" || !strings.Contains(a.text("advice"), "landline") {
		t.Errorf("failed: %v", a)
	}
	wantPadding(t, a)
	if a := ask(f.south); a.StatusCode != http.StatusNotFound || a.text("errorCode") != "code_not_found" {
		t.Errorf("the other tenant: %v", a)
	}
	_, silent := f.issue(t, f.north, nil)
	if a := f.post(t, f.north.Tenant, "/api/codes/delivery", f.north.admin, object{"uuid": silent}); a.text("errorCode") != "code_not_found" {
		t.Errorf("a code without a message: %v", a)
	}
}
