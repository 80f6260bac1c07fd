package outbox_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/outbox"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

const phone = "+12065550100"

var backEnd = authz.Subject{Kind: authz.APIKey, ID: "5e2f", Name: "Back end", Roles: []authz.Role{authz.KeyAdmin}}

// fixture is a world with two tenants, a service that issues into the outbox, and a
// dispatcher that sends from it.
type fixture struct {
	world        *tenanttest.World
	north, south *tenant.Tenant
	sms          *messagetest.Sender
	issuer       *verification.Service
	dispatcher   *outbox.Dispatcher
	log          *bytes.Buffer
}

func setUp(tb testing.TB) *fixture {
	tb.Helper()
	w := tenanttest.New(tb)
	f := &fixture{world: w, sms: &messagetest.Sender{}, log: &bytes.Buffer{}}
	f.north, f.south = tuned(w.Create("north")), tuned(w.Create("south"))
	keys := key.NewRing(w.Issuer, w.Root)
	f.issuer = verification.New(verification.Config{
		DB: w.Issuer, Keys: keys, Policies: authz.NewPolicies(nil), Sender: f.sms,
		Outbox: outbox.New(keys, w.Now), Now: w.Now, Rand: rand.Reader,
	})
	f.dispatcher = f.newDispatcher(f.sms)
	return f
}

func (f *fixture) newDispatcher(s message.Sender) *outbox.Dispatcher {
	return outbox.NewDispatcher(outbox.Config{
		DB: f.world.Issuer, Keys: key.NewRing(f.world.Issuer, f.world.Root), Directory: tenant.NewDirectory(f.world.Issuer),
		Sender: s, Log: slog.New(slog.NewJSONHandler(f.log, nil)), Now: f.world.Now,
	})
}

func tuned(t *tenant.Tenant) *tenant.Tenant {
	changed := *t
	changed.Settings.TestTypes = []string{"confirmed", "user-report"}
	changed.Settings.RequireDate, changed.Settings.IssueUserReport, changed.Settings.SMSEnabled = false, true, true
	changed.Settings.SMSTemplate = "Code [longcode]"
	return &changed
}

// issue puts a message into the outbox.
func (f *fixture) issue(tb testing.TB, to *tenant.Tenant, testType string) *verification.Issued {
	tb.Helper()
	i, err := f.issuer.Issue(tb.Context(), to, backEnd, verification.IssueRequest{TestType: testType, Phone: phone, Deferred: true})
	if err != nil {
		tb.Fatalf("Issue: %v", err)
	}
	return i
}

func (f *fixture) turn(tb testing.TB, of *tenant.Tenant) int {
	tb.Helper()
	n, err := f.dispatcher.Turn(tb.Context(), of)
	if err != nil {
		tb.Fatalf("Turn: %v", err)
	}
	return n
}

// row is the queue's and the delivery's state of a code, as "state delivery class".
func (f *fixture) row(tb testing.TB, i *verification.Issued) string {
	tb.Helper()
	var queue, delivery, class string
	err := f.world.Database.Super().QueryRowContext(tb.Context(), `
select coalesce((select state from message_queue where code_id = $1), 'none'),
       coalesce((select state from message_delivery where code_id = $1), 'none'),
       coalesce((select class from message_delivery where code_id = $1), '')`, i.ID.String()).Scan(&queue, &delivery, &class)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(queue + " " + delivery + " " + class)
}

func (f *fixture) want(tb testing.TB, i *verification.Issued, row string, delivered int) {
	tb.Helper()
	if got := f.row(tb, i); got != row {
		tb.Errorf("row is %q, want %q", got, row)
	}
	if got := len(f.sms.Delivered()); got != delivered {
		tb.Errorf("%d messages were delivered, want %d", got, delivered)
	}
}

func (f *fixture) again(tb testing.TB, of *tenant.Tenant, i *verification.Issued) error {
	tb.Helper()
	return f.world.Issuer.In(tb.Context(), of.ID, func(tx *tenant.Tx) error {
		return outbox.Again(tb.Context(), tx, i.ID, f.world.Now())
	})
}

