package conformance_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"carillon/deploy/service"
)

const (
	badRequest = "bad_request"
	badBody    = "error unmarshalling API call, code: "
	badData    = "unable to read request data: "
)

// transportRules are §1.1 and §1.2: the request as such.
func transportRules() []rule {
	// raw sends a body and wants it refused.
	raw := func(contentType, body string, status int, text string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			a := w.ask(t, http.MethodPost, "/t/open/v1/publish", header{"Content-Type": contentType}, body)
			wantUploadRefusal(t, a, status, badRequest, fmt.Sprintf("%s%d: %s", badBody, status, text))
		}
	}
	// good publishes one key with a changed request and wants it stored.
	good := func(change ...func(*draft)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			wantReceipt(t, w.publish(t, w.open, "confirmed", w.teks(1), change...), 1)
		}
	}
	return []rule{
		{"1.1", "the path is /v1/publish below the tenant's URL; with a slash behind it is 404", "", func(t *testing.T, w *world) {
			body := w.signed(t, w.open, w.draft(t, w.open, "confirmed", w.teks(1))).String()
			a := w.ask(t, http.MethodPost, "/t/open/v1/publish/", header{"Content-Type": jsonType}, body)
			if a.StatusCode != http.StatusNotFound {
				t.Errorf("%v", a)
			}
		}},
		{"1.1", "another method than POST is 405", "any method is processed", func(t *testing.T, w *world) {
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
				if a := w.ask(t, method, "/t/open/v1/publish", header{"Content-Type": jsonType}, `{}`); a.StatusCode != http.StatusMethodNotAllowed {
					t.Errorf("%s: %v", method, a)
				}
			}
		}},
		{"1.1", "a Content-Type that does not begin with application/json is 415", "", func(t *testing.T, w *world) {
			for _, kind := range []string{"text/plain", "Application/JSON", ""} {
				raw(kind, `{}`, http.StatusUnsupportedMediaType, "content-type is not application/json")(t, w)
			}
		}},
		{"1.1", "a suffix of the Content-Type does not matter", "", func(t *testing.T, w *world) {
			body := w.signed(t, w.open, w.draft(t, w.open, "confirmed", w.teks(1))).String()
			a := w.ask(t, http.MethodPost, "/t/open/v1/publish", header{"Content-Type": "application/json; charset=utf-8"}, body)
			wantReceipt(t, a, 1)
		}},
		{"1.1", "a body of 64,000 bytes is read, a longer one is 413", "", func(t *testing.T, w *world) {
			d := w.draft(t, w.open, "confirmed", w.teks(1))
			body := w.signed(t, w.open, d).merge(object{"padding": ""})
			fits := body.merge(object{"padding": strings.Repeat("x", 64_001-len(body.String()))}).String()
			fits = strings.TrimSuffix(fits, "\n")
			if len(fits) != 64_000 {
				t.Fatalf("%d bytes", len(fits))
			}
			wantReceipt(t, w.send(t, w.open, fits), 1)
			raw(jsonType, fits+" ", http.StatusRequestEntityTooLarge, "http: request body too large")(t, w)
		}},
		{"1.7", "an empty body is 400", "", raw(jsonType, "", bad, "body must not be empty")},
		{"1.7", "a truncated body is 400", "", raw(jsonType, `{"healthAuthorityID":"x"`, bad, "malformed json")},
		{"1.7", "a syntax error is 400, with its position", "", raw(jsonType, `{"traveler":tru}`, bad, "malformed json at position…")},
		{"1.1", "a second value after the object is 400", "", raw(jsonType, `{} {}`, bad, "body must contain only one JSON object")},
		{"1.1", "a member of the wrong type is 400, with its name", "", func(t *testing.T, w *world) {
			for member, name := range map[string]string{
				`"traveler":1`: "traveler", `"symptomOnsetInterval":"1"`: "symptomOnsetInterval", `"hmacKey":1`: "hmacKey",
				`"temporaryExposureKeys":{}`: "temporaryExposureKeys", `"temporaryExposureKeys":[{"key":1}]`: "temporaryExposureKeys.key",
			} {
				raw(jsonType, "{"+member+"}", bad, fmt.Sprintf("invalid value %q at position…", name))(t, w)
			}
		}},
		{"1.1", "a number beyond 32 bits, or with a fraction, is 400", "", func(t *testing.T, w *world) {
			for _, number := range []string{"2147483648", "-2147483649", "1.5", "1e400"} {
				raw(jsonType, `{"symptomOnsetInterval":`+number+`}`, bad, `invalid value "symptomOnsetInterval" at position…`)(t, w)
				raw(jsonType, `{"temporaryExposureKeys":[{"rollingPeriod":`+number+`}]}`, bad, `invalid value "temporaryExposureKeys.rollingPeriod" at position…`)(t, w)
			}
		}},
		{"1.1", "names of members are read in any case: hmackey and hmacKey", "", func(t *testing.T, w *world) {
			for _, name := range []string{"hmackey", "HMACKEY"} {
				good(func(d *draft) { d.body[name] = d.body["hmacKey"]; delete(d.body, "hmacKey") })(t, w)
			}
		}},
		{"1.1", "the same member twice is 400", "the last one counts", raw(jsonType, `{"traveler":true,"Traveler":false}`, bad, `duplicate field "Traveler"`)},
		{"1.1", "unknown members are ignored", "400, which refuses clients of an experimental branch", good(
			with("vaccinated", true), with("somethingNew", object{"a": []int{1}}), func(d *draft) {
				d.body["temporaryExposureKeys"].([]object)[0]["variantOfConcern"] = 1
			})},
		{"1.1", "null is an absent member, and a body of null an empty object", "", func(t *testing.T, w *world) {
			good(with("symptomOnsetInterval", nil), func(d *draft) {
				d.body["revisionToken"], d.body["traveler"], d.body["symptomOnsetInterval"] = nil, nil, nil
			})(t, w)
			wantUploadRefusal(t, w.send(t, w.open, "null"), http.StatusUnauthorized, "unknown_health_authority_id", "unauthorized health authority: ")
		}},
		{"1.1", "under maintenance of the whole service an upload is 429 with error alone, and cover traffic goes on", "", publishInMaintenance},
		{"1.1", "maintenance of a tenant is about its codes: certificates that are out publish", "", func(t *testing.T, w *world) {
			wantReceipt(t, w.publish(t, w.shut, "confirmed", w.teks(1)), 1)
		}},
		{"1.2", "healthAuthorityID is compared in any case", "", good(func(d *draft) {
			d.body["healthAuthorityID"] = strings.ToUpper(d.body["healthAuthorityID"].(string))
		})},
		{"1.2", "base64 of a key and of the secret is read with either alphabet, padded or not", "", func(t *testing.T, w *world) {
			for _, spell := range []func(string) string{
				func(s string) string { return strings.TrimRight(s, "=") },
				func(s string) string { return strings.NewReplacer("+", "-", "/", "_").Replace(s) },
				func(s string) string { return strings.NewReplacer("+", "-").Replace(strings.TrimRight(s, "=")) },
			} {
				k := w.teks(1)
				k[0].text = spell("+/v7+/v7+/v7+/v7" + k[0].text[16:])
				good := w.publish(t, w.open, "confirmed", k, func(d *draft) { d.body["hmacKey"] = spell(d.body["hmacKey"].(string)) })
				wantReceipt(t, good, 1)
			}
		}},
		{"1.2", "padding may be anything", "", func(t *testing.T, w *world) {
			for _, p := range []any{nil, 1, true, object{"a": 1}, []int{1}} {
				good(func(d *draft) { d.body["padding"] = p })(t, w)
			}
		}},
		{"1.2", "traveler, symptomOnsetInterval, revisionToken, padding and transmissionRisk may be left out", "", good(
			with("traveler", nil), with("symptomOnsetInterval", nil), with("revisionToken", nil), with("padding", nil))},
	}
}

