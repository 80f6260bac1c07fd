package conformance_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"carillon/deploy/service"
)

// openPage opens the hosted page as a phone does.
func (w *world) openPage(t *testing.T, method string, h header) answer {
	t.Helper()
	all := header{"Host": redirectDomain, "X-API-Key": w.open.device, "X-Nonce": nonce(256)}
	for name, value := range h {
		all[name] = value
	}
	return w.ask(t, method, "/report", all, "")
}

// cookie is what the browser will send.
func (a answer) cookie() *http.Cookie {
	for _, c := range a.Cookies() {
		if c.Name == "en-user-report" {
			return c
		}
	}
	return nil
}

// sendForm sends the form of an opened page.
func (w *world) sendForm(t *testing.T, of answer, form url.Values, agent string) answer {
	t.Helper()
	h := header{"Host": redirectDomain, "Content-Type": "application/x-www-form-urlencoded", "User-Agent": agent}
	if c := of.cookie(); c != nil {
		h["Cookie"] = c.Name + "=" + c.Value
	}
	return w.ask(t, http.MethodPost, "/report/issue", h, form.Encode())
}

func reportForm() url.Values {
	return url.Values{"testDate": {"2026-11-24"}, "phone": {newPhone()}, "agreement": {"true"}}
}

func hasForm(a answer) bool { return strings.Contains(string(a.body), "<form") }

// pageRules are §5.2: the page for phones that have none of their own.
func pageRules() []rule {
	// again wants the form once more, with what is wrong.
	again := func(change func(url.Values)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			form := reportForm()
			change(form)
			a := w.sendForm(t, w.openPage(t, http.MethodPost, nil), form, "x")
			if a.StatusCode != http.StatusOK || !hasForm(a) || !strings.Contains(string(a.body), "usa-error-message") {
				t.Errorf("%v", a)
			}
		}
	}
	return []rule{
		{"5.2", "the page opens with device key and nonce, by POST or GET, and sets a cookie that no script reads and no other site sends", "", func(t *testing.T, w *world) {
			for _, method := range []string{http.MethodPost, http.MethodGet} {
				a := w.openPage(t, method, nil)
				c := a.cookie()
				if a.StatusCode != http.StatusOK || !hasForm(a) || c == nil {
					t.Fatalf("%s: %v", method, a)
				}
				if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.MaxAge != 3600 {
					t.Errorf("cookie %v", c)
				}
			}
		}},
		{"5.2", "at another host it is 401", "", func(t *testing.T, w *world) {
			if a := w.openPage(t, http.MethodPost, header{"Host": "elsewhere.example"}); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("%v", a)
			}
		}},
		{"5.2", "a bad key is 401, a tenant without the page 404", "", func(t *testing.T, w *world) {
			for key, status := range map[string]int{"x.y.z": 401, w.open.admin: 401, w.strict.device: 404} {
				if a := w.openPage(t, http.MethodPost, header{"X-API-Key": key}); a.StatusCode != status || a.cookie() != nil {
					t.Errorf("%v, want %d", a, status)
				}
			}
		}},
		{"5.2", "an empty nonce, or one that has not 256 bytes, is 200 without a form", "", func(t *testing.T, w *world) {
			for _, n := range []string{"", nonce(255), "*"} {
				if a := w.openPage(t, http.MethodPost, header{"X-Nonce": n}); a.StatusCode != http.StatusOK || hasForm(a) || a.cookie() != nil {
					t.Errorf("%v", a)
				}
			}
		}},
		{"5.2", "a form that is sent with the cookie alone has the code sent; it is verified with the page's nonce", "", func(t *testing.T, w *world) {
			n := nonce(256)
			a := w.sendForm(t, w.openPage(t, http.MethodPost, header{"X-Nonce": n}), reportForm(), "x")
			if a.StatusCode != http.StatusOK || hasForm(a) || strings.Contains(string(a.body), "<report-sent>") {
				t.Fatalf("%v", a)
			}
			code := w.reportedCode(t)
			wantRefusal(t, w.post(t, w.open, "/api/verify", object{"code": code}), codeInvalid)
			w.must(t, w.open, "/api/verify", object{"code": code, "nonce": n})
		}},
		{"5.2", "on iPhones the page closes its sheet", "", func(t *testing.T, w *world) {
			for _, agent := range []string{"Mozilla (iPhone)", "CFNetwork Darwin/20"} {
				a := w.sendForm(t, w.openPage(t, http.MethodPost, nil), reportForm(), agent)
				if !strings.Contains(string(a.body), "<report-sent>") {
					t.Errorf("%s: %v", agent, a)
				}
			}
		}},
		{"5.2", "without agreement, date or number there is the form again, with what is wrong; nothing is sent", "what is no number hides the form", func(t *testing.T, w *world) {
			before := w.sms.Attempts()
			again(func(f url.Values) { f.Del("agreement") })(t, w)
			again(func(f url.Values) { f.Set("testDate", "2020-01-01") })(t, w)
			again(func(f url.Values) { f.Set("testDate", "x") })(t, w)
			again(func(f url.Values) { f.Set("phone", "") })(t, w)
			again(func(f url.Values) { f.Set("phone", "x") })(t, w)
			if w.sms.Attempts() != before {
				t.Error("a message was sent")
			}
		}},
		{"5.2", "without the cookie it is 404", "", func(t *testing.T, w *world) {
			if a := w.sendForm(t, answer{Response: &http.Response{}}, reportForm(), "x"); a.StatusCode != http.StatusNotFound {
				t.Errorf("%v", a)
			}
		}},
		{"5.2", "what is no form is 422", "", func(t *testing.T, w *world) {
			c := w.openPage(t, http.MethodPost, nil).cookie()
			a := w.ask(t, http.MethodPost, "/report/issue", header{
				"Host": redirectDomain, "Content-Type": "application/x-www-form-urlencoded", "Cookie": c.Name + "=" + c.Value,
			}, "%zz")
			if a.StatusCode != http.StatusUnprocessableEntity {
				t.Errorf("%v", a)
			}
		}},
		{"5.2", "a number that reported before sees the same page, and gets no message", "", func(t *testing.T, w *world) {
			form := reportForm()
			first := w.sendForm(t, w.openPage(t, http.MethodPost, nil), form, "x")
			before := w.sms.Attempts()
			second := w.sendForm(t, w.openPage(t, http.MethodPost, nil), form, "x")
			if string(first.body) != string(second.body) || w.sms.Attempts() != before {
				t.Errorf("%v, then %v", first, second)
			}
		}},
		{"5.2", "the language is that of Accept-Language, else the tenant's", "", func(t *testing.T, w *world) {
			for language, tag := range map[string]string{"es-MX,en;q=0.5": `lang="es`, "ar": `dir="rtl"`, "xx": `lang="en`} {
				if a := w.openPage(t, http.MethodPost, header{"Accept-Language": language}); !strings.Contains(string(a.body), tag) {
					t.Errorf("%s: no %s", language, tag)
				}
			}
		}},
		{"0.4", "under maintenance the hosted page sends nothing", "not checked", func(t *testing.T, w *world) {
			w.at(t, func(c *service.Config) { c.Maintenance = true }, func() {
				before := w.sms.Attempts()
				a := w.sendForm(t, w.openPage(t, http.MethodPost, nil), reportForm(), "x")
				if !hasForm(a) || w.sms.Attempts() != before {
					t.Errorf("%v", a)
				}
			})
		}},
	}
}
