package export

import (
	"crypto/rand"
	"testing"
	"time"
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
		}
	}
	return list
}

func divideSome(t *testing.T, fresh, revised, minRecords, maxRecords int) *content {
	t.Helper()
	c := config{Region: "XA", MinRecords: minRecords, PaddingRange: 100, MaxRecords: maxRecords}
	var sel selection
	for _, k := range some(fresh) {
		sel.add(k, c)
	}
	for _, k := range some(revised) {
		sel.revised = append(sel.revised, k.key())
	}
	made, err := sel.divide(c, batch{Start: at("09:00:00"), End: at("10:00:00")}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Padding comes in whole passes over the real keys (key server protocol §5.4).
func TestPaddingFillsUpInWholePasses(t *testing.T) {
	t.Parallel()
	made := divideSome(t, 14, 0, 1000, 500_000)
	n := len(made.files[0].Keys)
	if n < 1000 || n > 1100+13 || n%14 != 0 {
		t.Errorf("%d keys, want a multiple of 14 from 1000 to 1113", n)
	}
	if len(made.generated) != n-14 {
		t.Errorf("%d generated keys for %d in the file", len(made.generated), n)
	}
	newest := at("09:00:13")
	for _, g := range made.generated {
		if !g.CreatedAt.Equal(newest) {
			t.Fatalf("a generated key is dated %v, want %v", g.CreatedAt, newest)
		}
		if g.ReportType != "confirmed" || g.Risk != 2 || g.RollingPeriod != 144 || *g.DaysSinceOnset != 0 {
			t.Fatalf("a generated key differs from what it copies: %+v", g)
		}
	}
}

// Padding stops as soon as the target is reached: with a source of zeros, the minimum.
func TestPaddingReachesTheMinimum(t *testing.T) {
	t.Parallel()
	generated, err := pad(some(1), config{MinRecords: 5, PaddingRange: 100}, 1000, zeros{})
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

func TestGeneratedKeysAreDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, g := range divideSome(t, 1, 0, 1000, 500_000).generated {
		if seen[string(g.TEK)] {
			t.Fatal("a key was generated twice")
		}
		seen[string(g.TEK)] = true
	}
}

func TestNoKeysNoFile(t *testing.T) {
	t.Parallel()
	if made := divideSome(t, 0, 0, 1000, 10); len(made.files)+len(made.generated) > 0 {
		t.Errorf("%d files, %d generated keys", len(made.files), len(made.generated))
	}
}

func TestRevisedKeysAreNotPadded(t *testing.T) {
	t.Parallel()
	made := divideSome(t, 0, 3, 1000, 500_000)
	if len(made.generated) > 0 || len(made.files) != 1 || len(made.files[0].Revised) != 3 {
		t.Errorf("%d generated, files %d", len(made.generated), len(made.files))
	}
}

func TestSplitFilesDifferInTheirEnd(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fresh, revised, minRecords, maxRecords int
		want                                   [][2]int // new and revised keys of each file
	}{
		{10, 0, 0, 10, [][2]int{{10, 0}}},
		{11, 0, 0, 10, [][2]int{{10, 0}, {1, 0}}},
		{8, 4, 0, 10, [][2]int{{8, 2}, {0, 2}}},
		{10, 1, 0, 10, [][2]int{{10, 0}, {0, 1}}},
		{25, 3, 0, 10, [][2]int{{10, 0}, {10, 0}, {5, 3}}},
		{12, 0, 10, 10, [][2]int{{10, 0}, {10, 0}}}, // padded, as far as there is room
		{12, 3, 10, 10, [][2]int{{10, 0}, {7, 3}}},  // beside the revised keys
		{12, 8, 10, 10, [][2]int{{10, 0}, {2, 8}}},  // no room
		{12, 9, 10, 10, [][2]int{{10, 0}, {2, 8}, {0, 1}}},
		{20, 0, 10, 10, [][2]int{{10, 0}, {10, 0}}},
		{0, 12, 10, 10, [][2]int{{0, 10}, {0, 2}}},
		{3, 0, 3, 10, [][2]int{{3, 0}}}, // enough already
	} {
		made := divideSome(t, test.fresh, test.revised, test.minRecords, test.maxRecords)
		if len(made.files) != len(test.want) {
			t.Errorf("%+v: %d files", test, len(made.files))
			continue
		}
		for i, f := range made.files {
			if len(f.Keys) != test.want[i][0] || len(f.Revised) != test.want[i][1] {
				t.Errorf("%+v: file %d has %d and %d keys", test, i+1, len(f.Keys), len(f.Revised))
			}
			end := at("10:00:00")
			if len(made.files) > 1 {
				end = end.Add(time.Duration(i+1) * time.Second)
			}
			if !f.End.Equal(end) || !f.Start.Equal(at("09:00:00")) {
				t.Errorf("%+v: file %d is from %v to %v", test, i+1, f.Start, f.End)
			}
		}
	}
}

// Padding copies the keys of its own file only.
func TestPaddingCopiesTheLastFile(t *testing.T) {
	t.Parallel()
	made := divideSome(t, 12, 0, 6, 10)
	if len(made.generated) < 4 {
		t.Fatalf("%d generated keys", len(made.generated))
	}
	for _, g := range made.generated {
		if g.RollingStart < 2_990_010 {
			t.Errorf("copied key %d of the first file", g.RollingStart-2_990_000)
		}
	}
}

// The padding of a file never makes it larger than a file may be.
func TestPaddingStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	made := divideSome(t, 7, 0, 1000, 20)
	if n := len(made.files[0].Keys); n != 20 || len(made.files) != 1 {
		t.Errorf("%d files, the first with %d keys", len(made.files), n)
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	b := batch{Start: time.Unix(1614556800, 0), End: time.Unix(1614571200, 0)}
	if got := fileName(b, 2); got != "1614556800-1614571200-00002.zip" {
		t.Error(got)
	}
}
