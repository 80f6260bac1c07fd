package conformance_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// tokenRules are §3.1 and §3.2: the token that revises.
func tokenRules() []rule {
	return []rule{
		{"3.1", "a token is standard base64 of one length for 1 to 30 keys, and tells nothing to who reads it", "it grows by 11 characters with each key", func(t *testing.T, w *world) {
			length := 0
			for n := 1; n <= 30; n++ {
				keys := make([]tek, n)
				for i := range keys {
					keys[i] = newTEK(w.midnight(-2)+int32(i)*4, 4)
				}
				token := wantReceipt(t, w.publish(t, w.open, "confirmed", keys), n)
				raw, err := base64.StdEncoding.DecodeString(token)
				if err != nil {
					t.Fatal(err)
				}
				if length == 0 {
					length = len(token)
				}
				if key := keys[0].bytes(t); len(token) != length || strings.Contains(string(raw), string(key[:])) {
					t.Errorf("%d keys: a token of %d characters, want %d without the keys in it", n, len(token), length)
				}
			}
		}},
		{"3.1", "a token is read in any form of base64", "", func(t *testing.T, w *world) {
			keys := w.teks(1)
			token := wantReceipt(t, w.publish(t, w.open, "confirmed", keys), 1)
			for _, spell := range []func(string) string{
				func(s string) string { return strings.TrimRight(s, "=") },
				func(s string) string { return strings.NewReplacer("+", "-", "/", "_").Replace(s) },
			} {
				wantReceipt(t, w.publish(t, w.open, "confirmed", keys, with("revisionToken", spell(token))), 0)
			}
		}},
		{"3.2", "a new token lists the keys of the token that was sent, and the new ones", "", func(t *testing.T, w *world) {
			first := w.teks(2)
			token := wantReceipt(t, w.publish(t, w.open, "likely", first), 2)
			second := []tek{newTEK(w.midnight(-5), dayIntervals)}
			token = wantReceipt(t, w.publish(t, w.open, "likely", second, with("revisionToken", token)), 1)
			wantReceipt(t, w.publish(t, w.open, "confirmed", append(second, first...), with("revisionToken", token)), 0)
		}},
		{"3.2", "keys that ended more than 15 days ago leave the token", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			old := []tek{newTEK(interval(w.Now().Add(-15*day))-dayIntervals, dayIntervals)}
			token := wantReceipt(t, w.publish(t, of, "likely", old, with("symptomOnsetInterval", int(w.midnight(-14)))), 1)
			w.Advance(time.Hour)
			fresh := w.teks(1)
			token = wantReceipt(t, w.publish(t, of, "likely", fresh, with("revisionToken", token)), 1)
			w.Advance(-time.Hour) // only then may the old one be sent at all
			a := w.publish(t, of, "confirmed", old, with("revisionToken", token), with("symptomOnsetInterval", int(w.midnight(-14))))
			wantUploadRefusal(t, a, bad, "invalid_revision_token", "…")
		}},
		{"3.2", "keys reported negative at first are not stored, and the token lists them", "", func(t *testing.T, w *world) {
			keys := w.teks(2)
			token := wantReceipt(t, w.publish(t, w.open, "negative", keys), 0)
			if token == "" {
				t.Fatal("no token")
			}
			wantReceipt(t, w.publish(t, w.open, "confirmed", keys, with("revisionToken", token)), 2) // they are new
		}},
	}
}

