package labfeed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/labfeed/document"
	"carillon/tenant/verification"
)

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
