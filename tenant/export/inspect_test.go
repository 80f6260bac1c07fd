package export

import (
	"context"
	"errors"
	"testing"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/export/shelf"
	"carillon/tenant/key"
)

var keeper = authz.Subject{Kind: authz.Person, ID: "7d5b1a52-0000-4000-8000-000000000001", Name: "Kim", Roles: []authz.Role{authz.KeyCustodian}}

// inspected is a tenant with one published file, and the staff who look at it.
type inspected struct {
	*fixture
	staff *shelf.Staff
	name  string
	bytes []byte
	start time.Time
}

func inspect(t *testing.T) *inspected {
	t.Helper()
	f := setUp(t)
	f.mustPublish(t, 3)
	f.world.Advance(2 * period)
	f.turn(t, f.service(nil))
	i := &inspected{fixture: f, staff: shelf.NewStaff(f.world.Portal, authz.NewPolicies(nil), f.world.Now)}
	names := f.index(t)
	if len(names) != 1 {
		t.Fatalf("the index has %q", names)
	}
	i.name = Prefix(f.tenant) + names[0]
	i.bytes = i.stored(t)
	for _, b := range i.look(t).Batches {
		if b.Files > 0 {
			i.start = b.From
		}
	}
	return i
}

func (i *inspected) stored(t *testing.T) []byte {
	t.Helper()
	body, err := i.object(t.Context(), i.name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	return body
}

func (i *inspected) look(t *testing.T) shelf.View {
	t.Helper()
	v, err := i.staff.Look(t.Context(), i.tenant, keeper, "", i.world.Now().Add(time.Hour), 10)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// found inspects, and returns what staff see of the file.
func (i *inspected) found(t *testing.T) shelf.Batch {
	t.Helper()
	if err := i.service(nil).Inspect(t.Context(), i.tenant.ID); err != nil {
		t.Fatalf("inspect: %v", err)
	}
	for _, b := range i.look(t).Batches {
		if b.Files > 0 {
			return b
		}
	}
	t.Fatal("no window has a file")
	return shelf.Batch{}
}

func (i *inspected) ask(t *testing.T) error {
	t.Helper()
	return i.staff.Regenerate(t.Context(), i.tenant, keeper, "", i.start)
}

// A published file is read in the store and its signature verified with the published key;
// padding is told apart from the keys of phones. It is read again a day later.
func TestFilesAreInspected(t *testing.T) {
	t.Parallel()
	i := inspect(t)
	v := i.look(t)
	for _, b := range v.Batches {
		if b.Files > 0 && (b.Finding != shelf.Unchecked || b.Checked != nil) {
			t.Errorf("before anybody looked: %+v", b)
		}
	}
	if v.Plan.Listed != 1 || v.Plan.ListedBytes != int64(len(i.bytes)) {
		t.Errorf("%d files of %d bytes in the index", v.Plan.Listed, v.Plan.ListedBytes)
	}
	b := i.found(t)
	if own, known := b.Own(); !known || own != 3 || *b.Padding != b.Keys-3 || *b.Received != 0 {
		t.Errorf("%d own keys, known %t, of %+v", own, known, b)
	}
	first := i.world.Now()
	if b.Finding != shelf.Sound || b.Checked == nil || !b.Checked.Equal(first) {
		t.Errorf("%+v, want it to be sound", b)
	}
	i.world.Advance(inspectEvery - time.Minute)
	if b := i.found(t); !b.Checked.Equal(first) {
		t.Errorf("read again after less than a day, at %v", b.Checked)
	}
	i.world.Advance(2 * time.Minute)
	if b := i.found(t); !b.Checked.Equal(i.world.Now()) {
		t.Errorf("not read again after a day: %v", b.Checked)
	}
}

// A file that is gone, or has other bytes, is found; it is written again when a key
// keeper asks for that, with the bytes that it had, and nothing happens of itself.
func TestFilesAreWrittenAgain(t *testing.T) {
	t.Parallel()
	i := inspect(t)
	if err := i.ask(t); !errors.Is(err, shelf.ErrSound) {
		t.Errorf("asked for a file that nobody has looked at: %v", err)
	}
	i.found(t)
	if err := i.ask(t); !errors.Is(err, shelf.ErrSound) {
		t.Errorf("asked for a sound file: %v", err)
	}
	for finding, spoil := range map[shelf.Finding]func() error{
		shelf.Missing: func() error { return i.store.Delete(t.Context(), i.name) },
		shelf.Altered: func() error { return i.store.Replace(t.Context(), i.name, []byte("no file")) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		i.world.Advance(inspectEvery + time.Minute)
		for range 2 {
			if b := i.found(t); b.Finding != finding || b.Remake != "" {
				t.Fatalf("%s: found %+v", finding, b)
			}
		}
		for range 2 {
			if err := i.ask(t); err != nil {
				t.Fatal(err)
			}
		}
		if b := i.found(t); b.Finding != shelf.Sound || b.Remake != "" {
			t.Errorf("%s: after it was asked for: %+v", finding, b)
		}
		if string(i.stored(t)) != string(i.bytes) {
			t.Errorf("%s: other bytes than those that were published", finding)
		}
	}
	i.wantTidy(t)
	var entries []audit.Entry
	err := i.world.Portal.In(t.Context(), i.tenant.ID, func(tx *tenant.Tx) (err error) {
		entries, err = audit.Find(t.Context(), tx, audit.Filter{}, 10)
		return err
	})
	n := 0
	for _, e := range entries {
		if e.Action == string(authz.ExportRegenerate) && e.ActorID == keeper.ID {
			n++
		}
	}
	if err != nil || n != 4 {
		t.Errorf("%d entries in the audit log, want 4: %v", n, err)
	}
}

// What cannot be made with the same bytes is not made: of a window of which a key is gone,
// and after the export key was changed.
func TestOtherBytesAreNotWritten(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(i *inspected){
		"a key is gone": func(i *inspected) {
			i.exec(t, `delete from exposure where tek = (select tek from exposure where not generated limit 1)`)
		},
		"a key is another": func(i *inspected) {
			i.exec(t, `update exposure set transmission_risk = 8 - transmission_risk`)
		},
		"another key signs": func(i *inspected) { i.rotate(t) },
	} {
		i := inspect(t)
		i.found(t)
		spoil(i)
		if err := i.store.Delete(t.Context(), i.name); err != nil {
			t.Fatal(err)
		}
		i.world.Advance(inspectEvery + time.Minute)
		i.found(t)
		if err := i.ask(t); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if b := i.found(t); b.Finding != shelf.Missing || b.Remake != shelf.Refused {
				t.Errorf("%s: %+v", name, b)
			}
		}
		if len(i.stored(t)) > 0 {
			t.Errorf("%s: a file was written", name)
		}
	}
}

// rotate gives the tenant another export key and retires the one that it has.
func (i *inspected) rotate(t *testing.T) {
	t.Helper()
	i.operate(t, func(tx *tenant.Tx) error {
		if _, err := key.AddExport(t.Context(), tx, i.tenant.ID, i.world.Root, custodian, i.world.Now()); err != nil {
			return err
		}
		if err := key.ActivateExport(t.Context(), tx, custodian, 2, "both platforms, by letter", i.world.Now()); err != nil {
			return err
		}
		return key.RetireExport(t.Context(), tx, custodian, 1, i.world.Now())
	})
}

// A file with the published bytes of which no published key is the signer is found, and
// writing it again would mend nothing.
func TestUnsignedFilesAreFound(t *testing.T) {
	t.Parallel()
	i := inspect(t)
	i.exec(t, `update signing_key set label = 'v9' where purpose = 'export'`)
	if b := i.found(t); b.Finding != shelf.Unsigned {
		t.Errorf("%+v", b)
	}
	if err := i.ask(t); !errors.Is(err, shelf.ErrSound) {
		t.Errorf("asked: %v", err)
	}
}

// Others neither look nor ask: people without the role, and the staff of another tenant.
func TestStaffOfExports(t *testing.T) {
	t.Parallel()
	i := inspect(t)
	i.found(t)
	if err := i.store.Delete(t.Context(), i.name); err != nil {
		t.Fatal(err)
	}
	i.world.Advance(inspectEvery + time.Minute)
	i.found(t)
	caseworker := keeper
	caseworker.Roles = []authz.Role{authz.Caseworker}
	if _, err := i.staff.Look(t.Context(), i.tenant, caseworker, "", i.world.Now(), 1); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a caseworker looked: %v", err)
	}
	if err := i.staff.Regenerate(t.Context(), i.tenant, caseworker, "", i.start); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a caseworker asked: %v", err)
	}
	south := i.world.Create("south", hourly)
	if err := i.staff.Regenerate(t.Context(), south, keeper, "", i.start); !errors.Is(err, shelf.ErrNoPlan) {
		t.Errorf("asked for another tenant's file: %v", err)
	}
	if _, err := i.staff.Look(t.Context(), i.tenant, keeper, "nothing/", i.world.Now(), 1); !errors.Is(err, shelf.ErrNoPlan) {
		t.Errorf("looked at no configuration: %v", err)
	}
	if b := i.found(t); b.Finding != shelf.Missing || b.Remake != "" {
		t.Errorf("%+v", b)
	}
}