// revisionRules are §3.3 to §3.5: what may become of a report.
func revisionRules() []rule {
	types := []string{"confirmed", "likely", "negative", "user-report"}
	may := map[string][]string{ // from, and to what
		"user-report": {"confirmed", "likely", "negative"}, "likely": {"confirmed", "negative"}, "confirmed": {},
	}
	var list []rule
	for _, from := range []string{"user-report", "likely", "confirmed"} {
		for _, to := range types {
			if from == to {
				list = append(list, rule{"3.3", fmt.Sprintf("%s again changes nothing", from), "", func(t *testing.T, w *world) {
					keys := w.teks(1)
					token := wantReceipt(t, w.publish(t, w.open, from, keys), 1)
					wantReceipt(t, w.publish(t, w.open, to, keys, with("revisionToken", token)), 0)
				}})
				continue
			}
			allowed := strings.Contains(strings.Join(may[from], " "), to)
			says := fmt.Sprintf("%s may become %s", from, to)
			if !allowed {
				says = fmt.Sprintf("%s cannot become %s: invalid_report_type_transition", from, to)
			}
			list = append(list, rule{"3.3", says, "", func(t *testing.T, w *world) {
				keys := w.teks(2)
				token := wantReceipt(t, w.publish(t, w.open, from, keys), 2)
				a := w.publish(t, w.open, to, keys, with("revisionToken", token))
				if allowed {
					wantReceipt(t, a, 0)
					return
				}
				wantUploadRefusal(t, a, bad, "invalid_report_type_transition", fmt.Sprintf("invalid report type transition: cannot transition from %q to %q", from, to))
			}})
		}
	}
	return append(list, []rule{
		{"3.3", "a key is revised once: the same revision again changes nothing, back to the first report, too; another is key_already_revised", "", func(t *testing.T, w *world) {
			keys := w.teks(1)
			token := wantReceipt(t, w.publish(t, w.open, "user-report", keys), 1)
			revise := func(to string) answer { return w.publish(t, w.open, to, keys, with("revisionToken", token)) }
			for _, to := range []string{"likely", "likely", "user-report"} {
				wantReceipt(t, revise(to), 0)
			}
			for _, to := range []string{"confirmed", "negative"} {
				wantUploadRefusal(t, revise(to), bad, "key_already_revised", "key was already revised")
			}
		}},
		{"3.4", "new and known keys may come together; insertedExposures counts the new ones", "", func(t *testing.T, w *world) {
			keys := w.teks(14)
			token := wantReceipt(t, w.publish(t, w.open, "likely", keys), 14)
			more := append(keys, newTEK(w.midnight(-1), 100)) // starts with one that is known
			token = wantReceipt(t, w.publish(t, w.open, "confirmed", more, with("revisionToken", token)), 1)
			wantReceipt(t, w.publish(t, w.open, "confirmed", more, with("revisionToken", token)), 0)
		}},
		{"3.5", "a key is published with its first report, and its revision beside it with the new type, days and risk", "a revised key carries the first risk", revisedInFiles},
		{"3.5", "a revision after the key was published is in a later file, and the key in no second one", "", revisedLater},
		{"3.5", "a revision to negative is published as revoked", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			keys := w.teks(1)
			token := wantReceipt(t, w.publish(t, of, "likely", keys), 1)
			wantReceipt(t, w.publish(t, of, "negative", keys, with("revisionToken", token)), 0)
			w.export(t, of, untilExported)
			fresh, revised, _ := find(t, keys[0], w.files(t, of))
			if len(fresh) != 1 || len(revised) != 1 || valued(revised[0].Type) != 5 {
				t.Errorf("%d new and %d revised entries", len(fresh), len(revised))
			}
		}},
		{"3.3", "a key that is still in use is not revised in a file before the key is in one", "the revision may come first", revisedEarly},
	}...)
}

func revisedInFiles(t *testing.T, w *world) {
	of := w.newcomer()
	keys := w.teks(2)
	keys[1].risk = 3
	token := wantReceipt(t, w.publish(t, of, "likely", keys), 2)
	keys[1].risk = 6
	wantReceipt(t, w.publish(t, of, "confirmed", keys, with("revisionToken", token), with("symptomOnsetInterval", int(w.midnight(-1)))), 0)
	w.export(t, of, untilExported)
	for i, want := range [][4]int32{{4, 2, 1, 0}, {3, 6, 0, -1}} { // risks, then days after the onsets
		fresh, revised, _ := find(t, keys[i], w.files(t, of))
		if len(fresh) != 1 || len(revised) != 1 {
			t.Fatalf("%d new and %d revised entries", len(fresh), len(revised))
		}
		got := [4]int32{valued(fresh[0].Risk), valued(revised[0].Risk), valued(fresh[0].Days), valued(revised[0].Days)}
		if got != want || valued(fresh[0].Type) != 2 || valued(revised[0].Type) != 1 {
			t.Errorf("key %d: risks and days %v, want %v; types %d and %d", i, got, want, valued(fresh[0].Type), valued(revised[0].Type))
		}
	}
}

