package adminui

import (
	"testing"

	"carillon/tenant"
)

// One authority's downloads leave room for the others', and all together have an end.
func TestDownloadsAreBounded(t *testing.T) {
	t.Parallel()
	var d downloads
	var begun []tenant.ID
	one := tenant.NewID()
	for range 3 * maxTenantDownloads {
		if d.begin(one) {
			begun = append(begun, one)
		}
	}
	if len(begun) != maxTenantDownloads {
		t.Errorf("%d of one authority, want %d", len(begun), maxTenantDownloads)
	}
	for range 3 * maxDownloads {
		if other := tenant.NewID(); d.begin(other) {
			begun = append(begun, other)
		}
	}
	if len(begun) != maxDownloads {
		t.Errorf("%d in all, want %d", len(begun), maxDownloads)
	}
	for _, id := range begun {
		d.end(id)
	}
	if !d.begin(one) || len(d.of) != 1 {
		t.Errorf("%v, after all have ended", d.of)
	}
}
