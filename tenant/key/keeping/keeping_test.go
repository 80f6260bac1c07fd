package keeping_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/audit"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/key/keeping"
	"carillon/tenant/mail/mailtest"
	"carillon/tenant/member"
	"carillon/tenant/onboarding"
	"carillon/tenant/role"
	"carillon/tenant/tenanttest"
)

type fixture struct {
	*tenanttest.World
	t      *testing.T
	north  *tenant.Tenant
	keeper *keeping.Keeper
	staff  *custody.Staff
	mail   *mailtest.Recorder
	log    bytes.Buffer
	ann    authz.Subject // a custodian
	bob    authz.Subject // another
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{World: w, t: t, north: w.Create("north"), mail: &mailtest.Recorder{}}
	f.keeper = f.keeperOn(w.Jobs)
	f.staff = custody.NewStaff(w.Portal, role.NewPolicies(w.Portal), approval.NewPost(w.Portal, f.mail, "https://portal.example"), w.Now)
	f.ann, f.bob = f.custodian("ann"), f.custodian("bob")
	return f
}

func (f *fixture) keeperOn(db *tenant.DB) *keeping.Keeper {
	return keeping.New(keeping.Config{
		DB: db, Keys: key.NewRing(db, f.Root), Directory: tenant.NewDirectory(db), Policies: role.NewPolicies(db),
		Mail: f.mail, BaseURL: "https://portal.example", Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(&f.log, nil)), Now: f.Now,
	})
}

func (f *fixture) custodian(name string) authz.Subject {
	f.t.Helper()
	m := member.Member{Issuer: "https://idp.example", Email: name + "@north.example", Name: name, Roles: []authz.Role{authz.KeyCustodian}}
	err := f.Operator.In(f.t.Context(), f.north.ID, func(tx *tenant.Tx) error { return member.Add(f.t.Context(), tx, m) })
	if err != nil {
		f.t.Fatal(err)
	}
	var id uuid.UUID
	if err := f.Database.Super().QueryRowContext(f.t.Context(), `select member_id from member where email = $1`, m.Email).Scan(&id); err != nil {
		f.t.Fatal(err)
	}
	return authz.Subject{Kind: authz.Person, ID: id.String(), Name: name, Roles: m.Roles}
}

func (f *fixture) run() {
	f.t.Helper()
	if err := f.keeper.Run(f.t.Context(), f.north.ID); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) book() *custody.Book {
	f.t.Helper()
	b, err := f.staff.Book(f.t.Context(), f.north, f.ann)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// states are the states of a purpose's versions, the oldest first.
func (f *fixture) states(p signing.Purpose) string {
	f.t.Helper()
	var list []string
	for _, v := range f.book().Versions[p] {
		list = append(list, string(v.State))
	}
	return strings.Join(list, " ")
}

func (f *fixture) wants(when string, p signing.Purpose, want string) {
	f.t.Helper()
	if got := f.states(p); got != want {
		f.t.Errorf("%s: %s keys are %q, want %q", when, p, got, want)
	}
}

// Each key that the clock rotates goes through all states, each at its very moment and
// not a second before, and its secret is gone at the end.
func TestLife(t *testing.T) {
	t.Parallel()
	for _, p := range signing.Purposes() {
		rule := key.Rule(p)
		if rule.Guided {
			continue
		}
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			began := *f.book().Versions[p][0].Activated
			at := func(after time.Duration) {
				f.SetNow(began.Add(after).Truncate(time.Microsecond))
				f.run()
			}
			at(rule.Period - rule.Lead - time.Second)
			f.wants("before its lead", p, "active")
			at(rule.Period - rule.Lead)
			f.wants("at its lead", p, "active next")
			at(rule.Period - time.Second)
			f.wants("before its end", p, "active next")
			at(rule.Period)
			f.wants("at its end", p, "verify-only active")
			if err := f.staff.SetPeriod(t.Context(), f.north, f.owner(), p, rule.MaxPeriod); err != nil {
				t.Fatal(err)
			}
			at(rule.Period + rule.Overlap - time.Second)
			if got := f.states(p); !strings.HasPrefix(got, "verify-only ") {
				t.Errorf("before the end of its overlap: %q", got)
			}
			at(rule.Period + rule.Overlap)
			if got := f.states(p); !strings.HasPrefix(got, "destroyed ") {
				t.Errorf("at the end of its overlap: %q", got)
			}
			var secrets int
			if err := f.Database.Super().QueryRowContext(t.Context(), `select count(sealed) from signing_key where purpose = $1 and version = 1`, string(p)).Scan(&secrets); err != nil || secrets != 0 {
				t.Errorf("%d secrets are left, %v", secrets, err)
			}
		})
	}
}

