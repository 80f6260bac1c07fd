package conformance_test

import (
	"net/http"
	"strings"
	"testing"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/exportfile/exportfiletest"
	"carillon/tenant"
	"carillon/tenant/export/plan"
	"carillon/tenant/key"
)

var tester = authz.Subject{Kind: authz.System, ID: "test"}

// configure adds an export configuration below a path.
func (w *world) configure(t *testing.T, of account, path string, values map[string]string) {
	t.Helper()
	err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return plan.Add(t.Context(), tx, of.Tenant, tester, path, values, w.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// below are the files of a configuration's index.
func (w *world) below(t *testing.T, of account, path string) []exported {
	t.Helper()
	base := "/t/" + string(of.Slug) + "/exports/" + path
	var list []exported
	for name := range strings.FieldsSeq(string(w.ask(t, http.MethodGet, base+"index.txt", nil, "").body)) {
		a := w.ask(t, http.MethodGet, base+name, nil, "")
		f, err := exportfiletest.Decode(a.body)
		if err != nil {
			t.Fatalf("%s: %s, %v", name, a.Status, err)
		}
		list = append(list, exported{name, a, f})
	}
	return list
}

// planRules are §5.1, §10.1 and §11: several configurations, and several signers.
func planRules() []rule {
	has := func(t *testing.T, k tek, among []exported) bool {
		t.Helper()
		fresh, _, _ := find(t, k, among)
		return len(fresh) > 0
	}
	return []rule{
		{"5.1", "a configuration has its own region, period, index and files, below its path", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			w.configure(t, of, "daily/", map[string]string{"region": "XX", "regions": of.Region, "period": "24h"})
			k := w.teks(1)
			wantReceipt(t, w.publish(t, of, "confirmed", k), 1)
			w.export(t, of, 28)
			own, daily := w.files(t, of), w.below(t, of, "daily/")
			if !has(t, k[0], own) || !has(t, k[0], daily) || len(daily) != 1 {
				t.Fatalf("the key is not in both, of %d and %d files", len(own), len(daily))
			}
			if f := daily[0]; f.Region != "XX" || f.End-f.Start != 24*3600 {
				t.Errorf("region %s, %d to %d", f.Region, f.Start, f.End)
			}
		}},
		{"10.1", "keys of travelers are in the files that take them whatever their region, and left out of those that do not", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			w.configure(t, of, "with/", map[string]string{"region": "XX", "regions": "XY", "travelers": "include"})
			w.configure(t, of, "without/", map[string]string{"travelers": "exclude"})
			home, away := w.teks(1), w.teks(1)
			wantReceipt(t, w.publish(t, of, "confirmed", home), 1)
			wantReceipt(t, w.publish(t, of, "confirmed", away, with("traveler", true)), 1)
			w.export(t, of, untilExported)
			for path, want := range map[string][2]bool{"": {true, true}, "with/": {false, true}, "without/": {true, false}} {
				files := w.below(t, of, path)
				if got := [2]bool{has(t, home[0], files), has(t, away[0], files)}; got != want {
					t.Errorf("%q has the key of home %v, of the traveler %v, want %v", path, got[0], got[1], want)
				}
			}
		}},
		{"11", "while export keys are changed, a file has the signatures of both, the newer first", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
				v, err := key.AddExport(t.Context(), tx, of.ID, w.Root, tester, w.Now())
				if err != nil {
					return err
				}
				return key.ActivateExport(t.Context(), tx, tester, v.No, "both have it", w.Now())
			})
			if err != nil {
				t.Fatal(err)
			}
			wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
			w.export(t, of, untilExported)
			f := w.below(t, of, "")[0]
			public, err := key.NewRing(w.Jobs, w.Root).Public(t.Context(), of.ID, signing.Export)
			if err != nil || len(public) != 2 || len(f.Signatures) != 2 || len(f.Infos) != 2 {
				t.Fatalf("%d keys, %d signatures, %v", len(public), len(f.Signatures), err)
			}
			for i, version := range []string{"v2", "v1"} {
				if f.Infos[i].KeyVersion != version || f.Signatures[i].Info != f.Infos[i] {
					t.Errorf("signer %d is %+v in one list, %+v in the other", i, f.Infos[i], f.Signatures[i].Info)
				}
			}
			for _, k := range public {
				if err := f.Verify(k.KeyID, k.Label, k.Key); err != nil {
					t.Error(err)
				}
			}
		}},
	}
}
