package backup

import (
	"slices"
	"testing"
)

// What was taken away after the recovery point is there again, and listed, with the name
// by which somebody finds it in the portal; what was taken away before is not.
func TestWhatMayBeBackIsListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, state := range map[string]string{"robin": "active", "sam": "suspended"} {
		w.exec(t, `insert into member (tenant_id, member_id, issuer, email, name, roles, state)
		 values ($1, gen_random_uuid(), 'https://idp.example', $2 || '@north.example', $2, '{administrator,caseworker}', $3)`, w.north.ID, name, state)
	}
	const deviceSQL = `select name from api_key where tenant_id = $1 and kind = 'device'`
	norths, souths := query[string](t, w.Database.DSN(""), deviceSQL, w.north.ID), query[string](t, w.Database.DSN(""), deviceSQL, w.south.ID)
	dir := w.backup(t)
	w.exec(t, `update member set state = 'suspended' where tenant_id = $1`, w.north.ID)
	w.exec(t, `update api_key set disabled_at = now() where tenant_id = $1 and kind = 'device'`, w.north.ID)
	dsn := w.emptyDatabase(t)
	restored, err := Restore(t.Context(), w.restoreConfig(dir, dsn))
	if err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, dsn(""), `select count(*) from member where tenant_id = $1 and state = 'active'`, w.north.ID); n != 1 {
		t.Errorf("%d people can sign in", n)
	}
	for _, of := range restored.Tenants {
		var got []string
		for _, v := range of.Review {
			if v.Kind != "signing-key" {
				got = append(got, v.Kind+" "+v.Name)
			}
			if v.Kind == "member" && v.Detail != "administrator, caseworker" {
				t.Errorf("%+v", v)
			}
		}
		want := []string{"device-key " + norths, "member robin@north.example"}
		if of.ID == w.south.ID {
			want = []string{"device-key " + souths}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", of.Slug, got, want)
		}
	}
}
