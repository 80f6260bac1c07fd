package export

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"

	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	exportplan "carillon/tenant/export/plan"
	"carillon/tenant/exposure"
	"carillon/tenant/exposure/exposuretest"
	"carillon/tenant/job"
	"carillon/tenant/key"
)

func TestKeysAreExportedOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	f.turn(t, s)
	keys := f.mustPublish(t, 14)
	f.turn(t, s)
	if index := f.index(t); len(index) != 0 {
		t.Errorf("the window is open, but there are files: %q", index)
	}
	f.world.Advance(period)
	f.turn(t, s)
	f.turn(t, s)
	f.wantOnce(t, keys)
	more := f.mustPublish(t, 3)
	f.world.Advance(5 * period) // an outage
	f.turn(t, s)
	f.wantOnce(t, slices.Concat(keys, more))
	if !slices.IsSorted(f.index(t)) || len(f.index(t)) != 2 {
		t.Errorf("index: %q", f.index(t))
	}
	f.wantTidy(t)
}

// A tenant has an index, if an empty one, before it has a key.
func TestIndexIsThereFromTheBeginning(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.turn(t, f.service(nil))
	if body, err := f.object(t.Context(), Prefix(f.tenant)+IndexName); err != nil || len(body) != 0 {
		t.Errorf("index: %q, %v", body, err)
	}
}

// The index ends without a line end (§5.5).
func TestIndexText(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for range 2 {
		f.mustPublish(t, 1)
		f.world.Advance(period)
	}
	f.turn(t, f.service(nil))
	body, err := f.object(t.Context(), Prefix(f.tenant)+IndexName)
	const want = "1795618800-1795622400-00001.zip\n1795622400-1795626000-00001.zip"
	if err != nil || string(body) != want {
		t.Errorf("index %q, want %q (%v)", body, want, err)
	}
}

// Looking whether something is due is cheap.
func TestIdleTurn(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	f.mustPublish(t, 3)
	f.world.Advance(period)
	f.turn(t, s)
	f.turn(t, s)
	if n := f.world.Trips(func() { f.turn(t, s) }); n != 3 {
		t.Errorf("a turn with nothing to do takes %d round trips, want 3", n)
	}
}

// What an observer sees of small batches does not tell how many keys are real.
func TestSmallFilesArePadded(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustPublish(t, 3)
	f.world.Advance(period)
	f.turn(t, f.service(nil))
	fresh, _ := f.observe(t)
	if len(fresh) < 20 {
		t.Errorf("the file has %d keys, want at least 20", len(fresh))
	}
	if n := f.count(t, `select count(*) from exposure where generated`); n != len(fresh)-3 {
		t.Errorf("%d generated keys are stored", n)
	}
}

func (f *fixture) count(tb testing.TB, query string, args ...any) (n int) {
	tb.Helper()
	if err := f.world.Database.Super().QueryRowContext(tb.Context(), query, args...).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}

// Batches without keys leave nothing behind but the fact that they are done.
func TestEmptyWindows(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(func(name string) error {
		if name == "leased" {
			return errors.New("there is nothing to work on")
		}
		return nil
	})
	f.turn(t, s)
	f.world.Advance(100 * period)
	f.turn(t, s)
	if n := f.count(t, `select count(*) from export_batch where state = 'published'`); n < 100 {
		t.Errorf("%d windows are done, want 100", n)
	}
	f.wantTidy(t)
}

// A window whose keys are not for the configuration makes no file.
func TestWindowOfOtherRegions(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustPublish(t, 3)
	f.exec(t, `update exposure set region = 'ZZ'`)
	f.world.Advance(period)
	s := f.service(nil)
	f.turn(t, s)
	if index := f.index(t); len(index) != 0 {
		t.Errorf("index: %q", index)
	}
	if n := f.count(t, `select count(*) from export_batch where state <> 'published'`); n != 0 {
		t.Errorf("%d batches are not done", n)
	}
}

