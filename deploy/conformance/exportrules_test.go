package conformance_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"carillon/signing/exportfile/exportfiletest"
)

func wantSorted(t *testing.T, keys []exportfiletest.Key) {
	t.Helper()
	if !slices.IsSortedFunc(keys, func(a, b exportfiletest.Key) int { return bytes.Compare(a.Data[:], b.Data[:]) }) {
		t.Error("keys are not in the order of their bytes")
	}
}

// exportRules are §5: which files there are, what is in them, and how they are found.
func exportRules() []rule {
	return []rule{
		{"5.2", "windows follow each other without gap or overlap, also those that were missed", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			var keys []tek
			for range 3 { // keys in three windows, while nobody makes files
				k := w.teks(1)
				wantReceipt(t, w.publish(t, of, "confirmed", k), 1)
				keys = append(keys, k[0])
				w.Advance(5 * time.Hour)
			}
			w.export(t, of, untilExported)
			files := w.files(t, of)
			if len(files) != 3 {
				t.Fatalf("%d files, want 3", len(files))
			}
			for i, f := range files {
				if f.Start%(4*3600) != 0 || f.End-f.Start != 4*3600 || i > 0 && f.Start < files[i-1].End {
					t.Errorf("file %d is of %d to %d", i, f.Start, f.End)
				}
				if fresh, _, _ := find(t, keys[i], files[i:i+1]); len(fresh) != 1 {
					t.Errorf("file %d does not have the key of its window", i)
				}
			}
		}},
		{"5.3", "a window without keys has no file, and is not filled up with made ones", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			w.export(t, of, 14)
			if a := w.index(t, of); a.StatusCode != http.StatusOK || len(a.body) != 0 {
				t.Errorf("%v, want an empty index", a)
			}
		}},
		{"5.3", "making files again writes nothing else", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			wantReceipt(t, w.publish(t, of, "confirmed", w.teks(2)), 2)
			w.export(t, of, untilExported)
			before := w.files(t, of)
			w.export(t, of, 2)
			for i, f := range w.files(t, of) {
				if f.name != before[i].name || !bytes.Equal(f.body, before[i].body) {
					t.Errorf("%s has changed", f.name)
				}
			}
		}},
		{"5.4", "few keys are filled up to 1,000 to 1,100 with made ones that have the real ones' numbers", "most of the made ones are not stored, so that a second configuration tells them apart; the number in the file is a multiple of the real ones'", func(t *testing.T, w *world) {
			of := w.newcomer()
			real := w.teks(14)
			wantReceipt(t, w.publish(t, of, "confirmed", real), 14)
			w.export(t, of, untilExported)
			f := w.files(t, of)[0]
			if n := len(f.Keys); n < 1000 || n > 1100+len(real) {
				t.Errorf("%d keys", n)
			}
			like := map[string]int{}
			for _, k := range f.Keys {
				like[fmt.Sprint(valued(k.RollingStart), k.Period(), valued(k.Risk), valued(k.Type), valued(k.Days))]++
			}
			if len(like) != len(real) {
				t.Errorf("%d kinds of keys, want those of the %d real ones", len(like), len(real))
			}
			for kind, n := range like {
				if each := len(f.Keys) / len(real); n != each && n != each+1 {
					t.Errorf("%d keys are %s, want %d or one more", n, kind, each)
				}
			}
			wantSorted(t, f.Keys)
		}},
		{"5.4", "made keys are revised as their real ones are", "they never are, so that a revision tells which keys are real", revisedLater},
		{"5.5", "a file is named by the first and last second of its window and its number, and is never another one", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
			w.export(t, of, untilExported)
			f := w.files(t, of)[0]
			if want := fmt.Sprintf("%d-%d-00001.zip", f.Start, f.End); f.name != want {
				t.Errorf("%s, want %s", f.name, want)
			}
		}},
		{"5.5", "the index is one name in a line, the oldest first, without a last line end", "names with the folder's before them", func(t *testing.T, w *world) {
			of := w.newcomer()
			for range 3 {
				wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
				w.export(t, of, 5)
			}
			w.export(t, of, untilExported)
			text := string(w.index(t, of).body)
			names := strings.Split(text, "\n")
			if len(names) != 3 || !slices.IsSorted(names) || strings.TrimSpace(text) != text {
				t.Errorf("%q", text)
			}
		}},
		{"5.5", "the index is text/plain and asked for anew each time; a file is application/zip and may be kept for a day", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
			w.export(t, of, untilExported)
			for _, c := range []struct {
				a             answer
				kind, caching string
			}{{w.index(t, of), "text/plain", "no-cache, max-age=0"}, {w.files(t, of)[0].answer, "application/zip", "public, max-age=86400, immutable"}} {
				if c.a.Header.Get("Content-Type") != c.kind || c.a.Header.Get("Cache-Control") != c.caching {
					t.Errorf("%v", c.a.Header)
				}
			}
		}},
		{"5.5", "who has the newest index or file is told so: 304 to its tag", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
			w.export(t, of, untilExported)
			for _, name := range []string{"index.txt", w.files(t, of)[0].name} {
				path := "/t/" + string(of.Slug) + "/exports/" + name
				tag := w.ask(t, http.MethodGet, path, nil, "").Header.Get("ETag")
				a := w.ask(t, http.MethodGet, path, header{"If-None-Match": tag}, "")
				if tag == "" || a.StatusCode != http.StatusNotModified || len(a.body) != 0 {
					t.Errorf("%s: tag %s, %v", name, tag, a)
				}
			}
		}},
		{"5.5", "no other tenant has the file, and what is not in the index is 404", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
			w.export(t, of, untilExported)
			name := w.files(t, of)[0].name
			for _, path := range []string{
				"/t/other/exports/" + name, "/t/" + string(of.Slug) + "/exports/x.zip", "/t/" + string(of.Slug) + "/exports/",
				"/t/" + string(of.Slug) + "/exports/..%2fother%2findex.txt", "/t/nowhere/exports/index.txt",
			} {
				if a := w.ask(t, http.MethodGet, path, nil, ""); a.StatusCode != http.StatusNotFound {
					t.Errorf("%s: %v", path, a)
				}
			}
		}},
		{"5.6", "a file leaves the index after 14 days, and can be downloaded for a day longer", "it is deleted only if the index happens to be written anew", retired},
	}
}