// Staff see what a late file waits for.
func TestWhyAFileIsLate(t *testing.T) {
	t.Parallel()
	i := inspect(t)
	i.mustPublish(t, 1)
	i.world.Advance(2*period + shelf.Grace + 2*time.Hour)
	why := func() shelf.Why { t.Helper(); return i.look(t).Plan.Why }
	if got := why(); got != shelf.NotClosed {
		t.Errorf("before any turn: %q", got)
	}
	stop := errors.New("killed")
	_ = i.service(func(name string) error {
		if name == "staged" {
			return stop
		}
		return nil
	}).Turn(t.Context(), i.tenant.ID)
	if got := why(); got != shelf.Storing {
		t.Errorf("killed when it was staged: %q", got)
	}
	i.exec(t, `update export_batch set state = 'open', fence = 0, leased_until = null where state <> 'published'`)
	if got := why(); got != shelf.Waiting {
		t.Errorf("nobody has begun: %q", got)
	}
	i.exec(t, `update export_batch set fence = 1, leased_until = $1 where state <> 'published'`, i.world.Now().Add(time.Minute))
	if got := why(); got != shelf.Making {
		t.Errorf("leased: %q", got)
	}
	i.world.Advance(2 * time.Minute)
	if got := why(); got != shelf.Failing {
		t.Errorf("the lease is over: %q", got)
	}
}

