package exposure_test

import (
	"testing"

	"carillon/tenant"
	"carillon/tenant/exposure"
)

// Clean-up waits for publishers, so that they never lock the same rows in different
// orders.
func TestCleanupWaits(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	done := make(chan error, 1)
	err := f.world.Publish.InShared(t.Context(), f.north.ID, exposure.Arrivals, func(*tenant.Tx) error {
		go func() {
			done <- exposure.Cleanup(t.Context(), f.world.Jobs, f.north.ID, exposure.DefaultLimits(), f.world.Now())
		}()
		f.awaitLocks(t, 1)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("clean-up: %v", err)
	}
}
