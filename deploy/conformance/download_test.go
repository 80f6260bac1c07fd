package conformance_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// offering is a tenant with a file, and the paths of its index and of that file.
func (w *world) offering(t *testing.T) (of account, index, file string) {
	t.Helper()
	of = w.newcomer()
	wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
	w.export(t, of, untilExported)
	base := "/t/" + string(of.Slug) + "/exports/"
	return of, base + "index.txt", base + w.files(t, of)[0].name
}

// downloadRules are §5.5: index and files as phones, caches and proxies ask for them.
func downloadRules() []rule {
	get := func(t *testing.T, w *world, path string, h header) answer {
		t.Helper()
		return w.ask(t, http.MethodGet, path, h, "")
	}
	return []rule{
		{"5.5", "HEAD has the headers of GET and no body; another method is 405", "", func(t *testing.T, w *world) {
			_, index, file := w.offering(t)
			for _, path := range []string{index, file} {
				whole, head := get(t, w, path, nil), w.ask(t, http.MethodHead, path, nil, "")
				for _, name := range []string{"Content-Type", "Cache-Control", "Content-Length", "Etag"} {
					if got, want := head.Header.Get(name), whole.Header.Get(name); got != want || want == "" {
						t.Errorf("%s: %s is %q beside %q", path, name, got, want)
					}
				}
				if head.StatusCode != http.StatusOK || len(head.body) > 0 {
					t.Errorf("%s: %v", path, head)
				}
				for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
					if a := w.ask(t, method, path, nil, ""); a.StatusCode != http.StatusMethodNotAllowed {
						t.Errorf("%s %s: %v", method, path, a)
					}
				}
			}
		}},
		{"5.5", "a part of a file is 206 with its place; to another tag it is the whole file; beyond the end it is 416", "", func(t *testing.T, w *world) {
			_, _, file := w.offering(t)
			whole := get(t, w, file, nil)
			tag, size := whole.Header.Get("ETag"), len(whole.body)
			for _, c := range []struct {
				h        header
				status   int
				from, to int
				place    string
			}{
				{header{"Range": "bytes=0-99"}, http.StatusPartialContent, 0, 100, fmt.Sprintf("bytes 0-99/%d", size)},
				{header{"Range": "bytes=100-"}, http.StatusPartialContent, 100, size, fmt.Sprintf("bytes 100-%d/%d", size-1, size)},
				{header{"Range": "bytes=-10"}, http.StatusPartialContent, size - 10, size, fmt.Sprintf("bytes %d-%d/%d", size-10, size-1, size)},
				{header{"Range": "bytes=0-99", "If-Range": tag}, http.StatusPartialContent, 0, 100, fmt.Sprintf("bytes 0-99/%d", size)},
				{header{"Range": "bytes=0-99", "If-Range": `"another"`}, http.StatusOK, 0, size, ""},
			} {
				a := get(t, w, file, c.h)
				if a.StatusCode != c.status || !bytes.Equal(a.body, whole.body[c.from:c.to]) || a.Header.Get("Content-Range") != c.place {
					t.Errorf("%v: %s, %d bytes, %q", c.h, a.Status, len(a.body), a.Header.Get("Content-Range"))
				}
			}
			if a := get(t, w, file, header{"Range": fmt.Sprintf("bytes=%d-", size)}); a.StatusCode != http.StatusRequestedRangeNotSatisfiable {
				t.Errorf("beyond the end: %s", a.Status)
			}
		}},
		{"5.5", "a tag is strong and that of the content: the index has another one with every file, and a file keeps its own", "", func(t *testing.T, w *world) {
			of, index, file := w.offering(t)
			first, kept := get(t, w, index, nil), get(t, w, file, nil).Header.Get("ETag")
			wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
			w.export(t, of, untilExported)
			second := get(t, w, index, header{"If-None-Match": first.Header.Get("ETag")})
			if second.StatusCode != http.StatusOK || first.Header.Get("ETag") == second.Header.Get("ETag") || len(second.body) <= len(first.body) {
				t.Errorf("a new index: %v, tag %s after %s", second, second.Header.Get("ETag"), first.Header.Get("ETag"))
			}
			w.restart(t)
			for _, h := range []header{{"If-None-Match": kept}, {"If-None-Match": `"x", ` + kept}, {"If-None-Match": "*"}} {
				if a := get(t, w, file, h); a.StatusCode != http.StatusNotModified || a.Header.Get("ETag") != kept {
					t.Errorf("%v: %v, tag %s", h, a, a.Header.Get("ETag"))
				}
			}
			if a := get(t, w, file, header{"If-None-Match": `"x"`}); a.StatusCode != http.StatusOK || strings.HasPrefix(kept, "W/") {
				t.Errorf("another tag than %s: %v", kept, a)
			}
		}},
		{"5.5", "every name in an index is a file that can be had, by a name of digits and dashes alone", "", func(t *testing.T, w *world) {
			of, index, _ := w.offering(t)
			for range 2 {
				wantReceipt(t, w.publish(t, of, "confirmed", w.teks(2)), 2)
				w.export(t, of, 4)
			}
			text := string(get(t, w, index, nil).body)
			for _, name := range strings.Split(text, "\n") {
				a := get(t, w, strings.TrimSuffix(index, "index.txt")+name, nil)
				if a.StatusCode != http.StatusOK || strings.Trim(strings.TrimSuffix(name, ".zip"), "0123456789-") != "" {
					t.Errorf("%q: %v", name, a)
				}
			}
			if n := strings.Count(text, "\n") + 1; n < 2 {
				t.Errorf("%d files", n)
			}
		}},
		{"5.5", "downloads need no key and set no cookie", "", func(t *testing.T, w *world) {
			_, index, _ := w.offering(t)
			_, _, other := w.offering(t)
			for _, path := range []string{index, other} {
				if a := get(t, w, path, header{"X-API-Key": "x"}); a.StatusCode != http.StatusOK || a.Header.Get("Set-Cookie") != "" {
					t.Errorf("%v %v", a, a.Header)
				}
			}
		}},
	}
}

