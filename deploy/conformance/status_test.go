package conformance_test

import (
	"net/http"
	"testing"
	"time"

	"carillon/tenant/client"
)

var notFound = refusal{
	status: http.StatusNotFound, code: "code_not_found",
	text: "code not found, it may have expired and been removed",
}

// statusRules are §4.5 and §4.6: what became of a code, and its end.
func statusRules() []rule {
	unknown := func(path string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			foreign := w.issue(t, w.other, nil).text("uuid")
			for _, id := range []string{"", "x", "00000000-0000-4000-8000-000000000000", foreign} {
				wantRefusal(t, w.post(t, w.open, path, object{"uuid": id}), notFound)
			}
		}
	}
	unread := func(path string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			a := w.ask(t, http.MethodPost, "/t/open"+path, header{"Content-Type": jsonType, "X-API-Key": w.open.admin}, `{`)
			wantRefusal(t, a, refusal{status: bad, code: "", text: "malformed json"})
		}
	}
	return []rule{
		{"4.5", "claimed and both ends, at once after the claim", "", func(t *testing.T, w *world) {
			issued := w.issue(t, w.open, nil)
			for _, claimed := range []bool{false, true} {
				a := w.must(t, w.open, "/api/checkcodestatus", object{"uuid": issued.text("uuid")})
				if a.members()["claimed"] != claimed || a.number("expiresAtTimestamp") != issued.number("expiresAtTimestamp") ||
					a.number("longExpiresAtTimestamp") != issued.number("longExpiresAtTimestamp") || len(a.members()) != 4 {
					t.Errorf("claimed %v: %v", claimed, a.members()["claimed"])
				}
				if !claimed {
					w.must(t, w.open, "/api/verify", object{"code": issued.text("code")})
				}
			}
		}},
		{"4.5", "any admin key of the tenant may ask", "", func(t *testing.T, w *world) {
			issued, colleague := w.issue(t, w.open, nil), w.open
			colleague.admin = w.Key(w.open.Tenant, client.Admin)
			w.must(t, colleague, "/api/checkcodestatus", object{"uuid": issued.text("uuid")})
		}},
		{"4.5", "an unknown, empty or malformed UUID, and another tenant's, is 404", "", unknown("/api/checkcodestatus")},
		{"0.3", "a body that cannot be read has no error code at checkcodestatus", "", unread("/api/checkcodestatus")},
		{"4.6", "both ends become now, and the answer names the code", "the UUID is left out", func(t *testing.T, w *world) {
			issued := w.issue(t, w.open, nil)
			a := w.must(t, w.open, "/api/expirecode", object{"uuid": issued.text("uuid")})
			now := w.Now().Unix()
			if a.text("uuid") != issued.text("uuid") || a.number("expiresAtTimestamp") != now || a.number("longExpiresAtTimestamp") != now {
				t.Errorf("ends %d and %d, want %d", a.number("expiresAtTimestamp"), a.number("longExpiresAtTimestamp"), now)
			}
			wantRefusal(t, w.post(t, w.open, "/api/verify", object{"code": issued.text("code")}),
				refusal{status: bad, code: "code_expired", text: "verification code expired"})
		}},
		{"4.6", "an expired code stays as it is, with 200", "", func(t *testing.T, w *world) {
			issued, past := w.issue(t, w.open, nil), w.Now().Add(-time.Hour).UTC().Truncate(time.Second)
			w.expireAt(t, issued, past, past)
			a := w.must(t, w.open, "/api/expirecode", object{"uuid": issued.text("uuid")})
			if a.number("expiresAtTimestamp") != past.Unix() {
				t.Errorf("end %d, want %d", a.number("expiresAtTimestamp"), past.Unix())
			}
		}},
		{"4.6", "a claimed code cannot be expired", "", func(t *testing.T, w *world) {
			issued := w.issue(t, w.open, nil)
			w.must(t, w.open, "/api/verify", object{"code": issued.text("code")})
			wantRefusal(t, w.post(t, w.open, "/api/expirecode", object{"uuid": issued.text("uuid")}), refusal{status: bad, code: "", text: "bad request"})
		}},
		{"4.6", "an unknown, empty or malformed UUID, and another tenant's, is 404", "", unknown("/api/expirecode")},
		{"0.3", "a body that cannot be read has no error code at expirecode", "", unread("/api/expirecode")},
	}
}
