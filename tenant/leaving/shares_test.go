package leaving_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/sharing"
)

// An authority that leaves shares keys while its phones can publish, and not after that:
// what it offered is withdrawn, what it accepted has ended, and both sides' logs say so.
// What others share with each other is theirs.
func TestSharesEndWithThePublishing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	south, east := f.Create("south"), f.Create("east")
	robin := authz.Subject{Kind: authz.Person, ID: "robin", Name: "Robin", Roles: []authz.Role{authz.Owner}}
	share := func(from, to *tenant.Tenant) {
		t.Helper()
		var id uuid.UUID
		err := f.Portal.In(t.Context(), from.ID, func(tx *tenant.Tx) (err error) {
			id, err = sharing.Offer(t.Context(), tx, from, robin, string(to.Slug), sharing.Terms{}, f.Now())
			return err
		})
		if err == nil {
			err = f.Portal.In(t.Context(), to.ID, func(tx *tenant.Tx) error { return sharing.Accept(t.Context(), tx, to, robin, id, f.Now()) })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	share(f.north, south)
	share(south, f.north)
	share(east, f.north)
	share(south, east)
	standing := func() (n int) {
		t.Helper()
		err := f.Database.Super().QueryRowContext(t.Context(), `
select count(*) from share_answer a join share_offer o on o.tenant_id = a.donor and o.offer_id = a.offer_id
 where a.accepted and a.ended_at is null and o.withdrawn_at is null`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	l := f.leave(t)
	f.SetNow(l.Closes.Add(-1))
	f.run(t)
	if n := standing(); n != 4 {
		t.Errorf("%d shares stand while phones publish, want 4", n)
	}
	f.SetNow(l.Closes)
	f.run(t)
	f.run(t)
	if n := standing(); n != 1 {
		t.Errorf("%d shares stand when they publish no more, want 1", n)
	}
	for of, want := range map[*tenant.Tenant][]string{
		f.north: {"sharing:end east", "sharing:end south", "sharing:withdraw south"},
		south:   {"sharing:end north", "sharing:withdraw north"},
		east:    {"sharing:end north"},
	} {
		var got []string
		err := f.Portal.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
			entries, err := audit.List(t.Context(), tx, 100)
			for _, e := range entries {
				if e.Action == "sharing:end" || e.Action == "sharing:withdraw" {
					got = append(got, e.Action+" "+e.Target)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("entries of %s: %q, want %q", of.Slug, got, want)
		}
	}
}
