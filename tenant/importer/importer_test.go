package importer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protowire"

	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/exposure"
	"carillon/tenant/exposure/exposuretest"
	"carillon/tenant/key"
	"carillon/tenant/outbound"
)

// What a file says of its keys is stored; what it leaves out is made up for (§10.3), and
// keys in use wait until they are not (§4).
func TestImport(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := exposuretest.Interval(f.world.Now())
	cases := []struct {
		key  exportfile.Key
		want string
	}{
		{newKey(), "-144 144 3 confirmed 1 CA 25 15:00 1"},
		{newKey(func(k *exportfile.Key) { k.ReportType, k.TransmissionRisk = exportfile.Clinical, 0 }), "-144 144 4 likely 1 CA 25 15:00 1"},
		{newKey(func(k *exportfile.Key) { k.ReportType, k.TransmissionRisk = exportfile.SelfReport, 0 }), "-144 144 0 user-report 1 CA 25 15:00 1"},
		{newKey(func(k *exportfile.Key) { k.ReportType, k.TransmissionRisk = exportfile.Unknown, 0 }), "-144 144 2 confirmed 1 CA 25 15:00 1"},
		{newKey(func(k *exportfile.Key) { k.HasOnset, k.DaysSinceOnset = false, 0 }), "-144 144 3 confirmed - CA 25 15:00 1"},
		{newKey(func(k *exportfile.Key) { k.DaysSinceOnset = -14 }), "-144 144 3 confirmed -14 CA 25 15:00 1"},
		{newKey(func(k *exportfile.Key) { k.RollingStart, k.RollingPeriod = now, 1 }), "90 1 3 confirmed 1 CA 25 16:00 1"},
		{newKey(func(k *exportfile.Key) { k.RollingStart += 144 }), "0 144 3 confirmed 1 CA 26 01:00 1"},
		{newKey(func(k *exportfile.Key) { k.RollingStart = now - 15*144 - 144 }), "-2214 144 3 confirmed 1 CA 25 15:00 1"},
	}
	var keys []exportfile.Key
	for _, c := range cases {
		keys = append(keys, c.key)
	}
	f.partner.publish("1.zip", f.partner.file(t, keys, nil))
	f.turn(t)
	for i, c := range cases {
		if got := f.row(t, c.key); got != c.want {
			t.Errorf("key %d: %q, want %q", i, got, c.want)
		}
	}
	f.wantFile(t, "1.zip", "done: 9 0 0 0")
	if e := f.entry(t); e.LookedAt == nil || !e.LookedAt.Equal(f.world.Now().Truncate(time.Microsecond)) || e.Failure != "" || e.Done != 1 || e.Stored != 9 || e.Keys != "302/v1" {
		t.Errorf("listed as %+v", e)
	}
	f.turn(t)
	if n := f.partner.askedFor("1.zip"); n != 1 {
		t.Errorf("the file was fetched %d times", n)
	}
}

// A source says where its keys were reported, and what those count as that say nothing.
func TestSourceSaysWhatKeysBecome(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.spec(t)
	s.Region, s.Traveler, s.MissingType = "US-OR", true, certificate.Likely
	f.mustAdd(t, s)
	k := newKey(func(k *exportfile.Key) { k.ReportType, k.TransmissionRisk = exportfile.Unknown, 0 })
	f.partner.publish("1.zip", f.partner.file(t, []exportfile.Key{k}, nil))
	f.turn(t)
	if got, want := f.row(t, k), "-144 144 4 likely 1 traveler US-OR 25 15:00 1"; got != want {
		t.Errorf("stored as %q, want %q", got, want)
	}
}

