package delivery_test

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/delivery"
	"carillon/tenant/message/outbox"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

var backEnd = authz.Subject{Kind: authz.APIKey, ID: "5e2f", Name: "Back end", Roles: []authz.Role{authz.KeyAdmin}}

// queued makes a code whose message waits.
func queued(t *testing.T, w *tenanttest.World, of *tenant.Tenant) uuid.UUID {
	t.Helper()
	keys := key.NewRing(w.Issuer, w.Root)
	changed := *of
	changed.Settings.SMSEnabled = true
	i, err := verification.New(verification.Config{
		DB: w.Issuer, Keys: keys, Policies: authz.NewPolicies(nil), Sender: noSender{}, Outbox: outbox.New(keys, w.Now), Now: w.Now, Rand: rand.Reader,
	}).Issue(t.Context(), &changed, backEnd, verification.IssueRequest{TestType: "confirmed", SymptomDate: "2026-11-24", Phone: "+12065550100", Deferred: true})
	if err != nil {
		t.Fatal(err)
	}
	return i.ID
}

type noSender struct{ message.None }

func of(t *testing.T, db *tenant.DB, id tenant.ID, code uuid.UUID) (r delivery.Report, err error) {
	t.Helper()
	err = db.In(t.Context(), id, func(tx *tenant.Tx) (err error) {
		r, err = delivery.Of(t.Context(), tx, code)
		return err
	})
	return r, err
}

func TestStatesOfOneMessage(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	code := queued(t, w, north)
	if r, err := of(t, w.Portal, north.ID, code); err != nil || r.State != delivery.Queued || r.Provider != "" || !r.QueuedAt.Equal(tenanttest.Start) {
		t.Errorf("queued: %+v, %v", r, err)
	}
	if r, err := of(t, w.Portal, south.ID, code); !errors.Is(err, delivery.ErrNone) {
		t.Errorf("the other tenant sees %+v, %v", r, err)
	}
	w.Advance(time.Minute)
	first, second := delivery.NewReference(), delivery.NewReference()
	for _, r := range []delivery.Reference{first, second} {
		if err := delivery.Begin(t.Context(), w.Issuer, north.ID, code, "p", r, w.Now()); err != nil {
			t.Fatal(err)
		}
	}
	// What the first attempt's provider says is about a message of the past.
	if err := delivery.Receive(t.Context(), w.Issuer, north.ID, first, delivery.Failed, message.Landline, w.Now()); err != nil {
		t.Fatal(err)
	}
	// Nor does another tenant say anything about it.
	if err := delivery.Receive(t.Context(), w.Issuer, south.ID, second, delivery.Failed, message.Landline, w.Now()); err != nil {
		t.Fatal(err)
	}
	if err := delivery.Finish(t.Context(), w.Issuer, north.ID, second, delivery.Failed, message.Uncertain, w.Now()); err != nil {
		t.Fatal(err)
	}
	if r, err := of(t, w.Portal, north.ID, code); err != nil || r.State != delivery.Failed || r.Class != message.Uncertain || !r.QueuedAt.Equal(tenanttest.Start) || !r.ChangedAt.Equal(tenanttest.Start.Add(time.Minute)) {
		t.Errorf("failed: %+v, %v", r, err)
	}
	if err := delivery.Begin(t.Context(), w.Issuer, south.ID, code, "p", first, w.Now()); err == nil {
		t.Error("a message of another tenant's code was noted")
	}
}

// A receipt settles a doubt: the message need not be kept any more.
func TestAReceiptEndsTheKeeping(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	code, r := queued(t, w, north), delivery.NewReference()
	if err := delivery.Begin(t.Context(), w.Issuer, north.ID, code, "p", r, w.Now()); err != nil {
		t.Fatal(err)
	}
	kept := func() (n int) {
		if err := w.Database.Super().QueryRowContext(t.Context(), `select count(*) from message_queue`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := delivery.Finish(t.Context(), w.Issuer, north.ID, r, delivery.Failed, message.Uncertain, w.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Database.Super().ExecContext(t.Context(), `update message_queue set state = 'failed'`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		state delivery.State
		kept  int
	}{{delivery.Failed, 1}, {delivery.Sent, 0}} {
		if err := delivery.Receive(t.Context(), w.Issuer, north.ID, r, c.state, "", w.Now()); err != nil || kept() != c.kept {
			t.Errorf("after %s: %v, %d kept, want %d", c.state, err, kept(), c.kept)
		}
	}
}

func TestCleanup(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	queued(t, w, north)
	queued(t, w, south)
	for _, id := range []tenant.ID{north.ID, south.ID} {
		for _, now := range []time.Time{w.Now().Add(-delivery.KeepErrors - 24*time.Hour), w.Now().Add(-delivery.KeepErrors)} {
			if err := delivery.Count(t.Context(), w.Issuer, id, "30007", now); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Advance(24 * time.Hour)
	if err := delivery.Cleanup(t.Context(), w.Jobs, north.ID, w.Now().Add(-24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	count := func(table string, id tenant.ID) (n int) {
		if err := w.Database.Super().QueryRowContext(t.Context(), `select count(*) from `+table+` where tenant_id = $1`, id).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n, q := count("message_error", north.ID), count("message_queue", north.ID); n != 1 || q != 1 {
		t.Errorf("%d days and %d messages stay, want 1 and 1", n, q)
	}
	if err := delivery.Cleanup(t.Context(), w.Jobs, north.ID, w.Now()); err != nil {
		t.Fatal(err)
	}
	if n := count("message_queue", north.ID); n != 0 {
		t.Errorf("%d messages of ended codes stay", n)
	}
	if n, q := count("message_error", south.ID), count("message_queue", south.ID); n != 2 || q != 1 {
		t.Errorf("the other tenant has %d days and %d messages, want 2 and 1", n, q)
	}
}