func publishInMaintenance(t *testing.T, w *world) {
	body := w.signed(t, w.open, w.draft(t, w.open, "confirmed", w.teks(1))).String()
	w.at(t, func(c *service.Config) { c.Maintenance = true }, func() {
		closed := w.send(t, w.open, body)
		if got, want := string(closed.body), `{"error":"please try again later"}`; closed.StatusCode != http.StatusTooManyRequests || got != want || closed.Header.Get("Content-Type") != jsonType {
			t.Errorf("%v, want 429 %s", closed, want)
		}
		cover := w.ask(t, http.MethodPost, "/t/open/v1/publish", header{"X-Chaff": "1", "Content-Type": jsonType}, body)
		if cover.StatusCode != http.StatusOK {
			t.Errorf("cover traffic: %v", cover)
		}
	})
	wantReceipt(t, w.send(t, w.open, body), 1)
}

// orderRules are §1.3: which error wins.
func orderRules() []rule {
	return []rule{
		{"1.3", "an unknown health authority wins over a bad certificate", "", func(t *testing.T, w *world) {
			a := w.publish(t, w.open, "confirmed", w.teks(1), with("healthAuthorityID", "nobody"), with("verificationPayload", "x"))
			wantUploadRefusal(t, a, http.StatusUnauthorized, "unknown_health_authority_id", "unauthorized health authority: nobody")
		}},
		{"1.3", "a bad certificate wins over bad keys, and a bad body over both", "", func(t *testing.T, w *world) {
			keys := []tek{newTEK(w.midnight(-1), 145)}
			a := w.publish(t, w.open, "confirmed", keys, claiming("exp", w.Now().Unix()-1))
			wantUploadRefusal(t, a, http.StatusUnauthorized, certificateInvalid, "…")
			a = w.publish(t, w.open, "confirmed", keys, with("healthAuthorityID", "nobody"), with("traveler", 1))
			wantUploadRefusal(t, a, bad, badRequest, badBody+"…")
		}},
		{"1.3", "bad keys win over a revision that is not allowed", "", func(t *testing.T, w *world) {
			keys := w.teks(1)
			wantReceipt(t, w.publish(t, w.open, "confirmed", keys), 1)
			both := append(keys, newTEK(keys[0].start+1, 1))
			wantUploadRefusal(t, w.publish(t, w.open, "likely", both), bad, badRequest, badData+"exposure keys have non aligned…")
		}},
		{"1.7", "an unknown health authority is 401: empty, another tenant's, with a NUL, at the URL of no tenant", "a NUL is 500, with the database's words", func(t *testing.T, w *world) {
			for _, id := range []string{"", w.other.HealthAuthorityID, "org.open\x00.health", strings.Repeat("x", 300)} {
				a := w.publish(t, w.open, "confirmed", w.teks(1), with("healthAuthorityID", id))
				wantUploadRefusal(t, a, http.StatusUnauthorized, "unknown_health_authority_id", "unauthorized health authority: …")
			}
			nowhere := w.open
			elsewhere := *w.open.Tenant
			elsewhere.Slug, nowhere.Tenant = "nowhere", &elsewhere
			wantUploadRefusal(t, w.publish(t, nowhere, "confirmed", w.teks(1)), http.StatusUnauthorized, "unknown_health_authority_id", "…")
		}},
	}
}

