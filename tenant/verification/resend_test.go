package verification_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message/messagetest"
	messages "carillon/tenant/message/outbox"
	"carillon/tenant/verification"
)

// resender is a service with an outbox, and the dispatcher of the outbox.
func (f *fixture) resender() (*verification.Service, *messages.Dispatcher) {
	w := f.world
	keys := key.NewRing(w.Issuer, w.Root)
	service := f.service(w.Issuer, func(c *verification.Config) { c.Outbox = messages.New(keys, w.Now) })
	return service, messages.NewDispatcher(messages.Config{
		DB: w.Issuer, Keys: keys, Directory: tenant.NewDirectory(w.Issuer), Sender: f.sms, Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
}

// A message that failed is sent as it was, by whoever does not know the number.
func TestResendOfAKeptMessage(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	north := with(f.north, func(s *tenant.Settings) { s.SMSTemplate = "[longcode]" })
	service, dispatcher := f.resender()
	f.sms.Break(messagetest.Failed)
	i, err := service.Issue(t.Context(), north, backEnd, verification.IssueRequest{TestType: "confirmed", Phone: phone, Deferred: true})
	if err != nil {
		t.Fatal(explain(err))
	}
	if _, err := dispatcher.Turn(t.Context(), north); err != nil || len(f.sms.Delivered()) != 0 {
		t.Fatalf("%v, %d delivered", err, len(f.sms.Delivered()))
	}
	f.sms.Break(messagetest.None)
	request := verification.ResendRequest{UUID: i.ID.String()}
	_, err = service.Resend(t.Context(), f.south, backEnd, request)
	wantProblem(t, err, verification.ErrCodeNotFound, "")
	got, err := service.Resend(t.Context(), north, backEnd, request)
	if err != nil || got.Code != "" || !got.LongExpiresAt.Equal(i.LongExpiresAt) {
		t.Fatalf("Resend: %v, %v", got, explain(err))
	}
	if _, err := dispatcher.Turn(t.Context(), north); err != nil {
		t.Fatal(err)
	}
	sent := f.sms.Delivered()
	if len(sent) != 1 {
		t.Fatalf("%d delivered, want 1", len(sent))
	}
	_, err = service.Resend(t.Context(), north, backEnd, request)
	wantProblem(t, err, verification.ErrMissingPhone, "")
	f.verify(t, north, sent[0].Body)
	_, err = service.Resend(t.Context(), north, backEnd, request)
	wantProblem(t, err, verification.ErrAlreadyClaimed, "")
}

// With a number the message is written anew: fresh long digits under the same UUID.
func TestResendToANumber(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	north := with(f.north, func(s *tenant.Settings) { s.SMSTemplate = "[longcode]" })
	service, dispatcher := f.resender()
	i, old := f.messaged(t, north)
	f.world.Advance(20 * time.Hour)
	got, err := service.Resend(t.Context(), north, caseworker, verification.ResendRequest{UUID: i.ID.String(), Phone: "(206) 555-0101"})
	if err != nil {
		t.Fatal(explain(err))
	}
	if want := f.world.Now().Truncate(time.Second).Add(24 * time.Hour); got.ID != i.ID || got.Code != "" || !got.ExpiresAt.Equal(i.ExpiresAt) || !got.LongExpiresAt.Equal(want) {
		t.Errorf("answer %v %v %v, want %v %v %v", got.ID, got.ExpiresAt, got.LongExpiresAt, i.ID, i.ExpiresAt, want)
	}
	if _, err := dispatcher.Turn(t.Context(), north); err != nil {
		t.Fatal(err)
	}
	sent := f.sms.Delivered()[1]
	if sent.To != "+12065550101" || sent.Code.ID != i.ID {
		t.Errorf("sent to %q", sent.To)
	}
	_, err = f.device.Verify(t.Context(), north, verification.VerifyRequest{Code: old})
	wantProblem(t, err, verification.ErrCodeInvalid, "")
	f.verify(t, north, sent.Body)
	if !f.status(t, north, i).Claimed {
		t.Error("the UUID is not the claimed code's")
	}
	var acts int
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select count(*) from audit_entry where action = 'code:resent' and actor_id = $1`, caseworker.ID).Scan(&acts); err != nil || acts != 1 {
		t.Errorf("%d audit entries, %v", acts, err)
	}
}

// A text that names the short code gets a fresh one, which the answer tells.
func TestResendDrawsTheShortCodeItNames(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	north := with(f.north, func(s *tenant.Settings) { s.SMSTemplate = "[code] [expires]" })
	service, dispatcher := f.resender()
	i := f.issue(t, north, verification.IssueRequest{Phone: phone})
	f.world.Advance(10 * time.Minute)
	got, err := service.Resend(t.Context(), north, backEnd, verification.ResendRequest{UUID: i.ID.String(), Phone: phone})
	if err != nil || got.Code == "" || got.Code == i.Code {
		t.Fatalf("%v", explain(err))
	}
	if _, err := dispatcher.Turn(t.Context(), north); err != nil {
		t.Fatal(err)
	}
	if body := f.sms.Delivered()[1].Body; body != got.Code+" 15" {
		t.Errorf("sent %q", body)
	}
	_, err = f.device.Verify(t.Context(), north, verification.VerifyRequest{Code: i.Code})
	wantProblem(t, err, verification.ErrCodeInvalid, "")
	f.verify(t, north, got.Code)
}

func TestResendRefuses(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	service, _ := f.resender()
	i, own := f.issue(t, f.north, verification.IssueRequest{}), f.issue(t, f.north, verification.IssueRequest{TestType: "user-report", Phone: phone})
	id := i.ID.String()
	if _, err := service.Resend(t.Context(), f.north, stranger, verification.ResendRequest{UUID: id}); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a stranger: %v", err)
	}
	for _, c := range []struct {
		of   *tenant.Tenant
		r    verification.ResendRequest
		want error
	}{
		{f.north, verification.ResendRequest{UUID: id}, verification.ErrMissingPhone},
		{f.north, verification.ResendRequest{UUID: id, Phone: "call me"}, verification.ErrPhoneInvalid},
		{f.north, verification.ResendRequest{UUID: id, Phone: phone, SMSTemplateLabel: "Spring"}, verification.ErrSMSFailed},
		{f.north, verification.ResendRequest{UUID: "nonsense", Phone: phone}, verification.ErrCodeNotFound},
		{f.north, verification.ResendRequest{UUID: "0f1b2c3d-0000-4000-8000-000000000001", Phone: phone}, verification.ErrCodeNotFound},
		{f.south, verification.ResendRequest{UUID: id, Phone: phone}, verification.ErrCodeNotFound},
		{f.north, verification.ResendRequest{UUID: own.ID.String(), Phone: phone}, verification.ErrUnsupportedTestType},
		{with(f.north, func(s *tenant.Settings) { s.SMSEnabled = false }), verification.ResendRequest{UUID: id, Phone: phone}, verification.ErrNoProvider},
		{with(f.north, func(s *tenant.Settings) { s.Maintenance = true }), verification.ResendRequest{UUID: id, Phone: phone}, verification.ErrMaintenance},
	} {
		_, err := service.Resend(t.Context(), c.of, backEnd, c.r)
		wantProblem(t, err, c.want, "")
	}
	f.world.Advance(15 * time.Minute)
	_, err := service.Resend(t.Context(), f.north, backEnd, verification.ResendRequest{UUID: id, Phone: phone})
	wantProblem(t, err, verification.ErrCodeExpired, "")
}

// A message may go to a mail address, if the tenant wants that; nothing but the sealed
// message ever has the address.
func TestResendByMail(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	north := with(f.north, func(s *tenant.Settings) { s.SMSTemplate, s.EmailEnabled = "[longcode]", true })
	service, dispatcher := f.resender()
	i := f.issue(t, north, verification.IssueRequest{})
	request := verification.ResendRequest{UUID: i.ID.String(), Email: "alex@example.com"}
	_, err := service.Resend(t.Context(), f.north, caseworker, request)
	wantProblem(t, err, verification.ErrNoProvider, "")
	for _, bad := range []string{"alex", "alex@example.com, sam@example.com", "Alex <alex@example.com>", "alex@example.com\r\nBcc: sam@example.com"} {
		_, err := service.Resend(t.Context(), north, caseworker, verification.ResendRequest{UUID: i.ID.String(), Email: bad})
		wantProblem(t, err, verification.ErrEmailInvalid, "")
	}
	_, err = service.Resend(t.Context(), north, stranger, request)
	if !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("by somebody who may not: %v", err)
	}
	if _, err := service.Resend(t.Context(), north, caseworker, request); err != nil {
		t.Fatal(explain(err))
	}
	if _, err := dispatcher.Turn(t.Context(), north); err != nil {
		t.Fatal(err)
	}
	sent := f.sms.Delivered()
	if len(sent) != 1 || sent[0].To != request.Email {
		t.Fatalf("%d messages", len(sent))
	}
	f.verify(t, north, sent[0].Body)
}
