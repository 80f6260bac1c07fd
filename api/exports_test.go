package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"testing"
	"time"

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
	const traveler = "1637600000-1637686400-00001.zip"
	put(export.Prefix(f.north.Tenant)+"travelers/"+traveler, "another zip")
	put(export.Prefix(f.north.Tenant)+"travelers/"+export.IndexName, traveler)
	f.sql(t, `insert into directory_host (host, tenant) values ('north.example', $1)`, f.north.ID.String())
	for _, test := range []struct{ path, body, contentType, caching string }{
		{"/t/north/exports/travelers/index.txt", traveler, "text/plain", "no-cache, max-age=0"},
		{"/t/north/exports/travelers/" + traveler, "another zip", "application/zip", "public, max-age=86400, immutable"},
		{"/t/north/exports/index.txt", file, "text/plain", "no-cache, max-age=0"},
		{"/t/north/exports/" + file, "a zip", "application/zip", "public, max-age=86400, immutable"},
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
		"/t/north/exports/daily/index.txt", "/t/south/exports/travelers/" + traveler, "/t/north/exports/travelers/" + file, "/t/north/exports/" + traveler,
		"/t/north/exports/travelers/secret.txt", "/t/north/exports/travelers/", "/t/north/exports/travelers", "/t/north/exports//index.txt",
		"/t/north/exports/../south/index.txt", "/t/north/exports/%2e%2e/index.txt", "/t/north/exports/travelers/../" + file,
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
	for _, name := range []string{"/exports/index.txt", "/exports/travelers/index.txt", "/exports/travelers/" + traveler} {
		own := f.ask(t, http.MethodGet, name, header{"Host": "north.example"}, "")
		if path := f.ask(t, http.MethodGet, "/t/north"+name, nil, ""); own.StatusCode != http.StatusOK || string(own.body) != string(path.body) {
			t.Errorf("%s under the host: %v, want what the path has", name, own)
		}
	}
}

// A cache that knows only times is served, once the time can be nobody else's; parts are
// served to who has the rest.
func TestExportsByTimeAndPart(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const file = "1637600000-1637614400-00001.zip"
	for name, body := range map[string]string{file: "a zip file", export.IndexName: file} {
		if err := f.files.Replace(t.Context(), export.Prefix(f.north.Tenant)+name, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	f.world.SetNow(time.Now())
	if a := f.ask(t, http.MethodGet, "/t/north/exports/index.txt", nil, ""); a.StatusCode != http.StatusOK || a.Header.Get("Last-Modified") != "" {
		t.Errorf("an index that may change within the second: %v", a.Header)
	}
	f.world.Advance(time.Hour)
	for _, name := range []string{export.IndexName, file} {
		path := "/t/north/exports/" + name
		a := f.ask(t, http.MethodGet, path, nil, "")
		modified, err := http.ParseTime(a.Header.Get("Last-Modified"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for since, want := range map[time.Duration]int{0: http.StatusNotModified, time.Hour: http.StatusNotModified, -time.Second: http.StatusOK} {
			at := modified.Add(since).Format(http.TimeFormat)
			if a := f.ask(t, http.MethodGet, path, header{"If-Modified-Since": at}, ""); a.StatusCode != want {
				t.Errorf("%s since %v after it: %v, want %d", name, since, a, want)
			}
		}
		tag := a.Header.Get("ETag")
		if a := f.ask(t, http.MethodGet, path, header{"Range": "bytes=2-4", "If-Range": tag}, ""); a.StatusCode != http.StatusPartialContent || len(a.body) != 3 {
			t.Errorf("%s: a part: %v", name, a)
		}
		if a := f.ask(t, http.MethodGet, path, header{"Range": "bytes=2-4", "If-Range": `"other"`}, ""); a.StatusCode != http.StatusOK {
			t.Errorf("%s: a part of another: %v, want the whole", name, a)
		}
		if a := f.ask(t, http.MethodGet, path, header{"Range": "bytes=1000-"}, ""); a.StatusCode != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("%s: a part that it has not: %v, want 416", name, a)
		}
	}
}
