package platform_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/platform"
	"carillon/tenant/tenanttest"
)

const idp = "https://login.example"

var (
	robin = oidc.Identity{Issuer: idp, Subject: "sub-robin", Email: "Robin@platform.example"}
	shell = authz.Subject{Kind: authz.System, ID: "test", Name: "Test"}
)

func add(t *testing.T, w *tenanttest.World, role authz.Role) {
	t.Helper()
	o := platform.Operator{Issuer: idp, Email: "robin@Platform.example", Name: "Robin", Role: role}
	if err := platform.Add(t.Context(), w.Operator, shell, o, w.Now()); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, w *tenanttest.World, what string, who oidc.Identity) {
	t.Helper()
	if got, err := platform.Authenticate(t.Context(), w.Operator, who); !errors.Is(err, platform.ErrNotOperator) {
		t.Errorf("%s: %v, %v", what, got, err)
	}
}

// The first sign-in binds; who is removed is out at once, and back when added again.
func TestOperators(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	refused(t, w, "before she is added", robin)
	add(t, w, authz.Operator)
	for range 2 {
		got, err := platform.Authenticate(t.Context(), w.Operator, robin)
		if err != nil || len(got.Roles) != 1 || got.Roles[0] != authz.Operator {
			t.Fatalf("%v, %v", got, err)
		}
	}
	heir, realm := robin, robin
	heir.Subject, realm.Realm = "sub-heir", tenant.NewID().String()
	refused(t, w, "the heir of the address", heir)
	refused(t, w, "by the word of a tenant's provider", realm)
	refused(t, w, "nobody", oidc.Identity{})
	if err := platform.Remove(t.Context(), w.Operator, shell, idp, robin.Email, w.Now()); err != nil {
		t.Fatal(err)
	}
	refused(t, w, "removed", robin)
	if err := platform.Remove(t.Context(), w.Operator, shell, idp, robin.Email, w.Now()); !errors.Is(err, platform.ErrNotOperator) {
		t.Errorf("removed twice: %v", err)
	}
	add(t, w, authz.Support)
	if got, err := platform.Authenticate(t.Context(), w.Operator, heir); err != nil || got.Roles[0] != authz.Support {
		t.Errorf("added again: %v, %v", got, err)
	}
	bad := platform.Operator{Issuer: idp, Email: "x", Name: "X", Role: authz.Owner}
	if err := platform.Add(t.Context(), w.Operator, shell, bad, w.Now()); !errors.Is(err, platform.ErrOperator) {
		t.Errorf("an owner of the platform: %v", err)
	}
	if list, err := platform.Operators(t.Context(), w.Operator); err != nil || len(list) != 1 || !list[0].Bound {
		t.Errorf("%+v, %v", list, err)
	}
}

// Of many who suspend at once one does; the tenant's log and the platform's say so.
func TestSuspendingAtOnce(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	for _, step := range []struct {
		do     func() error
		action string
	}{
		{func() error { return platform.Suspend(t.Context(), w.Operator, shell, north, " fraud ", w.Now()) }, "tenant:suspend"},
		{func() error { return platform.Resume(t.Context(), w.Operator, shell, north, "settled", w.Now()) }, "tenant:resume"},
	} {
		var all sync.WaitGroup
		var done atomic.Int32
		for range 8 {
			all.Go(func() {
				if err := step.do(); err == nil {
					done.Add(1)
				} else if !errors.Is(err, platform.ErrState) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		acts, err := platform.Acts(t.Context(), w.Operator, "north", 0, 10)
		if done.Load() != 1 || err != nil || acts[0].Action != step.action || acts[0].Reason == "" {
			t.Errorf("%s: %d at once, log %+v, %v", step.action, done.Load(), acts, err)
		}
	}
	for name, reason := range map[string]string{"none": " ", "long": strings.Repeat("x", 501), "zero": "a\x00b", "turned around": "a\u202eb", "a blank of no width": "a\u200bb"} {
		if err := platform.Suspend(t.Context(), w.Operator, shell, north, reason, w.Now()); !errors.Is(err, platform.ErrReason) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := platform.Suspend(t.Context(), w.Portal, shell, north, "not hers", w.Now()); !tenant.Violates(err, "tenant_directory_state_kept") {
		t.Errorf("the portal suspends: %v", err)
	}
}

// What belongs to patients, and what tells of codes and keys, the operators' role cannot
// read.
func TestOperatorsCannotReadPatientsData(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	for _, query := range []string{
		`select short_mac from verification_code`, `select long_mac from verification_code`, `select test_type from verification_code`,
		`select * from verification_token`, `select * from exposure`, `select * from publish_receipt`, `select nonce_digest from user_report`,
		`select * from message_queue`, `select * from message_delivery`, `select * from batch`, `select * from batch_row`,
		`select * from lab_submission`, `select * from lab_result`,
		`select * from export_file`, `select * from export_part`, `insert into support_grant (tenant_id) values (current_tenant())`,
	} {
		err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			_, err := tx.Exec(t.Context(), query)
			return err
		})
		if !tenanttest.Denied(err) {
			t.Errorf("%s: %v", query, err)
		}
	}
}

func TestSheetAndRegister(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, _ := w.Create("north"), w.Create("south")
	for series, n := range map[string]int{"codes-issued": 9, "upload-keys": 127, "codes-claimed": 500} {
		_, err := w.Database.Super().ExecContext(t.Context(), `
insert into statistic_day (tenant_id, day, series, subject, cohort, class, quantity)
values ($1, '2026-11-24', $2, '', '2026-11-24', 0, $3)`, north.ID, series, n)
		if err != nil {
			t.Fatal(err)
		}
	}
	directory := tenant.NewDirectory(w.Operator)
	sheet, err := platform.Find(t.Context(), w.Operator, directory, "north", w.Now())
	if err != nil {
		t.Fatal(err)
	}
	day := sheet.Days[0]
	if len(sheet.Days) != 14 || !day.Codes.Few() || day.Keys.Shown() != 120 || day.Failures.Few() || day.Failures.Shown() != 0 {
		t.Errorf("days %+v", sheet.Days)
	}
	if _, err := platform.Find(t.Context(), w.Operator, directory, "nowhere", w.Now()); !errors.Is(err, tenant.ErrUnknown) {
		t.Errorf("nowhere: %v", err)
	}
	for want, f := range map[string]platform.Filter{
		"north south": {}, "north": {Text: "NORTH"}, "south": {After: "north"}, "": {State: tenant.Suspended}, "north south ": {Kind: tenant.Production},
	} {
		lines, err := platform.Register(t.Context(), w.Operator, f, 10)
		var got []string
		for _, l := range lines {
			got = append(got, string(l.Slug))
		}
		if err != nil || strings.Join(got, " ") != strings.TrimSpace(want) {
			t.Errorf("%+v: %v, %v", f, got, err)
		}
	}
}
