package conformance_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rule is one thing that a protocol says.
type rule struct {
	// section of the protocol.
	section string
	// says is what Carillon does.
	says string
	// reference is what the reference implementation does instead, or where its
	// documents and its code disagree; empty if there is nothing to decide.
	reference string
	check     func(*testing.T, *world)
}

// verificationRules are those of the verification protocol, in its order.
func verificationRules() []rule {
	return slices.Concat(
		commonRules(), limitRules(), verifyRules(), certificateRules(), issueRules(), batchRules(), statusRules(),
		reportRules(), pageRules(), linkRules(), statsRules(), keyRules(), chaffRules(), acceptanceRules(),
	)
}

func TestVerificationRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range verificationRules() {
		t.Run("§"+r.section+" "+r.says, func(t *testing.T) { r.check(t, w) })
	}
}

var update = flag.Bool("update", false, "rewrite the document")

const document = "../docs/conformance.md"

// The document is what is tested, no more and no less.
func TestDocument(t *testing.T) {
	t.Parallel()
	got := render()
	if *update {
		if err := os.WriteFile(document, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s is not what is tested (-document +tests); run the test with -update:\n%s", document, diff)
	}
}

const preface = `# What Carillon does with each rule

Written from the tests in ` + "`deploy/conformance`" + `: each line is a test over HTTP against a whole service. First the
verification server, then the key server; sections are those of the protocol of each.
`

// part is one protocol in the document.
type part struct {
	name  string
	rules []rule
	// elsewhere are decisions that are no exchange over HTTP, as rows of a table, and
	// inside are rules of which that is true; the packages named test them.
	elsewhere, inside string
}

func render() string {
	var b strings.Builder
	b.WriteString(preface)
	for _, p := range []part{
		{"Verification server", verificationRules(), decidedVerification, insideVerification},
		{"Key server", keyServerRules(), decidedKeyServer, insideKeyServer},
	} {
		fmt.Fprintf(&b, "\n## %s: where Carillon decided\n\n", p.name)
		b.WriteString("The reference implementation does something else here, or its documents and its code disagree.\n\n")
		b.WriteString("| § | Reference | Carillon |\n|---|---|---|\n")
		for _, r := range p.rules {
			if r.reference != "" {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", r.section, cell(r.reference), cell(r.says))
			}
		}
		b.WriteString("\nDecided likewise, and tested where the rule lives:\n\n| § | Reference | Carillon |\n|---|---|---|\n" + p.elsewhere)
		fmt.Fprintf(&b, "\n## %s: every rule that is tested\n\n| § | Rule |\n|---|---|\n", p.name)
		for _, r := range p.rules {
			fmt.Fprintf(&b, "| %s | %s |\n", r.section, cell(r.says))
		}
		b.WriteString("\nRules that are no exchange by themselves are tested where they live:\n\n| § | Rule | Package |\n|---|---|---|\n" + p.inside)
	}
	return b.String()
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

const decidedVerification = `| 0.2 | a connection to the database for each request, without bound | a bounded pool; requests wait for their turn (` + "`tenant`" + `) |
| 1.4 | the token is signed: whoever holds it reads the test type; one key for all | sealed under the tenant's own key (` + "`signing/token`" + `) |
| 6.1 | one code drawn, whatever was issued under another MAC key | compared under every live key before it is stored (` + "`tenant/verification`" + `) |
| 8.4 | members without the permission read statistics | the policy decides, for every route (` + "`authz`" + `) |
| 11.2 | a disabled API key may work five minutes more | one second (` + "`tenant/client`" + `) |
`

const insideVerification = `| 0.2 | requests that stall are ended | ` + "`api`" + ` |
| 3.1 | HMACs over exposure keys, by the vectors | ` + "`signing/certificate`" + ` |
| 5.1 | how long a number is blocked; what frees it | ` + "`tenant/verification`" + ` |
| 5.3 | messages by webhook, and their signature by the vector | ` + "`tenant/message/provider`" + ` |
| 6.2, 6.3 | codes are unique, and stored as digests alone | ` + "`tenant/verification`" + ` |
| 6.4 | retention | ` + "`tenant/verification`, `tenant/stats`" + ` |
| 7.1 | templates: variables, limits, what may be in one | ` + "`tenant/message/template`" + ` |
| 7.2 | providers, their errors and receipts | ` + "`tenant/message/provider`, `tenant/message`" + ` |
| 7.3 | signed messages, by the vectors | ` + "`signing/textmessage`, `tenant/message/signature`" + ` |
| 8.2 to 8.4 | what is counted, every format, suppression | ` + "`tenant/stats`, `api`" + ` |
| 11.2 | the text of API keys | ` + "`tenant/client`" + ` |
| 11.4 | the forecast of quotas | ` + "`tenant/quota`" + ` |
`

const insideKeyServer = `| 2.3 | HMACs over exposure keys, by the vector | ` + "`signing/certificate`" + ` |
| 2.7 | what a key set may have in it; which addresses are asked | ` + "`signing/jws`, `tenant/issuer`, `tenant/outbound`" + ` |
| 3.1 | revision keys rotate; the tokens of earlier ones open | ` + "`tenant/exposure`" + ` |
| 4 | arrival times as they are stored; retention | ` + "`tenant/exposure`" + ` |
| 5.1 | regions, in every combination | ` + "`tenant/export`" + ` |
| 5.3 | who makes a file, and what a killed process leaves | ` + "`tenant/export`" + ` |
| 6.2 | files, byte for byte by the vectors | ` + "`signing/exportfile`" + ` |
| 10.1 | what the database shows of another tenant's keys, in each state of a share | ` + "`tenant/sharing`" + ` |
| 10.3 | every reason for which a key or a file is not imported; a killed worker | ` + "`tenant/importer`, `tenant/exposure`, `signing/exportfile`" + ` |
| 12 | leases, fencing, fairness between tenants; when a job is late | ` + "`tenant/job`" + ` |
`

const decidedKeyServer = `| 0 | a new app or key may be refused for five minutes | two to five seconds (` + "`tenant`, `tenant/key`" + `) |
| 1.7 | a storage failure is 400 | 500 ` + "`internal_error`" + `, padded as every answer (` + "`api`" + `) |
| 2.7 | revoked keys are stamped anew in each round and never forgotten | forgotten after 30 days (` + "`tenant/issuer`" + `) |
| 3.3 | the regions of a revision are lost | a key has the regions of both reports (` + "`tenant/exposure`" + `) |
| 5.3 | a lease that two workers may take; a killed worker blocks its region for five minutes | leases with fencing numbers, taken over after 30 seconds (` + "`tenant/export`" + `) |
| 10.2 | federation by gRPC | not spoken; [a record](adr/0014-no-federation-by-grpc.md) says why |
| 10.3 | what failed counts as done; a killed worker's file is never resumed | tried again while it is listed; goes on where it was (` + "`tenant/importer`" + `) |
| 8 | sizes and delays are means of everything that is asked | drawn from real successes of the same kind (` + "`api`, `deploy/chaffcheck`" + `) |
`

// refusal is an exchange that must be refused.
type refusal struct {
	body   object
	status int
	code   string
	text   string // exactly, or its beginning if it ends in …
}

// wantRefusal checks the error body of §0.2.
func wantRefusal(t *testing.T, a answer, want refusal) {
	t.Helper()
	m := a.members()
	if a.StatusCode != want.status || m["errorCode"] != want.code || m["error_code"] != want.code {
		t.Errorf("%s: %v, want %d %q", a.Request.URL.Path, a, want.status, want.code)
		return
	}
	if start, open := strings.CutSuffix(want.text, "…"); !strings.HasPrefix(a.text("error"), start) || !open && a.text("error") != want.text {
		t.Errorf("error is %q, want %q", a.text("error"), want.text)
	}
	if _, padded := m["padding"]; padded {
		t.Error("an error body has padding")
	}
}

// refuses makes a check of one refused body.
func refuses(to func(*world) account, path string, want refusal) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		t.Helper()
		wantRefusal(t, w.post(t, to(w), path, want.body), want)
	}
}

func open(w *world) account   { return w.open }
func strict(w *world) account { return w.strict }

const (
	bad          = http.StatusBadRequest
	unparsable   = "unparsable_request"
	unauthorized = `{"error":"unauthorized","errorCode":"","error_code":""}`
)
