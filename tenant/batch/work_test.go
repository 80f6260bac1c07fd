package batch_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/member"
	"carillon/tenant/verification"
)

func TestRowsHaveTheirResults(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const own = "0d6e8b3a-5f6a-4a39-8f28-0a2b90d0c001"
	b := f.create(t, "results", all(
		batch.Order{TestType: "confirmed", UUID: own},
		batch.Order{TestType: "confirmed", Phone: "206 555 0100"},
		batch.Order{TestType: "nonsense"},
		batch.Order{TestType: "confirmed", Phone: "+1 (206) 555-0100"},
		batch.Order{TestType: "likely", Phone: "nonsense"},
		batch.Order{TestType: "likely"},
	))
	f.work(t, f.north)
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 3, batch.Failed: 2, batch.Duplicate: 1})
	rows := f.rows(t, b, f.backEnd)
	for i, want := range []struct {
		state   batch.State
		err     error
		of      int
		hasCode bool
	}{
		{batch.Issued, nil, 0, true},
		{batch.Issued, nil, 0, false},
		{batch.Failed, verification.ErrInvalidTestType, 0, false},
		{batch.Duplicate, nil, 2, false},
		{batch.Failed, verification.ErrPhoneInvalid, 0, false},
		{batch.Issued, nil, 0, true},
	} {
		r := rows[i]
		if r.Number != i+1 || r.State != want.state || !errors.Is(r.Err, want.err) || r.DuplicateOf != want.of || (r.Code != "") != want.hasCode {
			t.Errorf("row %d: %s, %v, duplicate of %d, code %t", r.Number, r.State, r.Err, r.DuplicateOf, r.Code != "")
		}
	}
	if rows[0].ID.String() != own {
		t.Errorf("the first code is %v", rows[0].ID)
	}
	if sent := f.sms.Delivered(); len(sent) != 1 || sent[0].To != "+12065550100" {
		t.Errorf("%d messages", len(sent))
	}
	var p *verification.Problem
	if !errors.As(rows[2].Err, &p) || p.Text == "" {
		t.Errorf("the refusal has no words: %v", rows[2].Err)
	}

	// A person sees the results of what a program ordered, but not the codes.
	for _, r := range f.rows(t, b, f.clerk) {
		if r.Code != "" {
			t.Errorf("row %d shows its code", r.Number)
		}
	}
	page, err := f.service.Rows(t.Context(), f.north, f.backEnd, b.ID.String(), 2, 3)
	if err != nil || len(page) != 3 || page[0].Number != 3 {
		t.Errorf("rows after 2: %d, %v", len(page), err)
	}
	f.world.Advance(f.north.Settings.CodeLife)
	for _, r := range f.rows(t, b, f.backEnd) {
		if r.Code != "" {
			t.Errorf("row %d shows its code after its end", r.Number)
		}
	}
}

func TestAnotherTenantsBatchIsNotFound(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "mine", many(3))
	for _, id := range []string{b.ID.String(), uuid.NewString(), "nonsense", ""} {
		ctx, by := t.Context(), f.southern
		_, getErr := f.service.Get(ctx, f.south, by, id)
		_, rowsErr := f.service.Rows(ctx, f.south, by, id, 0, 10)
		_, pauseErr := f.service.Pause(ctx, f.south, by, id)
		_, resumeErr := f.service.Resume(ctx, f.south, by, id)
		_, cancelErr := f.service.Cancel(ctx, f.south, by, id)
		for i, err := range []error{getErr, rowsErr, pauseErr, resumeErr, cancelErr} {
			if !errors.Is(err, batch.ErrNotFound) {
				t.Errorf("question %d about %q: %v", i, id, err)
			}
		}
	}
	if list, err := f.service.List(t.Context(), f.south, f.southern, uuid.NullUUID{}, batch.MaxList); err != nil || len(list) != 0 {
		t.Errorf("south's list has %d, %v", len(list), err)
	}
	if n, err := f.worker.Turn(t.Context(), f.south); n != 0 || err != nil {
		t.Errorf("south's turn: %d rows, %v", n, err)
	}
	f.want(t, b, batch.Running, map[batch.State]int{batch.Pending: 3})
	list, err := f.service.List(t.Context(), f.north, f.backEnd, uuid.NullUUID{}, batch.MaxList)
	if err != nil || len(list) != 1 || list[0].ID != b.ID {
		t.Errorf("north's list has %d, %v", len(list), err)
	}
}

func TestStrangersSeeAndStopNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.create(t, "mine", many(3)).ID.String()
	ctx := t.Context()
	_, listErr := f.service.List(ctx, f.north, stranger, uuid.NullUUID{}, batch.MaxList)
	_, getErr := f.service.Get(ctx, f.north, stranger, id)
	_, rowsErr := f.service.Rows(ctx, f.north, stranger, id, 0, 10)
	_, cancelErr := f.service.Cancel(ctx, f.north, stranger, id)
	for i, err := range []error{listErr, getErr, rowsErr, cancelErr} {
		if !errors.Is(err, authz.ErrForbidden) {
			t.Errorf("question %d: %v", i, err)
		}
	}
}

// A code's life must not pass in a queue: rows with a number wait for the morning, the
// others do not.
func TestQuietHoursHoldRowsWithMessages(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	at := f.world.Now()
	quiet := with(f.north, func(s *tenant.Settings) {
		s.TimeZone, s.QuietFrom, s.QuietUntil = "UTC", at.Hour()*60, (at.Hour()+2)*60
	})
	b := f.create(t, "night", many(10))
	f.work(t, quiet)
	f.want(t, b, batch.Running, map[batch.State]int{batch.Issued: 5, batch.Pending: 5})
	p := f.progress(t, b)
	opens := at.Truncate(time.Hour).Add(2 * time.Hour)
	if p.HeldBecause != batch.QuietHours || p.HeldUntil == nil || !p.HeldUntil.Equal(opens) {
		t.Errorf("held until %v because of %q, want %v", p.HeldUntil, p.HeldBecause, opens)
	}
	f.world.SetNow(opens)
	f.work(t, quiet)
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 10})
	if n := f.count(t, `select count(*) from verification_code where issued_at >= $1`, opens); n != 5 {
		t.Errorf("%d codes live from the morning on", n)
	}
}

// Codes are not issued faster than messages leave.
func TestAFullOutboxHoldsTheBatch(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "flood", many(1200))
	for {
		n, err := f.worker.Turn(t.Context(), f.north)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	p := f.progress(t, b)
	waiting := f.count(t, `select count(*) from message_queue`)
	if p.HeldBecause != batch.Messages || p.Counts[batch.Pending] == 0 || waiting < 200 || waiting > 300 {
		t.Errorf("%d messages wait; the batch waits for %q with %d rows left", waiting, p.HeldBecause, p.Counts[batch.Pending])
	}
	for p.State == batch.Running {
		f.work(t, f.north)
		f.world.Advance(3 * time.Second)
		p = f.progress(t, b)
	}
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 1200})
	if sent := len(f.sms.Delivered()); sent != 600 {
		t.Errorf("%d messages were sent", sent)
	}
}

func TestASpentQuotaHoldsTheBatch(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "quota", many(4))
	f.quotaSpent = true
	f.work(t, f.north)
	f.want(t, b, batch.Running, map[batch.State]int{batch.Pending: 4})
	if p := f.progress(t, b); p.HeldBecause != batch.Quota {
		t.Errorf("held because of %q", p.HeldBecause)
	}
	f.quotaSpent = false
	f.world.Advance(10 * minute)
	f.work(t, f.north)
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 4})
}

func TestADisabledKeyIssuesNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "leaked", many(4))
	f.do(t, `update api_key set disabled_at = now()`)
	f.work(t, f.north)
	f.wantStopped(t, b, 4)
}