// healthRules are §12: how operations look in.
func healthRules() []rule {
	operations := func(t *testing.T, w *world, path string) (int, string) {
		t.Helper()
		answer := httptest.NewRecorder()
		w.operations.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return answer.Code, answer.Body.String()
	}
	return []rule{
		{"12", "health is 200 with status ok", "text/plain", func(t *testing.T, w *world) {
			for _, path := range []string{"/health", "/health?service=database"} {
				a := w.ask(t, http.MethodGet, path, nil, "")
				if a.StatusCode != http.StatusOK || a.text("status") != "ok" || a.Header.Get("Content-Type") != jsonType {
					t.Errorf("%s: %v", path, a)
				}
			}
		}},
		{"12", "a process is ready when the database answers under its roles", "there is no such question", func(t *testing.T, w *world) {
			if a := w.ask(t, http.MethodGet, "/ready", nil, ""); a.StatusCode != http.StatusOK || a.text("status") != "ok" {
				t.Errorf("%v", a)
			}
		}},
		{"12", "jobs are on the listener for operations: 200 while all keep up; 503 with job and tenant of what is late, while health and readiness stay", "a region that is stuck for minutes is healthy", func(t *testing.T, w *world) {
			of := w.newcomer()
			w.sql(t, `delete from job_run`)
			if code, body := operations(t, w, "/jobs"); code != http.StatusOK || !strings.Contains(body, `"status":"ok"`) {
				t.Errorf("%d %s", code, body)
			}
			w.sql(t, `
insert into job_run (job, tenant, every_seconds, bound_seconds, when_suspended, created_at, succeeded_at, behind_since)
values ('export', $1, 60, 720, false, $2, $2, $3)`, of.ID, w.Now(), w.Now().Add(-13*time.Minute))
			code, body := operations(t, w, "/jobs")
			if code != http.StatusServiceUnavailable || !strings.Contains(body, `"status":"late"`) || !strings.Contains(body, `"tenant":"`+string(of.Slug)+`"`) {
				t.Errorf("13 minutes behind: %d %s", code, body)
			}
			for _, path := range []string{"/health", "/ready"} {
				if a := w.ask(t, http.MethodGet, path, nil, ""); a.StatusCode != http.StatusOK {
					t.Errorf("%s while a job is late: %v", path, a)
				}
			}
			w.sql(t, `delete from job_run`)
		}},
		{"12", "jobs have no URL that runs them, and neither they nor metrics are told to the world", "every job is run by a URL, without a credential", func(t *testing.T, w *world) {
			for _, path := range []string{"/jobs", "/metrics", "/create-batches", "/do-work", "/schedule", "/import", "/rotate-keys", "/debug/pprof/"} {
				if a := w.ask(t, http.MethodGet, path, nil, ""); a.StatusCode != http.StatusNotFound {
					t.Errorf("%s: %v", path, a)
				}
			}
		}},
		{"12", "metrics count uploads by route and status, and name no tenant", "with the health authority's ID and region", func(t *testing.T, w *world) {
			wantReceipt(t, w.publish(t, w.open, "confirmed", w.teks(1)), 1)
			code, body := operations(t, w, "/metrics")
			if code != http.StatusOK || !strings.Contains(body, `carillon_requests_total{method="POST",route="/t/:tenant/v1/publish",status="200"}`) {
				t.Errorf("%d, without the upload", code)
			}
			for _, name := range []string{string(w.open.Slug) + `"`, w.open.ID.String(), w.open.HealthAuthorityID, w.open.Region} {
				if strings.Contains(body, name) {
					t.Errorf("metrics name %s", name)
				}
			}
		}},
	}
}