// keyFieldRules are §1.4: each key for itself.
func keyFieldRules() []rule {
	// drops sends a good key beside a bad one, which is dropped for a reason.
	drops := func(spoil func(*world, *tek), reason string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			keys := w.teks(2)
			spoil(w, &keys[1])
			a := w.publish(t, w.open, "confirmed", keys)
			wantUploadRefusal(t, a, http.StatusOK, "partial_failure", "1 error occurred:\n\t* key 1 cannot be imported: "+reason+"…")
			if a.number("insertedExposures") != 1 || a.text("revisionToken") == "" {
				t.Errorf("%v, want one key stored and a token", a)
			}
		}
	}
	keeps := func(change func(*world, *tek)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			keys := w.teks(1)
			change(w, &keys[0])
			wantReceipt(t, w.publish(t, w.open, "confirmed", keys, with("symptomOnsetInterval", int(w.midnight(-7)))), 1)
		}
	}
	oldest := func(w *world) int32 { return interval(w.Now().Add(-15 * day)) }
	return []rule{
		{"1.4", "1: a key that is no base64 is dropped, the others are stored: 200 partial_failure", "", drops(func(_ *world, k *tek) { k.text = "?" + k.text[1:] }, "")},
		{"1.4", "2: likewise a key that has not 16 bytes", "", drops(func(_ *world, k *tek) { k.text = "AAAA" }, "invalid key length, 3, must be 16")},
		{"1.4", "3: likewise a period of 0", "a comment and a document of it say that 0 means 144", drops(func(_ *world, k *tek) { k.period = 0 }, "invalid interval count, 0, must be >= 1 && <= 144")},
		{"1.4", "3: likewise a period of 145", "", drops(func(_ *world, k *tek) { k.period = 145 }, "invalid interval count, 145, must be >= 1 && <= 144")},
		{"1.4", "4: likewise a key that ended more than 15 days ago", "", drops(func(w *world, k *tek) { k.start = oldest(w) - 145 }, "key expires before minimum window")},
		{"1.4", "4: a key that began before and ended in the window is kept", "", keeps(func(w *world, k *tek) { k.start = oldest(w) - 143 })},
		{"1.4", "5: likewise a key that begins in the future", "", drops(func(w *world, k *tek) { k.start = interval(w.Now()) + 1 }, "interval number ")},
		{"1.4", "5: likewise at the end of 32 bits, where start and period add up to a negative number", "", drops(func(_ *world, k *tek) { k.start = 1<<31 - 1 }, "interval number 2147483647 is in the future")},
		{"1.4", "5: a key that begins now is kept", "", keeps(func(w *world, k *tek) { k.start, k.period = interval(w.Now()), 1 })},
		{"1.4", "6: likewise a risk outside of 0 to 8", "", func(t *testing.T, w *world) {
			for _, risk := range []int32{-1, 9} {
				drops(func(_ *world, k *tek) { k.risk = risk }, fmt.Sprintf("invalid transmission risk: %d, must be >= 0 && <= 8", risk))(t, w)
			}
		}},
		{"1.4", "keys are numbered as they were sent", "as they are sorted for the HMAC", func(t *testing.T, w *world) {
			keys := w.teks(3)
			keys[0].text, keys[2].text = "zz"+keys[0].text[2:], "AA"+keys[2].text[2:]
			keys[0].period = 0
			a := w.publish(t, w.open, "confirmed", keys)
			wantUploadRefusal(t, a, http.StatusOK, "partial_failure", "1 error occurred:\n\t* key 0 cannot…")
		}},
		{"1.4", "if every key is bad, it is 400 with all of the reasons", "", func(t *testing.T, w *world) {
			keys := w.teks(2)
			keys[0].period, keys[1].risk = 0, 9
			wantUploadRefusal(t, w.publish(t, w.open, "confirmed", keys), bad, badRequest, badData+"2 errors occurred:\n\t* key 0 cannot be imported: …")
		}},
		{"1.4", "a key more than 14 days from the onset is left out with a warning, which is no error", "its prose says that it is saved without an onset", func(t *testing.T, w *world) {
			keys := w.teks(2)
			keys[1].start = w.midnight(-15)
			a := w.publish(t, w.open, "confirmed", keys, with("symptomOnsetInterval", int(w.midnight(0))))
			if token := wantReceipt(t, a, 1); token == "" {
				t.Error("no token")
			}
			warnings, _ := a.members()["warnings"].([]any)
			if len(warnings) != 1 || warnings[0] != "key 1 symptom onset is too large, 15 > 14 - saving without this key" {
				t.Errorf("warnings %v", warnings)
			}
		}},
		{"1.4", "if every key is left out with a warning, it is 200 without token", "", func(t *testing.T, w *world) {
			keys := []tek{newTEK(w.midnight(-15), dayIntervals)}
			a := w.publish(t, w.open, "confirmed", keys, with("symptomOnsetInterval", int(w.midnight(0))))
			if token := wantReceipt(t, a, 0); token != "" || a.members()["warnings"] == nil {
				t.Errorf("%v", a)
			}
		}},
		{"1.4", "bad keys beside such left out ones are 400, with the warnings", "", func(t *testing.T, w *world) {
			keys := []tek{newTEK(w.midnight(-15), dayIntervals), newTEK(w.midnight(-1), 0)}
			a := w.publish(t, w.open, "confirmed", keys, with("symptomOnsetInterval", int(w.midnight(0))))
			wantUploadRefusal(t, a, bad, badRequest, badData+"1 error occurred:\n\t* key 1 cannot…")
			if a.members()["warnings"] == nil {
				t.Error("no warnings")
			}
		}},
	}
}