func (f *fixture) owner() authz.Subject {
	s := f.ann
	s.Roles = []authz.Role{authz.Owner}
	return s
}

// What a ring opens ends at the end of the overlap, for every process.
func TestRingForgets(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.rotate(signing.Revision, true)
	f.run()
	f.Advance(key.HandLead)
	f.run()
	old := f.book().Versions[signing.Revision][0]
	secrets := func() int {
		list, err := key.NewRing(f.Publish, f.Root).Secrets(t.Context(), f.north.ID, signing.Revision)
		if err != nil {
			t.Fatal(err)
		}
		return slices.IndexFunc(list, func(s key.Secret) bool { return s.KeyID == old.KeyID })
	}
	if old.State != key.VerifyOnly || secrets() < 0 {
		t.Errorf("after the rotation: %s, opened %d", old.State, secrets())
	}
	f.SetNow(old.DestroyAt.Add(-time.Microsecond))
	f.run()
	if secrets() < 0 {
		t.Error("gone before the end of its overlap")
	}
	f.SetNow(*old.DestroyAt)
	f.run()
	if secrets() >= 0 {
		t.Error("opened after the end of its overlap")
	}
}

func (f *fixture) rotate(p signing.Purpose, atOnce bool) uuid.UUID {
	f.t.Helper()
	id, err := f.staff.Rotate(f.t.Context(), f.north, f.ann, p, atOnce, "It is time.")
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// A rotation by hand, of each key that the clock rotates too: at once, and with the lead.
func TestByHand(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, atOnce := range []bool{true, false} {
		for _, p := range []signing.Purpose{signing.Certificate, signing.Token, signing.PhoneMAC, signing.Audit, signing.Revision, signing.CodeMAC} {
			before := f.states(p)
			id := f.rotate(p, atOnce)
			if _, err := f.staff.Rotate(t.Context(), f.north, f.ann, p, true, "Again."); err == nil {
				t.Errorf("%s: two rotations at a time", p)
			}
			f.run()
			f.wants("asked for", p, before+" next")
			lead := key.Rule(p).Lead
			if atOnce {
				lead = key.HandLead
			}
			f.Advance(lead - time.Second)
			f.run()
			f.wants("before its lead", p, before+" next")
			f.Advance(time.Second)
			f.run()
			f.wants("in use", p, strings.TrimSuffix(before, "active")+"verify-only active")
			if r, err := f.book().Rotation(id); err != nil || r.Step != custody.Done {
				t.Errorf("%s: %+v, %v", p, r, err)
			}
		}
	}
}

// Two processes at once do nothing twice.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, p := range []signing.Purpose{signing.Token, signing.Certificate, signing.Export} {
		f.rotate(p, true)
	}
	var all sync.WaitGroup
	for range 4 {
		k := f.keeperOn(f.Open("carillon_jobs"))
		all.Go(func() {
			if err := k.Run(t.Context(), f.north.ID); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, p := range []signing.Purpose{signing.Token, signing.Certificate, signing.Export} {
		f.wants("by four", p, "active next")
	}
}

// A run that breaks off at any message to the database leaves nothing that the next run
// does not mend.
func TestCut(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, after := range []bool{false, true} {
		for n := int64(1); ; n++ {
			f.rotate(signing.Token, true)
			scissors := &tenanttest.Scissors{}
			db, err := tenant.Open(t.Context(), tenant.Config{DSN: f.Database.DSN("carillon_jobs"), Dialer: scissors, MaxOpen: 1})
			if err != nil {
				t.Fatal(err)
			}
			k := f.keeperOn(db)
			scissors.Cut(n, after)
			_ = k.Run(t.Context(), f.north.ID)
			f.Advance(key.HandLead)
			_ = k.Run(t.Context(), f.north.ID)
			sent := scissors.Sent()
			if err := db.Close(); err != nil {
				t.Log(err)
			}
			f.run()
			f.Advance(key.HandLead)
			f.run()
			list := f.book().Versions[signing.Token]
			if last := list[len(list)-1]; last.State != key.Active || len(list) < 2 || list[len(list)-2].State != key.VerifyOnly {
				t.Fatalf("cut at message %d, after %t: %s", n, after, f.states(signing.Token))
			}
			if _, running := f.book().Running(signing.Token); running {
				t.Fatalf("cut at message %d, after %t: the rotation goes on", n, after)
			}
			if sent < n {
				break
			}
			n += 6 // each seventh: a run has many messages
		}
	}
}

// A guided rotation: nothing goes on by itself, two people put the key to use, and what
// the checks find missing is part of what they agree to.
func TestGuided(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ctx := t.Context()
	id := f.rotate(signing.Export, false)
	f.run()
	f.Advance(30 * 24 * time.Hour)
	f.run()
	f.wants("a month later", signing.Export, "active next")
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	want("activate unasked", f.staff.Activate(ctx, f.north, f.ann, id), approval.ErrNotApproved)
	want("ask without a reason", f.staff.AskActivation(ctx, f.north, f.ann, id, ""), custody.ErrReason)
	want("hand over", f.staff.HandOver(ctx, f.north, f.ann, id), nil)
	want("confirmed by nobody", f.staff.Confirm(ctx, f.north, f.ann, id, custody.Apple, " "), custody.ErrContact)
	want("confirmed", f.staff.Confirm(ctx, f.north, f.ann, id, custody.Apple, "en-support@apple.example"), nil)
	want("confirmed", f.staff.Confirm(ctx, f.north, f.ann, id, custody.Google, "a letter"), nil)
	before := len(f.mail.Letters()) // of alarms
	want("ask", f.staff.AskActivation(ctx, f.north, f.ann, id, "Both have it."), nil)
	if letters := f.mail.Letters()[before:]; len(letters) != 1 || letters[0].To != "bob@north.example" || !strings.HasSuffix(mailtest.Link(letters[0]), "/portal/north/approvals") {
		t.Errorf("who may agree is told by %+v", letters)
	}
	want("ask again", f.staff.AskActivation(ctx, f.north, f.ann, id, "Both have it."), approval.ErrAsked)
	if letters := f.mail.Letters()[before:]; len(letters) != 1 {
		t.Errorf("told by %d letters of one request", len(letters))
	}
	want("activate unapproved", f.staff.Activate(ctx, f.north, f.ann, id), approval.ErrNotApproved)
	b := f.book()
	r, err := b.Rotation(id)
	if err != nil || r.TestedAt == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	asked, found, err := f.staff.Asked(ctx, f.north, f.ann, b, r)
	if err != nil || !found || asked.Detail["without"] != "rehearsed" {
		t.Fatalf("%+v, %t, %v", asked, found, err)
	}
	approve := func(by authz.Subject) error {
		return f.Portal.In(ctx, f.north.ID, func(tx *tenant.Tx) error {
			_, err := approval.Approve(ctx, tx, by, asked.ID, f.Now())
			return err
		})
	}
	want("approve oneself", approve(f.ann), approval.ErrSamePerson)
	want("approve", approve(f.bob), nil)
	want("activate", f.staff.Activate(ctx, f.north, f.ann, id), nil)
	want("activate again", f.staff.Activate(ctx, f.north, f.ann, id), custody.ErrStep)
	want("cancel too late", f.staff.Cancel(ctx, f.north, f.ann, id), custody.ErrStep)
	f.run()
	f.wants("in use", signing.Export, "active active")
	want("retire", f.staff.Retire(ctx, f.north, f.ann, id), nil)
	f.run()
	f.wants("retired", signing.Export, "verify-only active")
	if r, err = f.book().Rotation(id); err != nil || r.Step != custody.Done || r.ActivatedAt == nil {
		t.Errorf("%+v, %v", r, err)
	}
	f.Advance(key.Rule(signing.Export).Overlap)
	f.run()
	f.wants("destroyed", signing.Export, "destroyed active")
	if public, err := key.NewRing(f.Jobs, f.Root).Public(ctx, f.north.ID, signing.Export); err != nil || len(public) != 2 {
		t.Errorf("%d public halves, %v: those of exports are kept for ever", len(public), err)
	}
}

// A cancelled rotation's key is destroyed, and its name is not used again.
func TestCancel(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.rotate(signing.Export, false)
	f.run()
	if err := f.staff.AskActivation(t.Context(), f.north, f.ann, id, "Soon."); err != nil {
		t.Fatal(err)
	}
	if err := f.staff.Cancel(t.Context(), f.north, f.bob, id); err != nil {
		t.Fatal(err)
	}
	f.run()
	f.wants("cancelled", signing.Export, "active destroyed")
	var waiting int
	if err := f.Database.Super().QueryRowContext(t.Context(), `select count(*) from approval where state in ('pending', 'approved')`).Scan(&waiting); err != nil || waiting != 0 {
		t.Errorf("%d requests still wait for a second person, %v", waiting, err)
	}
	if err := f.staff.Cancel(t.Context(), f.north, f.ann, id); !errors.Is(err, custody.ErrStep) {
		t.Errorf("cancel again: %v", err)
	}
	f.rotate(signing.Export, false)
	f.run()
	f.wants("another", signing.Export, "active destroyed next")
	if v := f.book().Versions[signing.Export][2]; v.Label != "v3" {
		t.Errorf("named %s", v.Label)
	}
}

// What is wrong is noted, told to the custodians once, and forgotten when it is right.
func TestAlarms(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.run()
	if letters := f.mail.Letters(); len(letters) != 0 {
		t.Fatalf("letters without a cause: %+v", letters)
	}
	id := f.rotate(signing.Export, false)
	f.run()
	f.Advance(custody.WaitingAfter)
	for range 3 {
		f.run()
	}
	letters := f.mail.To("ann@north.example")
	if len(letters) != 1 || len(f.mail.Letters()) != 2 || !strings.Contains(letters[0].Text, "has waited for two weeks") ||
		!strings.Contains(letters[0].Text, "https://portal.example/portal/north/keys") {
		t.Errorf("letters: %+v", f.mail.Letters())
	}
	raised := f.book().Raised
	if len(raised) != 1 || raised[0].Kind != custody.Waiting || raised[0].ToldAt == nil {
		t.Errorf("raised: %+v", raised)
	}
	if err := f.staff.Cancel(t.Context(), f.north, f.ann, id); err != nil {
		t.Fatal(err)
	}
	f.run()
	if raised := f.book().Raised; len(raised) != 0 {
		t.Errorf("still raised: %+v", raised)
	}
}

// A key of which the schedule was not carried out is late, as anybody sees who asks, and
// the schedule itself is told.
func TestLate(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	began := *f.book().Versions[signing.CodeMAC][0].Activated
	f.SetNow(began.Add(key.Rule(signing.CodeMAC).Period + custody.LateAfter))
	alarms := f.book().Alarms(f.Now())
	if len(alarms) != 1 || alarms[0].Purpose != signing.CodeMAC || alarms[0].Kind != custody.Late {
		t.Errorf("alarms: %+v", alarms)
	}
	since, err := f.keeper.Behind(t.Context(), f.north.ID)
	if err != nil || since.IsZero() {
		t.Errorf("behind since %v, %v", since, err)
	}
	f.run()
	if alarms := f.book().Alarms(f.Now()); len(alarms) != 0 {
		t.Errorf("after a run: %+v", alarms)
	}
}

// The keeper acts in its own name, and its entries hold no key.
func TestEntries(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.rotate(signing.Certificate, true)
	f.run()
	f.Advance(key.HandLead)
	f.run()
	var entries []audit.Entry
	err := f.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) (err error) {
		entries, err = audit.List(t.Context(), tx, 10)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range entries {
		lines = append(lines, e.ActorID+" "+e.Action+" "+e.Target)
	}
	for _, want := range []string{f.ann.ID + " key:request-rotation certificate", "keys key:request-rotation certificate north-c2", "keys key:approve-rotation certificate north-c2"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no entry %q in %q", want, lines)
		}
	}
}

// Whoever may not, cannot; neither can another tenant's people.
func TestForbidden(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	nobody := authz.Subject{Kind: authz.Person, ID: uuid.NewString(), Name: "Nobody", Roles: []authz.Role{authz.Caseworker}}
	if _, err := f.staff.Rotate(t.Context(), f.north, nobody, signing.Token, true, "I can."); err == nil {
		t.Error("a caseworker rotated a key")
	}
	id := f.rotate(signing.Export, false)
	south := f.Create("south")
	if err := f.staff.Cancel(t.Context(), south, f.ann, id); err == nil {
		t.Error("a rotation was cancelled as another tenant's")
	}
	b, err := f.staff.Book(t.Context(), south, f.ann)
	if err != nil || len(b.Rotations) != 0 {
		t.Errorf("%+v, %v", b, err)
	}
}

// The portal cannot say that a key is in use, nor make one.
func TestPortalOnlyAsks(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.rotate(signing.Export, false)
	f.run()
	for _, statement := range []string{
		`update key_rotation set step = 'done', ended_at = now() where rotation_id = '` + id.String() + `'`,
		`insert into key_rotation (tenant_id, rotation_id, purpose, step, version, requested_at, requested_by)
		 values (current_tenant(), gen_random_uuid(), 'token', 'made', 1, now(), 'x')`,
		`update signing_key set state = 'active' where version = 2`,
		`update job_run set due_at = now() where job = 'export'`,
	} {
		var changed int64
		err := f.Portal.In(t.Context(), f.north.ID, func(tx *tenant.Tx) (err error) {
			changed, err = tx.Exec(t.Context(), statement)
			return err
		})
		if changed != 0 || err != nil && !tenanttest.Denied(err) {
			t.Errorf("%s: %d rows, %v", statement, changed, err)
		}
	}
	err := f.Jobs.InKeeping(t.Context(), f.north.ID, key.Rotating, func(tx *tenant.Tx) error {
		var sealed []byte
		return tx.Get(t.Context(), &sealed, `select sealed from signing_key where purpose = 'token'`)
	})
	if !tenanttest.Denied(err) {
		t.Errorf("who keeps keys reads a secret: %v", err)
	}
}

// A rotation that was done in a sandbox counts as rehearsed, for whoever is a member there,
// and for no one else.
func TestRehearsal(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ctx := t.Context()
	box := f.Create("north-abcdef-sandbox", func(s *onboarding.Spec) { s.Kind, s.Region, s.ExportKeyID = tenant.Sandbox, "ZZ-ABC", "box" })
	other := f.Create("other-abcdef-sandbox", func(s *onboarding.Spec) { s.Kind, s.Region, s.ExportKeyID = tenant.Sandbox, "ZZ-ABD", "box2" })
	for _, of := range []*tenant.Tenant{box, other} {
		_, err := f.Database.Super().ExecContext(ctx, `
insert into key_rotation (tenant_id, rotation_id, purpose, step, version, requested_at, requested_by, ended_at)
values ($1, gen_random_uuid(), 'export', 'done', 1, $2, 'Robin', $2)`, of.ID, f.Now())
		if err != nil {
			t.Fatal(err)
		}
	}
	id := f.rotate(signing.Export, false)
	f.run()
	who := oidc.Identity{Issuer: "https://idp.example", Subject: "1", Email: "ann@north.example"}
	rehearsed := func(in ...*tenant.Tenant) error { return f.staff.Rehearse(ctx, f.north, f.ann, who, in, id) }
	if err := rehearsed(box, other, f.north); !errors.Is(err, custody.ErrNotRehearsed) {
		t.Errorf("as a member of none: %v", err)
	}
	m := member.Member{Issuer: who.Issuer, Email: who.Email, Name: "ann", Roles: []authz.Role{authz.KeyCustodian}}
	if err := f.Operator.In(ctx, box.ID, func(tx *tenant.Tx) error { return member.Add(ctx, tx, m) }); err != nil {
		t.Fatal(err)
	}
	f.Advance(custody.RehearsalLife + time.Second)
	if err := rehearsed(box); !errors.Is(err, custody.ErrNotRehearsed) {
		t.Errorf("too long ago: %v", err)
	}
	f.Advance(-time.Hour)
	if err := rehearsed(other, box); err != nil {
		t.Errorf("as a member: %v", err)
	}
	r, err := f.book().Rotation(id)
	if err != nil || r.RehearsedIn != string(box.Slug) || r.RehearsedAt == nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// If a new export key does not sign, nothing is put to use, the rotation says so, and the
// custodians are told.
func TestKeyThatDoesNotSign(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.rotate(signing.Export, false)
	f.run()
	const spoil = `update signing_key set sealed = 'spoilt' where purpose = 'export' and state = 'next'`
	if _, err := f.Database.Super().ExecContext(t.Context(), spoil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Database.Super().ExecContext(t.Context(), `update key_rotation set step = 'activating'`); err != nil {
		t.Fatal(err)
	}
	if err := f.keeper.Run(t.Context(), f.north.ID); err == nil {
		t.Error("a run that could not go on is a success")
	}
	f.wants("after the attempt", signing.Export, "active next")
	r, err := f.book().Rotation(id)
	if err != nil || r.Step != custody.Made || r.Failure == "" || r.TestedAt != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if letters := f.mail.To("bob@north.example"); len(letters) != 1 || !strings.Contains(letters[0].Text, "could not go on") {
		t.Errorf("letters: %+v", letters)
	}
	if err := f.staff.AskActivation(t.Context(), f.north, f.ann, id, "Go on."); !errors.Is(err, custody.ErrUnready) {
		t.Errorf("asked for a key that does not sign: %v", err)
	}
}
