package tenant_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/lib/pq"

	"carillon/tenant"
	"carillon/tenant/tenanttest"
)

// Postgres quotes values in some of its errors; ours are logged, so they do not.
func TestErrorsQuoteNoValues(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	err := w.Device.Platform(t.Context(), func(tx *tenant.Tx) error {
		var n int
		return tx.Get(t.Context(), &n, `select count(*) from tenant_directory where tenant = $1::text::uuid`, "12345678")
	})
	var answer *pq.Error
	if !errors.As(err, &answer) || !strings.Contains(answer.Message, "12345678") {
		t.Fatalf("the database did not quote the value: %v", err)
	}
	if strings.Contains(err.Error(), "12345678") {
		t.Errorf("the error quotes the value: %v", err)
	}
}
