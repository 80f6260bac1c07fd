package conformance_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"carillon/tenant/onboarding"
)

const certificateInvalid = "health_authority_verification_certificate_invalid"

// voucherRules are §2.1 to §2.3: the certificate that vouches for keys.
func voucherRules() []rule {
	refuses := func(change ...func(*draft)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			keys := w.teks(1)
			a := w.publish(t, w.open, "confirmed", keys, change...)
			wantUploadRefusal(t, a, http.StatusUnauthorized, certificateInvalid, "unable to validate diagnosis verification: …")
			wantReceipt(t, w.publish(t, w.open, "confirmed", keys), 1) // nothing was stored
		}
	}
	takes := func(change ...func(*draft)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			wantReceipt(t, w.publish(t, w.open, "confirmed", w.teks(1), change...), 1)
		}
	}
	heading := func(name string, value any) func(*draft) {
		return func(d *draft) {
			if d.head[name] = value; value == nil {
				delete(d.head, name)
			}
		}
	}
	payload := func(spoil func(string) string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			body := w.signed(t, w.open, w.draft(t, w.open, "confirmed", w.teks(1)))
			body["verificationPayload"] = spoil(body["verificationPayload"].(string))
			wantUploadRefusal(t, w.send(t, w.open, body.String()), http.StatusUnauthorized, certificateInvalid, "…")
		}
	}
	later := func(w *world, seconds int64) int64 { return w.Now().Unix() + seconds }
	return []rule{
		{"2", "a certificate that this service issued publishes its keys", "", issuedCertificate},
		{"2.2", "1: what has not three parts of base64url and JSON is refused", "", func(t *testing.T, w *world) {
			for _, spoil := range []func(string) string{
				func(string) string { return "" },
				func(s string) string { return s[:strings.LastIndexByte(s, '.')] },
				func(s string) string { return s + ".x" },
				func(s string) string { return "?" + s[1:] },
				func(s string) string { return "e30" + s[strings.IndexByte(s, '.'):] },
			} {
				payload(spoil)(t, w)
			}
		}},
		{"2.2", "2: another algorithm than ES256 is refused, none among them", "", func(t *testing.T, w *world) {
			for _, alg := range []any{"none", "HS256", "ES384", "es256", nil} {
				refuses(heading("alg", alg))(t, w)
			}
		}},
		{"2.2", "3: a certificate without the name of its key is refused", "", func(t *testing.T, w *world) {
			refuses(heading("kid", nil))(t, w)
			refuses(heading("kid", 1))(t, w)
			refuses(heading("kid", ""))(t, w)
		}},
		{"2.2", "4: an unknown issuer is refused, another tenant's among them", "", func(t *testing.T, w *world) {
			for _, iss := range []any{"nobody", w.other.Settings.Issuer, strings.ToUpper(w.open.Settings.Issuer), nil} {
				refuses(claiming("iss", iss))(t, w)
			}
		}},
		{"2.2", "another tenant's certificate is refused, whatever it claims to be", "", func(t *testing.T, w *world) {
			d := w.draft(t, w.open, "confirmed", w.teks(1))
			a := w.send(t, w.open, w.signed(t, w.other, d).String())
			wantUploadRefusal(t, a, http.StatusUnauthorized, certificateInvalid, "…")
		}},
		{"2.2", "5: another audience is refused; it is one text, compared exactly", "", func(t *testing.T, w *world) {
			aud := w.open.Settings.Audience
			for _, other := range []any{"x", aud + "/", strings.ToUpper(aud), []string{aud}, nil} {
				refuses(claiming("aud", other))(t, w)
			}
		}},
		{"2.2", "6: a name of no key is refused", "", refuses(heading("kid", "nobody-c1"))},
		{"2.2", "7: an expired certificate is refused, without tolerance; the last second is good", "", func(t *testing.T, w *world) {
			takes(claiming("exp", later(w, 0)))(t, w)
			refuses(claiming("exp", later(w, -1)))(t, w)
		}},
		{"2.1", "a certificate without end is refused", "taken", refuses(claiming("exp", nil))},
		{"2.1", "iat and nbf may lie five seconds ahead, for clocks that differ; more is refused", "no tolerance", func(t *testing.T, w *world) {
			for _, name := range []string{"iat", "nbf"} {
				takes(claiming(name, later(w, 5)))(t, w)
				refuses(claiming(name, later(w, 6)))(t, w)
				takes(claiming(name, nil))(t, w)
			}
		}},
		{"2.2", "7: a signature of another key, or over other claims, is refused", "", func(t *testing.T, w *world) {
			payload(func(s string) string { return s[:len(s)-8] + "AAAAAAAA" })(t, w)
			payload(func(s string) string {
				at := strings.LastIndexByte(s, '.')
				foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				digest := sha256.Sum256([]byte(s[:at]))
				r, v, err := ecdsa.Sign(rand.Reader, foreign, digest[:])
				if err != nil {
					t.Fatal(err)
				}
				raw := make([]byte, 64)
				r.FillBytes(raw[:32])
				v.FillBytes(raw[32:])
				return s[:at+1] + base64.RawURLEncoding.EncodeToString(raw)
			})(t, w)
		}},
		{"2.2", "9: a report type that is none of the four is refused", "", func(t *testing.T, w *world) {
			for _, kind := range []any{"", "positive", "Confirmed", nil, 1} {
				refuses(claiming("reportType", kind))(t, w)
			}
		}},
		{"2.2", "10: an HMAC over other keys, numbers or secrets is refused", "", func(t *testing.T, w *world) {
			refuses(with("hmacKey", "AAECAwQFBgcICQoLDA0ODw=="))(t, w)
			refuses(claiming("tekmac", someHMAC(1)))(t, w)
			refuses(claiming("tekmac", nil))(t, w)
			for _, change := range []object{{"rollingPeriod": 143}, {"rollingStartNumber": w.midnight(-3)}, {"transmissionRisk": 1}} {
				refuses(func(d *draft) {
					keys := d.body["temporaryExposureKeys"].([]object)
					keys[0] = keys[0].merge(change)
				})(t, w)
			}
			refuses(func(d *draft) { // one key more than the certificate is for
				keys := d.body["temporaryExposureKeys"].([]object)
				d.body["temporaryExposureKeys"] = append(keys, newTEK(w.midnight(-4), dayIntervals).object())
			})(t, w)
		}},
		{"2.3", "tekmac is read in any form of base64", "", func(t *testing.T, w *world) {
			for _, spell := range []func(string) string{
				func(s string) string { return strings.TrimRight(s, "=") },
				func(s string) string { return strings.NewReplacer("+", "-", "/", "_").Replace(s) },
			} {
				takes(func(d *draft) { d.claims["tekmac"] = spell(d.claims["tekmac"].(string)) })(t, w)
			}
		}},
		{"2.3", "keys are in the order of their text, whatever their order in the request", "", func(t *testing.T, w *world) {
			keys := w.teks(3)
			keys[0].text, keys[1].text, keys[2].text = "g"+keys[0].text[1:], "/"+keys[1].text[1:], "D"+keys[2].text[1:]
			wantReceipt(t, w.publish(t, w.open, "confirmed", keys), 3)
		}},
		{"2.3", "the HMAC without risks is taken if every risk is 0", "", threeFields},
		{"2.3", "keys that are dropped are in the HMAC all the same", "", func(t *testing.T, w *world) {
			keys := w.teks(2)
			keys[1].period = 0
			a := w.publish(t, w.open, "confirmed", keys)
			wantUploadRefusal(t, a, http.StatusOK, "partial_failure", "…")
			secret, err := base64.StdEncoding.DecodeString("AAECAwQFBgcICQoLDA0ODw==")
			if err != nil {
				t.Fatal(err)
			}
			refuses(with("hmacKey", "AAECAwQFBgcICQoLDA0ODw=="), claiming("tekmac", mac(secret, keys[:1], 4)), func(d *draft) {
				d.body["temporaryExposureKeys"] = []object{keys[0].object(), keys[1].object()}
			})(t, w)
		}},
		{"2.3", "a secret may have any length", "", func(t *testing.T, w *world) {
			for _, size := range []int{0, 1, 100} {
				keys, secret := w.teks(1), make([]byte, size)
				a := w.publish(t, w.open, "confirmed", keys, with("hmacKey", base64.StdEncoding.EncodeToString(secret)), claiming("tekmac", mac(secret, keys, 4)))
				wantReceipt(t, a, 1)
			}
		}},
		{"2.1", "trisk and other claims are ignored", "", takes(claiming("trisk", []object{{"tr": 3, "sinceRollingInterval": 1}}), claiming("phadata", object{"a": 1}))},
	}
}