func TestAMessageIsSentAndForgotten(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	i := f.issue(t, f.north, "confirmed")
	f.want(t, i, "waiting queued", 0)
	if n := f.turn(t, f.south); n != 0 {
		t.Errorf("the other tenant's turn took %d messages", n)
	}
	if n := f.turn(t, f.north); n != 1 {
		t.Errorf("the turn took %d messages, want 1", n)
	}
	f.want(t, i, "none sent", 1)
	sent := f.sms.Delivered()[0]
	if sent.Tenant != f.north.ID || sent.To != phone || !strings.HasPrefix(sent.Body, "Code ") || sent.Purpose != message.Report {
		t.Errorf("delivered %q to %q of %v as %q", sent.Body, sent.To, sent.Tenant, sent.Purpose)
	}
	if sent.Code.ID != i.ID || sent.Code.Short != i.Code || !sent.Code.LongExpiresAt.Equal(i.LongExpiresAt) {
		t.Error("the message does not know its code")
	}
	if n := f.turn(t, f.north); n != 0 {
		t.Errorf("the second turn took %d messages, want none", n)
	}
}

// What waits is sealed: no column has the number, the code or the text.
func TestWhatWaitsIsSealed(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	i := f.issue(t, f.north, "confirmed")
	var row string
	err := f.world.Database.Super().QueryRowContext(t.Context(),
		`select q::text || d::text || encode(q.sealed, 'escape') from message_queue q join message_delivery d using (code_id)`).Scan(&row)
	if err != nil {
		t.Fatal(err)
	}
	for _, canary := range []string{"2065550100", i.Code, "Code "} {
		if strings.Contains(row, canary) {
			t.Errorf("the row shows %q", canary)
		}
	}
	// Under another tenant or another code it does not open.
	other := f.issue(t, f.south, "confirmed")
	if _, err := f.world.Database.Super().ExecContext(t.Context(),
		`update message_queue set sealed = (select sealed from message_queue where code_id = $1) where code_id = $2`,
		i.ID.String(), other.ID.String()); err != nil {
		t.Fatal(err)
	}
	f.turn(t, f.south)
	f.want(t, other, "failed failed other", 0)
}

func TestNoCodeNoMessage(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	undo := errors.New("undo")
	_, err := f.issuer.Issue(t.Context(), f.north, backEnd, verification.IssueRequest{
		TestType: "confirmed", Phone: phone, Deferred: true,
		Also: func(context.Context, *tenant.Tx, *verification.Issued) error { return undo },
	})
	if !errors.Is(err, undo) {
		t.Fatalf("Issue: %v", err)
	}
	if n := f.turn(t, f.north); n != 0 || f.sms.Attempts() != 0 {
		t.Errorf("%d messages of a code that does not exist", n)
	}
}

func TestQuietHours(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.north.Settings.TimeZone = "America/Los_Angeles" // 07:04 at the start
	f.north.Settings.QuietFrom, f.north.Settings.QuietUntil = 21*60, 8*60
	report, own := f.issue(t, f.north, "confirmed"), f.issue(t, f.north, "user-report")
	f.turn(t, f.north)
	f.want(t, report, "waiting queued", 1)
	f.want(t, own, "none sent", 1)
	f.world.Advance(55*time.Minute + 54*time.Second)
	f.turn(t, f.north)
	f.want(t, report, "waiting queued", 1)
	f.world.Advance(2 * time.Second)
	f.turn(t, f.north)
	f.want(t, report, "none sent", 2)
}

func TestMessagesOfEndedCodesGo(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	expired, spent, withdrawn := f.issue(t, f.north, "user-report"), f.issue(t, f.north, "confirmed"), f.issue(t, f.north, "confirmed")
	device := verification.New(verification.Config{
		DB: f.world.Device, Keys: key.NewRing(f.world.Device, f.world.Root), Now: f.world.Now, Rand: rand.Reader,
	})
	if _, err := device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: spent.Code}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.issuer.Expire(t.Context(), f.north, backEnd, withdrawn.ID.String()); err != nil {
		t.Fatal(err)
	}
	f.world.Advance(15 * time.Minute)
	f.turn(t, f.north)
	for _, i := range []*verification.Issued{expired, spent, withdrawn} {
		f.want(t, i, "none failed expired", 0)
	}
}

func TestTryingAgain(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.sms.Break(messagetest.QueueFull)
	i := f.issue(t, f.north, "confirmed")
	f.turn(t, f.north)
	f.turn(t, f.north) // too early
	if n := f.sms.Attempts(); n != 1 {
		t.Errorf("%d attempts at once, want 1", n)
	}
	f.want(t, i, "waiting queued queue-full", 0)
	f.world.Advance(10 * time.Second)
	f.turn(t, f.north)
	f.world.Advance(19 * time.Second)
	f.turn(t, f.north)
	if n := f.sms.Attempts(); n != 2 {
		t.Errorf("%d attempts, want 2: the pauses grow", n)
	}
	f.sms.Break(messagetest.None)
	f.world.Advance(time.Second)
	f.turn(t, f.north)
	f.want(t, i, "none sent", 1)
}

