package verification_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"carillon/tenant/verification"
)

func TestSentinelsDiffer(t *testing.T) {
	t.Parallel()
	texts := map[string]bool{}
	for _, err := range verification.Sentinels() {
		if texts[err.Error()] {
			t.Errorf("two sentinels say %q", err)
		}
		texts[err.Error()] = true
		p := error(&verification.Problem{Kind: err, Text: "secret"})
		if !errors.Is(p, err) || strings.Contains(p.Error(), "secret") {
			t.Errorf("Problem of %v: %v, want its kind alone", err, p)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	const canary = "12345678"
	values := []any{
		verification.IssueRequest{Phone: canary},
		verification.Issued{Code: canary, GeneratedSMS: canary, Phone: canary},
		&verification.Issued{Code: canary},
		verification.Result{Issued: &verification.Issued{Code: canary}},
		verification.VerifyRequest{Code: canary},
		verification.Verified{Token: canary},
		&verification.Verified{Token: canary},
		verification.CertificateRequest{Token: canary, EKeyHMAC: canary},
	}
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
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
