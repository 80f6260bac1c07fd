package signature_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"carillon/signing"
	"carillon/signing/textmessage"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/signature"
	"carillon/tenant/tenanttest"
)

const phone = "+12065550100"

func TestSender(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, keyless := w.Create("north"), w.Create("keyless")
	if _, err := w.Database.Super().ExecContext(t.Context(), `update signing_key set state = 'destroyed', sealed = null, destroyed_at = now() where purpose = 'sms' and tenant_id = $1`, keyless.ID); err != nil {
		t.Fatal(err)
	}
	publics, err := key.NewRing(w.Issuer, w.Root).Public(t.Context(), north.ID, signing.SMS)
	if err != nil || len(publics) != 1 {
		t.Fatalf("%v, %v", publics, err)
	}
	for _, c := range []struct {
		of      *tenant.Tenant
		setting tenant.SMSSigning
		want    string // signed, plain or refused
		missed  int
	}{
		{north, tenant.SigningOff, "plain", 0},
		{north, "", "plain", 0},
		{north, tenant.SigningOpen, "signed", 0},
		{north, tenant.SigningClosed, "signed", 0},
		{keyless, tenant.SigningOff, "plain", 0},
		{keyless, tenant.SigningOpen, "plain", 1},
		{keyless, tenant.SigningClosed, "refused", 1},
	} {
		var log bytes.Buffer
		missed := 0
		next := &messagetest.Sender{}
		s := signature.Sender{Next: next, Signer: signature.New(key.NewRing(w.Issuer, w.Root), rand.Reader, func() { missed++ }, slog.New(slog.NewJSONHandler(&log, nil)), w.Now)}
		of := *c.of
		of.Settings.SMSSigning = c.setting
		err := s.Send(t.Context(), &of, message.Message{To: phone, Body: "Your code 12345678", Purpose: message.UserReport})
		got := "refused"
		if sent := next.Delivered(); len(sent) == 1 {
			got = "plain"
			if parsed, err := textmessage.Parse(sent[0].Body); err == nil {
				got = "forged"
				if parsed.KeyID == publics[0].KeyID && strings.HasPrefix(parsed.Text, "Your code 12345678 \n") &&
					parsed.Verify(publics[0].Key, textmessage.Contents{Purpose: "User Report", Phone: phone, Date: w.Now()}) {
					got = "signed"
				}
			} else if sent[0].Body != "Your code 12345678" {
				got = "changed"
			}
		}
		if got != c.want || missed != c.missed {
			t.Errorf("%s, %q: %s with %d missed, want %s with %d", of.Slug, c.setting, got, missed, c.want, c.missed)
		}
		var f *message.Failure
		if (err != nil) != (c.want == "refused") || err != nil && (!errors.As(err, &f) || f.Class != message.Unsigned || f.Retry()) {
			t.Errorf("%s, %q: %v", of.Slug, c.setting, err)
		}
		if strings.Contains(log.String(), "2065550100") || strings.Contains(log.String(), "12345678") {
			t.Errorf("log: %s", log.String())
		}
	}
}
