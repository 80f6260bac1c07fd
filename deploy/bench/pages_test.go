//go:build !release

package bench

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A small health authority's pages are found by their links, and each has its figures.
func TestPages(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // Postgres may run as another user
		t.Fatal(err)
	}
	err := RunPages(t.Context(), PageOptions{Dir: dir, Codes: 600, Requests: 1, Out: &out})
	if err != nil && !errors.Is(err, ErrMissed) { // a machine that is busy may miss a target
		t.Fatal(err)
	}
	for _, page := range []string{
		"/portal/:tenant/codes/new", "/portal/:tenant/statistics", "/portal/:tenant/limits", "/portal/:tenant/audit?before=",
		"/portal/:tenant/staff/people/:id", "/portal/:tenant/api-keys/:id", "/operator/tenants/:slug", "/login", "The first page with all files",
	} {
		if !strings.Contains(out.String(), page) {
			t.Errorf("%s is not measured:\n%s", page, out.String())
		}
	}
}