// A message that may have been sent is never sent again by itself, whatever the
// reason for not knowing.
func TestDoubtIsNotResolvedBySending(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.sms.Break(messagetest.SaidFailed)
	i := f.issue(t, f.north, "confirmed")
	f.turn(t, f.north)
	f.world.Advance(time.Hour)
	f.turn(t, f.north)
	f.want(t, i, "failed failed uncertain", 1)

	if err := f.again(t, f.south, i); !errors.Is(err, outbox.ErrNotKept) {
		t.Errorf("the other tenant sends it again: %v", err)
	}
	f.sms.Break(messagetest.None)
	if err := f.again(t, f.north, i); err != nil {
		t.Errorf("a person sends it again: %v", err)
	}
	f.turn(t, f.north)
	f.want(t, i, "none sent", 2)
	if err := f.again(t, f.north, i); !errors.Is(err, outbox.ErrNotKept) {
		t.Errorf("a sent message is still kept: %v", err)
	}
}

// dyingSender is a process that dies while it sends.
type dyingSender struct{ messagetest.Sender }

func (s *dyingSender) Send(ctx context.Context, t *tenant.Tenant, m message.Message) error {
	_ = s.Sender.Send(ctx, t, m)
	panic("killed")
}

func TestDyingWhileSending(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	i := f.issue(t, f.north, "confirmed")
	func() {
		defer func() { _ = recover() }()
		_, _ = f.newDispatcher(&dyingSender{}).Turn(t.Context(), f.north)
	}()
	f.want(t, i, "sending queued", 0)
	if err := f.again(t, f.north, i); !errors.Is(err, outbox.ErrBusy) {
		t.Errorf("sent again while being sent: %v", err)
	}
	f.world.Advance(2*time.Minute - time.Second)
	f.turn(t, f.north)
	f.want(t, i, "sending queued", 0)
	f.world.Advance(time.Second)
	f.turn(t, f.north)
	f.want(t, i, "failed failed uncertain", 0)
}

// Stopping a process finishes the message that it is sending.
func TestStoppingFinishesWhatIsBeingSent(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	first, second := f.issue(t, f.north, "confirmed"), f.issue(t, f.north, "confirmed")
	ctx, stop := context.WithCancel(t.Context())
	d := f.newDispatcher(senderFunc(func(ctx context.Context, to *tenant.Tenant, m message.Message) error {
		stop()
		return f.sms.Send(ctx, to, m)
	}))
	if err := d.Run(ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	states := f.row(t, first) + ", " + f.row(t, second)
	if states != "none sent, waiting queued" && states != "waiting queued, none sent" {
		t.Errorf("rows are %q, want one sent and one waiting", states)
	}
}

type senderFunc func(context.Context, *tenant.Tenant, message.Message) error

func (f senderFunc) Send(ctx context.Context, t *tenant.Tenant, m message.Message) error {
	return f(ctx, t, m)
}

func TestManyDispatchersSendEachMessageOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const messages = 40
	for range messages / 2 {
		f.issue(t, f.north, "confirmed")
		f.issue(t, f.south, "confirmed")
	}
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			d := f.newDispatcher(f.sms)
			for _, of := range []*tenant.Tenant{f.north, f.south} {
				if _, err := d.Turn(t.Context(), of); err != nil {
					t.Errorf("Turn: %v", err)
				}
			}
		})
	}
	workers.Wait()
	seen := map[string]bool{}
	for _, m := range f.sms.Delivered() {
		seen[fmt.Sprint(m.Tenant)+m.Code.ID.String()] = true
	}
	if len(seen) != messages || f.sms.Attempts() != messages {
		t.Errorf("%d of %d messages in %d attempts", len(seen), messages, f.sms.Attempts())
	}
}

func TestLogsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.sms.Break(messagetest.Failed)
	i := f.issue(t, f.north, "confirmed")
	f.turn(t, f.north)
	if text := f.log.String(); !strings.Contains(text, "uncertain") || strings.Contains(text, i.Code) || strings.Contains(text, "2065550100") {
		t.Errorf("log: %s", text)
	}
}