// A window with nothing but revisions makes a file of them, and of the revisions of
// their copies. The original stays as it was in its own file (§3.5).
func TestRevisionsAlone(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	keys := f.phone.Keys(3)
	r, err := f.send(t.Context(), certificate.Likely, keys, "")
	if err != nil {
		t.Fatal(err)
	}
	f.world.Advance(period)
	f.turn(t, s)
	if _, err := f.send(t.Context(), certificate.Negative, keys[:1], r.RevisionToken); err != nil {
		t.Fatal(err)
	}
	f.world.Advance(period)
	f.turn(t, s)
	files := f.files(t)
	if len(files) != 2 || len(files[1].Keys) != 0 || len(files[1].Revised) < 20/3 {
		t.Fatalf("%d files", len(files))
	}
	found := false
	for _, revoked := range files[1].Revised {
		found = found || revoked.Data == bytesOf(keys)[0]
		if revoked.ReportType != exportfile.Revoked || revoked.TransmissionRisk != 6 || !revoked.HasOnset {
			t.Errorf("revised to %+v", revoked)
		}
	}
	if !found {
		t.Error("the key that was revised is not among them")
	}
	for _, k := range files[0].Keys {
		if k.ReportType != exportfile.Clinical {
			t.Errorf("original %+v", k)
		}
	}
}

