package importer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/outbound"
)

// A file that is published again with other bytes is not imported further, be it half
// way or long after; and that is told.
func TestChangedFilesAreSetAside(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.service.keysPerStep = 2
	f.partner.publish("half.zip", f.partner.file(t, newKeys(5), nil))
	f.service.step = at(stepsEach)
	if err := f.service.Turn(t.Context(), f.north.ID); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	f.service.step = func(string) error { return nil }
	f.partner.publish("half.zip", f.partner.file(t, newKeys(5), nil))
	f.partner.publish("whole.zip", f.partner.file(t, newKeys(5), nil))
	f.turn(t)
	f.wantFile(t, "half.zip", "changed: 2 0 0 0")
	f.wantFile(t, "whole.zip", "done: 5 0 0 0")
	if why := f.of(t, "half.zip").Failure; !strings.Contains(why, "its bytes have changed: SHA-256 was ") {
		t.Errorf("failure %q", why)
	}
	f.partner.publish("whole.zip", f.partner.file(t, newKeys(5), nil))
	f.world.Advance(24*time.Hour - time.Second)
	f.turn(t)
	f.wantFile(t, "whole.zip", "done: 5 0 0 0")
	f.world.Advance(time.Second)
	f.turn(t)
	f.wantFile(t, "whole.zip", "changed: 5 0 0 0")
	if n := f.stored(t); n != 7 {
		t.Errorf("%d keys are stored", n)
	}
	if e := f.entry(t); e.Changed != 2 {
		t.Errorf("listed as %+v", e)
	}
}

// What cannot be had or believed is tried again, at growing intervals, as long as it is
// listed; nothing of it is stored.
func TestBadFilesAreTriedAgain(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	stranger := newPartner(t)
	unsigned, err := exportfile.Encode(exportfile.File{Start: f.world.Now(), End: f.world.Now().Add(time.Hour), Region: "CA", Keys: newKeys(1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	good := f.partner.file(t, newKeys(2), nil)
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		body   []byte
		want   string
	}{
		"missing":    {http.NotFound, nil, "status 404"},
		"redirected": {http.RedirectHandler("http://169.254.169.254/", http.StatusFound).ServeHTTP, nil, "not followed"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for range 21 << 4 {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, nil, "more than 20971520 bytes"},
		"packed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(good)
		}, nil, "packed"},
		"brokenoff": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(good)
		}, nil, "breaks off"},
		"page":     {nil, []byte("<html>Sorry</html>"), "malformed"},
		"cut":      {nil, good[:len(good)-3], "malformed"},
		"unsigned": {nil, unsigned, "no valid signature"},
		"stranger": {nil, stranger.file(t, newKeys(1), nil), "no valid signature"},
	} {
		f.partner.publish(name, test.body)
		f.partner.answer(name, test.answer)
		if test.body == nil {
			f.partner.publish(name, []byte("x"))
		}
		f.turn(t)
		one := f.of(t, name)
		if one.State != "open" || !strings.Contains(one.Failure, test.want) || one.Attempts != 1 || one.Position != 0 || !one.DueAt.Equal(f.world.Now().Add(5*time.Minute)) {
			t.Errorf("%s: %+v, want %q", name, one, test.want)
		}
	}
	if n := f.stored(t); n != 0 {
		t.Errorf("%d keys are stored", n)
	}
	f.world.Advance(5 * time.Minute)
	f.turn(t)
	if one := f.of(t, "missing"); one.Attempts != 2 || !one.DueAt.Equal(f.world.Now().Add(10*time.Minute)) {
		t.Errorf("second failure: %+v", one)
	}
	f.partner.answer("missing", nil)
	f.partner.publish("missing", good)
	f.partner.unlist("missing")
	f.world.Advance(10 * time.Minute)
	asked := f.partner.askedFor("missing")
	f.turn(t)
	if f.partner.askedFor("missing") != asked {
		t.Error("a file that is not listed any more was asked for")
	}
	f.partner.publish("missing ", nil) // listed again, at the end
	f.turn(t)
	f.wantFile(t, "missing", "done: 2 0 0 0")
}