func retired(t *testing.T, w *world) {
	of := w.newcomer()
	wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
	w.export(t, of, untilExported)
	f := w.files(t, of)[0]
	path := "/t/" + string(of.Slug) + "/exports/" + f.name
	there := func() bool { return w.ask(t, http.MethodGet, path, nil, "").StatusCode == http.StatusOK }
	listed := func() bool { return strings.Contains(string(w.index(t, of).body), f.name) }
	w.SetNow(time.Unix(int64(f.Start), 0).Add(14*day - 90*time.Minute))
	w.export(t, of, 1)
	if !listed() || !there() {
		t.Error("it is gone within 14 days")
	}
	w.export(t, of, 1)
	if listed() || !there() {
		t.Error("after 14 days it is listed, or gone at once")
	}
	w.SetNow(time.Unix(int64(f.End), 0).Add(15 * day))
	w.export(t, of, 2)
	if there() {
		t.Error("it is there after 15 days")
	}
}

// fileRules are §6: the form of a file, by a reader that shares no code with its writer.
func fileRules() []rule {
	file := func(t *testing.T, w *world) (account, exported) {
		t.Helper()
		of := w.newcomer()
		keys := w.teks(3)
		keys[1].start, keys[1].period = keys[1].start+1, 100
		wantReceipt(t, w.publish(t, of, "confirmed", keys), 3)
		w.export(t, of, untilExported)
		return of, w.files(t, of)[0]
	}
	return []rule{
		{"6.1", "a file is a zip of export.bin and export.sig, without a time of its own", "", func(t *testing.T, w *world) {
			_, f := file(t, w)
			z, err := zip.NewReader(bytes.NewReader(f.body), int64(len(f.body)))
			if err != nil {
				t.Fatal(err)
			}
			for i, name := range []string{"export.bin", "export.sig"} {
				if e := z.File[i]; e.Name != name || e.Method != zip.Deflate || e.Modified.Year() > 1980 {
					t.Errorf("entry %d is %s, method %d, of %v", i, e.Name, e.Method, e.Modified)
				}
			}
		}},
		{"6.1", "export.bin has region, window and batch 1 of 1, in the order of the fields and without unknown ones", "", func(t *testing.T, w *world) {
			of, f := file(t, w)
			if f.Region != of.Region || f.BatchNum != 1 || f.BatchSize != 1 || f.End <= f.Start {
				t.Errorf("region %q, batch %d of %d, %d to %d", f.Region, f.BatchNum, f.BatchSize, f.Start, f.End)
			}
		}},
		{"6.1", "a risk is written also if it is 0, a period only if it is not 144, days also if they are 0", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			keys := w.teks(3)
			keys[2].period = 100
			wantReceipt(t, w.publish(t, of, "user-report", keys, with("symptomOnsetInterval", int(keys[0].start))), 3)
			w.export(t, of, untilExported)
			for i, want := range []struct{ period, days int32 }{{-99, 0}, {-99, -1}, {100, -2}} {
				if k := w.once(t, of, keys[i]); valued(k.Risk) != 0 || valued(k.RollingPeriod) != want.period || valued(k.Days) != want.days || valued(k.RollingStart) != keys[i].start {
					t.Errorf("key %d: risk %d, period %d, days %d", i, valued(k.Risk), valued(k.RollingPeriod), valued(k.Days))
				}
			}
		}},
		{"6.1", "export.sig names the same signer as export.bin, and signs all of it: ECDSA with SHA-256, DER", "", func(t *testing.T, w *world) {
			_, f := file(t, w)
			want := exportfiletest.Info{KeyID: "310", KeyVersion: "v1", Algorithm: "1.2.840.10045.4.3.2"}
			if len(f.Infos) != 1 || len(f.Signatures) != 1 || f.Infos[0] != want || f.Signatures[0].Info != want ||
				f.Signatures[0].BatchNum != 1 || f.Signatures[0].BatchSize != 1 {
				t.Errorf("%+v in one, %+v in the other", f.Infos, f.Signatures)
			}
		}},
		{"7", "a file has no more than the 16 MB and 750,000 keys that phones take", "", func(t *testing.T, w *world) {
			_, f := file(t, w)
			if length, err := strconv.Atoi(f.Header.Get("Content-Length")); err != nil || length != len(f.body) || length > 16<<20 || len(f.Keys) > 750_000 {
				t.Errorf("%d bytes, %d keys, %v", length, len(f.Keys), err)
			}
		}},
	}
}