// keySetRules are §1.5: the keys together.
func keySetRules() []rule {
	refuses := func(text string, keys func(*world) []tek) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			list := keys(w)
			wantUploadRefusal(t, w.publish(t, w.open, "confirmed", list), bad, badRequest, badData+text)
			list[0].text = newTEK(0, 1).text // nothing of it was stored: alone it is new
			wantReceipt(t, w.publish(t, w.open, "confirmed", list[:1]), 1)
		}
	}
	keeps := func(n int, keys func(*world) []tek) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			wantReceipt(t, w.publish(t, w.open, "confirmed", keys(w)), n)
		}
	}
	slices := func(n int) func(*world) []tek { // many short keys one after another
		return func(w *world) []tek {
			list := make([]tek, n)
			for i := range list {
				list[i] = newTEK(w.midnight(-2)+int32(i), 1)
			}
			return list
		}
	}
	together := func(periods ...int32) func(*world) []tek {
		return func(w *world) []tek {
			var list []tek
			for _, p := range periods {
				list = append(list, newTEK(w.midnight(-1), p))
			}
			return list
		}
	}
	return []rule{
		{"1.5", "no keys at all is 401: no HMAC is over nothing", "", func(t *testing.T, w *world) {
			wantUploadRefusal(t, w.publish(t, w.open, "confirmed", nil), http.StatusUnauthorized, certificateInvalid, "…")
		}},
		{"1.5", "30 keys are taken", "comments say 21, a document 14; the code has 30", keeps(30, slices(30))},
		{"1.5", "31 are refused as a whole, before any is looked at", "", refuses("too many exposure keys in publish: 31, max of 30 is allowed", slices(31))},
		{"1.5", "keys that overlap without starting together are refused as a whole", "", refuses("exposure keys have non aligned overlapping intervals. …", func(w *world) []tek {
			return []tek{newTEK(w.midnight(-2), dayIntervals), newTEK(w.midnight(-2)+143, 2)}
		})},
		{"1.5", "a key that starts where another ends does not overlap it", "", keeps(2, func(w *world) []tek {
			return []tek{newTEK(w.midnight(-2), 50), newTEK(w.midnight(-2)+50, 94)}
		})},
		{"1.5", "three keys may start together", "", keeps(3, together(144, 100, 1))},
		{"1.5", "four may not", "", refuses("too many overlapping keys for start interval: …", together(144, 100, 50, 1))},
		{"1.5", "keys that were dropped do not count among those that start together", "", func(t *testing.T, w *world) {
			a := w.publish(t, w.open, "confirmed", together(144, 100, 50, 0)(w))
			wantUploadRefusal(t, a, http.StatusOK, "partial_failure", "1 error occurred:…")
		}},
		{"1.5", "the same key twice is stored and counted once; with other values the second is a dropped key", "which of the two is kept is left to chance", func(t *testing.T, w *world) {
			k := w.teks(1)
			wantReceipt(t, w.publish(t, w.open, "confirmed", []tek{k[0], k[0]}), 1)
			first := w.teks(1)[0]
			second := first
			second.period = 100
			a := w.publish(t, w.open, "confirmed", []tek{first, second})
			wantUploadRefusal(t, a, http.StatusOK, "partial_failure", "1 error occurred:\n\t* key 1 cannot be imported: it is key 0 with other values\n")
		}},
	}
}

