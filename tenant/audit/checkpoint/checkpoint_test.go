package checkpoint_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/auditchain"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/audit/checkpoint"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
)

type fixture struct {
	*tenanttest.World
	t      *testing.T
	north  *tenant.Tenant
	signer *checkpoint.Signer
	log    bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{World: w, t: t, north: w.Create("north")}
	f.signer = checkpoint.NewSigner(w.Jobs, key.NewRing(w.Jobs, w.Root), slog.New(slog.NewTextHandler(&f.log, nil)), w.Now)
	return f
}

func (f *fixture) act() {
	f.t.Helper()
	err := f.Portal.In(f.t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		by := authz.Subject{Kind: authz.Person, ID: "77aa", Name: "Robin Doe"}
		return audit.Record(f.t.Context(), tx, f.Now(), by, "act", "", nil)
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) sign(want bool) {
	f.t.Helper()
	signed, err := f.signer.Sign(f.t.Context(), f.north)
	if err != nil || signed != want {
		f.t.Errorf("signed: %v, %v; want %v", signed, err, want)
	}
}

func (f *fixture) keys() auditchain.Keys {
	f.t.Helper()
	public, err := key.NewRing(f.Operator, f.Root).Public(f.t.Context(), f.north.ID, signing.Audit)
	if err != nil {
		f.t.Fatal(err)
	}
	keys := auditchain.Keys{}
	for _, p := range public {
		keys[p.KeyID] = p.Key
	}
	return keys
}

func (f *fixture) verify(kept ...string) *auditchain.Report {
	f.t.Helper()
	var file bytes.Buffer
	err := f.Operator.In(f.t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		return audit.Export(f.t.Context(), tx, f.north, f.keys(), f.Now(), &file)
	})
	if err != nil {
		f.t.Fatal(err)
	}
	r, err := auditchain.Verify(&file, auditchain.Trust{Keys: f.keys(), Kept: kept})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// kept is the last checkpoint that the process's log told of.
func (f *fixture) kept() string {
	_, after, _ := strings.Cut(f.log.String()[strings.LastIndex(f.log.String(), "statement="):], "=")
	return strings.TrimSpace(after)
}

func (f *fixture) tamper(sql string) {
	f.t.Helper()
	if _, err := f.Database.Super().ExecContext(f.t.Context(), sql); err != nil {
		f.t.Fatal(err)
	}
}

// rewrite is what a superuser does who knows how entries are chained.
const rewrite = `
do $$
declare e audit_entry; last bytea := decode(repeat('00', 32), 'hex');
begin
  for e in select * from audit_entry order by entry_no loop
    last := audit_digest(last, e);
    update audit_entry set digest = last where entry_no = e.entry_no;
    update audit_head set entries = e.entry_no, digest = last;
  end loop;
end $$`

// A checkpoint is made when there is something new, and at least once a day.
func TestWhenCheckpointsAreDue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sign(true)
	f.sign(false)
	f.act()
	f.sign(true)
	f.Advance(checkpoint.Longest - time.Minute)
	f.sign(false)
	f.Advance(time.Minute)
	f.sign(true)
	r := f.verify(f.kept())
	if !r.Whole() || r.Entries != 2 || r.Sealed != 2 || r.Checkpoints != 4 || !r.SealedAt.Equal(f.Now().Truncate(time.Second)) {
		t.Errorf("report %+v", r)
	}
}

// Whoever owns the database cannot make a log anew that has been signed.
func TestRewrittenLogShows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 4 {
		f.act()
	}
	f.sign(true)
	f.act()
	f.tamper(`update audit_entry set target = 'forged' where entry_no = 3`)
	f.tamper(rewrite)
	if r := f.verify(); r.Whole() {
		t.Error("a log that was chained anew passes")
	}
}

// Entries cut off the end together with their checkpoints show against what left with
// the log of the process; and the next checkpoint tells at once if only the entries went.
func TestCutLogShows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.act()
	f.sign(true)
	f.Advance(time.Hour)
	f.act()
	f.sign(true)
	f.tamper(`delete from audit_entry where entry_no = 3`)
	f.tamper(rewrite)
	if _, err := f.signer.Sign(t.Context(), f.north); err == nil || !strings.Contains(err.Error(), "it was cut") {
		t.Errorf("Sign: %v, want an error that says so", err)
	}
	if r := f.verify(); r.Whole() {
		t.Error("a log that is shorter than its checkpoint passes")
	}
	f.tamper(`delete from audit_checkpoint where entries = 3`)
	if r := f.verify(); !r.Whole() {
		t.Errorf("findings %v; the file by itself shows nothing", r.Findings)
	}
	if r := f.verify(f.kept()); r.Whole() {
		t.Error("a log that lacks what was signed passes")
	}
}

// Checkpoints are no role's to change, and of the jobs' to add.
func TestCheckpointsAreAppendOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sign(true)
	for name, db := range map[string]*tenant.DB{
		"device": f.Device, "issuer": f.Issuer, "report": f.Report, "publish": f.Publish,
		"portal": f.Portal, "jobs": f.Jobs, "operator": f.Operator,
	} {
		for _, change := range []string{
			`update audit_checkpoint set statement = ''`, `delete from audit_checkpoint`, `delete from audit_head`,
		} {
			err := db.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
				_, err := tx.Exec(t.Context(), change)
				return err
			})
			if !tenanttest.Denied(err) {
				t.Errorf("%s: %s: %v, want permission denied", name, change, err)
			}
		}
	}
}
