package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/signing/exportfile"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		want int
	}{
		{"no command", nil, exitUsage},
		{"unknown command", []string{"fly"}, exitUsage},
		{"unknown flag", []string{"migrate", "--sideways"}, exitUsage},
		{"a file that is not there", []string{"export", "verify", "missing.zip", "--key", "missing.pem"}, exitUsage},
		{"a database that is not there", []string{"migrate", "--database", "host=/nowhere sslmode=disable"}, exitFailed},
		{"a phone without a code", []string{"phone", "--device-base", "http://127.0.0.1:1/", "--device-key", "k", "--publish-url", "http://127.0.0.1:1/", "--health-authority-id", "x"}, exitFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := run(t.Context(), test.args); got != test.want {
				t.Errorf("exit code %d, want %d", got, test.want)
			}
		})
	}
}

func TestExportVerify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	signer, other := newKey(t), newKey(t)
	zip, err := exportfile.Encode(
		exportfile.File{
			Start: time.Unix(1614556800, 0), End: time.Unix(1614571200, 0), Region: "XA",
			Keys: []exportfile.Key{{RollingStart: 2690352, RollingPeriod: 144, ReportType: exportfile.Confirmed}},
		},
		[]exportfile.Signer{{KeyID: "310", KeyVersion: "v1", Key: signer}})
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, dir, "file.zip", zip)
	changed := append([]byte(nil), zip...)
	changed[len(changed)/2] ^= 1
	for _, test := range []struct {
		name, file, key string
		want            int
	}{
		{"valid", file, keyFile(t, dir, "right.pem", signer), 0},
		{"another's key", file, keyFile(t, dir, "wrong.pem", other), exitFailed},
		{"a changed file", write(t, dir, "changed.zip", changed), keyFile(t, dir, "again.pem", signer), exitFailed},
		{"a key that is none", file, write(t, dir, "none.pem", []byte("no key")), exitFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := run(t.Context(), []string{"export", "verify", test.file, "--key", test.key}); got != test.want {
				t.Errorf("exit code %d, want %d", got, test.want)
			}
			if got := run(t.Context(), []string{"export", "show", test.file, "--json"}); got != 0 {
				t.Errorf("show: exit code %d", got)
			}
		})
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keyFile(t *testing.T, dir, name string, k *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, dir, name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func write(t *testing.T, dir, name string, body []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAsRole(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"host=db dbname=carillon":                                 "host=db dbname=carillon binary_parameters=yes user=carillon_device",
		"postgres://owner:secret@db/carillon?sslmode=verify-full": "postgres://carillon_device@db/carillon?binary_parameters=yes&sslmode=verify-full",
	} {
		if got, err := asRole(dsn, "carillon_device"); err != nil || got != want {
			t.Errorf("%s: %s, %v", dsn, got, err)
		}
	}
	if _, err := asRole("postgres://user:pass word@%zz/", "carillon_device"); err == nil || strings.Contains(err.Error(), "pass word") {
		t.Errorf("got %v", err)
	}
}

// A release has no command that only development needs, and nothing that only such a
// command needs.
func TestReleaseLeavesDevelopmentOut(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "release", ".")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, unwanted := range []string{
		"carillon/deploy/dev", "carillon/deploy/devidp", "carillon/migrations/postgres",
		"carillon/migrations/testdb", "github.com/zitadel/oidc/v3/pkg/op",
	} {
		for line := range strings.Lines(string(out)) {
			if strings.TrimSpace(line) == unwanted {
				t.Errorf("a release contains %s", unwanted)
			}
		}
	}
}
