package audit_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/tenanttest"
)

var robin = authz.Subject{Kind: authz.Person, ID: "77aa", Name: "Robin Doe", Roles: []authz.Role{authz.Owner}}

func TestRecordAndList(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	at := time.Date(2026, 11, 25, 17, 4, 5, 678_900_000, time.FixedZone("west", -7*3600))
	record(t, w.Portal, north.ID, at, "first", nil)
	record(t, w.Portal, north.ID, at.Add(-time.Hour), "second", map[string]string{"state": "active", `quo"te`: "é"})
	record(t, w.Portal, south.ID, at, "elsewhere", nil)

	got := list(t, w.Portal, north.ID, 2)
	if len(got) != 2 {
		t.Fatalf("%d entries, want the limit of 2 (a third is onboarding's)", len(got))
	}
	// The newest is the one that was written last, whatever its time says.
	want := []audit.Entry{
		{
			At: time.Date(2026, 11, 25, 23, 4, 5, 0, time.UTC), ActorKind: "person", ActorID: "77aa", ActorName: "Robin Doe",
			Action: "member:write", Target: "second", Detail: json.RawMessage(`{"state": "active", "quo\"te": "é"}`),
		},
		{
			At: time.Date(2026, 11, 26, 0, 4, 5, 0, time.UTC), ActorKind: "person", ActorID: "77aa", ActorName: "Robin Doe",
			Action: "member:write", Target: "first", Detail: json.RawMessage(`{}`),
		},
	}
	if got[0].No <= got[1].No {
		t.Errorf("entries %d and %d are not the newest first", got[0].No, got[1].No)
	}
	for i := range got {
		got[i].No, got[i].At = 0, got[i].At.UTC()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if all := list(t, w.Portal, north.ID, 100); len(all) != 3 || all[2].Action != "tenant:create" {
		t.Errorf("%d entries, the oldest %q", len(all), all[len(all)-1].Action)
	}
}

// No entry, no act; no act, no entry.
func TestEntryAndActAreOne(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	before := len(list(t, w.Operator, north.ID, 100))
	const act = `update tenant_setting set audience = 'changed'`

	errChanged := errors.New("changed my mind")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		if err := audit.Record(t.Context(), tx, w.Now(), robin, "act", "", nil); err != nil {
			return err
		}
		return errChanged
	})
	if !errors.Is(err, errChanged) {
		t.Fatal(err)
	}
	if got := len(list(t, w.Operator, north.ID, 100)); got != before {
		t.Error("an act that was undone left an entry")
	}

	err = w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(t.Context(), act); err != nil {
			return err
		}
		nobody := authz.Subject{Kind: "ghost"}
		_ = audit.Record(t.Context(), tx, w.Now(), nobody, "act", "", nil)
		return nil // the act's author does not care
	})
	if !tenant.Violates(err, "audit_entry_actor_kind_known") {
		t.Errorf("an act without an entry: %v", err)
	}
	var audience string
	err = w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		return tx.Get(t.Context(), &audience, `select audience from tenant_setting`)
	})
	if err != nil || audience == "changed" {
		t.Errorf("audience = %q, %v: the act stands without its entry", audience, err)
	}
}

// No role may change or remove an entry; those that need not read the log cannot.
func TestAppendOnly(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	mayWrite := map[string]bool{"issuer": true, "portal": true, "jobs": true, "operator": true}
	mayRead := map[string]bool{"portal": true, "operator": true}
	for name, db := range map[string]*tenant.DB{
		"device": w.Device, "issuer": w.Issuer, "publish": w.Publish,
		"portal": w.Portal, "jobs": w.Jobs, "operator": w.Operator,
	} {
		for _, change := range []string{
			`update audit_entry set target = 'forged'`, `update audit_entry set at = now()`,
			`delete from audit_entry`, `truncate audit_entry`,
			`insert into audit_entry (tenant_id, entry_no, at, actor_kind, actor_id, actor_name, action, target)
			 values (current_tenant(), 1, now(), 'system', '', '', '', '') on conflict on constraint audit_entry_pkey do update set target = 'forged'`,
		} {
			err := db.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
				_, err := tx.Exec(t.Context(), change)
				return err
			})
			if !tenanttest.Denied(err) {
				t.Errorf("%s: %.30s: %v, want permission denied", name, change, err)
			}
		}
		err := db.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			return audit.Record(t.Context(), tx, w.Now(), robin, "act", "", nil)
		})
		if (err == nil) != mayWrite[name] {
			t.Errorf("%s: Record: %v, may write: %v", name, err, mayWrite[name])
		}
		err = db.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			_, err := audit.List(t.Context(), tx, 1)
			return err
		})
		if (err == nil) != mayRead[name] {
			t.Errorf("%s: List: %v, may read: %v", name, err, mayRead[name])
		}
	}
}

func record(t *testing.T, db *tenant.DB, id tenant.ID, at time.Time, target string, detail map[string]string) {
	t.Helper()
	err := db.In(t.Context(), id, func(tx *tenant.Tx) error {
		return audit.Record(t.Context(), tx, at, robin, string(authz.MemberWrite), target, detail)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, db *tenant.DB, id tenant.ID, limit int) (entries []audit.Entry) {
	t.Helper()
	err := db.In(t.Context(), id, func(tx *tenant.Tx) (err error) {
		entries, err = audit.List(t.Context(), tx, limit)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// Each part of a filter chooses by itself; together they choose what all of them do.
func TestFind(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	day := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	for _, e := range []struct {
		name, action, target string
		at                   time.Time
	}{
		{"Robin Doe", "code:issue", "ABC", day.Add(-time.Second)},
		{"Sam 100% Roe", "code:expire", "abd", day},
		{"Robin Roe", "member:write", "b_d", day.Add(time.Hour)},
	} {
		by := authz.Subject{Kind: authz.Person, ID: "id-" + e.target, Name: e.name}
		err := w.Portal.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			return audit.Record(t.Context(), tx, e.at, by, e.action, e.target, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		filter audit.Filter
		want   []int64
	}{
		"everything":            {audit.Filter{}, []int64{4, 3, 2, 1}},
		"a name":                {audit.Filter{Who: "robin"}, []int64{4, 2}},
		"no pattern in a name":  {audit.Filter{Who: "0% R"}, []int64{3}},
		"nor any character":     {audit.Filter{Target: "b_"}, []int64{4}},
		"an ID":                 {audit.Filter{Who: "id-abd"}, []int64{3}},
		"part of an ID":         {audit.Filter{Who: "id-ab"}, nil},
		"an action":             {audit.Filter{Action: "code:expire"}, []int64{3}},
		"a kind of actions":     {audit.Filter{Action: "code:"}, []int64{3, 2}},
		"a target in any case":  {audit.Filter{Target: "ab"}, []int64{3, 2}},
		"from an instant":       {audit.Filter{From: day, Who: "o"}, []int64{4, 3, 1}},
		"until an instant":      {audit.Filter{Until: day}, []int64{2}},
		"between two":           {audit.Filter{From: day, Until: day.Add(time.Hour)}, []int64{3}},
		"before an entry":       {audit.Filter{Before: 3}, []int64{2, 1}},
		"all together":          {audit.Filter{Who: "robin", Action: "member", Target: "d", From: day, Before: 9}, []int64{4}},
		"all together, nothing": {audit.Filter{Who: "sam", Action: "member"}, nil},
	} {
		var got []int64
		err := w.Portal.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			entries, err := audit.Find(t.Context(), tx, tt.filter, 10)
			for _, e := range entries {
				got = append(got, e.No)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