// wantStopped checks that a batch waits for somebody to resume it, with so many rows left,
// because whoever ordered it may not issue codes.
func (f *fixture) wantStopped(tb testing.TB, b *batch.Batch, left int) {
	tb.Helper()
	p := f.progress(tb, b)
	if p.State != batch.Paused || p.HeldBecause != batch.Forbidden || p.HeldUntil != nil || p.Counts[batch.Pending] != left {
		tb.Errorf("the batch is %s because of %q until %v, with %d rows left", p.State, p.HeldBecause, p.HeldUntil, p.Counts[batch.Pending])
	}
}

// Whoever may not issue codes any more issues none by a batch that she ordered before, and
// it does not go on by itself when she may again.
func TestWhoLosesTheRightStopsIssuing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ lose, regain string }{
		"suspended":    {`update member set state = 'suspended' where member_id::text = $1`, `update member set state = 'active' where member_id::text = $1`},
		"deactivated":  {`update member set state = 'deactivated' where member_id::text = $1`, `update member set state = 'active' where member_id::text = $1`},
		"another role": {`update member set roles = '{analyst}' where member_id::text = $1`, `update member set roles = '{caseworker}' where member_id::text = $1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			b, _, err := f.service.Create(t.Context(), f.north, f.clerk, "portal", many(250))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := f.worker.Turn(t.Context(), f.north); n == 0 || err != nil {
				t.Fatalf("her first turn: %d rows, %v", n, err)
			}
			left := f.progress(t, b).Counts[batch.Pending]
			f.do(t, c.lose, f.clerk.ID)
			f.work(t, f.north)
			f.wantStopped(t, b, left)
			f.do(t, c.regain, f.clerk.ID)
			f.world.Advance(time.Hour)
			f.work(t, f.north)
			f.wantStopped(t, b, left)
			if _, err := f.service.Resume(t.Context(), f.north, f.backEnd, b.ID.String()); err != nil {
				t.Fatal(err)
			}
			f.work(t, f.north)
			f.wantEachOnce(t, b, 250)
		})
	}
}

// Somebody who has left issues nothing, though her groups and her provider would let her.
func TestWhoIsRemovedStopsIssuing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	by := f.hire(t, "sam", authz.Analyst, string(authz.Caseworker))
	b, _, err := f.service.Create(t.Context(), f.north, by, "portal", many(4))
	if err != nil {
		t.Fatal(err)
	}
	f.do(t, `delete from member where member_id::text = $1`, by.ID)
	f.work(t, f.north)
	f.wantStopped(t, b, 4)
	if _, _, err := f.service.Create(t.Context(), f.north, by, "more", many(4)); !errors.Is(err, member.ErrNotMember) {
		t.Errorf("she orders more: %v", err)
	}
}

// What an identity provider said of somebody counts as long as her session could last.
func TestClaimedRolesCountForASession(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	by := f.hire(t, "sam", authz.Analyst, string(authz.Caseworker))
	for _, key := range []string{"early", "late"} {
		b, _, err := f.service.Create(t.Context(), f.north, by, key, many(2))
		if err != nil {
			t.Fatal(err)
		}
		if key == "early" {
			f.work(t, f.north)
			f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 2})
			continue
		}
		f.world.Advance(12*time.Hour + time.Second)
		f.work(t, f.north)
		f.wantStopped(t, b, 2)
	}
}

// A role that comes from a group is lost with the group's.
func TestRolesOfGroupsAreReadAnew(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	by := f.hire(t, "sam", authz.Analyst)
	f.do(t, `insert into staff_group (tenant_id, group_id, name, role) values ($1, gen_random_uuid(), 'Tracing', 'caseworker')`, f.north.ID)
	f.do(t, `insert into staff_group_member (tenant_id, group_id, member_id) select tenant_id, group_id, $1::uuid from staff_group`, by.ID)
	by.Roles = append(by.Roles, authz.Caseworker)
	first, _, err := f.service.Create(t.Context(), f.north, by, "first", many(2))
	if err != nil {
		t.Fatal(err)
	}
	f.work(t, f.north)
	f.want(t, first, batch.Done, map[batch.State]int{batch.Issued: 2})
	second, _, err := f.service.Create(t.Context(), f.north, by, "second", many(2))
	if err != nil {
		t.Fatal(err)
	}
	f.do(t, `update staff_group set role = null`)
	f.work(t, f.north)
	f.wantStopped(t, second, 2)
}

// A person's batch is worked off in her name.
func TestAPersonsBatch(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b, _, err := f.service.Create(t.Context(), f.north, f.clerk, "portal", many(2))
	if err != nil {
		t.Fatal(err)
	}
	f.work(t, f.north)
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 2})
	for action, want := range map[string]int{"code:bulk-issue": 1, "batch:finish": 1, "code:issue": 0} {
		if n := f.count(t, `select count(*) from audit_entry where action = $1 and actor_id = $2`, action, f.clerk.ID); n != want {
			t.Errorf("%d entries %s in her name, want %d", n, action, want)
		}
	}
	if n := f.count(t, `select count(*) from verification_code where issuer_kind = 'person' and issuer_id = $1`, f.clerk.ID); n != 2 {
		t.Errorf("%d codes name her", n)
	}
	if rows := f.rows(t, b, f.clerk); rows[0].Code == "" {
		t.Error("she cannot read her code")
	}
	for _, other := range []authz.Subject{f.backEnd, f.hire(t, "sam", authz.Caseworker)} {
		if rows := f.rows(t, b, other); rows[0].Code != "" {
			t.Errorf("%s can read her code", other)
		}
	}
}

// A fault of ours is tried again and does not hide the other rows for ever.
func TestAPoisonedRowFailsInTheEnd(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "poison", many(3))
	if _, err := f.world.Database.Super().ExecContext(t.Context(), `update batch_row set sealed_order = 'nonsense' where row_number = 1`); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		f.work(t, f.north)
		f.world.Advance(minute)
	}
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 2, batch.Failed: 1})
	if rows := f.rows(t, b, f.backEnd); !errors.Is(rows[0].Err, batch.ErrUnworkable) {
		t.Errorf("the row: %v", rows[0].Err)
	}
}

// Several workers, each of which believes that the others are dead, issue each code
// once and send each message once.
func TestManyWorkersIssueEachCodeOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "race", many(300))
	var together sync.WaitGroup
	for range 4 {
		worker := f.newWorker(f.codes(f.ring(), f.sms))
		together.Go(func() {
			for range 40 {
				if _, err := worker.Turn(t.Context(), f.north); err != nil {
					t.Errorf("Turn: %v", err)
					return
				}
				f.world.Advance(2 * minute) // every lease has ended
			}
		})
	}
	together.Wait()
	f.world.Advance(2 * minute)
	f.work(t, f.north)
	f.wantEachOnce(t, b, 300)
}

// wantEachOnce checks a batch of [many] that is done: a code for each row, a message for
// every second.
func (f *fixture) wantEachOnce(tb testing.TB, b *batch.Batch, n int) {
	tb.Helper()
	f.want(tb, b, batch.Done, map[batch.State]int{batch.Issued: n})
	if codes := f.count(tb, `select count(*) from verification_code`); codes != n {
		tb.Errorf("%d codes for %d rows", codes, n)
	}
	if other := f.count(tb, `select count(*) from batch_row r where not exists (select from verification_code c where c.code_id = r.code_id)`); other != 0 {
		tb.Errorf("%d rows have no code", other)
	}
	to := map[string]int{}
	for _, d := range f.sms.Delivered() {
		to[d.To]++
	}
	if len(to) != n/2 || len(f.sms.Delivered()) != n/2 {
		tb.Errorf("%d messages to %d numbers, want %d", len(f.sms.Delivered()), len(to), n/2)
	}
}

// Tenants take turns, however large a batch one of them has.
func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.create(t, "large", many(1000))
	small, _, err := f.service.Create(t.Context(), f.south, f.southern, "small", many(10))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f.worker.Run(ctx, time.Second) }()
	for {
		p, err := f.service.Get(t.Context(), f.south, f.southern, small.ID.String())
		if err != nil {
			t.Fatal(err)
		}
		if p.State == batch.Done {
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left := f.count(t, `select count(*) from batch_row where tenant_id = $1 and state = 'pending'`, f.north.ID.String()); left == 0 {
		t.Error("the small batch waited for the large one")
	}
}

func TestPauseResumeCancel(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "stop", many(10))
	id, ctx := b.ID.String(), t.Context()
	step := func(what string, do func(context.Context, *tenant.Tenant, authz.Subject, string) (*batch.Batch, error), want batch.State, wantErr error) {
		t.Helper()
		got, err := do(ctx, f.north, f.backEnd, id)
		if !errors.Is(err, wantErr) || (err == nil && got.State != want) {
			t.Errorf("%s: %v, want %s, %v", what, err, want, wantErr)
		}
	}
	step("resume what runs", f.service.Resume, batch.Running, nil)
	step("pause", f.service.Pause, batch.Paused, nil)
	step("pause again", f.service.Pause, batch.Paused, nil)
	f.work(t, f.north)
	f.want(t, b, batch.Paused, map[batch.State]int{batch.Pending: 10})
	step("resume", f.service.Resume, batch.Running, nil)
	step("cancel", f.service.Cancel, batch.Cancelled, nil)
	step("cancel again", f.service.Cancel, batch.Cancelled, nil)
	step("resume what is cancelled", f.service.Resume, "", batch.ErrFinished)
	step("pause what is cancelled", f.service.Pause, "", batch.ErrFinished)
	f.work(t, f.north)
	f.want(t, b, batch.Cancelled, map[batch.State]int{batch.Cancelled: 10})
	if n := f.count(t, `select count(*) from batch_row where sealed_order is not null`); n != 0 {
		t.Errorf("%d rows remember what they ordered", n)
	}
	if n := f.count(t, `select count(*) from audit_entry where action like 'batch:%'`); n != 3 {
		t.Errorf("%d audit entries, want one for each change", n)
	}
	done := f.create(t, "done", many(1))
	f.work(t, f.north)
	id = done.ID.String()
	step("cancel what is done", f.service.Cancel, "", batch.ErrFinished)
}

// Once a pause or a cancellation is answered, no code comes any more.
func TestStoppingIsFinal(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*fixture, string) error{
		"pause": func(f *fixture, id string) error {
			_, err := f.service.Pause(context.Background(), f.north, f.backEnd, id)
			return err
		},
		"cancel": func(f *fixture, id string) error {
			_, err := f.service.Cancel(context.Background(), f.north, f.backEnd, id)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			b := f.create(t, "stop", many(1000))
			var together sync.WaitGroup
			for range 2 {
				worker := f.newWorker(f.codes(f.ring(), f.sms))
				together.Go(func() {
					for range 20 {
						if _, err := worker.Turn(t.Context(), f.north); err != nil {
							t.Errorf("Turn: %v", err)
							return
						}
					}
				})
			}
			for f.progress(t, b).Counts[batch.Issued] == 0 {
			}
			if err := stop(f, b.ID.String()); err != nil {
				t.Fatal(err)
			}
			codes := f.count(t, `select count(*) from verification_code`)
			together.Wait()
			if after := f.count(t, `select count(*) from verification_code`); after != codes || codes == 1000 {
				t.Errorf("%d codes when it was stopped, %d in the end", codes, after)
			}
			if issued := f.progress(t, b).Counts[batch.Issued]; issued != codes {
				t.Errorf("%d rows are issued, with %d codes", issued, codes)
			}
		})
	}
}

func TestCleanup(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "old", many(1500))
	f.create(t, "other", many(1))
	for range 10 {
		f.work(t, f.north)
		f.world.Advance(3 * time.Second)
	}
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 1500})
	clean := func() {
		t.Helper()
		if err := batch.Cleanup(t.Context(), f.world.Jobs, f.north.ID, f.world.Now()); err != nil {
			t.Fatal(err)
		}
	}
	const codes = `select count(*) from batch_row where sealed_result is not null`
	clean()
	if n := f.count(t, codes); n != 751 {
		t.Errorf("%d codes are kept while they live", n)
	}
	f.world.Advance(time.Hour)
	clean()
	if n := f.count(t, codes); n != 0 {
		t.Errorf("%d codes are kept after their end", n)
	}
	f.world.Advance(batch.Keep - 2*time.Hour)
	clean()
	if n := f.count(t, `select count(*) from batch_row`); n != 1501 {
		t.Errorf("%d rows before the end", n)
	}
	f.world.Advance(2 * time.Hour)
	clean()
	if b, r := f.count(t, `select count(*) from batch`), f.count(t, `select count(*) from batch_row`); b != 0 || r != 0 {
		t.Errorf("%d batches with %d rows are left", b, r)
	}
}

// Rows that failed are tried again once, and only they, while what they ordered is kept.
func TestRetry(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "retry", all(
		batch.Order{TestType: "confirmed"}, batch.Order{TestType: "negative"}, batch.Order{TestType: "confirmed", Phone: "206 555 0100"},
		batch.Order{TestType: "negative", Phone: "206 555 0101"},
	))
	id, ctx := b.ID.String(), t.Context()
	if _, err := f.service.Retry(ctx, f.north, f.backEnd, id); !errors.Is(err, batch.ErrNothingFailed) {
		t.Errorf("before any row failed: %v", err)
	}
	f.want(t, b, batch.Running, map[batch.State]int{batch.Pending: 4})
	f.work(t, f.north)
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 2, batch.Failed: 2})
	p := f.progress(t, b)
	if p.Retryable != 2 || len(p.Failures) != 2 || p.Failures[0].Number != 2 || !errors.Is(p.Failures[0].Err, verification.ErrUnsupportedTestType) {
		t.Errorf("what failed: %d can be tried again, %+v", p.Retryable, p.Failures)
	}
	f.do(t, `update tenant_setting set test_types = '{confirmed,likely,negative}'`)
	f.north = with(f.north, func(s *tenant.Settings) { s.TestTypes = []string{"confirmed", "likely", "negative"} })
	again, err := f.service.Retry(ctx, f.north, f.backEnd, id)
	if err != nil || again.State != batch.Running || again.FinishedAt != nil {
		t.Fatalf("retry: %+v, %v", again, err)
	}
	f.work(t, f.north)
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 4})
	if n := f.count(t, `select count(*) from verification_code`); n != 4 {
		t.Errorf("%d codes", n)
	}
	if sent := f.sms.Delivered(); len(sent) != 2 {
		t.Errorf("%d messages", len(sent))
	}
	if _, err := f.service.Retry(ctx, f.north, f.backEnd, id); !errors.Is(err, batch.ErrNothingFailed) {
		t.Errorf("when all are issued: %v", err)
	}
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 4})
	if n := f.count(t, `select count(*) from audit_entry where action = 'batch:retry'`); n != 1 {
		t.Errorf("%d entries", n)
	}
}

// What a row ordered that failed is forgotten after a day, or when the batch is cancelled;
// then it cannot be tried again.
func TestFailedOrdersAreForgotten(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const kept = `select count(*) from batch_row where state = 'failed' and sealed_order is not null`
	bad := batch.Order{TestType: "nonsense"}
	b := f.create(t, "old", all(bad))
	f.work(t, f.north)
	clean := func(after time.Duration, want int) {
		t.Helper()
		f.world.Advance(after)
		if err := batch.Cleanup(t.Context(), f.world.Jobs, f.north.ID, f.world.Now()); err != nil {
			t.Fatal(err)
		}
		if n := f.count(t, kept); n != want {
			t.Errorf("%d orders are kept %v later, want %d", n, after, want)
		}
	}
	clean(batch.KeepFailed-minute, 1)
	clean(2*minute, 0)
	if _, err := f.service.Retry(t.Context(), f.north, f.backEnd, b.ID.String()); !errors.Is(err, batch.ErrNothingFailed) {
		t.Errorf("retry after a day: %v", err)
	}
	f.want(t, b, batch.Done, map[batch.State]int{batch.Failed: 1})

	stopped := f.create(t, "cancelled", all(bad, batch.Order{TestType: "confirmed", Phone: "206 555 0100"}))
	hour := f.world.Now().Hour() * 60
	f.work(t, with(f.north, func(s *tenant.Settings) { s.TimeZone, s.QuietFrom, s.QuietUntil = "UTC", hour, hour+60 }))
	f.want(t, stopped, batch.Running, map[batch.State]int{batch.Failed: 1, batch.Pending: 1})
	if _, err := f.service.Cancel(t.Context(), f.north, f.backEnd, stopped.ID.String()); err != nil {
		t.Fatal(err)
	}
	if n := f.count(t, kept); n != 0 {
		t.Errorf("%d orders are kept of a cancelled batch", n)
	}
	if _, err := f.service.Retry(t.Context(), f.north, f.backEnd, stopped.ID.String()); !errors.Is(err, batch.ErrFinished) {
		t.Errorf("retry of a cancelled batch: %v", err)
	}
	for _, id := range []string{uuid.NewString(), b.ID.String(), "nonsense"} {
		if _, err := f.service.Retry(t.Context(), f.south, f.southern, id); !errors.Is(err, batch.ErrNotFound) {
			t.Errorf("retry of another tenant's batch: %v", err)
		}
	}
	if _, err := f.service.Retry(t.Context(), f.north, stranger, b.ID.String()); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("retry by a stranger: %v", err)
	}
}

// The results with the codes are for the person who ordered them, and it is on record that
// she took them.
func TestResultsAreHersAlone(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const rows = batch.MaxPage + 2
	b, _, err := f.service.Create(t.Context(), f.north, f.clerk, "portal", spoken(rows))
	if err != nil {
		t.Fatal(err)
	}
	f.work(t, f.north)
	told := 0
	take := func(by authz.Subject, id string) error {
		told = 0
		return f.service.Results(t.Context(), f.north, by, id, func(r batch.Row) error {
			if told++; r.Number != told || r.Code == "" {
				t.Errorf("row %d is told as number %d, with a code: %t", r.Number, told, r.Code != "")
			}
			return nil
		})
	}
	if err := take(f.clerk, b.ID.String()); err != nil || told != rows {
		t.Errorf("%d rows, %v", told, err)
	}
	const entries = `select count(*) from audit_entry where action = 'batch:results'`
	if n := f.count(t, entries); n != 1 {
		t.Errorf("%d entries", n)
	}
	for _, c := range []struct {
		by   authz.Subject
		id   string
		want error
	}{
		{f.hire(t, "sam", authz.Caseworker), b.ID.String(), batch.ErrOthers},
		{f.backEnd, b.ID.String(), batch.ErrOthers},
		{stranger, b.ID.String(), authz.ErrForbidden},
		{f.clerk, uuid.NewString(), batch.ErrNotFound},
	} {
		if err := take(c.by, c.id); !errors.Is(err, c.want) || told != 0 {
			t.Errorf("%s is told %d rows, %v, want %v", c.by, told, err, c.want)
		}
	}
	f.do(t, `revoke insert on audit_entry from carillon_issuer`)
	if err := take(f.clerk, b.ID.String()); err == nil || told != 0 {
		t.Errorf("without an entry %d rows are told, %v", told, err)
	}
}

func TestListIsPagedByKey(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var want []uuid.UUID
	for i := range 7 {
		if i%3 == 0 { // some have the same time
			f.world.Advance(time.Second)
		}
		b := f.create(t, uuid.NewString(), many(1))
		want = append(want, b.ID)
	}
	got := map[uuid.UUID]bool{}
	var before uuid.NullUUID
	for range 4 {
		page, err := f.service.List(t.Context(), f.north, f.backEnd, before, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range page {
			got[b.ID] = true
			before = uuid.NullUUID{UUID: b.ID, Valid: true}
		}
	}
	for _, id := range want {
		if !got[id] {
			t.Errorf("no page has %v", id)
		}
	}
	if page, err := f.service.List(t.Context(), f.north, f.backEnd, before, 2); err != nil || len(page) != 0 {
		t.Errorf("after the last: %d, %v", len(page), err)
	}
	if page, err := f.service.List(t.Context(), f.south, f.southern, before, 2); err != nil || len(page) != 0 {
		t.Errorf("another tenant's: %d, %v", len(page), err)
	}
}