// Whoever dies after a file was written again, and before that was noted, has lost nothing;
// a store that does not answer is no finding.
func TestInspectionIsInterrupted(t *testing.T) {
	t.Parallel()
	i := inspect(t)
	i.found(t)
	if err := i.store.Delete(t.Context(), i.name); err != nil {
		t.Fatal(err)
	}
	i.world.Advance(inspectEvery + time.Minute)
	i.found(t)
	if err := i.ask(t); err != nil {
		t.Fatal(err)
	}
	killed := errors.New("killed")
	err := i.service(func(name string) error {
		if name == "restored" {
			return killed
		}
		return nil
	}).Inspect(t.Context(), i.tenant.ID)
	if !errors.Is(err, killed) {
		t.Fatalf("inspect: %v, want it to be killed", err)
	}
	s := i.service(nil)
	s.store = silent{i.store}
	if err := s.Inspect(t.Context(), i.tenant.ID); !errors.Is(err, errSilent) {
		t.Errorf("inspect: %v, want it to fail", err)
	}
	for _, b := range i.look(t).Batches {
		if b.Files > 0 && (b.Finding != shelf.Missing || b.Remake != shelf.Asked) {
			t.Errorf("after both: %+v", b)
		}
	}
	if b := i.found(t); b.Finding != shelf.Sound || b.Remake != "" || string(i.stored(t)) != string(i.bytes) {
		t.Errorf("at last: %+v", b)
	}
}

// silent is a store that does not answer.
type silent struct{ Store }

var errSilent = errors.New("no answer")

func (silent) Open(context.Context, string) (Object, error) { return nil, errSilent }