// A key that is learnt later makes files believed that were not.
func TestFilesAreTriedAgainWithOtherKeys(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	second := newPartner(t)
	second.signer.KeyVersion = "v2"
	f.partner.publish("1.zip", second.file(t, newKeys(2), nil))
	f.turn(t)
	f.wantFile(t, "1.zip", "open: 0 0 0 0")
	s := f.spec(t)
	s.Keys = append(s.Keys, second.trusted(t)...)
	f.mustAdd(t, s)
	f.turn(t)
	f.wantFile(t, "1.zip", "done: 2 0 0 0")
	if e := f.entry(t); e.No != 1 || e.Keys != "302/v1 302/v2" {
		t.Errorf("listed as %+v", e)
	}
}

// An index that cannot be read changes nothing, and that is told.
func TestBadIndexChangesNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.partner.publish("1.zip", []byte("bad"))
	f.turn(t)
	looked := f.entry(t).LookedAt
	f.world.Advance(time.Minute)
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) }
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"error":       {http.NotFound, "status 404"},
		"a page":      {text("<html>\n<body>Sorry</body></html>"), "line 1 names no file"},
		"escape":      {text("2.zip\n../secret.zip"), "line 2 names no file"},
		"other host":  {text("https://evil.example/2.zip"), "line 1 names no file"},
		"too large":   {text(strings.Repeat("2.zip\n", 200_000)), "more than 1048576 bytes"},
		"too long":    {text(strings.Repeat("a", 301)), "line 1 names no file"},
		"redirect":    {http.RedirectHandler("/exports/index.txt", http.StatusMovedPermanently).ServeHTTP, "not followed"},
		"a thousand×": {text(manyNames(maxListed + 1)), "more than 5000 lines"},
	} {
		f.partner.answer("index.txt", test.answer)
		f.turn(t)
		e := f.entry(t)
		if !strings.Contains(e.Failure, test.want) || e.FailedAt == nil || !e.LookedAt.Equal(*looked) || e.Open != 1 {
			t.Errorf("%s: listed as %+v, want %q", name, e, test.want)
		}
	}
	f.partner.answer("index.txt", nil)
	f.turn(t)
	if e := f.entry(t); e.Failure != "" || e.FailedAt != nil || !e.LookedAt.After(*looked) {
		t.Errorf("after a good index: %+v", e)
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

// Outside development, nothing is asked of this machine; and a slow server is given up
// with the turn.
func TestWhoIsAsked(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	strict := f.newService()
	strict.fetcher = outbound.NewFetcher(outbound.New(false, 443))
	if err := strict.Turn(t.Context(), f.north.ID); err != nil {
		t.Error(err)
	}
	if e := f.entry(t); !strings.Contains(e.Failure, "address cannot be used") || f.partner.askedFor("index.txt") != 0 {
		t.Errorf("listed as %+v", e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	f.partner.answer("index.txt", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("1"))
		_ = http.NewResponseController(w).Flush()
		close(asked)
		<-r.Context().Done()
	})
	go func() {
		<-asked
		cancel()
	}()
	if err := f.service.Turn(ctx, f.north.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("a turn with a slow server ended with %v", err)
	}
}

// A server that never ends keeps the tenant's other sources waiting for a while, not for
// good, and is told of.
func TestSlowServersTakeTurns(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	slow := newPartner(t)
	slow.answer("index.txt", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := f.spec(t)
	s.Index, s.Root = slow.url+"/exports/index.txt", slow.url+"/exports/"
	f.mustAdd(t, s)
	good := f.spec(t)
	good.Name = "second"
	f.mustAdd(t, good)
	f.partner.publish("1.zip", f.partner.file(t, newKeys(2), nil))
	f.service.patience = 200 * time.Millisecond
	for f.stored(t) == 0 {
		f.turn(t)
	}
	if e := f.entry(t); e.Name != source1 || e.Failure != errSlow.Error() {
		t.Errorf("the slow one is shown as %+v", e)
	}
}

// What is not listed any more is forgotten after a month, and so is a removed source,
// whose number then is free.
func TestClean(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	bad := newKey(func(k *exportfile.Key) { k.ReportType = exportfile.Recursive })
	f.partner.publish("old.zip", f.partner.file(t, []exportfile.Key{bad}, nil))
	f.partner.publish("new.zip", f.partner.file(t, []exportfile.Key{bad}, nil))
	f.turn(t)
	f.partner.unlist("old.zip")
	f.turn(t)
	f.world.Advance(30 * 24 * time.Hour)
	f.turn(t)
	if e := f.entry(t); e.Done != 2 {
		t.Errorf("after thirty days: %+v", e)
	}
	f.world.Advance(time.Second)
	f.turn(t)
	if e := f.entry(t); e.Done != 1 || e.Quarantined != 1 {
		t.Errorf("after more than thirty days: %+v", e)
	}
	remove := func(of *tenant.Tenant, name string) error {
		return f.world.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
			return Remove(t.Context(), tx, person, name, f.world.Now())
		})
	}
	if err := remove(f.south, source1); !errors.Is(err, ErrUnknown) {
		t.Errorf("another tenant's: %v", err)
	}
	if err := remove(f.north, source1); err != nil {
		t.Fatal(err)
	}
	if err := remove(f.north, source1); !errors.Is(err, ErrUnknown) {
		t.Errorf("again: %v", err)
	}
	asked := f.partner.askedFor("index.txt")
	f.turn(t)
	if f.partner.askedFor("index.txt") != asked {
		t.Error("a removed source was asked")
	}
	f.mustAdd(t, f.spec(t))
	if e := f.entry(t); e.No != 2 || e.Done != 0 {
		t.Errorf("the source is set up anew as %+v", e)
	}
	f.world.Advance(30*24*time.Hour + time.Second)
	f.turn(t)
	var left int
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select count(*) from import_source`).Scan(&left); err != nil || left != 1 {
		t.Errorf("%d sources are left, %v", left, err)
	}
}

// files counts what is told of, as "listed unlisted".
func (f *fixture) files(tb testing.TB) string {
	tb.Helper()
	var text string
	err := f.world.Database.Super().QueryRowContext(tb.Context(), `
select count(*) filter (where unlisted_at is null) || ' ' || count(unlisted_at) from import_file`).Scan(&text)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// An outside server that lists ever new names fills no table.
func TestEverNewNames(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	discover := func(from, until int) error {
		var names []string
		for i := from; i < until; i++ {
			names = append(names, fmt.Sprint(i))
		}
		return f.service.discover(t.Context(), f.north.ID, &source{No: 1}, names)
	}
	steps := func(want string, from, until int) {
		t.Helper()
		if err := discover(from, until); err != nil || f.files(t) != want {
			t.Errorf("%d to %d: %s files, want %s; %v", from, until, f.files(t), want, err)
		}
	}
	steps("10 0", 0, 10)
	steps("12 0", 5, 17) // what was never tried is forgotten at once
	f.exec(t, `update import_file set attempts = 1, failure = 'status 404' where name = '16'`)
	f.exec(t, `update import_file set sha256 = sha256('') where name = '15'`)
	steps("10 2", 0, 10)
	f.world.Advance(keptFailed)
	steps("10 2", 0, 10)
	f.world.Advance(time.Second)
	f.turn(t)
	if got := f.files(t); got != "0 1" {
		t.Errorf("two days later, with an empty index: %s files", got)
	}
}

func TestTooManyFilesAreRefused(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.turn(t)
	looked := f.entry(t).LookedAt
	f.exec(t, `
insert into import_file (tenant_id, import_no, name, discovered_at, due_at, unlisted_at, attempts, failure)
select $1, 1, 'x' || n, $2, $2, $2, 1, 'status 404' from generate_series(1, $3) as s (n)`, f.north.ID, f.world.Now(), maxFiles-1)
	f.world.Advance(time.Minute)
	f.partner.publish("1.zip", []byte("bad"))
	f.partner.publish("2.zip", []byte("bad"))
	f.turn(t)
	if e := f.entry(t); e.Failure != errManyFiles.Error() || !e.LookedAt.Equal(*looked) || e.Open != 0 || f.partner.askedFor("1.zip") != 0 {
		t.Errorf("one too many: %+v", e)
	}
	f.partner.unlist("2.zip")
	f.turn(t)
	if e := f.entry(t); e.Failure != "" || e.Open != 1 {
		t.Errorf("as many as may be: %+v", e)
	}
}
