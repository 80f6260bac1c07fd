package conformance_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/deploy/service"
)

// uploadChaffRules are §8: cover traffic for uploads.
func uploadChaffRules() []rule {
	return []rule{
		{"8", "cover traffic is 200 and JSON with padding, of the size of real answers, with their headers", "text/plain, without x-api-version", func(t *testing.T, w *world) {
			real := w.publish(t, w.open, "confirmed", w.teks(14))
			a := w.ask(t, http.MethodPost, "/t/open/v1/publish", header{"X-Chaff": "1", "Content-Type": jsonType}, `{"padding":"x"}`)
			if a.StatusCode != http.StatusOK || a.text("padding") == "" || len(a.body) < len(real.body)-1400 || len(a.body) > len(real.body)+1400 {
				t.Errorf("%d bytes beside %d: %v", len(a.body), len(real.body), a)
			}
			for name := range real.Header {
				if a.Header.Get(name) == "" || name != "Date" && name != "Content-Length" && name != "X-Request-Id" && a.Header.Get(name) != real.Header.Get(name) {
					t.Errorf("%s is %q beside %q", name, a.Header.Get(name), real.Header.Get(name))
				}
			}
		}},
		{"8", "cover traffic needs no type, no body and no certificate, and stores nothing", "", func(t *testing.T, w *world) {
			keys := w.teks(1)
			body := w.signed(t, w.open, w.draft(t, w.open, "confirmed", keys)).String()
			for _, b := range []string{"", "{", body} {
				if a := w.ask(t, http.MethodPost, "/t/open/v1/publish", header{"X-Chaff": "x"}, b); a.StatusCode != http.StatusOK || a.text("revisionToken") != "" {
					t.Errorf("%v", a)
				}
			}
			wantReceipt(t, w.publish(t, w.open, "confirmed", keys), 1)
		}},
	}
}

// tell asks a tenant for its statistics with a token of these claims.
func (w *world) tell(t *testing.T, of account, change ...func(*draft)) answer {
	t.Helper()
	now := w.Now().Unix()
	d := draft{
		head:   object{"alg": "ES256", "typ": "JWT", "kid": w.signer(t, of).KeyID},
		claims: object{"iss": of.Settings.Issuer, "aud": "keyserver", "iat": now, "exp": now + 300},
	}
	for _, c := range change {
		c(&d)
	}
	return w.ask(t, http.MethodPost, "/t/"+string(of.Slug)+"/v1/stats",
		header{"Content-Type": jsonType, "Authorization": "Bearer " + w.jwt(t, of, d.head, d.claims)}, `{"padding":"x"}`)
}

