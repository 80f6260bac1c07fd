package key_test

import (
	"testing"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
)

// Within a transaction the same key is found.
func TestDataKeyInATransaction(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	b := signing.Binding{Tenant: north.ID.String(), Purpose: signing.Message, KeyID: "x"}
	dk, err := key.NewRing(w.Issuer, w.Root).DataKey(t.Context(), north.ID)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := dk.Seal(b, []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	err = w.Portal.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		dk, err := key.NewRing(w.Portal, w.Root).DataKeyIn(t.Context(), tx, north.ID)
		if err != nil {
			return err
		}
		if text, err := dk.Open(b, sealed); err != nil || string(text) != "text" {
			t.Errorf("opens as %q, %v", text, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Whoever has just asked for another key of the tenant gets the data key without a
// round trip: within a transaction nothing remote may happen.
func TestDataKeyIsInMemoryAfterAnyOtherKey(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	ring := key.NewRing(w.Issuer, w.Root)
	if _, err := ring.Secrets(t.Context(), north.ID, signing.CodeMAC); err != nil {
		t.Fatal(err)
	}
	if n := w.Trips(func() {
		if _, err := ring.DataKey(t.Context(), north.ID); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%d round trips, want none", n)
	}
}