// receiptRules are §1.6: the answer.
func receiptRules() []rule {
	return []rule{
		{"1.6", "a success has revisionToken, insertedExposures and padding, and no other member", "", func(t *testing.T, w *world) {
			a := w.publish(t, w.open, "confirmed", w.teks(14))
			if token := wantReceipt(t, a, 14); token == "" || len(a.members()) != 3 {
				t.Errorf("%d members", len(a.members()))
			}
		}},
		{"1.6", "insertedExposures is left out if it is 0", "", func(t *testing.T, w *world) {
			a := w.publish(t, w.open, "negative", w.teks(1))
			if _, there := a.members()["insertedExposures"]; there || a.StatusCode != http.StatusOK {
				t.Errorf("%v", a)
			}
		}},
		{"1.6", "padding is spread over its range, in errors, too", "", func(t *testing.T, w *world) {
			sizes := map[int]bool{}
			for range 8 {
				sizes[len(w.send(t, w.open, "{}").text("padding"))] = true
			}
			if len(sizes) == 1 {
				t.Error("eight answers have padding of one size")
			}
		}},
		{"1.6", "an error has code, and errorCode as Apple calls it", "code alone", func(t *testing.T, w *world) {
			a := w.send(t, w.open, "{}")
			if a.text("code") == "" || a.text("code") != a.text("errorCode") {
				t.Errorf("%v", a)
			}
		}},
	}
}

