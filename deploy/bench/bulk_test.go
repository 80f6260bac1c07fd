//go:build !release

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// isBulkServer tells a child process to be the server of [RunBulk].
const isBulkServer = "CARILLON_TEST_BULK_SERVER"

// TestMain can also be the server of [RunBulk], which serves until it is killed.
func TestMain(m *testing.M) {
	if os.Getenv(isBulkServer) == "" {
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, BulkServer(context.Background(), os.Stdin))
	os.Exit(1)
}

// A table goes through the portal, and the death of the server half-way costs no row and
// repeats none.
func TestBulk(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // Postgres may run as another user
		t.Fatal(err)
	}
	err := RunBulk(t.Context(), BulkOptions{
		Dir: dir, Server: []string{"env", isBulkServer + "=yes", os.Args[0]}, Rows: 1200, Out: &out,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, words := range []string{"killed by SIGKILL", "leads to the same order", "1200 codes, one for each of 1200 rows; 2 audit entries"} {
		if !strings.Contains(out.String(), words) {
			t.Errorf("%q is missing in\n%s", words, out.String())
		}
	}
}
