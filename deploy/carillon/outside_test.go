package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/migrations/testdb"
	"carillon/signing"
	"carillon/signing/jws"
	"carillon/tenant/importer"
	"carillon/tenant/issuer"
)

// publicKeyFile writes a new public key as PEM.
func publicKeyFile(t *testing.T, dir, name string) (path string, public *ecdsa.PublicKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(signing.PublicPEM(der)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, &private.PublicKey
}

// Outside servers are accepted, listed, asked and removed; what cannot be is refused.
func TestOutsideServers(t *testing.T) {
	t.Parallel()
	database, dir := testdb.New(t).DSN(""), t.TempDir()
	pem, public := publicKeyFile(t, dir, "key.pem")
	j, err := jws.NewJWK("v1", public)
	if err != nil {
		t.Fatal(err)
	}
	set := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/jwks" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode([]jws.JWK{j})
	}))
	defer set.Close()
	create := []string{
		"tenant", "create", "north", "--name", "Health of the north", "--region", "XA-N", "--health-authority-id", "org.north",
		"--issuer", "north.example", "--export-key-id", "310", "--database", database, "--root-key", filepath.Join(dir, "root.key"),
	}
	if code := run(t.Context(), create); code != 0 {
		t.Fatalf("tenant create: exit code %d", code)
	}
	server := func(args ...string) []string { return append([]string{"verification-server"}, args...) }
	accept := func(issuer string, more ...string) []string {
		return append(server("add", "north", issuer, "--audience", "keys"), more...)
	}
	from := func(name, index string, more ...string) []string {
		return append([]string{"import", "add", "north", name, "--index", index, "--region", "XA-N"}, more...)
	}
	for _, step := range []struct {
		name string
		args []string
		want int
	}{
		{"pinned key", accept("a.example", "--key", "v1="+pem), 0},
		{"key without a name", accept("b.example", "--key", pem), exitFailed},
		{"key that is none", accept("b.example", "--key", "v1="+filepath.Join(dir, "root.key")), exitFailed},
		{"key and set", accept("b.example", "--key", "v1="+pem, "--jwks", "https://b.example/jwks"), exitUsage},
		{"neither", accept("b.example"), exitFailed},
		{"its own issuer", accept("north.example", "--key", "v1="+pem), exitFailed},
		{"set of this machine", accept("b.example", "--jwks", set.URL+"/jwks"), exitFailed},
		{"the same, allowed", accept("b.example", "--jwks", set.URL+"/jwks", "--loopback"), 0},
		{"set that is not there", accept("c.example", "--jwks", set.URL+"/other", "--loopback"), exitFailed},
		{"refresh", server("refresh", "north", "b.example", "--loopback"), 0},
		{"refresh what fails", server("refresh", "north", "c.example", "--loopback"), exitFailed},
		{"refresh pinned keys", server("refresh", "north", "a.example"), exitFailed},
		{"refresh nobody's", server("refresh", "north", "d.example"), exitFailed},
		{"list", server("list", "north"), 0},
		{"remove", server("remove", "north", "a.example"), 0},
		{"remove again", server("remove", "north", "a.example"), exitFailed},

		{"import", from("partner", "https://files.example/index.txt", "--key", "302/v1="+pem, "--key", "302/v2="+pem, "--traveler"), 0},
		{"import otherwise", from("partner", "https://files.example/us/index.txt", "--root", "https://files.example", "--key", "302/v2="+pem, "--report-type", "likely"), 0},
		{"import without a key", from("other", "https://files.example/index.txt"), exitUsage},
		{"key without a version", from("other", "https://files.example/index.txt", "--key", "302="+pem), exitFailed},
		{"import from this machine", from("other", set.URL, "--key", "302/v1="+pem), exitFailed},
		{"list imports", []string{"import", "list", "north"}, 0},
		{"report", []string{"import", "report", "north", "partner"}, 0},
		{"report of a file", []string{"import", "report", "north", "partner", "--file", "1.zip"}, 0},
		{"report of nothing", []string{"import", "report", "north", "other"}, exitFailed},
		{"run what no process has", []string{"import", "run", "north", "partner"}, exitFailed},
		{"run nothing", []string{"import", "run", "north", "other"}, exitFailed},
		{"remove import", []string{"import", "remove", "north", "partner"}, 0},
		{"remove import again", []string{"import", "remove", "north", "partner"}, exitFailed},
	} {
		if code := run(t.Context(), append(append([]string{"tenant"}, step.args...), "--database", database)); code != step.want {
			t.Errorf("%s: exit code %d, want %d", step.name, code, step.want)
		}
	}
}

