package conformance_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

var codeInvalid = refusal{status: bad, code: "code_invalid", text: "verification code invalid"}

// verifyRules are §1: a code becomes a token.
func verifyRules() []rule {
	invalid := func(text string, extra object) func(*testing.T, *world) {
		return refuses(open, "/api/verify", refusal{body: object{"code": "00000000"}.merge(extra), status: bad, code: unparsable, text: text})
	}
	return []rule{
		{"1.1", "blanks around a code do not matter", "a code with a blank fails", func(t *testing.T, w *world) {
			w.must(t, w.open, "/api/verify", object{"code": " " + w.issue(t, w.open, nil).text("code") + "\t"})
		}},
		{"1.1", "without accept, every test type will do", "", func(t *testing.T, w *world) {
			for _, absent := range []any{nil, []string{}} {
				for _, kind := range []string{"confirmed", "likely", "negative"} {
					code := w.issue(t, w.open, object{"testType": kind}).text("code")
					if got := w.must(t, w.open, "/api/verify", object{"code": code, "accept": absent}).text("testtype"); got != kind {
						t.Errorf("testtype is %q, want %q", got, kind)
					}
				}
			}
		}},
		{"1.1", "each element of accept stands for the types that the protocol lists", "", acceptTable},
		{"1.1", "an unknown element of accept refuses the request", "", refuses(open, "/api/verify", refusal{
			body: object{"code": "1", "accept": []string{"confirmed", "x"}}, status: bad, code: "invalid_test_type", text: "invalid accepted test type: x",
		})},
		{"1.2", "a nonce that is no base64 is 400", "", invalid("nonce is not a valid base64…", object{"nonce": "*"})},
		{"1.2", "an unknown code is 400 code_invalid", "documents allow code_not_found, which would tell guessers more", refuses(open, "/api/verify", refusal{
			body: object{"code": "nosuchcode"}, status: codeInvalid.status, code: codeInvalid.code, text: codeInvalid.text,
		})},
		{"1.2", "another tenant's code is answered exactly as an unknown one", "", func(t *testing.T, w *world) {
			code := w.issue(t, w.other, nil).text("code")
			wantRefusal(t, w.post(t, w.open, "/api/verify", object{"code": code}), codeInvalid)
		}},
		{"1.2", "an expired code is 400 code_expired, also if it was claimed", "", expiredCode},
		{"1.2", "the short and the long code have ends of their own", "", ends},
		{"1.2", "a claimed code is 400 code_invalid, through either form", "", claimedCode},
		{"1.2", "a type that the phone does not accept is 412 and burns nothing", "documents and code agree on 412, though Android's text is for 400", func(t *testing.T, w *world) {
			code := w.issue(t, w.open, object{"testType": "likely"}).text("code")
			wantRefusal(t, w.post(t, w.open, "/api/verify", object{"code": code, "accept": []string{"confirmed"}}),
				refusal{status: http.StatusPreconditionFailed, code: "unsupported_test_type", text: "verification code has unsupported test type"})
			w.must(t, w.open, "/api/verify", object{"code": code})
		}},
		{"1.2", "a nonce on a code that asks for none is ignored", "", func(t *testing.T, w *world) {
			w.must(t, w.open, "/api/verify", object{"code": w.issue(t, w.open, nil).text("code"), "nonce": "AAAA"})
		}},
		{"1.2", "of simultaneous claims one gets a token, the others code_invalid", "most of 1,000 claims end in 500", simultaneousClaims},
		{"1.3", "the answer has testtype, the dates that were given, token and padding, and no other member", "", verifyAnswer},
		{"1.1", "a code in capitals is read", "refused", func(t *testing.T, w *world) {
			_, long := w.longCode(t, nil)
			w.must(t, w.open, "/api/verify", object{"code": strings.ToUpper(long)})
		}},
		{"1.4", "tokens are texts that tell nothing, each of them another one, of one length", "a token tells the test type and dates", opaqueTokens},
		{"0.4", "maintenance of a tenant does not keep its codes from being verified", "", func(t *testing.T, w *world) {
			w.must(t, w.shut, "/api/verify", object{"code": w.earlierCode})
		}},
	}
}

