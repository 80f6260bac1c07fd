package migrations_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/migrations/testdb"
)

// Whoever adds a table says how long its rows are kept, and who deletes them.
func TestEveryTableHasARetention(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../deploy/docs/retention.md")
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [^|]+ \\| [^|]+ \\|$")
	var documented []string
	for _, m := range entry.FindAllSubmatch(page, -1) {
		documented = append(documented, string(m[1]))
	}
	slices.Sort(documented)
	tables := texts(t, testdb.New(t).Super(), `
  select c.relname
    from pg_class c
   where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace`)
	if diff := cmp.Diff(documented, tables); diff != "" {
		t.Errorf("tables (-on the page +in the schema):\n%s", diff)
	}
}