// issuedCertificate goes the way of a phone: a code, a token, a certificate, an upload.
func issuedCertificate(t *testing.T, w *world) {
	for _, report := range []string{"confirmed", "likely"} {
		keys := w.teks(14)
		d := w.draft(t, w.open, report, keys)
		token := w.token(t, w.open, object{"testType": report, "symptomDate": w.day(-2)})
		body := d.body.merge(object{"verificationPayload": w.must(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": d.claims["tekmac"]}).text("certificate")})
		wantReceipt(t, w.send(t, w.open, body.String()), 14)
	}
}

func threeFields(t *testing.T, w *world) {
	secret := []byte("a secret of sixteen")
	send := func(risk int32, fields int) answer {
		keys := w.teks(3)
		keys[1].risk = risk
		return w.publish(t, w.open, "confirmed", keys,
			with("hmacKey", base64.StdEncoding.EncodeToString(secret)), claiming("tekmac", mac(secret, keys, fields)))
	}
	wantReceipt(t, send(0, 3), 3)
	wantReceipt(t, send(0, 4), 3)
	wantReceipt(t, send(5, 4), 3)
	wantUploadRefusal(t, send(5, 3), http.StatusUnauthorized, certificateInvalid, "…")
}

// newcomer is a tenant of its own, with the defaults of a real one.
func (w *world) newcomer() account {
	w.newcomers++
	defaults := func(s *onboarding.Spec) { s.ExportMinAge = -1 }
	return account{Tenant: w.Create(fmt.Sprintf("newcomer-%d", w.newcomers), defaults)}
}

// untilExported is how many hours it takes at most until a key of an earlier day is in
// a file: the rest of its window of four hours, and two more.
const untilExported = 7

// onsetRules are §2.4 to §2.6: what a key is stored with, as its file tells.
func onsetRules() []rule {
	return []rule{
		{"2.4", "a key has the certificate's report type; risk 0 becomes that of the type, another risk is kept", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			type sent struct {
				key  tek
				want [2]int32 // report type and risk
			}
			var all []sent
			for report, want := range map[string][2]int32{"confirmed": {1, 2}, "likely": {2, 4}, "user-report": {3, 0}} {
				keys := w.teks(2)
				keys[1].risk = 7
				wantReceipt(t, w.publish(t, of, report, keys), 2)
				all = append(all, sent{keys[0], want}, sent{keys[1], [2]int32{want[0], 7}})
			}
			w.export(t, of, untilExported)
			for _, s := range all {
				if k := w.once(t, of, s.key); valued(k.Type) != s.want[0] || valued(k.Risk) != s.want[1] {
					t.Errorf("type %d and risk %d, want %v", valued(k.Type), valued(k.Risk), s.want)
				}
			}
		}},
		{"2.6", "days are counted from the onset in the request, else in the certificate, else four days ago", "", func(t *testing.T, w *world) {
			of, none := w.newcomer(), claiming("symptomOnsetInterval", nil)
			request := func(onset int32) func(*draft) { return with("symptomOnsetInterval", int(onset)) }
			want := map[tek]int32{}
			for days, change := range map[int32][]func(*draft){
				2: {request(w.midnight(-3) + 100)}, // before the certificate's
				1: {},                              // the certificate's, two days ago
				3: {none},                          // four days ago
				0: {request(w.midnight(-1)), none}, // the day itself, which is a number
				4: {none, request(w.midnight(-5) + 143)},
				9: {none, request(w.midnight(-10))},
			} {
				k := w.teks(1)
				wantReceipt(t, w.publish(t, of, "confirmed", k, change...), 1)
				want[k[0]] = days
			}
			w.export(t, of, untilExported)
			for k, days := range want {
				if got := w.once(t, of, k); valued(got.Days) != days {
					t.Errorf("%d days, want %d", valued(got.Days), days)
				}
			}
		}},
		{"2.6", "an onset that lies ahead, or more than 28 days back, does not count and is no error", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			want := map[tek]int32{}
			for onset, days := range map[int32]int32{
				interval(w.Now()): 1, interval(w.Now()) + 1000: 1, -1: 1, w.midnight(-29): 1, 1: 1, // the certificate's
				interval(w.Now()) - 1: -1,
			} {
				k := w.teks(1)
				wantReceipt(t, w.publish(t, of, "confirmed", k, with("symptomOnsetInterval", int(onset))), 1)
				want[k[0]] = days
			}
			k := tek{text: w.teks(1)[0].text, start: w.midnight(-14), period: dayIntervals}
			wantReceipt(t, w.publish(t, of, "confirmed", []tek{k}, with("symptomOnsetInterval", int(w.midnight(-28)))), 1)
			want[k] = 14
			w.export(t, of, untilExported)
			for k, days := range want {
				if got := w.once(t, of, k); valued(got.Days) != days {
					t.Errorf("%d days, want %d", valued(got.Days), days)
				}
			}
		}},
	}
}
