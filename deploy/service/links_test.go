package service

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
)

// exchange posts JSON below a tenant's URL, which must succeed.
func exchange(t *testing.T, h http.Handler, path, key string, body map[string]any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-API-Key", key)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
}

// The link in a text message leads to this service, which leads the phone on with the
// code and the region, and the code that arrives there is good.
func TestLinksOfMessagesLeadHere(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.SetNow(tenanttest.Start)
	north := w.Create("north")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		return setting.Change(t.Context(), tx, authz.Subject{Kind: authz.System}, map[string]string{
			"sms": "on", "enx": "on", "require-date": "off", "sms-template": "Open [enslink] within [longexpires] hours",
		}, w.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	sms := &messagetest.Sender{}
	c := config(t, w, Device, Issuer)
	c.Sender, c.Now, c.RedirectDomains = sms, w.Now, []string{"links.example:8443", "older.example"}
	h := open(t, c).Handler()

	exchange(t, h, "/t/north/api/issue", w.Key(north, client.Admin), map[string]any{"testType": "confirmed", "phone": "+12065550100"})
	sent := sms.Delivered()
	if len(sent) != 1 {
		t.Fatalf("%d messages", len(sent))
	}
	link, err := url.Parse(regexp.MustCompile(`https://\S+`).FindString(sent[0].Body))
	if err != nil || link.Host != strings.ToLower(north.Region)+".links.example:8443" || link.Path != "/v" {
		t.Fatalf("link %v, %v", link, err)
	}
	for _, host := range []string{link.Host, strings.ToLower(north.Region) + ".older.example"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, link.RequestURI(), nil)
		r.Host = host
		r.Header.Set("User-Agent", "iPhone")
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		want := "ens://v?c=" + link.Query().Get("c") + "&r=" + north.Region
		if got := answer.Header().Get("Location"); answer.Code != http.StatusSeeOther || got != want {
			t.Errorf("%s: %d to %q, want %q", host, answer.Code, got, want)
		}
	}
	exchange(t, h, "/t/north/api/verify", w.Key(north, client.Device), map[string]any{"code": link.Query().Get("c")})
}

func TestBadLinksAreRefused(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for _, domain := range []string{"https://links.example", "links", "links.example/v", "*.links.example", "-a.example", "links.example."} {
		c := config(t, w, Issuer)
		c.RedirectDomains = []string{domain}
		if _, err := Open(t.Context(), c); err == nil {
			t.Errorf("%q was taken", domain)
		}
	}
	c := config(t, w, Publish)
	c.InformationURL = "javascript:alert(1)"
	if _, err := Open(t.Context(), c); err == nil {
		t.Error("an information page that is none was taken")
	}
}

// On a computer the link leads to a page with the code, in a process without the hosted
// page too, and the code is in no log.
func TestLinksOfMessagesHaveAPage(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	const code = "abcd1234efgh5678"
	for _, roles := range [][]Role{{Issuer}, {Publish}, {Issuer, Report}} {
		c := config(t, w, roles...)
		log := &bytes.Buffer{}
		c.Log = slog.New(slog.NewTextHandler(log, nil))
		c.RedirectDomains = []string{"links.example"}
		h := open(t, c).Handler()
		get := func(path string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			r.Host = strings.ToLower(north.Region) + ".links.example"
			r.Header.Set("User-Agent", "Windows")
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			return answer
		}
		page := get("/v?c=" + code)
		if page.Code != http.StatusNotFound || !strings.Contains(page.Body.String(), "Health of north") || !strings.Contains(page.Body.String(), "<span>abcd</span>") {
			t.Errorf("%v: %d %s", roles, page.Code, page.Body)
		}
		style := regexp.MustCompile(`href="(/report/files/[^"]+\.css)"`).FindStringSubmatch(page.Body.String())
		if style == nil || get(style[1]).Code != http.StatusOK {
			t.Errorf("%v: the style %q is missing", roles, style)
		}
		if strings.Contains(log.String(), "abcd") {
			t.Errorf("%v: the code is in the log: %s", roles, log)
		}
	}
}
