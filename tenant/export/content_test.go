package export

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/exportfile"
	"carillon/tenant"
)

func TestFilesAreCutWhenFull(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		keys, revised int
		want          []share
	}{
		{0, 0, nil},
		{10, 0, []share{{10, 0}}},
		{11, 0, []share{{10, 0}, {1, 0}}},
		{8, 4, []share{{8, 2}, {0, 2}}},
		{10, 1, []share{{10, 0}, {0, 1}}},
		{25, 3, []share{{10, 0}, {10, 0}, {5, 3}}},
		{12, 9, []share{{10, 0}, {2, 8}, {0, 1}}},
		{20, 0, []share{{10, 0}, {10, 0}}},
		{0, 12, []share{{0, 10}, {0, 2}}},
	} {
		if diff := cmp.Diff(test.want, divide(share{test.keys, test.revised}, 10), cmp.AllowUnexported(share{})); diff != "" {
			t.Errorf("%d and %d keys (-want +got):\n%s", test.keys, test.revised, diff)
		}
	}
}

func TestSplitFilesDifferInTheirEnd(t *testing.T) {
	t.Parallel()
	b := batch{Start: at("09:00:00"), End: at("10:00:00"), plan: plan{Region: "XA"}}
	want := exportfile.Frame{Start: b.Start, End: b.End, Region: "XA"}
	if got := b.frame(0, 1); got != want {
		t.Errorf("the only file: %v", got)
	}
	for i := range 3 {
		want.End = want.End.Add(time.Second)
		if got := b.frame(i, 3); got != want {
			t.Errorf("file %d of 3: %v", i, got)
		}
	}
}

// keys are the new or the revised keys of a batch, as its files get them.
func (f *fixture) keys(tb testing.TB, b batch, query string) []exportfile.Key {
	tb.Helper()
	return f.packed(tb, b, query, count{}.packing())
}

