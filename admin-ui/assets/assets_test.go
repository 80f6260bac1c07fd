package assets

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// Every file in dist is served or named by one that is, and every name is there.
func TestComplete(t *testing.T) {
	t.Parallel()
	s, err := Load("/assets/")
	if err != nil {
		t.Fatal(err)
	}
	built, err := fs.Glob(files, "dist/*")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Values(s.names))
	for _, file := range built {
		name := strings.TrimPrefix(file, "dist/")
		if _, found := Find(name); name != "manifest.json" && (!slices.Contains(names, name) || !found) {
			t.Errorf("%s is not in the manifest, or of an unknown type", name)
		}
	}
	if len(built) != len(names)+1 {
		t.Errorf("%d files for %d names", len(built), len(names))
	}
	if path, err := s.Path("portal.css"); err != nil || !strings.HasPrefix(path, "/assets/portal-") {
		t.Errorf("portal.css is at %q, %v", path, err)
	}
	if _, err := s.Path("nothing.css"); err == nil {
		t.Error("a name without a file is accepted")
	}
	for _, name := range []string{"manifest.json", "../assets.go", "nothing.css", ""} {
		if _, found := Find(name); found {
			t.Errorf("%q is served", name)
		}
	}
}

// Who takes gzip is sent less, and what it unpacks is what others are sent. What is
// compressed already is not packed again.
func TestCompressed(t *testing.T) {
	t.Parallel()
	for name := range all() {
		f, _ := Find(name)
		plain, _ := send(t, f, "")
		for _, accept := range []string{"gzip, deflate, br, zstd", "br,gzip"} {
			got, encoding := send(t, f, accept)
			if encoding == "" && strings.HasSuffix(name, ".woff2") {
				continue
			}
			r, err := gzip.NewReader(bytes.NewReader(got))
			if encoding != "gzip" || err != nil || len(got) >= len(plain) {
				t.Errorf("%s: %q, %d bytes instead of %d, %v", name, encoding, len(got), len(plain), err)
				continue
			}
			if unpacked, err := io.ReadAll(r); err != nil || !bytes.Equal(unpacked, plain) {
				t.Errorf("%s unpacks to something else: %v", name, err)
			}
		}
		if got, encoding := send(t, f, "br, gzip;q=0"); encoding != "" || !bytes.Equal(got, plain) {
			t.Errorf("%s is packed for who does not take it", name)
		}
	}
}

func send(t *testing.T, f *File, accept string) (body []byte, encoding string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Accept-Encoding", accept)
	f.Send(w, r)
	if w.Header().Get("Vary") != "Accept-Encoding" {
		t.Error("a cache would give one browser what is another's")
	}
	return w.Body.Bytes(), w.Header().Get("Content-Encoding")
}
