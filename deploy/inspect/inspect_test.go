package inspect_test

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/deploy/inspect"
	"carillon/signing/exportfile"
)

var (
	start = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	end   = start.Add(4 * time.Hour)
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func encode(t *testing.T, by *ecdsa.PrivateKey, keys, revised []exportfile.Key) []byte {
	t.Helper()
	body, err := exportfile.Encode(exportfile.File{Start: start, End: end, Region: "XA", Keys: keys, Revised: revised},
		[]exportfile.Signer{{KeyID: "310", KeyVersion: "v1", Key: by}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func key(first byte, report exportfile.ReportType) exportfile.Key {
	return exportfile.Key{Data: [16]byte{first}, RollingStart: 2690352, RollingPeriod: 144, ReportType: report}
}

func TestGoodFile(t *testing.T) {
	t.Parallel()
	signer := newKey(t)
	body := encode(t, signer, []exportfile.Key{key(2, exportfile.Confirmed), key(1, exportfile.Clinical)}, []exportfile.Key{key(3, exportfile.Revoked)})
	r := inspect.File("a.zip", body, &signer.PublicKey)
	if len(r.Problems) > 0 {
		t.Errorf("problems: %v", r.Problems)
	}
	if r.Region != "XA" || !r.Start.Equal(start) || !r.End.Equal(end) || r.Keys != 2 || r.Revised != 1 || r.Size != len(body) {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(map[string]int{"confirmed": 1, "likely": 1, "revoked": 1}, r.Types); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]inspect.Signature{{KeyID: "310", KeyVersion: "v1", Valid: true}}, r.Signatures); diff != "" {
		t.Errorf("signatures (-want +got):\n%s", diff)
	}
}

// Each thing that can be wrong is named.
func TestProblems(t *testing.T) {
	t.Parallel()
	signer, other := newKey(t), newKey(t)
	good := encode(t, signer, []exportfile.Key{key(1, exportfile.Confirmed)}, nil)
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"another key's":  {encode(t, other, []exportfile.Key{key(1, exportfile.Confirmed)}, nil), "no signature is by the key"},
		"no zip":         {[]byte("PKnothing"), "cannot be read"},
		"cut off":        {good[:len(good)/2], "cannot be read"},
		"empty":          {nil, "cannot be read"},
		"other entries":  {zipOf(t, "export.bin"), "cannot be read"},
		"bytes appended": {append(slices.Clone(good), bytes.Repeat([]byte{0}, 17<<20)...), "iOS takes up to"},
	} {
		r := inspect.File("a.zip", c.body, &signer.PublicKey)
		if !strings.Contains(strings.Join(r.Problems, "\n"), c.want) {
			t.Errorf("%s: problems %q, want one with %q", name, r.Problems, c.want)
		}
	}
	if r := inspect.File("a.zip", good, nil); len(r.Problems) > 0 || r.Signatures[0].Valid {
		t.Errorf("without a key: %v, %v", r.Problems, r.Signatures)
	}
}

func zipOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		if _, err := z.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An index stands for its files, from a folder or from a server; a missing one is a
// problem of its own, and the others are looked at.
func TestIndex(t *testing.T) {
	t.Parallel()
	signer := newKey(t)
	dir := t.TempDir()
	for name, body := range map[string][]byte{
		"index.txt": []byte("a.zip\nmissing.zip\nb.zip\na.zip"),
		"a.zip":     encode(t, signer, []exportfile.Key{key(1, exportfile.Confirmed)}, nil),
		"b.zip":     encode(t, newKey(t), []exportfile.Key{key(1, exportfile.Confirmed)}, nil),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	for _, place := range []string{filepath.Join(dir, "index.txt"), server.URL + "/index.txt"} {
		var got []string
		err := inspect.Source{}.Each(t.Context(), place, &signer.PublicKey, func(r inspect.Report) error {
			got = append(got, r.Name+" "+strings.Join(r.Problems, "; "))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 4 || got[0] != "a.zip " || !strings.Contains(got[1], "cannot be fetched") ||
			!strings.Contains(got[2], "no signature is by the key") || !strings.Contains(got[3], "names it twice") {
			t.Errorf("%s: %q", place, got)
		}
	}
}

// What a hostile server does is a problem, not the end.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/index.txt":
			_, _ = w.Write([]byte("endless.zip away.zip"))
		case "/endless.zip":
			block := make([]byte, 1<<20)
			for range 64 {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		default:
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}
	}))
	t.Cleanup(server.Close)
	var got []string
	err := inspect.Source{}.Each(t.Context(), server.URL+"/index.txt", nil, func(r inspect.Report) error {
		got = append(got, strings.Join(r.Problems, "; "))
		return nil
	})
	if err != nil || len(got) != 2 || !strings.Contains(got[0], "larger than any") || !strings.Contains(got[1], "302") {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("PK\x03\x04"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		if r := inspect.File("x", body, nil); len(r.Problems) == 0 && r.Keys+r.Revised == 0 {
			t.Errorf("a file without keys has no problem: %+v", r)
		}
	})
}