func acceptTable(t *testing.T, w *world) {
	types := []string{"confirmed", "likely", "negative", "user-report"}
	for element, accepted := range map[string]string{
		"confirmed": "confirmed", "likely": "confirmed likely", "Negative": "confirmed likely negative", "USER-REPORT": "confirmed user-report",
	} {
		for _, kind := range types {
			issue := object{"testType": kind}
			if kind == "user-report" {
				issue["phone"] = newPhone()
			}
			code := w.issue(t, w.open, issue).text("code")
			a := w.post(t, w.open, "/api/verify", object{"code": code, "accept": []string{element}})
			want := http.StatusPreconditionFailed
			if strings.Contains(" "+accepted+" ", " "+kind+" ") {
				want = http.StatusOK
			}
			if a.StatusCode != want {
				t.Errorf("accept %s of a code for %s: %v, want %d", element, kind, a, want)
			}
		}
	}
}

func expiredCode(t *testing.T, w *world) {
	past := w.Now().Add(-time.Second)
	expired := refusal{status: bad, code: "code_expired", text: "verification code expired"}
	fresh, claimed := w.issue(t, w.open, nil), w.issue(t, w.open, nil)
	w.must(t, w.open, "/api/verify", object{"code": claimed.text("code")})
	for _, issued := range []answer{fresh, claimed} {
		w.expireAt(t, issued, past, past)
		wantRefusal(t, w.post(t, w.open, "/api/verify", object{"code": issued.text("code")}), expired)
	}
	exactly := w.issue(t, w.open, nil)
	w.expireAt(t, exactly, w.Now(), w.Now())
	wantRefusal(t, w.post(t, w.open, "/api/verify", object{"code": exactly.text("code")}), expired)
}

func ends(t *testing.T, w *world) {
	issued, long := w.longCode(t, nil)
	w.expireAt(t, issued, w.Now().Add(-time.Second), w.Now().Add(time.Hour))
	wantRefusal(t, w.post(t, w.open, "/api/verify", object{"code": issued.text("code")}),
		refusal{status: bad, code: "code_expired", text: "verification code expired"})
	w.must(t, w.open, "/api/verify", object{"code": long})
}

func claimedCode(t *testing.T, w *world) {
	issued, long := w.longCode(t, nil)
	w.must(t, w.open, "/api/verify", object{"code": long})
	for _, code := range []string{long, issued.text("code")} {
		wantRefusal(t, w.post(t, w.open, "/api/verify", object{"code": code}), codeInvalid)
	}
}

func simultaneousClaims(t *testing.T, w *world) {
	code := w.issue(t, w.open, nil).text("code")
	const claims = 200
	answers := make([]answer, claims)
	var all sync.WaitGroup
	for i := range claims {
		all.Go(func() { answers[i] = w.post(t, w.open, "/api/verify", object{"code": code}) })
	}
	all.Wait()
	tokens := 0
	for _, a := range answers {
		switch {
		case a.StatusCode == http.StatusOK:
			tokens++
		case a.StatusCode != bad || a.text("errorCode") != "code_invalid":
			t.Errorf("a claim got %v", a)
		}
	}
	if tokens != 1 {
		t.Errorf("%d tokens for one code", tokens)
	}
}

func verifyAnswer(t *testing.T, w *world) {
	today := w.Now().UTC().Format(time.DateOnly)
	for _, dates := range []object{{}, {"symptomDate": today}, {"testDate": today}, {"symptomDate": today, "testDate": today}} {
		code := w.issue(t, w.open, dates).text("code")
		m := w.must(t, w.open, "/api/verify", object{"code": code}).members()
		want := object{"testtype": "confirmed"}.merge(dates)
		for name, value := range want {
			if m[name] != value {
				t.Errorf("%s is %v, want %v", name, m[name], value)
			}
		}
		if _, ok := m["token"].(string); !ok || len(m) != len(want)+2 {
			t.Errorf("issued with %v: %d members, want %d", dates, len(m), len(want)+2)
		}
	}
}

func opaqueTokens(t *testing.T, w *world) {
	seen, length := map[string]bool{}, 0
	for _, body := range []object{nil, nil, {"testType": "negative"}, {"symptomDate": w.day(-1), "testDate": w.day(0)}} {
		token := w.token(t, w.open, body)
		if length == 0 {
			length = len(token)
		}
		if seen[token] || len(token) != length {
			t.Errorf("a token of %d characters, want another one of %d", len(token), length)
		}
		seen[token] = true
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"confirmed", "negative", w.day(-1)} {
			if strings.Contains(string(raw), word) {
				t.Errorf("a token tells %q", word)
			}
		}
	}
}
