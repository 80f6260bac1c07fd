package api

import (
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/api/strictjson"
	"carillon/tenant/exposure"
)

// FuzzPublishBody looks for a body that is taken although another reader of JSON reads
// something else in it, for an upload that does not come back when it is written again,
// and for errors that are not for clients.
func FuzzPublishBody(f *testing.F) {
	for _, seed := range []string{
		`{"temporaryExposureKeys":[{"key":"Dx4tPEtaaXiHlqW0w9Lh8A==","rollingStartNumber":2690640,"rollingPeriod":144}],` +
			`"healthAuthorityID":"us.xx.doh","verificationPayload":"eyJ","hmacKey":"AAEC","symptomOnsetInterval":2690496,` +
			`"traveler":false,"revisionToken":"","padding":"x"}`,
		`{"hmackey":"a","vaccinated":true}`, `{"HMACKEY":"a","hmacKey":"b"}`, `null`, `{}`, `{} {}`, ``, `[`, `{"padding":{"a":[1]}}`,
		`{"temporaryExposureKeys":[null,{}],"traveler":null}`, `{"symptomOnsetInterval":2147483648}`, `{"symptomOnsetInterval":1e2}`,
		`{"temporaryExposureKeys":[{"transmissionRisk":-1,"Key":"\u0000"}]}`, `{"a":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r publishRequest
		if err := strictjson.DecodeTolerant(body, &r); err != nil {
			var known *strictjson.Error
			if !errors.As(err, &known) || known.Error() == "" {
				t.Fatalf("error %v", err)
			}
			return
		}
		wantPlain(t, body, r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var again publishRequest
		if err := strictjson.DecodeTolerant(text, &again); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, want := fields(again.upload()), fields(r.upload()); !cmp.Equal(want, got) {
			t.Fatalf("came back as another upload: %s", cmp.Diff(want, got))
		}
	})
}

// plainUpload is an upload whose parts do not hide themselves.
type plainUpload struct {
	Keys     [][4]any
	Texts    [4]string
	Onset    int32
	Traveler bool
}

func fields(u exposure.Upload) plainUpload {
	p := plainUpload{
		Texts: [4]string{u.HealthAuthorityID, u.VerificationPayload, u.HMACKey, u.RevisionToken},
		Onset: u.SymptomOnsetInterval, Traveler: u.Traveler,
	}
	for _, k := range u.Keys {
		p.Keys = append(p.Keys, [4]any{k.Key, k.RollingStart, k.RollingPeriod, k.TransmissionRisk})
	}
	return p
}

// wantPlain checks what was read against the members as they are: at most as many keys
// as the list has, and numbers that are what they were.
func wantPlain(t *testing.T, body []byte, r publishRequest) {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		t.Fatalf("taken, though it is no object: %v", err)
	}
	if raw, there := members["temporaryExposureKeys"]; there {
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil || len(list) != len(r.Keys) {
			t.Errorf("%d keys are taken of %d (%v)", len(r.Keys), len(list), err)
		}
	}
	if raw, there := members["symptomOnsetInterval"]; there && string(raw) != "null" {
		var n float64
		if err := json.Unmarshal(raw, &n); err != nil || n != math.Trunc(n) || int32(n) != r.SymptomOnsetInterval || math.Abs(n) > 1<<31 {
			t.Errorf("%s is taken as %d", raw, r.SymptomOnsetInterval)
		}
	}
}