// A bad key is told of, with its place and a reason, and costs no other key.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := exposuretest.Interval(f.world.Now())
	good, known := newKeys(3), newKey()
	f.partner.publish("1.zip", f.partner.file(t, []exportfile.Key{known}, nil))
	f.turn(t)
	ordered := func(i byte, change func(*exportfile.Key)) exportfile.Key {
		return newKey(func(k *exportfile.Key) { k.Data[0], k.Data[1] = 0, i }, change)
	}
	keys := append([]exportfile.Key{
		ordered(0, func(k *exportfile.Key) { k.RollingStart = now - 15*144 - 145 }),
		ordered(1, func(k *exportfile.Key) { k.RollingStart = now + 1 }),
		ordered(2, func(k *exportfile.Key) { k.ReportType = exportfile.Revoked }),
		ordered(3, func(k *exportfile.Key) { k.ReportType = exportfile.Recursive }),
	}, good...)
	revised := []exportfile.Key{
		ordered(0, func(k *exportfile.Key) { k.ReportType = exportfile.Clinical }),
		ordered(1, func(k *exportfile.Key) { k.ReportType = exportfile.Revoked }),
	}
	entry := func(list protowire.Number, body []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, list, protowire.BytesType), body)
	}
	short := entry(7, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), make([]byte, 15)))
	f.partner.publish("2.zip", f.partner.file(t, keys, revised, append(short, entry(8, nil)...)...))
	f.turn(t)
	f.wantFile(t, "2.zip", "done: 3 0 0 8")
	want := []string{
		"0 false too old",
		"1 false not valid yet",
		"2 false new, but of a negative test",
		"3 false of a type that nobody reports",
		"7 true revised to what is neither confirmed nor negative",
		"8 true revised, but not known",
		"9 false key data",
		"10 true key without data",
	}
	if diff := cmp.Diff(want, f.reasons(t, "2.zip")); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
	for _, k := range good {
		f.row(t, k)
	}
	if n := f.stored(t); n != 4 {
		t.Errorf("%d keys are stored", n)
	}
}

// A file that is bad from end to end does not fill the database.
func TestQuarantineIsBounded(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.service.keysPerStep = 700
	bad := newKeys(1500)
	for i := range bad {
		bad[i].ReportType = exportfile.Recursive
	}
	f.partner.publish("1.zip", f.partner.file(t, bad, nil))
	f.turn(t)
	f.wantFile(t, "1.zip", "done: 0 0 0 1500")
	if n := len(f.reasons(t, "1.zip")); n != maxQuarantined {
		t.Errorf("%d keys are told of, one by one", n)
	}
}

