package provider_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/message/provider"
	"carillon/tenant/message/provider/providertest"
)

func (f *fixture) status(t *testing.T, of *tenant.Tenant, r providertest.Receipt) error {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	return f.router.Status(t.Context(), of, provider.Receipt{Query: u.RawQuery, Form: r.Form, Signature: r.Signature})
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	take := func() (message.Code, providertest.Taken) {
		m, err := f.send(t, f.north)
		if err != nil {
			t.Fatal(err)
		}
		taken := f.first.Taken()
		return m.Code, taken[len(taken)-1]
	}
	for _, c := range []struct {
		receipts string // in the order of arrival
		want     string
	}{
		{"queued", "sent"},
		{"sent delivered", "delivered"},
		{"delivered sent", "delivered"},
		{"delivered delivered", "delivered"},
		{"sent undelivered:30006", "failed landline"},
		{"failed:30005 sent", "failed invalid-number"},
		{"undelivered:30007 undelivered:30007", "failed filtered"},
		{"undelivered delivered", "delivered"},
		{"delivered undelivered:30003", "delivered"},
		{"nonsense", "sent"},
	} {
		code, taken := take()
		for receipt := range strings.FieldsSeq(c.receipts) {
			state, number, _ := strings.Cut(receipt, ":")
			n := 0
			_, _ = fmt.Sscan(number, &n)
			if err := f.status(t, f.north, taken.Receipt(state, n)); err != nil {
				t.Errorf("%s: %v", c.receipts, err)
			}
		}
		if got := f.state(t, f.north, code); got != "twilio 1 "+c.want {
			t.Errorf("%s: recorded %q, want %q", c.receipts, got, c.want)
		}
	}
}

func TestForgedReceipts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	m, err := f.send(t, f.north)
	if err != nil {
		t.Fatal(err)
	}
	good := f.first.Taken()[0].Receipt("delivered", 0)
	if err := f.status(t, f.south, good); !errors.Is(err, provider.ErrReceipt) {
		t.Errorf("the other tenant takes it: %v", err)
	}
	for what, change := range map[string]func(*providertest.Receipt){
		"no signature":      func(r *providertest.Receipt) { r.Signature = "" },
		"not base64":        func(r *providertest.Receipt) { r.Signature = "?" },
		"another signature": func(r *providertest.Receipt) { r.Signature = "AAAA" + r.Signature[4:] },
		"another message":   func(r *providertest.Receipt) { r.URL += "x" },
		"another state":     func(r *providertest.Receipt) { r.Form.Set("MessageStatus", "failed") },
		"one more field":    func(r *providertest.Receipt) { r.Form.Set("ErrorCode", "30007") },
		"another account":   func(r *providertest.Receipt) { r.Form.Set("AccountSid", "AC2"); *r = providertest.Sign(r.URL, r.Form) },
		"error's endpoint": func(r *providertest.Receipt) {
			*r = providertest.Sign(strings.Replace(r.URL, "status", "errors", 1), r.Form)
		},
	} {
		forged := f.first.Taken()[0].Receipt("delivered", 0)
		change(&forged)
		if err := f.status(t, f.north, forged); !errors.Is(err, provider.ErrReceipt) {
			t.Errorf("%s: %v, want ErrReceipt", what, err)
		}
	}
	if state := f.state(t, f.north, m.Code); state != "twilio 1 sent" {
		t.Errorf("recorded %q", state)
	}
	// Signed, but about a message that is not known: nothing happens.
	unknown := providertest.Sign(base+"/t/north/api/receipts/status?m=UNKNOWN", good.Form)
	if err := f.status(t, f.north, unknown); err != nil {
		t.Errorf("an unknown message: %v", err)
	}
}

func TestErrorsAreCounted(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	report := func(of *tenant.Tenant, r providertest.Receipt) error {
		return f.router.Error(t.Context(), of, provider.Receipt{Form: r.Form, Signature: r.Signature})
	}
	const target = base + "/t/north/api/receipts/errors"
	for range 2 {
		if err := report(f.north, providertest.ErrorReport(target, 30007)); err != nil {
			t.Fatal(err)
		}
	}
	if err := report(f.south, providertest.ErrorReport(target, 30007)); !errors.Is(err, provider.ErrReceipt) {
		t.Errorf("the other tenant takes it: %v", err)
	}
	forged := providertest.ErrorReport(target, 30007)
	forged.Form.Set("Payload", `{"error_code":1}`)
	if err := report(f.north, forged); !errors.Is(err, provider.ErrReceipt) {
		t.Errorf("forged: %v", err)
	}
	irrelevant := providertest.ErrorReport(target, 30007).Form
	for name, value := range map[string]string{"Level": "WARNING", "PayloadType": "text/plain", "Payload": `{"error_code":"12345678"}`} {
		form := url.Values{}
		for k, v := range irrelevant {
			form[k] = v
		}
		form.Set(name, value)
		if err := report(f.north, providertest.Sign(target, form)); err != nil {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	var got string
	if err := f.world.Database.Super().QueryRowContext(t.Context(),
		`select string_agg(day || ' ' || error_code || ' ' || count, ',') from message_error`).Scan(&got); err != nil || got != "2026-11-25 30007 2" {
		t.Errorf("counted %q, %v", got, err)
	}
}