func TestPrintVerificationServers(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)
	later := at.Add(time.Hour)
	var out bytes.Buffer
	err := printVerificationServers(&out, []issuer.Entry{
		{Issuer: "a.example", Audience: "keys", Keys: []issuer.KeyEntry{{KeyID: "v1", AddedAt: at}}},
		{Issuer: "b.example", Audience: "keys", JWKS: "https://b.example/jwks", RefreshedAt: &at, FailedAt: &later, Failure: "status 404", Keys: []issuer.KeyEntry{{KeyID: "v1", AddedAt: at, RevokedAt: &later}}},
		{Issuer: "c.example", Audience: "keys", JWKS: "https://c.example/jwks"},
	})
	want := `
a.example  audience keys               pinned keys
  v1       since 2026-11-25T15:04:05Z  trusted
b.example  audience keys               https://b.example/jwks, fetched 2026-11-25T15:04:05Z
  FAILED   2026-11-25T16:04:05Z        status 404
  v1       since 2026-11-25T15:04:05Z  revoked 2026-11-25T16:04:05Z
c.example  audience keys               https://c.example/jwks, fetched never
`
	if err != nil || out.String() != strings.TrimPrefix(want, "\n") {
		t.Errorf("printed, %v:\n%s", err, out.String())
	}
}

func TestPrintImports(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)
	var out bytes.Buffer
	err := printImports(&out, []importer.Entry{{
		Name: "partner", Index: "https://f.example/index.txt", Root: "https://f.example/", Region: "CA", Traveler: true, Keys: "302/v1",
		LookedAt: &at, FailedAt: &at, Failure: "status 404", Open: 3, Failing: 2, Done: 10, Changed: 1, Stored: 100, Revised: 5, Known: 20, Quarantined: 7,
	}})
	if err != nil {
		t.Fatal(err)
	}
	err = printImportReport(&out, []importer.File{
		{Name: "1.zip", State: "done", Stored: 100, Revised: 5, Known: 20, Quarantined: 7},
		{Name: "2.zip", State: "open", Attempts: 2, DueAt: at, Failure: "status 404"},
		{Name: "3.zip", State: "open", UnlistedAt: &at, Failure: "status 404"},
		{Name: "4.zip", State: "changed", Stored: 1, Failure: "its bytes have changed"},
	}, []importer.Reasons{{Reason: "too old", Keys: 7}})
	if err != nil {
		t.Fatal(err)
	}
	if err := printQuarantine(&out, []importer.Bad{{File: "1.zip", Position: 3, Reason: "too old"}, {File: "1.zip", Position: 9, Revised: true, Reason: "key data"}}); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := `partner https://f.example/index.txt below https://f.example/
region CA, as travelers' signed by 302/v1 index read 2026-11-25T15:04:05Z
files 10 done, 3 open (2 failing), 1 changed
keys 100 new, 5 revised, 20 known, 7 in quarantine
FAILED 2026-11-25T15:04:05Z status 404
FILE STATE NEW REVISED KNOWN QUARANTINE
1.zip done 100 5 20 7
2.zip open 0 0 0 0 failed 2 times, next try 2026-11-25T15:04:05Z: status 404
3.zip open 0 0 0 0 given up: not listed since 2026-11-25T15:04:05Z
4.zip changed 1 0 0 0 its bytes have changed

QUARANTINE KEYS
too old 7
KEY LIST REASON
3 new too old
9 revised key data`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("printed:\n%s", got)
	}
}
