package verification_test

import (
	"context"
	"errors"
	"testing"

	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/verification"
)

// outbox keeps what is put into it, or refuses it.
type outbox struct {
	queued []message.Queued
	err    error
}

func (o *outbox) Enqueue(_ context.Context, _ *tenant.Tx, _ *tenant.Tenant, q message.Queued) error {
	if o.err == nil {
		o.queued = append(o.queued, q)
	}
	return o.err
}

func TestDeferredMessageIsQueued(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	box := &outbox{}
	s := f.service(f.world.Issuer, func(c *verification.Config) { c.Outbox = box })
	issued, err := s.Issue(t.Context(), f.north, backEnd, verification.IssueRequest{TestType: "user-report", Phone: phone, Deferred: true})
	if err != nil {
		t.Fatal(explain(err))
	}
	if f.sms.Attempts() != 0 {
		t.Error("a deferred message was sent at once")
	}
	if len(box.queued) != 1 {
		t.Fatalf("%d messages queued, want 1", len(box.queued))
	}
	q := box.queued[0]
	if q.CodeID != issued.ID || q.ExpiresAt != issued.LongExpiresAt || q.Message.To != phone || q.Message.Purpose != message.UserReport {
		t.Errorf("queued for code %v until %v, purpose %q; want code %v until %v, purpose %q",
			q.CodeID, q.ExpiresAt, q.Message.Purpose, issued.ID, issued.LongExpiresAt, message.UserReport)
	}
}

func TestNothingToDefer(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	box := &outbox{}
	s := f.service(f.world.Issuer, func(c *verification.Config) { c.Outbox = box })
	for name, r := range map[string]verification.IssueRequest{
		"no number":      {TestType: "confirmed", Deferred: true},
		"text asked for": {TestType: "confirmed", Phone: phone, OnlyGenerateSMS: true, Deferred: true},
	} {
		if _, err := s.Issue(t.Context(), f.north, backEnd, r); err != nil {
			t.Errorf("%s: %v", name, explain(err))
		}
	}
	if len(box.queued) != 0 {
		t.Errorf("%d messages queued, want none", len(box.queued))
	}
}

// What is to happen with a code, and the code, happen both or neither.
func TestTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	refused := errors.New("refused")
	also := func(ctx context.Context, tx *tenant.Tx, i *verification.Issued) error {
		_, err := tx.Exec(ctx, `update verification_code set external_issuer_id = 'also' where code_id = $1`, i.ID.String())
		return err
	}
	cases := map[string]struct {
		box     outbox
		request verification.IssueRequest
		want    error
	}{
		"outbox refuses": {outbox{err: refused}, verification.IssueRequest{Phone: phone, Deferred: true, Also: also}, refused},
		"also refuses": {outbox{}, verification.IssueRequest{Also: func(context.Context, *tenant.Tx, *verification.Issued) error {
			return refused
		}}, refused},
	}
	for name, c := range cases {
		s := f.service(f.world.Issuer, func(config *verification.Config) { config.Outbox = &c.box })
		c.request.TestType, c.request.UUID = "confirmed", "5f0a7f63-7a4f-4f0d-9a55-0d2ff0c7ef01"
		_, err := s.Issue(t.Context(), f.north, backEnd, c.request)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := f.issuer.Status(t.Context(), f.north, backEnd, c.request.UUID); !errors.Is(err, verification.ErrCodeNotFound) {
			t.Errorf("%s: status of the code: %v, want none", name, err)
		}
	}
}
