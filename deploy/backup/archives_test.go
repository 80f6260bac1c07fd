package backup

import (
	"slices"
	"testing"
)

// Archives that were asked for after the recovery point are unknown to the rows: their
// parts go. One that the rows know stays, and one that was being made has failed.
func TestArchivesThatNobodyKnowsGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const known, late, open = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
	w.exec(t, `insert into tenant_archive (tenant_id, archive_id, shelved, state, recipient, asked_by, asked_at, ended_at, size, sha256, parts, expires_at)
	 values ($1, $2, true, 'made', '', 'robin', $3, $3, 1, sha256('x'), 1, $3::timestamptz + interval '3 days')`, w.north.ID, known, w.Now())
	w.exec(t, `insert into tenant_archive (tenant_id, archive_id, shelved, recipient, asked_by, asked_at) values ($1, $2, true, '', 'robin', $3)`, w.north.ID, open, w.Now())
	dir := w.backup(t)
	kept := "archives/north/" + known + "/1-000000"
	for _, name := range []string{kept, "archives/north/" + late + "/1-000000"} {
		if err := w.files.Replace(t.Context(), name, []byte("sealed")); err != nil {
			t.Fatal(err)
		}
	}
	dsn := w.emptyDatabase(t)
	if _, err := Restore(t.Context(), w.restoreConfig(dir, dsn)); err != nil {
		t.Fatal(err)
	}
	if names, err := w.files.List(t.Context(), "archives/"); err != nil || !slices.Equal(names, []string{kept}) {
		t.Errorf("%q, %v", names, err)
	}
	if state := query[string](t, dsn(""), `select state from tenant_archive where archive_id = $1`, open); state != "failed" {
		t.Errorf("what was being made is %s", state)
	}
}
