package labfeed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/labfeed/document"
	"carillon/tenant/verification"
)

var errKilled = errors.New("killed")

// killed is a service that dies when it comes to a step for the nth time.
func (f *fixture) killed(at string, n int32) *Service {
	s := f.service(f.world.Issuer, nil)
	var left atomic.Int32
	left.Store(n)
	s.step = func(name string) error {
		if name == at && left.Add(-1) == 0 {
			return errKilled
		}
		return nil
	}
	return s
}

// Wherever a process dies, another one finishes: every result has one code and one
// message, and no telephone number stays.
func TestKilledAtAnyStep(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for i, at := range []string{"read", "stored", "leased", "issuing", "issued"} {
		t.Run(at, func(t *testing.T) {
			before := f.codes()
			body := []byte(table(result(fmt.Sprint("A", i)), result(fmt.Sprint("B", i))))
			dying := f.killed(at, 1)
			_, err := dying.Submit(t.Context(), f.north, f.lab, document.CSV, body)
			if err == nil {
				err = dying.Turn(t.Context(), f.north.ID)
			}
			if at != "issuing" && at != "issued" && !errors.Is(err, errKilled) {
				t.Fatalf("not killed: %v", err)
			}
			f.world.Advance(2 * time.Hour)
			if _, err := f.feed.Submit(t.Context(), f.north, f.lab, document.CSV, body); err != nil { // the laboratory tries again
				t.Fatal(err)
			}
			f.turn()
			if n := f.codes() - before; n != 2 {
				t.Errorf("%d codes, want 2", n)
			}
			if n, m := f.number(`select count(*) from message_queue`), f.codes(); n != m {
				t.Errorf("%d messages for %d codes", n, m)
			}
			if n := f.number(`select count(*) from lab_result where sealed is not null or state <> 'issued'`); n != 0 {
				t.Errorf("%d results are not done", n)
			}
		})
	}
}

// scissors are a dialer whose connections break at a chosen message to the server:
// before it arrives, or after, so that the answer is lost.
type scissors struct {
	writes atomic.Int64
	after  bool
}

func (s *scissors) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &cutConn{Conn: c, by: s}, err
}

func (s *scissors) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, timeout)
	return &cutConn{Conn: c, by: s}, err
}

type cutConn struct {
	net.Conn
	by *scissors
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.by.writes.Add(-1) != 0 {
		return c.Conn.Write(p)
	}
	if c.by.after {
		if _, err := c.Conn.Write(p); err != nil {
			return 0, err
		}
		_, _ = c.Read(make([]byte, 1)) // the server has done it
	}
	_ = c.Close()
	return 0, errKilled
}

// The worker's connection is cut at each of its messages to the database, before and
// after: afterwards there is one code, never none, never two.
func TestCutAtAnyMessage(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	last := int64(0) // the last message that a turn sends
	for n := int64(1); n == last+1; n++ {
		for _, after := range []bool{false, true} {
			cut := &scissors{after: after}
			db, err := tenant.Open(t.Context(), tenant.Config{DSN: f.world.Database.DSN("carillon_issuer"), MaxOpen: 1, Dialer: cut})
			if err != nil {
				t.Fatal(err)
			}
			worker := f.service(db, nil)
			before := f.codes()
			f.submit(result(fmt.Sprintf("A%d%t", n, after)))
			if _, err := worker.secrets.Get(t.Context(), f.north.ID); err != nil {
				t.Fatal(err)
			}
			cut.writes.Store(n)
			_ = worker.Turn(t.Context(), f.north.ID)
			if cut.writes.Load() <= 0 {
				last = n
			}
			_ = db.Close() // what is cut does not close well
			for f.number(`select count(*) from pg_locks where relation = 'lab_result'::regclass and mode = 'RowExclusiveLock'`) > 0 {
				continue // until the server, too, knows that the worker is dead
			}
			f.world.Advance(2 * time.Minute)
			for range 2 {
				f.turn()
				f.world.Advance(2 * time.Hour)
			}
			if got := f.codes() - before; got != 1 {
				t.Fatalf("cut at message %d (after: %t): %d codes, want 1", n, after, got)
			}
			f.world.SetNow(f.world.Now().Add(-4*time.Hour - 2*time.Minute))
		}
	}
	if last < 5 {
		t.Errorf("a turn sends only %d messages", last)
	}
	if n, m := f.number(`select count(*) from message_queue`), f.codes(); n != m {
		t.Errorf("%d messages for %d codes", n, m)
	}
}

