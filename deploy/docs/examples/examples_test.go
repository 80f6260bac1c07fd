// Package examples runs the examples of this folder against a running service.
package examples

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/deploy/service"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/message"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
)

// language runs an example and returns what it prints.
type language struct {
	command func(args ...string) *exec.Cmd
	env     []string
}

func (l language) run(t *testing.T, want bool, args ...string) []byte {
	t.Helper()
	command := l.command(args...)
	command.Env = append(os.Environ(), l.env...)
	var out, complaint bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaint
	if err := command.Run(); (err == nil) != want {
		t.Fatalf("%v: %v\n%s%s", args, err, out.String(), complaint.String())
	}
	return out.Bytes()
}

// ask runs an example that must succeed, and reads what it prints.
func ask[T any](t *testing.T, l language, args ...string) (answer T) {
	t.Helper()
	out := l.run(t, true, args...)
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v: %v in %s", args, err, out)
	}
	return answer
}

type (
	code struct {
		UUID, Code string
		Claimed    bool
		Expires    int64 `json:"expiresAtTimestamp"`
	}
	certificate struct{ Certificate string }
)

// serve starts a service with one health authority that allows batches.
func serve(t *testing.T) []string {
	t.Helper()
	w := tenanttest.New(t)
	north := w.Create("north")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		return setting.Change(t.Context(), tx, authz.Subject{Kind: authz.System}, map[string]string{"batch-issue": "on"}, time.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := export.NewFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := service.Open(t.Context(), service.Config{
		Roles: []service.Role{service.Device, service.Issuer},
		DSN:   func(role string) (string, error) { return w.Database.DSN(role), nil },
		Root:  w.Root, Files: files, Login: oidc.Config{}, Sender: message.None{}, JobInterval: time.Second,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return []string{
		"CARILLON_URL=" + server.URL + "/t/north",
		"CARILLON_ADMIN_KEY=" + w.Key(north, client.Admin),
		"CARILLON_STATS_KEY=" + w.Key(north, client.Stats),
		"CARILLON_DEVICE_KEY=" + w.Key(north, client.Device),
	}
}

// Every example does what it says, in every language. A language that is not installed
// is a failure: deploy/install-packages curl python3.
func TestExamples(t *testing.T) {
	t.Parallel()
	env := serve(t)
	program := filepath.Join(t.TempDir(), "example")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./go").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	mac := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	for name, l := range map[string]language{
		"curl": {env: env, command: func(args ...string) *exec.Cmd {
			if args[0] == "certificate" {
				args = append(args, mac)
			}
			return exec.CommandContext(t.Context(), filepath.Join("curl", args[0]), args[1:]...)
		}},
		"Go": {env: env, command: func(args ...string) *exec.Cmd { return exec.CommandContext(t.Context(), program, args...) }},
		"Python": {env: env, command: func(args ...string) *exec.Cmd {
			return exec.CommandContext(t.Context(), "python3", append([]string{"python/carillon.py"}, args...)...)
		}},
	} {
		t.Run(name, func(t *testing.T) { l.examine(t) })
	}
}

func (l language) examine(t *testing.T) {
	t.Helper()
	onset := time.Now().UTC().Add(-48 * time.Hour).Format(time.DateOnly)
	first := ask[code](t, l, "issue", "confirmed", onset)
	if len(first.Code) != 8 || first.UUID == "" {
		t.Errorf("issue: %+v", first)
	}
	if s := ask[code](t, l, "status", first.UUID); s.Claimed || s.Expires != first.Expires {
		t.Errorf("status: %+v, want that of %+v", s, first)
	}
	if c := ask[certificate](t, l, "certificate", first.Code); strings.Count(c.Certificate, ".") != 2 {
		t.Errorf("certificate: %+v", c)
	}
	if s := ask[code](t, l, "status", first.UUID); !s.Claimed {
		t.Error("the code is not claimed")
	}
	l.run(t, false, "certificate", first.Code) // used
	l.run(t, false, "expire", first.UUID)

	second := ask[code](t, l, "issue", "confirmed", onset)
	if e := ask[code](t, l, "expire", second.UUID); e.UUID != second.UUID || e.Expires > time.Now().Unix() {
		t.Errorf("expire: %+v", e)
	}
	l.run(t, false, "certificate", second.Code)
	l.run(t, false, "issue", "unheard-of", onset)

	codes := l.run(t, true, "batch", onset, onset)
	if n := strings.Count(string(codes), `"code":`); n != 2 {
		t.Errorf("%d codes: %s", n, codes)
	}
	if days := l.run(t, true, "stats"); strings.Count(string(days), `"date":`) != 91 {
		t.Errorf("stats: %s", days)
	}
}