// Regions and travelers, §5.1: true intersections, also of several regions.
func TestSelection(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const insert = `
insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, other_regions, created_at)
values ($1, $2, 1, 144, 0, 'confirmed', $3, $4, nullif($5::text[], '{}'), $6)`
	keys := []struct {
		name, region, others string
		traveler             bool
	}{
		{"a", "A", "{}", false},
		{"at", "A", "{}", true},
		{"b", "B", "{}", false},
		{"ab", "A", "{B}", false},
		{"c", "C", "{}", false},
		{"ct", "C", "{}", true},
		{"bct", "B", "{C}", true},
	}
	for i, k := range keys {
		f.exec(t, insert, f.tenant.ID, bytes.Repeat([]byte{byte(i)}, 16), k.traveler, k.region, k.others, f.world.Now().Truncate(period))
	}
	tests := []struct {
		name, region   string
		input, exclude pq.StringArray
		travelers      string
		want           string
	}{
		{"own region", "A", pq.StringArray{}, pq.StringArray{}, "region", "a at ab"},
		{"one input", "Z", pq.StringArray{"B"}, pq.StringArray{}, "region", "b ab bct"},
		{"two inputs", "Z", pq.StringArray{"A", "B"}, pq.StringArray{}, "region", "a at b ab bct"},
		{"three inputs", "Z", pq.StringArray{"A", "B", "C"}, pq.StringArray{}, "region", "a at b ab c ct bct"},
		{"no such region", "Z", pq.StringArray{}, pq.StringArray{}, "region", ""},
		{"excluded", "A", pq.StringArray{"A", "B"}, pq.StringArray{"B"}, "region", "a at"},
		{"two excluded", "A", pq.StringArray{"A", "B", "C"}, pq.StringArray{"B", "C"}, "region", "a at"},
		{"with travelers", "A", pq.StringArray{}, pq.StringArray{}, "include", "a at ab ct bct"},
		{"with travelers, one region excluded", "A", pq.StringArray{}, pq.StringArray{"B"}, "include", "a at ct"},
		{"without travelers", "A", pq.StringArray{"A", "B", "C"}, pq.StringArray{}, "exclude", "a b ab c"},
	}
	start := f.world.Now().Truncate(period)
	for _, test := range tests {
		b := batch{Start: start, End: start.Add(period), plan: plan{
			Region: test.region, InputRegions: test.input, ExcludeRegions: test.exclude, Travelers: test.travelers, IncludeImported: true,
		}}
		var got []string
		for _, k := range f.keys(t, b, newSQL) {
			got = append(got, keys[k.Data[0]].name)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// Keys of other key servers are in the files of configurations that include them.
func TestImportedKeys(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	start := f.world.Now().Truncate(period)
	f.mustPublish(t, 2)
	f.exec(t, `update exposure set import_no = 1 where tek = (select tek from exposure limit 1)`)
	for included, want := range map[bool]int{true: 2, false: 1} {
		b := batch{Start: start, End: start.Add(period), plan: plan{
			Region: f.tenant.Region, ExcludeRegions: pq.StringArray{}, Travelers: "region", IncludeImported: included,
		}}
		if n := len(f.keys(t, b, newSQL)); n != want {
			t.Errorf("included %t: %d keys, want %d", included, n, want)
		}
	}
}

// Two configurations of a tenant: each exports every key once, and the padding of
// the one is in the files of the other, so that comparing them tells nothing (§5.4).
func TestTwoConfigurations(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.exec(t, `
insert into export_config
       (tenant_id, config_id, path, region, period_seconds, min_age_seconds, min_records, padding_range, active_from)
select tenant_id, gen_random_uuid(), 'daily/', region, 86400, 0, 20, 5, active_from
  from export_config`)
	s := f.service(nil)
	keys := f.mustPublish(t, 4)
	f.world.Advance(period)
	f.turn(t, s)
	keys = append(keys, f.mustPublish(t, 3)...)
	f.world.Advance(24 * time.Hour)
	f.turn(t, s)
	f.turn(t, s)
	f.wantOnce(t, keys)
	hourly, _ := f.observe(t)
	index := f.index(t)
	names, err := f.store.List(t.Context(), Prefix(f.tenant)+"daily/")
	if err != nil || len(names) != 2 {
		t.Fatalf("daily: %q, %v", names, err)
	}
	body, err := f.object(t.Context(), names[0])
	if err != nil {
		t.Fatal(err)
	}
	file, err := exportfile.Verify(body, f.exportKey.KeyID, f.exportKey.Label, f.exportKey.Key)
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Keys) != len(hourly) || len(index) != 2 {
		t.Errorf("%d keys in the daily file, %d in %d hourly ones", len(file.Keys), len(hourly), len(index))
	}
	for _, k := range file.Keys {
		if hourly[k.Data] != 1 {
			t.Error("the files can be told apart")
		}
	}
}

// Keys of other tenants are in no file, and neither sees the other's batches.
func TestTenantsFilesAreApart(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	south := f.of(t, f.world.Create("south", hourly))
	theirs, ours := south.mustPublish(t, 5), f.mustPublish(t, 5)
	f.world.Advance(period)
	s := f.service(nil)
	f.turn(t, s)
	south.turn(t, s)
	f.wantOnce(t, ours)
	south.wantOnce(t, theirs)
	seen, _ := f.observe(t)
	for _, k := range theirs {
		if seen[k] != 0 {
			t.Error("another tenant's key is in the file")
		}
	}
	f.wantTidy(t)
	south.wantTidy(t)
	body, err := f.object(t.Context(), Prefix(south.tenant)+south.index(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exportfile.Verify(body, south.exportKey.KeyID, south.exportKey.Label, f.exportKey.Key); !errors.Is(err, exportfile.ErrSignature) {
		t.Errorf("another tenant's file under this tenant's key: %v", err)
	}
}

// A tenant whose work fails says so, with how far it is behind, and goes on when the cause
// is gone. Neither the error nor the log has keys.
func TestFailingTenant(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ours := f.mustPublish(t, 5)
	f.world.Advance(period)
	f.exec(t, `update signing_key set state = 'verify-only' where purpose = 'export' and tenant_id = $1`, f.tenant.ID)
	var said bytes.Buffer
	s := f.service(nil)
	s.log = slog.New(slog.NewTextHandler(&said, nil))
	err := s.Turn(t.Context(), f.tenant.ID)
	if !errors.Is(err, key.ErrNoKey) || job.Class(err) != "no usable key" {
		t.Errorf("turn without a key: %v, of class %q", err, job.Class(err))
	}
	if since, err := s.Behind(t.Context(), f.tenant.ID); err != nil || since.After(f.world.Now()) || since.Before(f.world.Now().Add(-period)) {
		t.Errorf("behind since %v (%v), want the end of the window", since, err)
	}
	fmt.Fprint(&said, err)
	for _, k := range ours {
		for _, text := range []string{hex.EncodeToString(k[:]), base64.StdEncoding.EncodeToString(k[:])} {
			if strings.Contains(said.String(), text) {
				t.Error("the log shows a key")
			}
		}
	}
	f.exec(t, `update signing_key set state = 'active' where purpose = 'export' and tenant_id = $1`, f.tenant.ID)
	f.world.Advance(retryAfter)
	f.turn(t, f.service(nil))
	f.wantOnce(t, ours)
	if since, err := s.Behind(t.Context(), f.tenant.ID); err != nil || !since.IsZero() {
		t.Errorf("still behind since %v (%v)", since, err)
	}
}

// A suspended tenant's files are finished and retired as everybody's, but nothing new is
// made of its keys.
func TestTend(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.mustPublish(t, 3)
	f.world.Advance(period)
	if err := f.service(func(name string) error {
		if name == "staged" {
			return errCrash
		}
		return nil
	}).Turn(t.Context(), f.tenant.ID); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	f.mustPublish(t, 3)
	f.world.Advance(period)
	f.exec(t, `update tenant_directory set state = 'suspended' where tenant = $1`, f.tenant.ID)
	tend := func() {
		t.Helper()
		if err := f.service(nil).Tend(t.Context(), f.tenant.ID); err != nil {
			t.Fatal(err)
		}
	}
	tend()
	f.wantOnce(t, keys)
	if n := len(f.index(t)); n != 1 {
		t.Errorf("%d files, want what was staged alone", n)
	}
	f.world.Advance(Retention + deletionGrace)
	tend()
	if names, err := f.store.List(t.Context(), Prefix(f.tenant)); err != nil || len(names) != 1 || len(f.index(t)) != 0 {
		t.Errorf("left are %q (%v), want an empty index", names, err)
	}
}

// A worker that was taken for dead cannot stage what another one has been given, and
// leaves no padding behind.
func TestLateWorkerCannotStage(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.mustPublish(t, 7)
	f.world.Advance(period)
	s := f.service(nil)
	if err := s.Cut(t.Context(), f.tenant); err != nil {
		t.Fatal(err)
	}
	taken := false
	late := f.service(func(name string) error {
		if name == "encoded" {
			taken = true
			f.world.Advance(lease)
			f.turn(t, s) // the other worker does it all
		}
		return nil
	})
	if worked, err := late.Work(t.Context(), f.tenant); !worked || err != nil || !taken {
		t.Errorf("the late worker: %v, %v", worked, err)
	}
	f.wantOnce(t, keys)
	fresh, _ := f.observe(t)
	if n := f.count(t, `select count(*) from exposure`); n != len(fresh) {
		t.Errorf("%d keys are stored, %d in the file", n, len(fresh))
	}
	if n := f.count(t, `select max(fence) from export_batch`); n != 2 {
		t.Errorf("fence %d, want 2", n)
	}
}

// Of two workers with one fence, only the rightful one stages.
func TestStageIsFenced(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustPublish(t, 7)
	f.world.Advance(period)
	s := f.service(nil)
	if err := s.Cut(t.Context(), f.tenant); err != nil {
		t.Fatal(err)
	}
	var b batch
	take := func() {
		t.Helper()
		err := f.world.Jobs.In(t.Context(), f.tenant.ID, func(tx *tenant.Tx) error {
			return tx.Get(t.Context(), &b, leaseSQL, f.world.Now(), f.world.Now())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	take()
	old := b
	take()
	if err := s.produce(t.Context(), f.tenant, old); !errors.Is(err, errFenced) {
		t.Errorf("the old lease: %v, want errFenced", err)
	}
	if err := s.renew(t.Context(), f.tenant, old, f.world.Now()); !errors.Is(err, errFenced) {
		t.Errorf("renew the old lease: %v, want errFenced", err)
	}
	if err := s.produce(t.Context(), f.tenant, b); err != nil {
		t.Errorf("the new lease: %v", err)
	}
	if err := s.produce(t.Context(), f.tenant, b); !errors.Is(err, errFenced) {
		t.Errorf("again: %v, want errFenced", err)
	}
}

// Nobody else gets a batch while its worker lives, however long it takes.
func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.mustPublish(t, 7)
	f.world.Advance(period)
	other := f.service(nil)
	slow := f.service(func(name string) error {
		if name != "encoded" {
			return nil
		}
		for range 3 {
			f.world.Advance(lease - time.Second)
			f.awaitLease(t, f.world.Now().Add(lease))
			if worked, err := other.Work(t.Context(), f.tenant); worked || err != nil {
				t.Errorf("another worker: %v, %v", worked, err)
			}
		}
		return nil
	})
	slow.renewEvery = time.Millisecond
	f.turn(t, slow)
	f.wantOnce(t, keys)
}

// awaitLease returns when the open batch is leased until then.
func (f *fixture) awaitLease(t *testing.T, until time.Time) {
	t.Helper()
	const sql = `select count(*) from export_batch where state = 'open' and leased_until = $1`
	for f.count(t, sql, until) == 0 {
		if t.Context().Err() != nil {
			t.Fatal("nobody renews the lease")
		}
	}
}

// A worker that loses its lease stops working.
func TestLostLease(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustPublish(t, 7)
	f.world.Advance(period)
	s := f.service(nil)
	if err := s.Cut(t.Context(), f.tenant); err != nil {
		t.Fatal(err)
	}
	s.renewEvery = time.Millisecond
	held, release := s.hold(t.Context(), f.tenant, batch{Fence: 7})
	<-held.Done()
	if err := context.Cause(held); !errors.Is(err, errFenced) {
		t.Errorf("cause: %v, want errFenced", err)
	}
	release(nil)
}

// A batch whose work failed is tried again after a while, not at once, and its
// windows' successors wait for it.
func TestFailedBatchIsRetried(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.mustPublish(t, 7)
	f.world.Advance(period)
	failing := f.service(func(name string) error {
		if name == "leased" {
			return errCrash
		}
		return nil
	})
	if err := failing.Turn(t.Context(), f.tenant.ID); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	s := f.service(nil)
	if worked, err := s.Work(t.Context(), f.tenant); worked || err != nil {
		t.Errorf("at once: %v, %v", worked, err)
	}
	f.world.Advance(retryAfter)
	f.turn(t, s)
	f.wantOnce(t, keys)
}

// A file never enters the index before one that phones may have read already.
func TestBatchesArePublishedInOrder(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	first := f.mustPublish(t, 3)
	f.world.Advance(period)
	var second []tek
	s := f.service(nil)
	slow := f.service(func(name string) error {
		if name != "encoded" {
			return nil
		}
		// The first worker is slow, not dead, when the next window closes.
		second = f.mustPublish(t, 3)
		f.world.Advance(period)
		f.extendLease(t)
		f.turn(t, s)
		if n := f.count(t, `select count(*) from export_batch where state = 'staged'`); n != 1 {
			t.Errorf("%d batches are staged, want the second", n)
		}
		if index := f.index(t); len(index) != 0 {
			t.Errorf("the second window's file is there before the first's: %q", index)
		}
		return nil
	})
	f.turn(t, slow)
	f.wantOnce(t, slices.Concat(first, second))
}

// extendLease keeps the batches that are leased from being leased again for a while.
func (f *fixture) extendLease(t *testing.T) {
	t.Helper()
	f.exec(t, `update export_batch set leased_until = $1 where leased_until is not null`, f.world.Now().Add(lease))
}

// An index that was overwritten by a slower process with an older list is put right
// by that process.
func TestSlowIndexWriterFindsOut(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.turn(t, f.service(nil))
	first := f.mustPublish(t, 3)
	f.world.Advance(period)
	var second []tek
	s := f.service(f.onceAt("listed", func() error {
		// The list has been read; while it waits to be written, another process
		// publishes the next window.
		second = f.mustPublish(t, 3)
		f.world.Advance(period)
		f.turn(t, f.service(nil))
		return nil
	}))
	if err := s.Cut(t.Context(), f.tenant); err != nil {
		t.Fatal(err)
	}
	if worked, err := s.Work(t.Context(), f.tenant); !worked || err != nil {
		t.Fatal(worked, err)
	}
	if err := s.Apply(t.Context(), f.tenant); err != nil {
		t.Fatal(err)
	}
	if second == nil {
		t.Fatal("nobody was slow")
	}
	f.wantOnce(t, slices.Concat(first, second))
}

// onceAt calls do at the first step of a name.
func (f *fixture) onceAt(step string, do func() error) func(string) error {
	done := false
	return func(name string) error {
		if name != step || done {
			return nil
		}
		done = true
		return do()
	}
}

// An older index whose writer died before finding out does not stay: a process that
// has nothing else to do puts it right, and so it does with one that was lost.
func TestStaleIndexIsMended(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	watcher := f.service(nil)
	f.turn(t, watcher)
	keys := f.mustPublish(t, 3)
	f.world.Advance(period)
	f.turn(t, watcher)
	right := f.index(t)
	name := Prefix(f.tenant) + IndexName
	for _, damage := range []func() error{
		func() error { return f.store.Replace(t.Context(), name, nil) },
		func() error { return f.store.Delete(t.Context(), name) },
	} {
		f.world.Advance(indexCheck)
		f.turn(t, watcher)
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		f.world.Advance(indexCheck)
		f.turn(t, watcher)
		if got := f.index(t); !slices.Equal(got, right) {
			t.Errorf("index %q, want %q", got, right)
		}
	}
	f.wantOnce(t, keys)
}

// A file that is in the store with other bytes is never replaced, and nothing is
// published past it.
func TestConflictingFile(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	f.turn(t, s)
	f.mustPublish(t, 3)
	start := f.world.Now().Truncate(period)
	name := Prefix(f.tenant) + fileName(batch{Start: start, End: start.Add(period)}, 1)
	if err := f.store.PutIfAbsent(t.Context(), name, []byte("something else")); err != nil {
		t.Fatal(err)
	}
	f.world.Advance(period)
	for range 2 {
		if err := s.Turn(t.Context(), f.tenant.ID); !errors.Is(err, ErrConflict) {
			t.Errorf("turn: %v, want ErrConflict", err)
		}
		f.mustPublish(t, 3)
		f.world.Advance(period)
	}
	if index := f.index(t); len(index) != 0 {
		t.Errorf("index: %q", index)
	}
	if err := f.store.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	f.turn(t, s)
	if index := f.index(t); len(index) != 3 {
		t.Errorf("index afterwards: %q", index)
	}
}

// A window is not closed over a key that is being stored: closing waits for the commit,
// and the key is in the window's file.
func TestClosingWaitsForPublishers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	f.turn(t, s)
	const insert = `
insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at)
values (current_tenant(), $1, 2990000, 144, 0, 'confirmed', false, $2, $3)`
	var key tek
	arrived := f.world.Now().Truncate(period)
	f.world.Advance(period)
	closed := make(chan error, 1)
	err := f.world.Publish.InShared(t.Context(), f.tenant.ID, exposure.Arrivals, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(t.Context(), insert, key[:], f.tenant.Region, arrived); err != nil {
			return err
		}
		go func() { closed <- s.Cut(t.Context(), f.tenant) }()
		f.awaitLock(t)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	f.turn(t, s)
	f.wantOnce(t, []tek{key})
}

// awaitLock returns when a transaction waits for a lock.
func (f *fixture) awaitLock(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const sql = `
select count(*)
  from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock'`
	for waiting := 0; waiting == 0; {
		if err := f.world.Database.Super().QueryRowContext(ctx, sql).Scan(&waiting); err != nil {
			t.Fatalf("nobody waits for a lock: %v", err)
		}
	}
}

// A publisher whose clock is behind cannot date a key into a closed window.
func TestSlowClock(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	f.mustPublish(t, 3)
	f.world.Advance(period)
	f.turn(t, s)
	behind := func() time.Time { return f.world.Now().Add(-2 * period) }
	slow := *f
	slow.publisher = exposure.New(exposure.Config{DB: f.world.Publish, Keys: key.NewRing(f.world.Publish, f.world.Root), Now: behind})
	var err error
	slow.phone, err = exposuretest.New(t.Context(), key.NewRing(f.world.Device, f.world.Root), f.tenant, behind)
	if err != nil {
		t.Fatal(err)
	}
	keys := slow.mustPublish(t, 3)
	f.world.Advance(period)
	f.turn(t, s)
	f.wantOnce(t, keys)
}

// Publishers and several workers at once, over many windows: every acknowledged key
// is in exactly one file.
func TestPublishersAndWorkersAtOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const publishers, uploads, workers = 4, 25, 3
	var mu sync.Mutex
	var acknowledged []tek
	stop := make(chan struct{})
	var publishing, working sync.WaitGroup
	for range publishers {
		publishing.Go(func() {
			for range uploads {
				keys, err := f.publish(t.Context(), 3)
				if err != nil {
					t.Errorf("publish: %v", err)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, keys...)
				mu.Unlock()
				f.world.Advance(7 * time.Minute)
			}
		})
	}
	for range workers {
		working.Go(func() {
			s := f.service(nil)
			for {
				if err := s.Turn(t.Context(), f.tenant.ID); err != nil {
					t.Errorf("turn: %v", err)
				}
				f.observe(t)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	publishing.Wait()
	close(stop)
	working.Wait()
	f.world.Advance(2 * period)
	f.turn(t, f.service(nil))
	f.turn(t, f.service(nil))
	f.wantOnce(t, acknowledged)
	f.wantTidy(t)
	if len(f.index(t)) < 5 {
		t.Errorf("only %d files: the test has not crossed enough windows", len(f.index(t)))
	}
}

// Files leave the index after two weeks, and the store a day later; then nothing
// remembers them.
func TestFilesRetire(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustPublish(t, 3)
	f.world.Advance(period)
	s := f.service(nil)
	f.turn(t, s)
	name := Prefix(f.tenant) + f.index(t)[0]
	f.world.SetNow(f.world.Now().Truncate(period).Add(Retention - period - time.Second))
	f.turn(t, s)
	if index := f.index(t); len(index) != 1 {
		t.Errorf("index before its time: %q", index)
	}
	f.world.Advance(time.Second)
	f.turn(t, s)
	if index := f.index(t); len(index) != 0 {
		t.Errorf("index: %q", index)
	}
	f.world.Advance(deletionGrace + period)
	f.turn(t, s)
	if _, err := f.object(t.Context(), name); err != nil {
		t.Errorf("the file is gone before its time: %v", err)
	}
	f.world.Advance(time.Second)
	f.turn(t, s)
	if _, err := f.object(t.Context(), name); !errors.Is(err, ErrNotFound) {
		t.Errorf("the file is still there: %v", err)
	}
	if n := f.count(t, `select count(*) from export_file`); n != 0 {
		t.Errorf("%d files are remembered", n)
	}
	limit := f.world.Now().Add(-Retention - deletionGrace)
	if n := f.count(t, `select count(*) from export_batch where ends_at < $1`, limit); n != 0 {
		t.Errorf("%d old batches are remembered", n)
	}
	more := f.mustPublish(t, 2)
	f.world.Advance(period)
	f.turn(t, s)
	f.wantOnce(t, more)
}

// After days without a worker every window's keys are in their own files, the oldest
// first, for each configuration; revisions come after what they revise.
func TestCatchingUpAfterDays(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.operate(t, func(tx *tenant.Tx) error {
		return exportplan.Add(t.Context(), tx, f.tenant, custodian, "daily/", map[string]string{"period": "24h", "min-records": "0"}, f.world.Now())
	})
	f.turn(t, f.service(nil))
	var keys []tek
	const days, perDay = 5, 3
	for range days * perDay {
		uploaded := f.phone.Keys(2)
		r, err := f.send(t.Context(), certificate.Likely, uploaded, "")
		if err != nil {
			t.Fatal(err)
		}
		f.world.Advance(24 * time.Hour / perDay)
		if _, err := f.send(t.Context(), certificate.Confirmed, uploaded[:1], r.RevisionToken); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, bytesOf(uploaded)...)
	}
	f.world.Advance(26 * time.Hour)
	s := f.service(nil)
	for f.count(t, `select count(*) from export_batch where state <> 'published'`) > 0 || len(f.index(t)) == 0 {
		f.turn(t, s)
	}
	f.wantOnce(t, keys)
	if index := f.index(t); len(index) != days*perDay+1 || !slices.IsSorted(index) {
		t.Errorf("%d files: %q", len(index), index)
	}
	fresh := map[tek]bool{}
	for _, file := range f.files(t) {
		for _, k := range file.Keys {
			fresh[k.Data] = true
		}
		for _, k := range file.Revised {
			if !fresh[k.Data] {
				t.Error("a key is revised before it is there")
			}
		}
	}
	daily, err := f.object(t.Context(), Prefix(f.tenant)+"daily/"+IndexName)
	if n := len(strings.Fields(string(daily))); err != nil || n < days || n > days+2 {
		t.Errorf("%d daily files, %v", n, err)
	}
}
