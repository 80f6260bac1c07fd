package exposure

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"carillon/signing/certificate"
	"carillon/signing/revision"
)

// The tables of the key server protocol §3.3.
func TestTransitions(t *testing.T) {
	t.Parallel()
	const confirmed, likely, negative, userReport = certificate.Confirmed, certificate.Likely, certificate.Negative, certificate.UserReport
	const none = certificate.ReportType("")
	tests := []struct {
		original, revised, to certificate.ReportType
		changed               bool
		want                  error
	}{
		{userReport, none, confirmed, true, nil},
		{userReport, none, likely, true, nil},
		{userReport, none, negative, true, nil},
		{userReport, none, userReport, false, nil},
		{likely, none, confirmed, true, nil},
		{likely, none, likely, false, nil},
		{likely, none, negative, true, nil},
		{likely, none, userReport, false, ErrTransition},
		{confirmed, none, confirmed, false, nil},
		{confirmed, none, likely, false, ErrTransition},
		{confirmed, none, negative, false, ErrTransition},
		{confirmed, none, userReport, false, ErrTransition},

		{userReport, confirmed, userReport, false, nil},
		{userReport, confirmed, confirmed, false, nil},
		{userReport, confirmed, likely, false, ErrAlreadyRevised},
		{userReport, confirmed, negative, false, ErrAlreadyRevised},
		{userReport, likely, confirmed, false, ErrAlreadyRevised},
		{likely, negative, negative, false, nil},
		{likely, negative, likely, false, nil},
		{likely, negative, confirmed, false, ErrAlreadyRevised},
		{likely, negative, userReport, false, ErrAlreadyRevised},
	}
	for _, test := range tests {
		var revised *certificate.ReportType
		if test.revised != none {
			revised = &test.revised
		}
		changed, err := transition(test.original, revised, test.to)
		if changed != test.changed || !errors.Is(err, test.want) {
			t.Errorf("%s, revised %q, to %s: %v, %v; want %v, %v", test.original, test.revised, test.to, changed, err, test.changed, test.want)
		}
	}
	_, err := transition(confirmed, nil, negative)
	if got, want := explain(err), `invalid report type transition: cannot transition from "confirmed" to "negative"`; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}

// What a token is worth, §1.7.
func TestTokenCovers(t *testing.T) {
	t.Parallel()
	stored := known{TEK: bytes.Repeat([]byte{7}, keySize), RollingStart: 100, RollingPeriod: 144, ReportType: "likely"}
	same := record{tek: [keySize]byte(stored.TEK), rollingStart: 100, rollingPeriod: 144}
	entry := revision.Entry{TEK: same.tek, RollingStart: 100, RollingPeriod: 144}
	other := entry
	other.TEK[0]++
	longer := entry
	longer.RollingPeriod--
	moved := same
	moved.rollingStart++
	tests := []struct {
		name  string
		token tokenState
		sent  record
		want  error
	}{
		{"listed", tokenState{given: true, entries: []revision.Entry{other, entry}}, same, nil},
		{"no token", tokenState{}, same, ErrMissingRevisionToken},
		{"did not open", tokenState{given: true}, same, ErrInvalidRevisionToken},
		{"not listed", tokenState{given: true, entries: []revision.Entry{other}}, same, ErrInvalidRevisionToken},
		{"listed with another period", tokenState{given: true, entries: []revision.Entry{longer}}, same, ErrInvalidRevisionToken},
		{"sent with another start", tokenState{given: true, entries: []revision.Entry{entry}}, moved, ErrInvalidRevisionToken},
	}
	for _, test := range tests {
		if err := test.token.cover(stored, test.sent); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

func TestSentinelsDiffer(t *testing.T) {
	t.Parallel()
	texts := map[string]bool{}
	for _, err := range Sentinels() {
		if texts[err.Error()] {
			t.Errorf("two sentinels say %q", err)
		}
		texts[err.Error()] = true
		p := refuse(err, "secret")
		if !errors.Is(p, err) || strings.Contains(p.Error(), "secret") {
			t.Errorf("Problem of %v: %v, want its kind alone", err, p)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	const canary = "CanaryCanary"
	k := UploadKey{Key: canary}
	values := []any{
		k, &k,
		[]UploadKey{k},
		Upload{Keys: []UploadKey{k}, RevisionToken: canary, HMACKey: canary, VerificationPayload: canary},
		&Upload{HMACKey: canary},
		Receipt{RevisionToken: canary},
		&Receipt{RevisionToken: canary},
	}
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, nil))
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&out, verb, v)
		}
		logger.Info("value", "v", v)
	}
	if strings.Contains(out.String(), canary) {
		t.Errorf("output shows the canary:\n%s", out.String())
	}
}
