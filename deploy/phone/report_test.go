package phone_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"carillon/deploy/phone"
	"carillon/tenant/client"
)

// inbox serves messages as a development server does.
func inbox(t *testing.T, list func() any) phone.Inbox {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(list())
	}))
	t.Cleanup(server.Close)
	return phone.Inbox{URL: server.URL}
}

func TestInboxCode(t *testing.T) {
	t.Parallel()
	type message struct{ To, Body string }
	const mine = "+15550000001"
	for name, c := range map[string]struct {
		messages any
		want     string
	}{
		"digits":         {[]message{{mine, "Your code: 12345678. It expires in 15 minutes."}}, "12345678"},
		"link":           {[]message{{mine, "Open https://us-wa.en.example:8080/v?c=abcd1234efgh5678 within 24 h"}}, "abcd1234efgh5678"},
		"newest":         {[]message{{mine, "11111111"}, {mine, "22222222"}}, "11111111"},
		"somebody's":     {[]message{{"+15550000002", "11111111"}, {mine, "22222222"}}, "22222222"},
		"without a code": {[]message{{mine, "Hello."}, {mine, "22222222"}}, "22222222"},
		"none":           {[]message{}, ""},
		"no messages":    {"broken", ""},
	} {
		got, err := inbox(t, func() any { return c.messages }).Code(t.Context(), mine)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestRandomNumber(t *testing.T) {
	t.Parallel()
	if n := phone.RandomNumber(); !regexp.MustCompile(`^\+1555[0-9]{7}$`).MatchString(n) || n == phone.RandomNumber() {
		t.Errorf("%s", n)
	}
}

// The whole flow with a code that the phone asks for itself; another phone cannot use
// the code.
func TestSelfReportFlow(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const number = "+15550000003"
	own := &phone.Own{Number: number, Inbox: inbox(t, func() any { return f.sms.Delivered() })}
	report, err := f.phone(f.north).Flow(t.Context(), phone.Plan{Own: own, Keys: 2})
	if err != nil {
		t.Fatal(err)
	}
	if report.Diagnosis.TestType != "user-report" || report.Published.Inserted != 2 || len(report.Steps) != 5 {
		t.Errorf("type %s, %d inserted, %d steps", report.Diagnosis.TestType, report.Published.Inserted, len(report.Steps))
	}
	p, other := f.phone(f.north), "+15550000004"
	if err := p.Report(t.Context(), other, f.world.Now().AddDate(0, 0, 2), phone.NewNonce()); err == nil {
		t.Error("a day in the phone's future was taken")
	}
	if err := p.Report(t.Context(), other, f.world.Now(), phone.NewNonce()); err != nil {
		t.Fatal(err)
	}
	own.Number = other
	code, err := own.Inbox.Code(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	var refused *phone.Refusal
	if _, err := p.VerifyReported(t.Context(), code, phone.NewNonce()); !errors.As(err, &refused) || refused.Code != "code_invalid" {
		t.Errorf("another phone's nonce: %v, want code_invalid", err)
	}
	p.Server.DeviceKey = f.world.Key(f.south, client.Device)
	if err := p.Report(t.Context(), other, f.world.Now(), phone.NewNonce()); !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
		t.Errorf("another authority's key: %v, want 401", err)
	}
}