// A worker that was taken for dead finds its result issued, replaced or leased anew,
// and issues nothing.
func TestFence(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for name, meanwhile := range map[string]func(accession string){
		"another worker": func(string) { f.world.Advance(2 * lease); f.turn() },
		"a correction":   func(a string) { f.submit(result(a, "result", notDetected)) },
	} {
		t.Run(name, func(t *testing.T) {
			before := f.codes()
			slow := f.service(f.world.Issuer, nil)
			once := sync.Once{}
			slow.step = func(step string) error {
				if step == "leased" {
					once.Do(func() { meanwhile(name) })
				}
				return nil
			}
			f.submit(result(name))
			if err := slow.Turn(t.Context(), f.north.ID); err != nil {
				t.Fatal(err)
			}
			want := map[string]int{"another worker": 1, "a correction": 0}[name]
			if got := f.codes() - before; got != want {
				t.Errorf("%d codes, want %d", got, want)
			}
		})
	}
}

// Many workers at once share the work: each result once.
func TestManyWorkers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var lines []string
	const results = 60
	for i := range results {
		lines = append(lines, result(fmt.Sprint("A", i), "phone", fmt.Sprintf("+1206555%04d", i)))
	}
	f.submit(lines...)
	var group sync.WaitGroup
	for range 4 {
		s := f.service(f.world.Issuer, nil)
		group.Go(func() {
			if err := s.Turn(t.Context(), f.north.ID); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	f.turn()
	if n := f.codes(); n != results {
		t.Errorf("%d codes, want %d", n, results)
	}
}

// A spent quota is no fault of the result: it waits, longer and longer, for a day.
func TestQuotaIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	spent := true
	f.feed = f.service(f.world.Issuer, func(_ *Config, v *verification.Config) {
		v.Quota = budget(func(tenant.ID) bool { return !spent })
	})
	f.submit(result("A"), result("B"))
	f.turn()
	f.turn()
	if n := f.number(`select count(*) from lab_result where attempts = 1 and state = 'waiting' and due_at > $1`, f.world.Now()); n != 2 {
		t.Errorf("%d results wait, want 2", n)
	}
	f.world.Advance(2 * time.Minute)
	spent = false
	f.turn()
	if n := f.codes(); n != 2 {
		t.Errorf("%d codes, want 2", n)
	}
	spent = true
	f.submit(result("C"))
	for range maxAttempts {
		f.turn()
		f.world.Advance(maxBackoff)
	}
	if l := f.letters(); len(l) != 1 || l[0].Reason != GaveUp || !l[0].Retryable {
		t.Fatalf("dead letters: %+v", l)
	}
	spent = false
	if reason, err := f.retry(f.letters()[0].ID); reason != "" || err != nil {
		t.Fatalf("retry: %q, %v", reason, err)
	}
	f.turn()
	if n := f.codes(); n != 3 {
		t.Errorf("%d codes, want 3", n)
	}
}

// A key that is disabled issues no more codes, not even for what it handed in before.
func TestDisabledKeyIssuesNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.submit(result("A"))
	f.sql(`update api_key set disabled_at = now() where api_key_id = $1`, f.lab.ID)
	f.turn()
	if l := f.letters(); len(l) != 1 || l[0].Reason != SubmitterDisabled || f.codes() != 0 {
		t.Errorf("dead letters %+v, %d codes", l, f.codes())
	}
}

// Results of a tenant that is suspended or in maintenance wait, and no attempt counts.
func TestClosedTenantWaits(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.submit(result("A"))
	for _, closed := range []string{
		`update tenant_directory set state = 'suspended' where tenant = $1`,
		`with opened as (update tenant_directory set state = 'active' where tenant = $1)
		 update tenant_setting set maintenance = true where tenant_id = $1`,
	} {
		f.sql(closed, f.north.ID)
		f.feed = f.service(f.world.Issuer, nil)
		f.turn()
	}
	if n := f.number(`select count(*) from lab_result where attempts = 0 and state = 'waiting'`); n != 1 || f.codes() != 0 {
		t.Errorf("%d results wait, %d codes", n, f.codes())
	}
}

