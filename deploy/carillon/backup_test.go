package main

import (
	"strings"
	"testing"
	"time"

	"carillon/deploy/backup"
)

// After a restore the operator has a list of what to look through, in which nothing that
// staff have named can pass for something else.
func TestReviewIsPrinted(t *testing.T) {
	t.Parallel()
	r := &backup.Restored{
		Manifest: &backup.Manifest{RecoveryPoint: time.Date(2026, 11, 27, 4, 0, 0, 0, time.UTC)},
		Tenants: []backup.RestoredTenant{
			{Slug: "north", Review: []backup.Review{
				{Kind: "device-key", Name: "app\n    [ ] another", Detail: "made 2026-11-01"},
				{Kind: "member", Name: "robin@north.example", Detail: "owner"},
			}},
			{Slug: "gone", Erased: true},
		},
	}
	var b strings.Builder
	if err := printRestored(&b, r, false, r.Manifest.RecoveryPoint.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"2026-11-27T04:00:00Z", `[ ] "robin@north.example"  owner`, `[ ] "app\n    [ ] another"  made 2026-11-01`,
		"Suspend again who was suspended", "Destroy again what was destroyed:\n    none",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\ngone\n") {
		t.Errorf("an erased authority is to be looked through:\n%s", text)
	}
}
