package verification_test

import (
	"errors"
	"testing"

	"carillon/tenant"
	"carillon/tenant/verification"
)

// Vet and Issue refuse alike, and Vet leaves nothing behind.
func TestVetForetellsIssue(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.north = with(f.north, func(s *tenant.Settings) { s.TestTypes, s.RequireDate = []string{"confirmed"}, true })
	const id = "5f0a7f63-7a4f-4f0d-9a55-0d2ff0c7ef02"
	for _, r := range []verification.IssueRequest{
		{TestType: "confirmed"},
		{TestType: "confirmed", TestDate: "2026-10-01"},
		{TestType: "confirmed", TestDate: "2026-11-24", Phone: "call me"},
		{TestType: "negative", TestDate: "2026-11-24", UUID: id},
		{TestType: "maybe", TestDate: "2026-11-24", UUID: id},
		{TestType: "confirmed", TestDate: "2026-11-24", UUID: id},
	} {
		foretold := f.issuer.Vet(f.north, backEnd, r)
		_, err := f.issuer.Issue(t.Context(), f.north, backEnd, r)
		if (foretold == nil) != (err == nil) || foretold != nil && !errors.Is(err, errors.Unwrap(foretold)) {
			t.Errorf("Vet says %v, Issue %v", foretold, err)
		}
	}
}