// A dead letter is retried under the mapping and the settings of now, discarded, or
// erased after its time.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.sql(`update tenant_setting set test_types = '{confirmed}' where tenant_id = $1`, f.north.ID)
	f.north = f.find(f.north.ID)
	f.submit(result("A", "result", "local-pos"), result("B", "test", antigen), result("", "phone", "+12065550101"))
	letters := map[Reason]DeadLetter{}
	for _, l := range f.letters() {
		letters[l.Reason] = l
	}
	for reason := range letters {
		if got, err := f.retry(letters[reason].ID); got != reason || err != nil {
			t.Errorf("%s, retried too early: %q, %v", reason, got, err)
		}
	}
	m := DefaultMapping()
	m.Outcomes.Positive = append(m.Outcomes.Positive, document.Code{System: document.SNOMED, Code: "local-pos"})
	if v, err := f.feed.SetMapping(t.Context(), f.north, f.lab, m); v != 1 || err != nil {
		t.Fatalf("mapping: version %d, %v", v, err)
	}
	f.sql(`update tenant_setting set test_types = '{confirmed,likely}' where tenant_id = $1`, f.north.ID)
	f.north = f.find(f.north.ID)
	for reason, want := range map[Reason]Reason{ResultUnknown: "", TestTypeNotAllowed: "", AccessionMissing: AccessionMissing} {
		if got, err := f.retry(letters[reason].ID); got != want || err != nil {
			t.Errorf("%s, retried: %q, %v, want %q", reason, got, err, want)
		}
	}
	f.feed = f.service(f.world.Issuer, nil) // with a directory that knows the new settings
	f.turn()
	if n := f.codes(); n != 2 {
		t.Errorf("%d codes, want 2", n)
	}
	if _, err := f.retry(letters[ResultUnknown].ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("an issued result, retried: %v", err)
	}
	r := f.submit(result("A", "result", "local-pos"), result("B", "test", antigen))
	f.wantCounts("the same again", r, Counts{Duplicates: 2})

	if err := f.feed.Discard(t.Context(), f.north, f.lab, letters[AccessionMissing].ID.String()); err != nil {
		t.Error(err)
	}
	if err := f.feed.Discard(t.Context(), f.north, f.lab, letters[AccessionMissing].ID.String()); !errors.Is(err, ErrNotFound) {
		t.Errorf("discarded twice: %v", err)
	}
	if n := f.number(`select count(*) from lab_result where sealed is not null`); n != 0 {
		t.Errorf("%d sealed results are left", n)
	}
	if n := f.number(`select count(*) from audit_entry where action in ('lab:retry', 'lab:discard', 'lab:map')`); n != 8 {
		t.Errorf("%d audit entries, want 8", n)
	}
	for _, id := range []string{"", "x", uuid.NewString()} {
		if _, err := f.feed.Retry(t.Context(), f.north, f.lab, id); !errors.Is(err, ErrNotFound) {
			t.Errorf("retry of %q: %v", id, err)
		}
	}
}

// A correction that came too late stays a dead letter, whatever is tried.
func TestRetryKeepsToTheRule(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.submit(result("A"))
	f.turn()
	f.submit(result("A", "phone", "+12065550199"))
	if got, err := f.retry(f.letters()[0].ID); got != CorrectedAfterIssue || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.submit(result("A", "phone", "none"), result("B"), result("C"))
	f.feed = f.killed("never", 1)
	f.turn()
	f.submit(result("D"))
	clean := func() {
		t.Helper()
		if err := f.feed.Clean(t.Context(), f.north.ID); err != nil {
			t.Fatal(err)
		}
	}
	clean()
	if n := f.number(`select count(*) from lab_result where sealed is not null`); n != 2 {
		t.Errorf("%d sealed results at first, want 2", n)
	}
	f.world.Advance(KeepSealed + time.Second)
	clean()
	if n := f.number(`select count(*) from lab_result where sealed is not null`); n != 0 {
		t.Errorf("%d sealed results after %v", n, KeepSealed)
	}
	for _, l := range f.letters() {
		if _, err := f.retry(l.ID); !errors.Is(err, ErrErased) || l.Retryable {
			t.Errorf("an erased dead letter, retried: %v", err)
		}
	}
	f.world.Advance(KeepDigests)
	clean()
	if n := f.number(`select (select count(*) from lab_submission) + (select count(*) from lab_result)`); n != 0 {
		t.Errorf("%d rows after %v", n, KeepDigests)
	}
}

