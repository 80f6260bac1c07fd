package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"carillon/authz"
	"carillon/signing/auditchain"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/tenanttest"
)

func export(t *testing.T, w *tenanttest.World, of *tenant.Tenant) string {
	t.Helper()
	var file bytes.Buffer
	err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return audit.Export(t.Context(), tx, of, nil, w.Now(), &file)
	})
	if err != nil {
		t.Fatal(err)
	}
	return file.String()
}

func verify(t *testing.T, file string, trust auditchain.Trust) *auditchain.Report {
	t.Helper()
	r, err := auditchain.Verify(bytes.NewReader([]byte(file)), trust)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The database's digests are those of package auditchain, whatever the texts are.
func TestDatabaseChainsAsTheFormatSays(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	for i, text := range []string{"", "plain", "Grüße, 世界", "\"quoted\"\n\tand more", `{"a":1}`} {
		by := authz.Subject{Kind: authz.Person, ID: text, Name: text, Request: text, Because: text}
		err := w.Portal.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			return audit.Record(t.Context(), tx, w.Now(), by, "act", text, map[string]string{text: text, "n": fmt.Sprint(i)})
		})
		if err != nil {
			t.Fatal(err)
		}
		record(t, w.Portal, south.ID, w.Now(), text, nil)
	}
	for _, of := range []*tenant.Tenant{north, south} {
		if r := verify(t, export(t, w, of), auditchain.Trust{}); !r.Whole() || r.Entries != 6 {
			t.Errorf("%s: %d entries, findings %v", of.Slug, r.Entries, r.Findings)
		}
	}
}

// Acts at the same moment, under several roles, some undone: one chain without gap.
func TestConcurrentEntriesMakeOneChain(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	group, ctx := errgroup.WithContext(t.Context())
	for n := range 60 {
		db := []*tenant.DB{w.Portal, w.Issuer, w.Jobs, w.Operator}[n%4]
		group.Go(func() error {
			err := db.In(ctx, north.ID, func(tx *tenant.Tx) error {
				if err := audit.Record(ctx, tx, w.Now(), robin, "act", fmt.Sprint(n), nil); err != nil {
					return err
				}
				if n%3 == 0 {
					return context.Canceled // undone
				}
				return nil
			})
			if n%3 == 0 {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, export(t, w, north), auditchain.Trust{}); !r.Whole() || r.Entries != 41 {
		t.Errorf("%d entries, want 41; findings %v", r.Entries, r.Findings)
	}
}

// What a superuser does to the table shows.
func TestSuperusersTamperingShows(t *testing.T) {
	t.Parallel()
	tampers := map[string]string{
		"changed": `update audit_entry set target = 'forged' where entry_no = 3`,
		"dropped": `delete from audit_entry where entry_no = 3`,
		"swapped": `
update audit_entry set entry_no = -entry_no where entry_no in (3, 4);
update audit_entry set entry_no = 7 + entry_no where entry_no in (-3, -4)`,
	}
	for name, tamper := range tampers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := tenanttest.New(t)
			north := w.Create("north")
			for n := range 5 {
				record(t, w.Portal, north.ID, w.Now(), fmt.Sprint(n), nil)
			}
			if _, err := w.Database.Super().ExecContext(t.Context(), tamper); err != nil {
				t.Fatal(err)
			}
			r := verify(t, export(t, w, north), auditchain.Trust{})
			if !slices.ContainsFunc(r.Findings, func(f auditchain.Finding) bool { return f.Entry == 3 || f.Entry == 4 }) {
				t.Errorf("findings %v, want one at entry 3 or 4", r.Findings)
			}
		})
	}
}
