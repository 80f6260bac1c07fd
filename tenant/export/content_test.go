package export

import (
	"testing"
	"time"

	"carillon/signing/exportfile"
)

func fillSome(fresh, revised, maxRecords int) []exportfile.File {
	b := batch{Start: at("09:00:00"), End: at("10:00:00"), plan: plan{Region: "XA", MaxRecords: maxRecords}}
	return fill(make([]exportfile.Key, fresh), make([]exportfile.Key, revised), b)
}

func TestNoKeysNoFile(t *testing.T) {
	t.Parallel()
	if files := fillSome(0, 0, 10); len(files) > 0 {
		t.Errorf("%d files", len(files))
	}
}

func TestSplitFilesDifferInTheirEnd(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fresh, revised int
		want           [][2]int // new and revised keys of each file
	}{
		{10, 0, [][2]int{{10, 0}}},
		{11, 0, [][2]int{{10, 0}, {1, 0}}},
		{8, 4, [][2]int{{8, 2}, {0, 2}}},
		{10, 1, [][2]int{{10, 0}, {0, 1}}},
		{25, 3, [][2]int{{10, 0}, {10, 0}, {5, 3}}},
		{12, 9, [][2]int{{10, 0}, {2, 8}, {0, 1}}},
		{20, 0, [][2]int{{10, 0}, {10, 0}}},
		{0, 12, [][2]int{{0, 10}, {0, 2}}},
	} {
		files := fillSome(test.fresh, test.revised, 10)
		if len(files) != len(test.want) {
			t.Errorf("%+v: %d files", test, len(files))
			continue
		}
		for i, f := range files {
			if len(f.Keys) != test.want[i][0] || len(f.Revised) != test.want[i][1] {
				t.Errorf("%+v: file %d has %d and %d keys", test, i+1, len(f.Keys), len(f.Revised))
			}
			end := at("10:00:00")
			if len(files) > 1 {
				end = end.Add(time.Duration(i+1) * time.Second)
			}
			if !f.End.Equal(end) || !f.Start.Equal(at("09:00:00")) {
				t.Errorf("%+v: file %d is from %v to %v", test, i+1, f.Start, f.End)
			}
		}
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	b := batch{Start: time.Unix(1614556800, 0), End: time.Unix(1614571200, 0)}
	if got := fileName(b, 2); got != "1614556800-1614571200-00002.zip" {
		t.Error(got)
	}
}