func revisedLater(t *testing.T, w *world) {
	of := w.newcomer()
	keys := w.teks(1)
	token := wantReceipt(t, w.publish(t, of, "likely", keys), 1)
	w.export(t, of, untilExported)
	first := len(w.files(t, of))
	wantReceipt(t, w.publish(t, of, "confirmed", keys, with("revisionToken", token)), 0)
	w.export(t, of, untilExported)
	files := w.files(t, of)
	fresh, revised, in := find(t, keys[0], files)
	if len(fresh) != 1 || len(revised) != 1 || len(files) != first+1 || in[0].name != files[0].name || valued(fresh[0].Type) != 2 {
		t.Errorf("%d new and %d revised entries in %d files", len(fresh), len(revised), len(files))
	}
	// The list of revised keys is not filled up, but has those that were made after the
	// key: all that are in its first file.
	if last := files[len(files)-1]; len(last.Keys) != 0 || len(last.Revised) != len(in[0].Keys) {
		t.Errorf("the later file has %d new and %d revised keys, want the %d of the first", len(last.Keys), len(last.Revised), len(in[0].Keys))
	}
}

func revisedEarly(t *testing.T, w *world) {
	of := w.newcomer()
	today := []tek{newTEK(w.midnight(0), dayIntervals)}
	token := wantReceipt(t, w.publish(t, of, "likely", today), 1)
	wantReceipt(t, w.publish(t, of, "confirmed", today, with("revisionToken", token)), 0)
	for range 40 {
		w.export(t, of, 1)
		fresh, revised, _ := find(t, today[0], w.files(t, of))
		if len(revised) > len(fresh) {
			t.Fatal("the revision came before the key")
		}
		if len(fresh)+len(revised) == 2 {
			return
		}
	}
	t.Error("key and revision did not both appear")
}

// arrivalRules are §4: when a key counts as arrived, as files tell.
func arrivalRules() []rule {
	// appears is the file with a key, and when it was first listed.
	appears := func(t *testing.T, w *world, of account, k tek) (in exported, listed time.Time) {
		t.Helper()
		for range 60 {
			w.export(t, of, 1)
			if _, _, files := find(t, k, w.files(t, of)); len(files) == 1 {
				return files[0], w.Now()
			}
		}
		t.Fatal("the key is in no file")
		return exported{}, time.Time{}
	}
	return []rule{
		{"4", "a key of a past day is in the file of the window in which it arrived, and not before two hours after that window", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			keys, arrived := w.teks(1), w.Now()
			wantReceipt(t, w.publish(t, of, "confirmed", keys), 1)
			in, listed := appears(t, w, of, keys[0])
			if start, end := int64(in.Start), int64(in.End); start > arrived.Unix() || end <= arrived.Unix() || listed.Unix() < end+2*3600 {
				t.Errorf("window %d to %d for an arrival at %d, listed at %d", start, end, arrived.Unix(), listed.Unix())
			}
		}},
		{"4", "a key that is still in use is held back until the window after its end, and two hours more", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			for _, k := range []tek{newTEK(w.midnight(0), dayIntervals), newTEK(w.midnight(0), interval(w.Now())-w.midnight(0)+1)} {
				ends := (int64(k.start) + int64(k.period)) * 600
				wantReceipt(t, w.publish(t, of, "confirmed", []tek{k}), 1)
				in, listed := appears(t, w, of, k)
				if int64(in.End) <= ends || listed.Unix() < ends+2*3600 {
					t.Errorf("a key until %d is in a window until %d, listed at %d", ends, in.End, listed.Unix())
				}
			}
		}},
		{"4", "nothing in a file tells in what order, or together with what, its keys arrived", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			wantReceipt(t, w.publish(t, of, "confirmed", w.teks(14)), 14)
			wantReceipt(t, w.publish(t, of, "likely", w.teks(14)), 14)
			w.export(t, of, untilExported)
			files := w.files(t, of)
			if len(files) != 1 {
				t.Fatalf("%d files", len(files))
			}
			wantSorted(t, files[0].Keys)
		}},
	}
}
