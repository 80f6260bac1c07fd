package key_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/provider/vault"
	"carillon/signing/provider/vault/vaulttest"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
)

var custodian = authz.Subject{Kind: authz.Person, ID: "custodian", Name: "Custodian"}

func TestRotationSteps(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	in := func(id tenant.ID, fn func(*tenant.Tx) error) error { return w.Operator.In(t.Context(), id, fn) }
	add := func() error {
		return in(north.ID, func(tx *tenant.Tx) error {
			_, err := key.AddExport(t.Context(), tx, north.ID, w.Root, custodian, w.Now())
			return err
		})
	}
	activate := func(id tenant.ID, version int, who string) error {
		return in(id, func(tx *tenant.Tx) error {
			return key.ActivateExport(t.Context(), tx, custodian, version, who, w.Now())
		})
	}
	retire := func(version int) error {
		return in(north.ID, func(tx *tenant.Tx) error { return key.RetireExport(t.Context(), tx, custodian, version, w.Now()) })
	}
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	want("retire the only key", retire(1), key.ErrLastKey)
	want("activate what is not there", activate(north.ID, 2, "both"), key.ErrNoVersion)
	want("add", add(), nil)
	want("activate without confirmation", activate(north.ID, 2, ""), key.ErrUnconfirmed)
	want("activate as another tenant", activate(south.ID, 2, "both"), key.ErrNoVersion)
	want("retire what is not active", retire(2), key.ErrNoVersion)
	want("activate", activate(north.ID, 2, "both"), nil)
	want("activate again", activate(north.ID, 2, "both"), key.ErrNoVersion)
	want("retire", retire(1), nil)
	want("bring back", activate(north.ID, 1, "both"), key.ErrNoVersion)
	for version := 3; version <= 11; version++ {
		want("add", add(), nil)
		want("activate", activate(north.ID, version, "both"), nil)
	}
	want("add", add(), nil)
	want("activate the eleventh at once", activate(north.ID, 12, "both"), key.ErrTooManyKeys)

	err := in(north.ID, func(tx *tenant.Tx) error {
		list, err := key.ExportVersions(t.Context(), tx)
		if err != nil {
			return err
		}
		names := map[string]bool{}
		for _, v := range list {
			names[v.KeyID+"/"+v.Label] = true
		}
		if len(list) != 12 || len(names) != 12 || list[0].State != key.VerifyOnly || list[1].State != key.Active || list[11].State != key.Next ||
			list[0].Retired == nil || list[1].Activated == nil || list[11].Activated != nil || list[11].KeyID != "310" || list[11].Label != "v12" {
			t.Errorf("versions: %+v", list)
		}
		entries, err := audit.List(t.Context(), tx, 100)
		var text []string
		for _, e := range entries {
			text = append(text, e.Action+" "+e.Target+" "+string(e.Detail))
		}
		all := strings.Join(text, "\n")
		for _, line := range []string{`key:request-rotation export 310 v2 {}`, `key:approve-rotation export 310 v2 {"state": "active", "confirmed": "both"}`, `key:approve-rotation export 310 v1 {"state": "verify-only"}`} {
			if !strings.Contains(all, line) {
				t.Errorf("the audit log lacks %s", line)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := key.NewRing(w.Jobs, w.Root).Signers(t.Context(), north.ID, signing.Export); err != nil || len(list) != 10 {
		t.Errorf("%d signers, %v", len(list), err)
	}
}

// Two who retire the two active keys at once leave one of them.
func TestRetiringAtOnce(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		_, err := key.AddExport(t.Context(), tx, north.ID, w.Root, custodian, w.Now())
		return errors.Join(err, key.ActivateExport(t.Context(), tx, custodian, 2, "both", w.Now()))
	})
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	results := make(chan error, 2)
	for version := 1; version <= 2; version++ {
		both.Go(func() {
			results <- w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
				return key.RetireExport(t.Context(), tx, custodian, version, time.Now())
			})
		})
	}
	both.Wait()
	first, second := <-results, <-results
	if (first == nil) == (second == nil) || !errors.Is(errors.Join(first, second), key.ErrLastKey) {
		t.Errorf("%v and %v, want one success", first, second)
	}
}

// A key that a provider made for a rotation that does not come about is not left there.
func TestNoKeyIsLeftAtAProvider(t *testing.T) {
	t.Parallel()
	w, server := tenanttest.New(t), vaulttest.New(t)
	north := w.Create("north")
	outside, err := vault.New(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	custody := signing.Custody{Root: w.Root.Root}
	if custody.Providers, err = signing.NewProviders(vault.Name, outside); err != nil {
		t.Fatal(err)
	}
	add := func() error {
		return w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			_, err := key.AddExport(t.Context(), tx, north.ID, custody, custodian, w.Now())
			return err
		})
	}
	super := w.Database.Super()
	if _, err := super.ExecContext(t.Context(), `alter table signing_key add constraint broken check (version < 2) not valid`); err != nil {
		t.Fatal(err)
	}
	if err := add(); err == nil || server.Keys() != 0 {
		t.Errorf("what cannot be stored: %v, and %d keys at the provider", err, server.Keys())
	}
	if _, err := super.ExecContext(t.Context(), `alter table signing_key drop constraint broken`); err != nil {
		t.Fatal(err)
	}
	if err := add(); err != nil || server.Keys() != 1 {
		t.Errorf("the first: %v, and %d keys at the provider", err, server.Keys())
	}
	if err := add(); !errors.Is(err, key.ErrRotating) || server.Keys() != 1 {
		t.Errorf("while it is rotated: %v, and %d keys at the provider", err, server.Keys())
	}
}