// Pages of dead letters follow each other, also if the first is done with meanwhile.
func TestDeadLettersInPages(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var lines []string
	for i := range PageSize + 5 {
		lines = append(lines, result(fmt.Sprint("A", i), "phone", ""))
	}
	f.submit(lines...)
	first := f.letters()
	if err := f.feed.Discard(t.Context(), f.north, f.lab, first[len(first)-1].ID.String()); err != nil {
		t.Fatal(err)
	}
	f.world.Advance(time.Hour)
	rest, err := f.feed.DeadLetters(t.Context(), f.north, f.lab, first[len(first)-1].ID.String())
	if err != nil || len(first) != PageSize || len(rest) != 5 {
		t.Fatalf("pages of %d and %d, %v", len(first), len(rest), err)
	}
	if _, err := f.feed.DeadLetters(t.Context(), f.north, f.lab, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a page after nothing: %v", err)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	r := f.submit(result("A"), result("B", "phone", ""), result("C", "test", "1-1"))
	for _, want := range []map[string]int{{"waiting": 1, "dead": 1}, {"issued": 1, "dead": 1}} {
		p, err := f.feed.Progress(t.Context(), f.north, f.lab, r.ID.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, p.States); diff != "" || p.Counts != (Counts{Queued: 1, DeadLetters: 1, Ignored: 1}) || p.Format != "csv" {
			t.Errorf("%+v, states (-want +got):\n%s", p.Counts, diff)
		}
		f.turn()
	}
	if _, err := f.feed.Progress(t.Context(), f.north, f.lab, uuid.NewString()); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such submission: %v", err)
	}
}

// What came in through a process is worked on at once.
func TestRunWakesUp(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	done := make(chan struct{})
	f.feed.step = func(name string) error {
		if name == "issued" {
			close(done)
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- f.feed.Run(ctx, time.Hour) }()
	f.submit(result("A"))
	<-done
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// Whatever a document says of a person is in no table, no log and no error.
func TestNothingOfThePersonStays(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	hl7, fhir, csv := example(t, "positive.hl7"), example(t, "positive.fhir.json"), example(t, "results.csv")
	bad := strings.ReplaceAll(string(csv), "260373001", "Winterbourne")
	f.feed.step = func(name string) error {
		if name == "issuing" && f.codes() == 1 {
			return errKilled // an error of a kind that is logged
		}
		return nil
	}
	var said strings.Builder
	for _, in := range []struct {
		format document.Format
		body   string
	}{
		{document.HL7, string(hl7)},
		{document.FHIR, string(fhir)},
		{document.CSV, string(csv)},
		{document.CSV, bad},
		{document.HL7, strings.ReplaceAll(string(hl7), "OBR|1|", "OBR")},
		{document.FHIR, string(fhir) + "Winterbourne"},
		{document.CSV, string(csv) + "\"+12065550144"},
	} {
		r, err := f.feed.Submit(t.Context(), f.north, f.lab, in.format, []byte(in.body))
		fmt.Fprintf(&said, "%+v %#v %v\n", err, r.Counts, err)
		lines, _, err := f.feed.Rehearse(t.Context(), f.north, f.lab, in.format, []byte(in.body))
		fmt.Fprintf(&said, "%+v %v\n", lines, err)
		f.feed.round(t.Context())
	}
	fmt.Fprintf(&said, "%+v", f.letters())
	if f.codes() == 0 || len(f.letters()) == 0 {
		t.Fatalf("%d codes, %d dead letters: nothing was tried", f.codes(), len(f.letters()))
	}
	canaries := []string{
		"Winterbourne", "Ada", "ACC-2026", "P-30088", "555014", "555-014", "555 014", "55501", "Harbor", "19850314", "theo@",
	}
	for where, text := range map[string]string{"an answer": said.String(), "the log": f.log.String(), "a table": f.dump()} {
		for _, c := range canaries {
			if strings.Contains(text, c) {
				t.Errorf("%s has %q", where, c)
			}
		}
	}
}

// dump is every row of every table, as text.
func (f *fixture) dump() string {
	f.t.Helper()
	var all strings.Builder
	for _, name := range f.texts(`select format('%I', relname) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace`) {
		for _, row := range f.texts(`select x::text from ` + name + ` x`) {
			all.WriteString(name + " " + row + "\n")
			for _, hex := range strings.Split(row, `\x`)[1:] { // bytes, as text
				var b []byte
				_, _ = fmt.Sscanf(strings.SplitN(hex, `"`, 2)[0], "%x", &b)
				all.Write(b)
			}
		}
	}
	return all.String()
}

func (f *fixture) texts(query string) (all []string) {
	f.t.Helper()
	rows, err := f.world.Database.Super().QueryContext(f.t.Context(), query)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	return all
}

// A result that another role of the same tenant's keys handed in is the tenant's.
func TestEveryAdminKeySeesAll(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	r := f.submit(result("A"))
	if _, err := f.feed.Progress(t.Context(), f.north, f.subject(f.north, client.Admin), r.ID.String()); err != nil {
		t.Error(err)
	}
}

// budget is a quota of which one code is left whenever has says so.
func budget(has func(tenant.ID) bool) func(context.Context, *tenant.Tenant) (func() bool, func(), error) {
	return func(_ context.Context, t *tenant.Tenant) (spend func() bool, release func(), err error) {
		return func() bool { return has(t.ID) }, func() {}, nil
	}
}
