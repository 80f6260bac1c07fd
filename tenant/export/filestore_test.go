package export_test

import (
	"testing"

	"carillon/tenant/export"
	"carillon/tenant/export/storetest"
)

func TestFileStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) export.Store {
		t.Helper()
		s, err := export.NewFileStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