// keyStatsRules are §9: what the key server tells the verification server.
func keyStatsRules() []rule {
	unauthorized := func(t *testing.T, a answer, text string) {
		t.Helper()
		if a.StatusCode != http.StatusUnauthorized || a.text("code") != "unauthorized" || !strings.HasPrefix(a.text("error"), text) || a.text("padding") == "" {
			t.Errorf("%v, want 401 %q", a, text)
		}
	}
	return []rule{
		{"9", "the path is /v1/stats; with a slash behind it is 404", "", func(t *testing.T, w *world) {
			if a := w.ask(t, http.MethodPost, "/t/open/v1/stats/", header{"Content-Type": jsonType}, "{}"); a.StatusCode != http.StatusNotFound {
				t.Errorf("%v", a)
			}
		}},
		{"9", "another method than POST is 405", "", func(t *testing.T, w *world) {
			if a := w.ask(t, http.MethodGet, "/t/open/v1/stats", nil, ""); a.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%v", a)
			}
		}},
		{"9", "the answer has padding of 2048 to 3071 bytes and, if there are any, days, and no other member", "", func(t *testing.T, w *world) {
			a := w.tell(t, w.newcomer())
			raw, err := base64.StdEncoding.DecodeString(a.text("padding"))
			if a.StatusCode != http.StatusOK || len(a.members()) != 1 || err != nil || len(raw) < 2048 || len(raw) > 3071 {
				t.Errorf("%v: %d bytes of padding, %v", a, len(raw), err)
			}
		}},
		{"9", "without a bearer token, spelled exactly so, it is 401", "", func(t *testing.T, w *world) {
			for _, h := range []string{"", "bearer x.y.z", "Basic x"} {
				a := w.ask(t, http.MethodPost, "/t/open/v1/stats", header{"Content-Type": jsonType, "Authorization": h}, "{}")
				unauthorized(t, a, "Authorization header is not in `Bearer <token>` format")
			}
		}},
		{"9", "the audience is keyserver, not that of certificates", "", func(t *testing.T, w *world) {
			unauthorized(t, w.tell(t, w.open, claiming("aud", w.open.Settings.Audience)), "unauthorized, audience mismatch")
		}},
		{"9", "an unknown issuer or key, another algorithm, an expired token and another tenant's are 401", "", func(t *testing.T, w *world) {
			for _, change := range []func(*draft){
				claiming("iss", "nobody"), claiming("iss", w.other.Settings.Issuer), claiming("exp", w.Now().Unix()-1),
				func(d *draft) { d.head["kid"] = "nobody-c1" }, func(d *draft) { d.head["alg"] = "none" },
			} {
				unauthorized(t, w.tell(t, w.open, change), "unauthorized: ")
			}
		}},
		{"9", "a certificate is no token for statistics", "it is one, if the audiences are the same", func(t *testing.T, w *world) {
			unauthorized(t, w.tell(t, w.open, claiming("reportType", "confirmed"), claiming("tekmac", someHMAC(1))), "unauthorized: ")
		}},
		{"9", "a body that cannot be read is 400, 413 or 415, padded", "400 for all, without padding", func(t *testing.T, w *world) {
			now := w.Now().Unix()
			token := w.jwt(t, w.open, object{"alg": "ES256", "kid": w.signer(t, w.open).KeyID}, object{"iss": w.open.Settings.Issuer, "aud": "keyserver", "exp": now + 300})
			for _, c := range []struct {
				kind, body string
				status     int
			}{{"text/plain", "{}", 415}, {jsonType, "{", 400}, {jsonType, `{"x":1}`, 400}, {jsonType, `{"padding":"` + strings.Repeat("x", 64_000) + `"}`, 413}} {
				a := w.ask(t, http.MethodPost, "/t/open/v1/stats", header{"Content-Type": c.kind, "Authorization": "Bearer " + token}, c.body)
				if a.StatusCode != c.status || a.text("code") != badRequest || a.text("padding") == "" {
					t.Errorf("%v, want %d", a, c.status)
				}
			}
		}},
		{"9", "uploads are counted by platform, with the ages of keys and onset; those that changed nothing are not; a revision has no ages", "", toldUploads},
		{"9", "a day with fewer than ten uploads is not told until two days after its end, and the current hour never", "", suppressedDays},
	}
}

// toldDay is a day of /v1/stats.
type toldDay struct {
	Day      time.Time
	Requests struct{ Unknown, Android, IOS int } `json:"publish_requests"`
	TEKs     int                                 `json:"total_teks_published"`
	Revising int                                 `json:"requests_with_revisions"`
	Ages     []int                               `json:"tek_age_distribution"`
	Onsets   []int                               `json:"onset_to_upload_distribution"`
	Missing  int                                 `json:"requests_missing_onset_date"`
}

func (w *world) told(t *testing.T, of account) []toldDay {
	t.Helper()
	a := w.tell(t, of)
	var body struct{ Days []toldDay }
	if err := json.Unmarshal(a.body, &body); err != nil || a.StatusCode != http.StatusOK || a.text("error") != "" {
		t.Fatalf("%v, %v", a, err)
	}
	return body.Days
}