// packed are the keys that come in certain packets.
func (f *fixture) packed(tb testing.TB, b batch, query string, p packing) (keys []exportfile.Key) {
	tb.Helper()
	err := f.world.Jobs.In(tb.Context(), f.tenant.ID, func(tx *tenant.Tx) error {
		return b.each(tb.Context(), tx, query, p, func(k exportfile.Key) error {
			keys = append(keys, k)
			return nil
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

// Few keys come in packets that the database holds; more in sorted ones; and if many begin
// with the same byte, which is not by chance, each comes alone. Their order is the same.
func TestPackets(t *testing.T) {
	t.Parallel()
	few := count{Keys: packedAtOnce, Most: maxPacket}.packing()
	many := count{Keys: packedAtOnce + 1, Most: maxPacket}.packing()
	alike := count{Keys: maxPacket + 1, Most: maxPacket + 1}.packing()
	if few.sorted || !many.sorted || many.by != few.by || !alike.sorted || alike.by == few.by {
		t.Fatalf("%+v, %+v, %+v", few, many, alike)
	}
	f := setUp(t)
	f.fill(t, 3000)
	start := f.world.Now().Truncate(period)
	f.exec(t, `update exposure set tek = set_byte(tek, 0, 7) where get_byte(tek, 0) < 128`)
	f.exec(t, `update exposure set revised_type = 'negative', revised_at = created_at, revised_risk = 1 where get_byte(tek, 1) < 99`)
	b := batch{Start: start, End: start.Add(period), plan: plan{Region: f.tenant.Region, Travelers: "region"}}
	for _, query := range []string{newSQL, revisedSQL} {
		want := f.packed(t, b, query, few)
		if !slices.IsSortedFunc(want, func(a, b exportfile.Key) int { return bytes.Compare(a.Data[:], b.Data[:]) }) {
			t.Error("keys are not in the order of their bytes")
		}
		for _, p := range []packing{many, alike} {
			if got := f.packed(t, b, query, p); len(got) < 900 || !slices.Equal(got, want) {
				t.Errorf("%+v: other keys, or in another order", p)
			}
		}
	}
	err := f.world.Jobs.In(t.Context(), f.tenant.ID, func(tx *tenant.Tx) error {
		keys, _, err := b.count(t.Context(), tx)
		if keys.Keys != 3000 || keys.Most < 1200 || keys.Most > 1800 {
			t.Errorf("counted: %+v", keys)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Every value that a key may have in the database comes into the file as it is.
func TestRecords(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	start := f.world.Now().Truncate(period)
	f.exec(t, `
insert into exposure
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, days_since_onset, traveler, region, created_at,
        revised_type, revised_at, revised_days, revised_risk)
values ($1, '\x000102030405060708090a0b0c0d0e0f', 2147483647, 1, 0, 'user-report', -14, false, 'XA', $2, 'negative', $2, null, 8),
       ($1, '\xff000000000000000000000000000000', 0, 144, 8, 'confirmed', 14, false, 'XA', $2, 'confirmed', $2, -1, 0),
       ($1, '\x80000000000000000000000000000000', 65536, 100, 3, 'likely', null, false, 'XA', $2, 'likely', $2, 0, 1),
       ($1, '\x7f000000000000000000000000000000', 255, 2, 1, 'likely', 0, false, 'XA', $2, null, null, null, null)`, f.tenant.ID, start)
	key := func(first byte, start, period, risk int32, report exportfile.ReportType, days ...int32) exportfile.Key {
		k := exportfile.Key{Data: tek{first}, RollingStart: start, RollingPeriod: period, TransmissionRisk: risk, ReportType: report}
		if len(days) > 0 {
			k.DaysSinceOnset, k.HasOnset = days[0], true
		}
		return k
	}
	counting := tek{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	wantNew := []exportfile.Key{
		key(0, 2147483647, 1, 0, exportfile.SelfReport, -14), key(0x7f, 255, 2, 1, exportfile.Clinical, 0),
		key(0x80, 65536, 100, 3, exportfile.Clinical), key(0xff, 0, 144, 8, exportfile.Confirmed, 14),
	}
	wantRevised := []exportfile.Key{
		key(0, 2147483647, 1, 8, exportfile.Revoked), key(0x80, 65536, 100, 1, exportfile.Clinical, 0),
		key(0xff, 0, 144, 0, exportfile.Confirmed, -1),
	}
	wantNew[0].Data, wantRevised[0].Data = counting, counting
	b := batch{Start: start, End: start.Add(period), plan: plan{Region: "XA", Travelers: "region"}}
	if !slices.Equal(f.keys(t, b, newSQL), wantNew) || !slices.Equal(f.keys(t, b, revisedSQL), wantRevised) {
		t.Error("other keys than those stored")
	}
	err := f.world.Jobs.In(t.Context(), f.tenant.ID, func(tx *tenant.Tx) error {
		keys, revised, err := b.count(t.Context(), tx)
		if keys.Keys != len(wantNew) || revised.Keys != len(wantRevised) {
			t.Errorf("counted: %+v, %+v", keys, revised)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// More or fewer keys than were counted are no file.
func TestFillingCounts(t *testing.T) {
	t.Parallel()
	stored := 0
	f := &filling{
		batch: batch{Start: at("09:00:00"), End: at("10:00:00")}, shares: []share{{keys: 1}, {keys: 1, revised: 1}},
		store: func(file, []byte) error { stored++; return nil }, step: func(string) error { return nil },
	}
	k := exportfile.Key{RollingPeriod: 144}
	for i, step := range []struct {
		add  func(exportfile.Key) error
		want error
		done int
	}{{f.add, nil, 1}, {f.add, nil, 1}, {f.addRevised, nil, 2}, {f.addRevised, errCount, 2}} {
		if err := step.add(k); !errors.Is(err, step.want) || len(f.done) != step.done || stored != step.done {
			t.Errorf("key %d: %v, %d files, %d stored", i, err, len(f.done), stored)
		}
	}
}

// What is stored or revised after a batch's keys were counted does not change its files:
// they have the keys of the moment when reading began.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.exec(t, `update export_config set max_records = 5, min_records = 0`)
	start := f.world.Now().Truncate(period)
	f.fill(t, 10)
	b := batch{Start: start, End: start.Add(period), plan: plan{Region: f.tenant.Region, Travelers: "region", MaxRecords: 5}}
	filling := &filling{batch: b, store: func(file, []byte) error { return nil }, step: func(string) error {
		f.exec(t, `update exposure set revised_type = 'confirmed', revised_at = created_at, revised_risk = 1`)
		return nil
	}}
	err := f.world.Jobs.In(t.Context(), f.tenant.ID, func(tx *tenant.Tx) error { return filling.all(t.Context(), tx, false) })
	if err != nil || len(filling.done) != 2 {
		t.Errorf("%d files, %v", len(filling.done), err)
	}
}

// What is no number of whole records is no packet.
func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, recordSize - 1, 2*recordSize + 1} {
		if records, err := unpack(nil, make([]byte, size)); !errors.Is(err, errRecord) || len(records) > 0 {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// Each of many keys is in one of the files.
func TestManyKeysInManyFiles(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	f.turn(t, s)
	const keys, most = 10_007, 4999
	f.exec(t, `update export_config set max_records = $1`, most)
	f.fill(t, keys)
	f.world.Advance(period)
	f.turn(t, s)
	var sizes []int
	seen := map[tek]bool{}
	for _, file := range f.files(t) {
		sizes = append(sizes, len(file.Keys))
		for _, k := range file.Keys {
			seen[k.Data] = true
		}
	}
	if want := []int{most, most, 20}; !slices.Equal(sizes, want) { // the last is padded
		t.Errorf("files of %v keys, want %v", sizes, want)
	}
	if n := f.count(t, `select count(*) from exposure where not generated`); n != keys || len(seen) != 2*most+20 {
		t.Errorf("%d keys are stored, %d different ones in the files", n, len(seen))
	}
	if n := f.count(t, `select count(*) from export_part`); n != 0 {
		t.Errorf("%d parts of published files are left", n)
	}
}

// A file of more bytes than phones take is not made; its batch gets more files.
func TestLargeFilesAreDivided(t *testing.T) {
	t.Parallel()
	body := bytes.NewBuffer(make([]byte, maxFile-3))
	for _, write := range []struct {
		text string
		want error
	}{{"12", nil}, {"34", errTooLarge}, {"3", nil}, {"4", errTooLarge}} {
		if _, err := fmt.Fprint(bounded{body}, write.text); !errors.Is(err, write.want) {
			t.Errorf("%q: %v, want %v", write.text, err, write.want)
		}
	}
	if body.Len() != maxFile {
		t.Errorf("%d bytes", body.Len())
	}

	f := setUp(t)
	s := f.service(nil)
	f.turn(t, s)
	f.exec(t, `update export_config set max_records = 40, min_records = 0`)
	f.fill(t, 40)
	f.world.Advance(period)
	tooLarge := true
	s.step = func(name string) error {
		if name == "encoded" && tooLarge {
			tooLarge = false
			return errTooLarge
		}
		return nil
	}
	f.turn(t, s)
	if files := f.files(t); len(files) != 2 || len(files[0].Keys) != 35 || len(files[1].Keys) != 5 {
		t.Errorf("%d files, want 2 of 35 and 5 keys", len(files))
	}
}

// A file of several parts comes out of the database as it went in.
func TestBodiesInParts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	f.mustPublish(t, 1)
	f.world.Advance(period)
	if err := s.Cut(t.Context(), f.tenant); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, partSize - 1, partSize, partSize + 1, 2*partSize + 7} {
		body := make([]byte, size)
		rand.Read(body)
		err := f.world.Jobs.In(t.Context(), f.tenant.ID, func(tx *tenant.Tx) error {
			var b batch
			if err := tx.Get(t.Context(), &b, leaseSQL, f.world.Now(), f.world.Now()); err != nil {
				return err
			}
			return storeBody(t.Context(), tx, b, file{number: size}, body)
		})
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(body)
		var b staged
		err = f.world.Jobs.In(t.Context(), f.tenant.ID, func(tx *tenant.Tx) error {
			return tx.Get(t.Context(), &b, `select config_id, starts_at from export_batch where state = 'open'`)
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.body(t.Context(), f.tenant, b, stagedFile{Number: size, Size: size, SHA256: sum[:]})
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes: %d, %v", size, len(got), err)
		}
	}
	if n := f.count(t, `select count(*) from export_part`); n != 1+1+1+2+3 {
		t.Errorf("%d parts", n)
	}
}

// What does not have the bytes that were staged is not put.
func TestSpoiledPart(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustPublish(t, 3)
	f.world.Advance(period)
	crashing := f.service(func(name string) error {
		if name == "staged" {
			return errCrash
		}
		return nil
	})
	if err := crashing.Turn(t.Context(), f.tenant.ID); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	f.exec(t, `update export_part set body = set_byte(body, 99, 255 - get_byte(body, 99))`)
	if err := f.service(nil).Turn(t.Context(), f.tenant.ID); !errors.Is(err, errStagedBytes) {
		t.Errorf("turn: %v, want errStagedBytes", err)
	}
	if index := f.index(t); len(index) > 0 {
		t.Errorf("index: %q", index)
	}
	f.exec(t, `update export_part set body = set_byte(body, 99, 255 - get_byte(body, 99))`)
	f.turn(t, f.service(nil))
	if len(f.files(t)) != 1 {
		t.Error("no file when the part is mended")
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	b := batch{Start: time.Unix(1614556800, 0), End: time.Unix(1614571200, 0)}
	if got := fileName(b, 2); got != "1614556800-1614571200-00002.zip" {
		t.Error(got)
	}
}
