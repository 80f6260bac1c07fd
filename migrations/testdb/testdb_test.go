package testdb_test

import (
	"testing"

	"carillon/migrations/testdb"
)

// What one test writes, no other sees.
func TestDatabasesAreApart(t *testing.T) {
	t.Parallel()
	first, second := testdb.New(t), testdb.New(t)
	const insert = `insert into tenant_directory (tenant, slug, name, region, health_authority_id) values (gen_random_uuid(), 'only-here', 'n', 'XA', 'id')`
	if _, err := first.Super().ExecContext(t.Context(), insert); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := second.Super().QueryRowContext(t.Context(), `select count(*) from tenant_directory`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("the other database has %d rows", n)
	}
}