// What is known stays as it is, wherever it came from: the tenant's own keys win, and of
// two sources the first. A phone cannot take over an imported key either.
func TestKnownKeysStay(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	publisher := exposure.New(exposure.Config{DB: f.world.Publish, Keys: key.NewRing(f.world.Publish, f.world.Root), Now: f.world.Now})
	phone, err := exposuretest.New(t.Context(), key.NewRing(f.world.Device, f.world.Root), f.north, f.world.Now)
	if err != nil {
		t.Fatal(err)
	}
	own := phone.Keys(1)
	receipt, err := publisher.Publish(t.Context(), f.north, phone.Upload(certificate.Likely, own))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(own[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	mine := newKey(func(k *exportfile.Key) { copy(k.Data[:], raw) })
	before := f.row(t, mine)
	theirs := newKey()
	f.partner.publish("1.zip", f.partner.file(t, []exportfile.Key{mine, theirs}, []exportfile.Key{like(mine, exportfile.Revoked)}))
	second := f.spec(t)
	second.Name, second.Region = "second", "US-OR"
	f.mustAdd(t, second)
	f.turn(t)
	if got := f.row(t, mine); got != before || !strings.Contains(got, " own") {
		t.Errorf("the tenant's own key became %q, was %q", got, before)
	}
	if got := f.row(t, theirs); !strings.HasSuffix(got, "CA 25 15:00 1") {
		t.Errorf("a key of two sources: %q", got)
	}
	f.wantFile(t, "1.zip", "done: 1 0 1 1")
	if got := f.reasons(t, "1.zip"); len(got) != 1 || !strings.HasSuffix(got[0], string(exposure.OtherSource)) {
		t.Errorf("quarantine: %q", got)
	}
	// The tenant's own phone revises its key still.
	again := phone.Upload(certificate.Confirmed, own)
	again.RevisionToken = receipt.RevisionToken
	if r, err := publisher.Publish(t.Context(), f.north, again); err != nil || r.Revised != 1 {
		t.Errorf("revision of the own key: %v, %v", r, err)
	}
	taken := exposure.UploadKey{Key: base64.StdEncoding.EncodeToString(theirs.Data[:]), RollingStart: theirs.RollingStart, RollingPeriod: theirs.RollingPeriod}
	_, err = publisher.Publish(t.Context(), f.north, phone.Upload(certificate.Confirmed, []exposure.UploadKey{taken}))
	if !errors.Is(err, exposure.ErrMissingRevisionToken) {
		t.Errorf("upload of an imported key: %v", err)
	}
}

// Revisions follow the table of transitions (§3.3), once, for keys of the same source.
func TestRevisions(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	of := func(r exportfile.ReportType) exportfile.Key {
		return newKey(func(k *exportfile.Key) { k.ReportType = r })
	}
	likely, reported, confirmed, moved, late := of(exportfile.Clinical), of(exportfile.SelfReport), of(exportfile.Confirmed), of(exportfile.Clinical), of(exportfile.Clinical)
	f.partner.publish("1.zip", f.partner.file(t, []exportfile.Key{likely, reported, confirmed, moved}, nil))
	f.turn(t)
	f.world.Advance(2 * time.Hour)
	other := like(moved, exportfile.Confirmed)
	other.RollingPeriod = 100
	f.partner.publish("2.zip", f.partner.file(t, []exportfile.Key{late}, []exportfile.Key{
		like(likely, exportfile.Confirmed), like(reported, exportfile.Revoked), like(confirmed, exportfile.Revoked), other,
		like(late, exportfile.Confirmed), like(late, exportfile.Confirmed), like(late, exportfile.Revoked),
	}))
	f.turn(t)
	for _, c := range []struct {
		key  exportfile.Key
		want string
	}{
		{likely, "-144 144 3 likely 1 CA 25 15:00 1 confirmed 25 17:00 1 2"},
		{reported, "-144 144 3 user-report 1 CA 25 15:00 1 negative 25 17:00 1 6"},
		{confirmed, "-144 144 3 confirmed 1 CA 25 15:00 1"},
		{moved, "-144 144 3 likely 1 CA 25 15:00 1"},
		{late, "-144 144 3 likely 1 CA 25 17:00 1 confirmed 25 17:00 1 2"},
	} {
		if got := f.row(t, c.key); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	f.wantFile(t, "2.zip", "done: 1 3 1 3")
	all := strings.Join(f.reasons(t, "2.zip"), "\n")
	for _, want := range []exposure.Reason{exposure.WrongTransition, exposure.OtherInterval, exposure.AlreadyRevised} {
		if strings.Count(all, string(want)) != 1 {
			t.Errorf("quarantine has not one key that is %s:\n%s", want, all)
		}
	}
	f.partner.publish("3.zip", f.partner.file(t, nil, []exportfile.Key{like(likely, exportfile.Revoked), like(reported, exportfile.Revoked)}))
	f.turn(t)
	f.wantFile(t, "3.zip", "done: 0 0 1 1")
}

// Keys are dated into a window that is still open, whenever they come.
func TestKeysAreDatedAfterTheHorizon(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.exec(t, `update export_horizon set settled_until = '2026-11-25 18:00Z' where tenant_id = $1`, f.north.ID)
	k := newKey(func(k *exportfile.Key) { k.ReportType = exportfile.Clinical })
	f.partner.publish("1.zip", f.partner.file(t, []exportfile.Key{k}, []exportfile.Key{like(k, exportfile.Confirmed)}))
	f.turn(t)
	if got, want := f.row(t, k), "-144 144 3 likely 1 CA 25 18:00 1 confirmed 25 18:00 1 2"; got != want {
		t.Errorf("stored as %q, want %q", got, want)
	}
}

var errKilled = errors.New("killed")

// at makes the nth step fail, counted from 0.
func at(n int) func(string) error {
	return func(string) error {
		if n--; n < 0 {
			return errKilled
		}
		return nil
	}
}

// stepsEach is how many places there are to stop at for each transaction.
const stepsEach = 4

// However a turn ends, before a transaction, within it or after it, the next goes on:
// every key is dealt with once.
func TestImportGoesOn(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.service.keysPerStep = 3
	for n := range stepsEach {
		name := fmt.Sprintf("%d.zip", n)
		keys := newKeys(10)
		keys[4].ReportType = exportfile.Recursive
		f.partner.publish(name, f.partner.file(t, keys, newKeys(2)))
		kills := 0
		for ; kills < 10; kills++ {
			f.service.step = at(stepsEach + n) // one transaction succeeds, and the next does not
			err := f.service.Turn(t.Context(), f.north.ID)
			if err == nil {
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
		}
		if kills < 2 || kills > 3 {
			t.Errorf("%s was done after %d kills", name, kills)
		}
		f.wantFile(t, name, "done: 9 0 0 3")
		if got := f.reasons(t, name); len(got) != 3 {
			t.Errorf("%s: quarantine %q", name, got)
		}
	}
	if n := f.stored(t); n != 9*stepsEach {
		t.Errorf("%d keys are stored", n)
	}
}

// Several processes at the same files take each step once.
func TestProcessesDoNotRepeatEachOther(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for i := range 4 {
		f.partner.publish(fmt.Sprintf("%d.zip", i), f.partner.file(t, newKeys(40), nil))
	}
	group, ctx := errgroup.WithContext(t.Context())
	for range 4 {
		s := f.newService()
		s.keysPerStep = 7
		group.Go(func() error { return s.Turn(ctx, f.north.ID) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	f.turn(t)
	if e := f.entry(t); e.Done != 4 || e.Stored != 160 || e.Known != 0 || f.stored(t) != 160 {
		t.Errorf("%+v, %d rows", e, f.stored(t))
	}
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	strict := outbound.NewFetcher(outbound.New(false, 443))
	for name, change := range map[string]func(*Spec){
		"no name":           func(s *Spec) { s.Name = "" },
		"odd name":          func(s *Spec) { s.Name = "Partner One" },
		"no index":          func(s *Spec) { s.Index = "" },
		"a file":            func(s *Spec) { s.Index = "file:///etc/passwd" },
		"root of its own":   func(s *Spec) { s.Root = "ftp://files.example/" },
		"root with a query": func(s *Spec) { s.Root = f.partner.url + "/?key=" },
		"no region":         func(s *Spec) { s.Region = "" },
		"negative as such":  func(s *Spec) { s.MissingType = certificate.Negative },
		"no keys":           func(s *Spec) { s.Keys = nil },
		"same key twice":    func(s *Spec) { s.Keys = append(s.Keys, s.Keys...) },
		"odd key ID":        func(s *Spec) { s.Keys[0].KeyID = "a b" },
		"odd version":       func(s *Spec) { s.Keys[0].KeyVersion = "v.1" },
	} {
		s := f.spec(t)
		s.Name = "another"
		change(&s)
		if err := f.add(t, s); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := f.world.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		return Add(t.Context(), tx, strict, person, f.spec(t), f.world.Now())
	})
	if !errors.Is(err, outbound.ErrAddress) {
		t.Errorf("an address of this machine: %v", err)
	}
	for i := 2; i <= MaxSources+1; i++ {
		s := f.spec(t)
		s.Name = fmt.Sprint("source-", i)
		if err := f.add(t, s); (err != nil) != (i > MaxSources) {
			t.Errorf("source %d: %v", i, err)
		}
	}
}

// Whoever looks at or hurries an import names one of its own tenant's.
func TestOtherTenantsImportsAreNotFound(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.partner.publish("1.zip", []byte("bad"))
	f.turn(t)
	hurry := func(of *tenant.Tenant) error {
		return f.world.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
			return Hurry(t.Context(), tx, person, source1, f.world.Now())
		})
	}
	if err := hurry(f.south); !errors.Is(err, ErrUnknown) {
		t.Errorf("hurry: %v", err)
	}
	err := f.world.Operator.In(t.Context(), f.south.ID, func(tx *tenant.Tx) error {
		_, _, reported := Report(t.Context(), tx, source1)
		_, quarantined := Quarantine(t.Context(), tx, source1, "1.zip")
		if !errors.Is(reported, ErrUnknown) || !errors.Is(quarantined, ErrUnknown) {
			t.Errorf("report: %v, %v", reported, quarantined)
		}
		list, err := List(t.Context(), tx)
		if len(list) != 0 {
			t.Errorf("listed: %+v", list)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := hurry(f.north); err != nil {
		t.Error(err)
	}
	f.turn(t)
	if one := f.of(t, "1.zip"); one.Attempts != 2 {
		t.Errorf("hurried: %+v", one)
	}
	err = f.world.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		entries, err := audit.List(t.Context(), tx, 2)
		if err == nil && (entries[0].Action != "import:run" || entries[1].Action != "import:add" || entries[1].Target != source1) {
			t.Errorf("audit entries %+v", entries)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