// idempotencyRules are §1.8: what is sent again.
func idempotencyRules() []rule {
	return []rule{
		{"1.8", "the same keys and report type with the token: 200, nothing inserted, a token", "", func(t *testing.T, w *world) {
			keys := w.teks(3)
			token := wantReceipt(t, w.publish(t, w.open, "confirmed", keys), 3)
			if again := wantReceipt(t, w.publish(t, w.open, "confirmed", keys, with("revisionToken", token)), 0); again == "" {
				t.Error("no token")
			}
		}},
		{"1.8", "the same upload under the same certificate, without a token, because its answer was lost: 200 and the token that revises", "400 missing_revision_token", func(t *testing.T, w *world) {
			keys := w.teks(3)
			body := w.signed(t, w.open, w.draft(t, w.open, "likely", keys)).String()
			wantReceipt(t, w.send(t, w.open, body), 3)
			token := wantReceipt(t, w.send(t, w.open, body), 0)
			wantReceipt(t, w.publish(t, w.open, "confirmed", keys, with("revisionToken", token)), 0)
		}},
		{"1.7", "keys that exist, under another certificate and without a token: missing_revision_token", "", func(t *testing.T, w *world) {
			keys := w.teks(3)
			wantReceipt(t, w.publish(t, w.open, "confirmed", keys), 3)
			for _, token := range []any{"", nil, "not base64!"} {
				a := w.publish(t, w.open, "confirmed", keys, with("revisionToken", token))
				wantUploadRefusal(t, a, bad, "missing_revision_token", "no revision token, but sent existing keys")
			}
		}},
		{"1.8", "a token that does not open keeps nobody from publishing new keys", "", func(t *testing.T, w *world) {
			foreign := wantReceipt(t, w.publish(t, w.other, "confirmed", w.teks(1)), 1)
			for _, token := range []string{"AAAA", "not base64!", foreign, foreign[:40]} {
				if token := wantReceipt(t, w.publish(t, w.open, "confirmed", w.teks(1), with("revisionToken", token)), 1); token == "" {
					t.Error("no token")
				}
			}
		}},
		{"1.7", "keys that exist, and a token that does not open, is another tenant's or lists other keys: invalid_revision_token", "", func(t *testing.T, w *world) {
			keys := w.teks(1)
			own := wantReceipt(t, w.publish(t, w.open, "confirmed", keys), 1)
			other := wantReceipt(t, w.publish(t, w.open, "confirmed", w.teks(1)), 1)
			foreign := wantReceipt(t, w.publish(t, w.other, "confirmed", w.teks(1)), 1)
			for _, token := range []string{"AAAA", other, foreign, own[:len(own)-8], "B" + own[1:]} {
				a := w.publish(t, w.open, "confirmed", keys, with("revisionToken", token))
				wantUploadRefusal(t, a, bad, "invalid_revision_token", "revision token is invalid")
			}
		}},
		{"1.7", "a key that exists with another start or period is invalid_revision_token, also with its token", "400 internal_error", func(t *testing.T, w *world) {
			keys := w.teks(1)
			token := wantReceipt(t, w.publish(t, w.open, "likely", keys), 1)
			for _, change := range []func(*tek){func(k *tek) { k.start-- }, func(k *tek) { k.period-- }} {
				changed := keys[0]
				change(&changed)
				a := w.publish(t, w.open, "confirmed", []tek{changed}, with("revisionToken", token))
				wantUploadRefusal(t, a, bad, "invalid_revision_token", "revision token is invalid")
			}
		}},
		{"1.8", "if one key may not be revised, nothing of the upload is stored", "", func(t *testing.T, w *world) {
			keys := w.teks(1)
			token := wantReceipt(t, w.publish(t, w.open, "confirmed", keys), 1)
			fresh := newTEK(w.midnight(-3), dayIntervals)
			both := []tek{fresh, keys[0]}
			wantUploadRefusal(t, w.publish(t, w.open, "likely", both, with("revisionToken", token)), bad, "invalid_report_type_transition", "…")
			wantReceipt(t, w.publish(t, w.open, "confirmed", []tek{fresh}), 1)
		}},
		{"1.8", "a certificate may be used again for the same keys while it lasts", "", func(t *testing.T, w *world) {
			keys := w.teks(2)
			body := w.signed(t, w.open, w.draft(t, w.open, "confirmed", keys))
			token := wantReceipt(t, w.send(t, w.open, body.String()), 2)
			wantReceipt(t, w.send(t, w.open, body.merge(object{"revisionToken": token}).String()), 0)
		}},
		{"1.9", "v1alpha1 is not offered: no client of Express sends it, and it would be a second way in", "off by default; at / if it is on", func(t *testing.T, w *world) {
			body := w.signed(t, w.open, w.draft(t, w.open, "confirmed", w.teks(1))).String()
			for _, path := range []string{"/", "/t/open/", "/v1alpha1/publish", "/t/open/v1alpha1/publish"} {
				if a := w.ask(t, http.MethodPost, path, header{"Content-Type": jsonType}, body); a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusMethodNotAllowed {
					t.Errorf("%s: %v", path, a)
				}
			}
		}},
		{"1.8", "the same upload at once, often: every answer is a success, and every key is counted once in all of them", "identical uploads deadlock, or are each told that they inserted all", simultaneousUploads},
	}
}

func simultaneousUploads(t *testing.T, w *world) {
	const uploads, keys = 40, 14
	body := w.signed(t, w.open, w.draft(t, w.open, "confirmed", w.teks(keys))).String()
	answers := make([]answer, uploads)
	var all sync.WaitGroup
	for i := range uploads {
		all.Go(func() { answers[i] = w.send(t, w.open, body) })
	}
	all.Wait()
	inserted := int64(0)
	for _, a := range answers {
		if a.StatusCode != http.StatusOK || a.text("error") != "" || a.text("revisionToken") == "" {
			t.Errorf("%v", a)
		}
		inserted += a.number("insertedExposures")
	}
	if inserted != keys {
		t.Errorf("%d keys were counted, want %d", inserted, keys)
	}
}
