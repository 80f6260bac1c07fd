package exposure_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/certificate"
	"carillon/tenant/exposure"
	"carillon/tenant/exposure/exposuretest"
)

// Statistics hear of an upload once, if it stored or changed something or was a first
// negative report, and of nothing in it but ages in days.
func TestFacts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now().Truncate(time.Second)
	certified := now.Add(certificate.Backdate) // the phone's certificates are not backdated
	keys := f.phone.Keys(3)                    // a day each, the newest that of yesterday
	onset := exposuretest.Interval(now.AddDate(0, 0, -5))
	want := func(what string, got *exposure.Receipt, want *exposure.Facts) {
		t.Helper()
		if diff := cmp.Diff(want, got.Facts); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	claimed := &exposure.Facts{Certified: certified, OldestDays: 3, OnsetDays: 2}

	first := f.phone.Upload(likely, keys)
	receipt := f.publish(t, first)
	want("new keys", receipt, claimed)
	again := first
	again.RevisionToken = receipt.RevisionToken
	want("the same keys", f.publish(t, again), nil)

	given := f.phone.Upload(likely, f.phone.Keys(1))
	given.SymptomOnsetInterval = onset
	want("an onset", f.publish(t, given), &exposure.Facts{Certified: certified, OldestDays: 1, OnsetDays: 5})

	unknown := f.phone.Upload(likely, f.phone.Keys(1), func(c *certificate.Claims) { c.SymptomOnsetInterval = 0 })
	want("no onset", f.publish(t, unknown), &exposure.Facts{Certified: certified, OldestDays: 1, OnsetDays: 4, MissingOnset: true})

	revised, err := f.revise(t, confirmed, keys, receipt.RevisionToken)
	if err != nil {
		t.Fatal(explain(err))
	}
	want("a revision", revised, claimed)

	clear := f.phone.Keys(3)
	want("a first negative report", f.publish(t, f.phone.Upload(negative, clear)), claimed)
}
