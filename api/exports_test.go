package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"testing"

	"carillon/tenant/export"
)

// Headers are those of the key server protocol §5.5.
func TestExports(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const file = "1637600000-1637614400-00001.zip"
	put := func(name string, body string) {
		if err := f.files.Replace(t.Context(), name, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	put(export.Prefix(f.north.Tenant)+file, "a zip")
	put(export.Prefix(f.north.Tenant)+export.IndexName, file)
	put(export.Prefix(f.north.Tenant)+"secret.txt", "not for download")
	put(export.Prefix(f.south.Tenant)+export.IndexName, "")
	for _, test := range []struct{ path, body, contentType, caching string }{
		{"/t/north/exports/index.txt", file, "text/plain", "no-cache, max-age=0"},
		{"/t/north/exports/" + file, "a zip", "application/zip", "public, max-age=86400"},
		{"/t/south/exports/index.txt", "", "text/plain", "no-cache, max-age=0"},
	} {
		sum := sha256.Sum256([]byte(test.body))
		tag := `"` + hex.EncodeToString(sum[:]) + `"`
		for range 2 {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				a := f.ask(t, method, test.path, nil, "")
				want := test.body
				if method == http.MethodHead {
					want = ""
				}
				if a.StatusCode != http.StatusOK || string(a.body) != want || a.ContentLength != int64(len(test.body)) {
					t.Errorf("%s %s: %v of %d bytes, want %q", method, test.path, a, a.ContentLength, want)
				}
				for name, want := range map[string]string{"Content-Type": test.contentType, "Cache-Control": test.caching, "ETag": tag, "Last-Modified": ""} {
					if got := a.Header.Get(name); got != want {
						t.Errorf("%s %s: %s is %q, want %q", method, test.path, name, got, want)
					}
				}
			}
		}
		a := f.ask(t, http.MethodGet, test.path, header{"If-None-Match": tag}, "")
		if a.StatusCode != http.StatusNotModified || len(a.body) > 0 || a.Header.Get("ETag") != tag {
			t.Errorf("%s with its tag: %v, want 304", test.path, a)
		}
		if a := f.ask(t, http.MethodGet, test.path, header{"If-None-Match": `"other"`}, ""); a.StatusCode != http.StatusOK {
			t.Errorf("%s with another tag: %v, want 200", test.path, a)
		}
	}
	for _, path := range []string{
		"/t/south/exports/" + file, "/t/north/exports/secret.txt", "/t/north/exports/.zip", "/t/north/exports/-1.zip", "/t/north/exports/1.ZIP",
		"/t/north/exports/..%2fsouth%2findex.txt", "/t/north/exports/%2e%2e%2fnorth%2f" + file, "/t/north/exports/a%00.zip", "/t/north/exports/index.txt%20",
		"/t/nowhere/exports/index.txt", "/t/nowhere/exports/" + file,
	} {
		a := f.ask(t, http.MethodGet, path, nil, "")
		if a.StatusCode != http.StatusNotFound || string(a.body) != "404 page not found\n" || a.Header.Get("Cache-Control") != "" {
			t.Errorf("%s: %v, want 404", path, a)
		}
	}
	put(export.Prefix(f.north.Tenant)+export.IndexName, "another")
	if a := f.ask(t, http.MethodGet, "/t/north/exports/index.txt", nil, ""); string(a.body) != "another" {
		t.Errorf("the new index: %v", a)
	}
}