// during runs a whole service, its jobs with it, while fn makes requests of it, and
// ends it: then all has been counted.
func (w *world) during(t *testing.T, fn func()) {
	t.Helper()
	before := w.base
	s, err := service.Open(t.Context(), w.config)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l, nil) }()
	w.base = "http://" + l.Addr().String()
	fn()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	w.base = before
}

func toldUploads(t *testing.T, w *world) {
	of := w.newcomer()
	w.SetNow(w.Now().UTC().Truncate(day).Add(36*time.Hour + time.Minute)) // noon of tomorrow
	agents := []string{
		"Dalvik/2.1.0 (Linux; U; Android 12)", "x ANDROID", "iPhone", "bluetoothd (unknown version) CFNetwork/1240", "curl", "bluetoothd",
	}
	w.during(t, func() {
		upload := func(agent, report string, keys []tek, change ...func(*draft)) answer {
			d := w.draft(t, of, report, keys)
			for _, c := range change {
				c(&d)
			}
			return w.ask(t, http.MethodPost, "/t/"+string(of.Slug)+"/v1/publish", header{"Content-Type": jsonType, "User-Agent": agent}, w.signed(t, of, d).String())
		}
		var keys []tek
		var token string
		for _, agent := range agents {
			keys = w.teks(3)
			token = wantReceipt(t, upload(agent, "likely", keys), 3)
		}
		for range 3 {
			wantReceipt(t, upload("curl", "likely", w.teks(1), claiming("symptomOnsetInterval", nil)), 1)
		}
		wantReceipt(t, upload("curl", "likely", keys, with("revisionToken", token)), 0)
		wantReceipt(t, upload("curl", "confirmed", keys, with("revisionToken", token)), 0)
		wantReceipt(t, upload("curl", "negative", w.teks(2)), 0)
		upload("curl", "confirmed", nil)
	})
	w.Advance(time.Hour)
	days := w.told(t, of)
	if len(days) != 1 {
		t.Fatalf("%d days", len(days))
	}
	want := toldDay{
		Day: w.Now().UTC().Truncate(day), TEKs: 6*3 + 3 + 3, Revising: 1, Missing: 3,
		Ages: make([]int, 16), Onsets: make([]int, 30),
	}
	want.Requests.Android, want.Requests.IOS, want.Requests.Unknown = 2, 2, 2+3+1+1
	want.Ages[3], want.Ages[1], want.Ages[2] = 6, 3, 1
	want.Onsets[2], want.Onsets[4] = 6+1, 3
	if diff := cmp.Diff(want, days[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func suppressedDays(t *testing.T, w *world) {
	of := w.newcomer()
	w.SetNow(w.Now().UTC().Truncate(day).Add(36 * time.Hour))
	today := w.Now().Truncate(day)
	uploads := func(n int) {
		w.during(t, func() {
			for range n {
				wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
			}
		})
	}
	uploads(9)
	w.Advance(time.Hour)
	if days := w.told(t, of); len(days) != 0 {
		t.Errorf("nine uploads are told at once: %v", days)
	}
	uploads(1)
	if days := w.told(t, of); len(days) != 0 {
		t.Errorf("the current hour is told: %v", days)
	}
	w.Advance(time.Hour)
	if days := w.told(t, of); len(days) != 1 || days[0].Requests.Unknown != 10 {
		t.Errorf("ten uploads: %v", days)
	}
	w.SetNow(today.AddDate(0, 0, 1))
	uploads(1)
	w.SetNow(today.AddDate(0, 0, 4))
	if days := w.told(t, of); len(days) != 1 {
		t.Errorf("one upload is told two days after its day's end: %v", days)
	}
	w.Advance(time.Second)
	if days := w.told(t, of); len(days) != 2 || days[0].Day.After(days[1].Day) {
		t.Errorf("%v, want both days, the older one first", days)
	}
}
