package verification_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/textmessage"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/signature"
	"carillon/tenant/message/template"
	"carillon/tenant/verification"
)

// An issuer picks a text by label and language.
func TestIssuePicksTheText(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	in(t, f.world.Operator, f.north.ID, func(ctx context.Context, tx *tenant.Tx) error {
		for _, text := range []template.Text{
			{Label: "Clinic", Language: "en", Body: "clinic [longcode]"}, {Label: "Clinic", Language: "es", Body: "clínica [longcode]"},
		} {
			if _, err := template.Set(ctx, tx, f.north, caseworker, text, "", f.world.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range []struct{ label, language, want string }{
		{"Clinic", "es-MX", "clínica "}, {"Clinic", "de", "clinic "}, {"Clinic", "", "clinic "}, {"", "es", "Code "},
	} {
		f.issue(t, f.north, verification.IssueRequest{Phone: phone, SMSTemplateLabel: c.label, Language: c.language})
		sent := f.sms.Delivered()
		if got := sent[len(sent)-1].Body; !strings.HasPrefix(got, c.want) {
			t.Errorf("%q in %q: %q, want %q…", c.label, c.language, got, c.want)
		}
	}
	_, err := f.issuer.Issue(t.Context(), f.south, backEnd, verification.IssueRequest{TestType: "confirmed", Phone: phone, SMSTemplateLabel: "Clinic"})
	wantProblem(t, err, verification.ErrSMSFailed, "")
}

// A text that is only generated has its signature; without one that the tenant asks for,
// there is neither text nor code (§4.3, §7.3).
func TestGeneratedTextIsSigned(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := key.NewRing(f.world.Issuer, f.world.Root)
	signer := signature.New(keys, rand.Reader, func() {}, slog.New(slog.DiscardHandler), f.world.Now)
	service := f.service(f.world.Issuer, func(c *verification.Config) { c.Sign = signer.Sign })
	north := with(f.north, func(s *tenant.Settings) { s.SMSSigning = tenant.SigningClosed })
	request := verification.IssueRequest{TestType: "user-report", Phone: phone, OnlyGenerateSMS: true}
	i, err := service.Issue(t.Context(), north, backEnd, request)
	if err != nil {
		t.Fatal(explain(err))
	}
	signed, err := textmessage.Parse(i.GeneratedSMS)
	if err != nil {
		t.Fatalf("%q: %v", i.GeneratedSMS, err)
	}
	public, err := keys.Public(t.Context(), north.ID, signing.SMS)
	if err != nil || !signed.Verify(public[0].Key, textmessage.Contents{Purpose: string(message.UserReport), Phone: phone, Date: f.world.Now()}) {
		t.Errorf("the signature does not verify (%v)", err)
	}

	broken := f.service(f.world.Issuer, func(c *verification.Config) {
		c.Sign = func(context.Context, *tenant.Tenant, message.Message) (message.Message, error) {
			return message.Message{}, &message.Failure{Class: message.Unsigned, Certain: true}
		}
	})
	request.TestType, request.UUID = "confirmed", "0f1b2c3d-0000-4000-8000-000000000001"
	_, err = broken.Issue(t.Context(), north, backEnd, request)
	wantProblem(t, err, verification.ErrTemplate, "failed to sign sms")
	_, err = f.issuer.Status(t.Context(), north, backEnd, request.UUID)
	wantProblem(t, err, verification.ErrCodeNotFound, "")
}

// A tenant without a provider is told so before a code is stored (§4.2, rule 9).
func TestIssueWithoutAProvider(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	service := f.service(f.world.Issuer, func(c *verification.Config) {
		c.Provided = func(_ context.Context, of *tenant.Tenant) (bool, error) { return of.ID == f.south.ID, nil }
	})
	request := verification.IssueRequest{TestType: "confirmed", Phone: phone, UUID: "0f1b2c3d-0000-4000-8000-000000000002"}
	_, err := service.Issue(t.Context(), f.north, backEnd, request)
	wantProblem(t, err, verification.ErrNoProvider, "phone provided, but no sms provider is configured")
	_, err = f.issuer.Status(t.Context(), f.north, backEnd, request.UUID)
	wantProblem(t, err, verification.ErrCodeNotFound, "")
	if f.sms.Attempts() != 0 {
		t.Error("a message was sent")
	}
	if _, err := service.Issue(t.Context(), f.south, backEnd, request); err != nil {
		t.Errorf("with a provider: %v", explain(err))
	}
	request.OnlyGenerateSMS = true
	generating := with(f.north, func(s *tenant.Settings) { s.GenerateSMS = true })
	if _, err := service.Issue(t.Context(), generating, backEnd, request); err != nil {
		t.Errorf("a text alone needs none: %v", explain(err))
	}
}

// Whoever issues sees each text as a phone would show it, the usual one first; a health
// authority that sends no messages has none, and who may not issue sees none.
func TestTexts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	in(t, f.world.Operator, f.north.ID, func(ctx context.Context, tx *tenant.Tx) error {
		for _, text := range []template.Text{
			{Label: "Clinic", Language: "es", Body: "Su código: [code]."},
			{Label: template.MainLabel, Language: "es", Body: "Código de [region]: [code]"},
			{Label: template.MainLabel, Language: "en", Body: "Code: [longcode]"},
			{Label: template.UserReportLabel, Language: "en", Body: "report [code]"},
		} {
			if _, err := template.Set(ctx, tx, f.north, caseworker, text, "", f.world.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	texts, err := f.issuer.Texts(t.Context(), f.north, caseworker)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range texts {
		got = append(got, s.Label+" "+s.Language+": "+s.Text)
		if s.Size.Segments != 1 {
			t.Errorf("%q takes %d segments", s.Text, s.Size.Segments)
		}
	}
	if len(got) != 3 || got[0] != template.MainLabel+" en: Code: 1234567890123456" || got[1] != template.MainLabel+" es: Código de "+f.north.Region+": 12345678" ||
		got[2] != "Clinic es: Su código: 12345678." {
		t.Errorf("texts: %q", got)
	}
	if _, err := f.issuer.Texts(t.Context(), f.north, authz.Subject{Kind: authz.Person, ID: "88bb", Roles: []authz.Role{authz.Analyst}}); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("an analyst: %v", err)
	}
	silent := with(f.north, func(s *tenant.Settings) { s.SMSEnabled = false })
	if texts, err := f.issuer.Texts(t.Context(), silent, caseworker); err != nil || len(texts) > 0 {
		t.Errorf("without messages: %v, %v", texts, err)
	}
}
