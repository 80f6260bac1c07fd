package export

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"carillon/signing/certificate"
)

// some are n distinct stored keys, in the order of their bytes.
func some(n int) []stored {
	list := make([]stored, n)
	for i := range list {
		tek := make([]byte, 16)
		tek[0], tek[1], tek[2] = byte(i>>16), byte(i>>8), byte(i)
		list[i] = stored{
			TEK: tek, RollingStart: int32(2_990_000 + i), RollingPeriod: 144, Risk: 2, ReportType: "confirmed",
			DaysSinceOnset: ptr(int32(0)), Region: "XA", CreatedAt: at("09:00:00").Add(time.Duration(i) * time.Second),
			Original: tek,
		}
	}
	return list
}

func copySome(t *testing.T, n int, p plan) []stored {
	t.Helper()
	generated, err := copies(some(n), p, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return generated
}

// Whatever the number of keys, the file has as many as it should, and no key has more
// copies than any other by more than one.
func TestEachKeyHasItsShareOfCopies(t *testing.T) {
	t.Parallel()
	p := plan{MinRecords: 100, PaddingRange: 10, MaxRecords: 500_000}
	for n := 1; n < p.MinRecords; n++ {
		generated := copySome(t, n, p)
		least := p.MinRecords
		if n > p.PaddingRange {
			least = (p.MinRecords + n - 1) / n * n
		}
		if total := n + len(generated); total < least || total > least+p.PaddingRange {
			t.Errorf("%d keys became %d", n, total)
		}
		times := map[int32]int{}
		for _, g := range generated {
			times[g.RollingStart]++
		}
		fewest, most := len(generated), 0
		for _, k := range some(n) {
			fewest, most = min(fewest, times[k.RollingStart]), max(most, times[k.RollingStart])
		}
		if fewest < 1 || most > fewest+1 {
			t.Errorf("of %d keys one has %d copies and one has %d", n, fewest, most)
		}
	}
}

// A copy differs from its original in its bytes alone.
func TestCopiesAreLikeTheirOriginals(t *testing.T) {
	t.Parallel()
	real := some(3)
	real[1].RevisedType, real[1].RevisedAt, real[1].RevisedRisk = ptr("negative"), ptr(at("09:30:00")), ptr(int32(6))
	generated, err := copies(real, plan{MinRecords: 20, PaddingRange: 5, MaxRecords: 100}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, g := range generated {
		k := real[slices.IndexFunc(real, func(k stored) bool { return slices.Equal(k.TEK, g.Original) })]
		if seen[string(g.TEK)] || slices.Equal(g.TEK, k.TEK) {
			t.Error("a generated key is not new")
		}
		seen[string(g.TEK)] = true
		if g.RollingStart != k.RollingStart || g.RollingPeriod != 144 || g.Risk != 2 || g.ReportType != "confirmed" ||
			g.DaysSinceOnset != k.DaysSinceOnset || !g.CreatedAt.Equal(k.CreatedAt) ||
			g.RevisedType != k.RevisedType || g.RevisedAt != k.RevisedAt || g.RevisedRisk != k.RevisedRisk {
			t.Errorf("%+v is a copy of %+v", g, k)
		}
	}
}

// Of few keys the file's number of keys tells nothing: with the same random numbers it
// is the same.
func TestCountIsIndependentOfFewKeys(t *testing.T) {
	t.Parallel()
	p := plan{MinRecords: 1000, PaddingRange: 100, MaxRecords: 500_000}
	seen := map[int]bool{}
	for n := 1; n <= p.PaddingRange; n++ {
		generated, err := copies(some(n), p, mathrand.NewChaCha8([32]byte{1}))
		if err != nil {
			t.Fatal(err)
		}
		seen[n+len(generated)] = true
	}
	if len(seen) != 1 {
		t.Errorf("there are files of %d sizes", len(seen))
	}
}

// With a source of zeros, padding stops at the minimum.
func TestPaddingReachesTheMinimum(t *testing.T) {
	t.Parallel()
	generated, err := copies(some(1), plan{MinRecords: 5, PaddingRange: 100, MaxRecords: 1000}, zeros{})
	if err != nil || len(generated) != 4 {
		t.Errorf("%d generated keys beside one, want 4 (%v)", len(generated), err)
	}
}

// zeros is a source of randomness without any.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// The padding of a file never makes it larger than a file may be.
func TestPaddingStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 20; n++ {
		if total := n + len(copySome(t, n, plan{MinRecords: 20, PaddingRange: 100, MaxRecords: 20})); total != 20 {
			t.Errorf("%d keys became %d", n, total)
		}
	}
}

func TestShortLastFile(t *testing.T) {
	t.Parallel()
	b := batch{plan: plan{MinRecords: 6, MaxRecords: 10}}
	for _, test := range []struct {
		files []share
		want  int
	}{
		{nil, 0},
		{[]share{{keys: 2}}, 0}, // padded before it was made
		{[]share{{keys: 10}, {keys: 2}}, 4},
		{[]share{{keys: 10}, {keys: 6}}, 0},
		{[]share{{keys: 10}, {keys: 2, revised: 5}}, 3}, // there is no more room
		{[]share{{keys: 10}, {keys: 2, revised: 8}}, 0},
		{[]share{{keys: 10}, {revised: 3}}, 0}, // revised keys are not padded
	} {
		if got := short(test.files, b); got != test.want {
			t.Errorf("%+v: %d, want %d", test.files, got, test.want)
		}
	}
}

// An attempt that is repeated finds the padding of the one before.
func TestPaddingIsNotRepeated(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustPublish(t, 3)
	f.world.Advance(period)
	failing := f.service(func(name string) error {
		if name == "encoded" {
			return errCrash
		}
		return nil
	})
	counts := map[int]bool{}
	for range 3 {
		if err := failing.Turn(t.Context(), f.tenant.ID); err == nil {
			t.Fatal("the turn succeeded")
		}
		counts[f.count(t, `select count(*) from exposure`)] = true
		f.world.Advance(retryAfter)
	}
	f.turn(t, f.service(nil))
	fresh, _ := f.observe(t)
	counts[len(fresh)] = true
	if len(counts) != 1 {
		t.Errorf("there were different numbers of keys: %v", counts)
	}
}

// Whoever sees which keys are revised does not learn which are real (§5.4).
func TestCopiesAreRevisedWithTheirOriginals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	keys := f.phone.Keys(3)
	r, err := f.send(t.Context(), certificate.Likely, keys, "")
	if err != nil {
		t.Fatal(err)
	}
	f.world.Advance(period)
	f.turn(t, s)
	if _, err := f.send(t.Context(), certificate.Confirmed, keys, r.RevisionToken); err != nil {
		t.Fatal(err)
	}
	f.world.Advance(period)
	f.turn(t, s)
	fresh, revised := f.observe(t)
	if len(fresh) < 20 || len(revised) != len(fresh) {
		t.Errorf("%d keys, of which %d were revised, want all", len(fresh), len(revised))
	}
}

// Keys that are revised in the window in which they arrived are no exception.
func TestCopiesOfRevisedKeysAreRevised(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(3)
	r, err := f.send(t.Context(), certificate.Likely, keys, "")
	if err == nil {
		_, err = f.send(t.Context(), certificate.Negative, keys[:1], r.RevisionToken)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.world.Advance(period)
	f.turn(t, f.service(nil))
	fresh, revised := f.observe(t)
	if len(fresh) < 20 || len(revised) < len(fresh)/3 || len(revised) > len(fresh)/3+1 {
		t.Errorf("%d keys, of which %d were revised, want a third", len(fresh), len(revised))
	}
}
