//go:build !release

package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// buffer is written by the service and read by the test.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// dataDir is one that Postgres's own user can reach.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "carillon-dev-") //nolint:usetesting // t.TempDir lets nobody else in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func options(dir string, out, log *buffer) Options {
	return Options{
		Listen: "127.0.0.1:0", Data: dir, ExportPeriod: 2 * time.Second, Check: true,
		PostgresBin: os.Getenv("CARILLON_POSTGRES_BIN"),
		Out:         out, Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// The whole flow for both departments, twice over the same data; and afterwards
// nothing in the log that could tell on anybody.
func TestCheckTwiceOverTheSameData(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	var first endpoints
	for run := range 2 {
		var out, log buffer
		if err := Run(t.Context(), options(dir, &out, &log)); err != nil {
			t.Fatalf("run %d: %v\n%s", run+1, err, out.String())
		}
		if !strings.Contains(out.String(), "Every step did what it should.") {
			t.Errorf("run %d:\n%s", run+1, out.String())
		}
		e, err := readEndpoints(dir)
		if err != nil {
			t.Fatal(err)
		}
		if run == 0 {
			first = e
		}
		for i, tenant := range e.Tenants {
			if tenant.AdminKey != first.Tenants[i].AdminKey || tenant.ExportPublicKeyPEM != first.Tenants[i].ExportPublicKeyPEM {
				t.Errorf("%s: the second run has other keys", tenant.Slug)
			}
		}
		wantNoSecrets(t, log.String(), e)
	}
}

var (
	base64Run   = regexp.MustCompile(`[A-Za-z0-9+/_-]{40,}={0,2}`) // tokens, certificates, keys
	eightDigits = regexp.MustCompile(`(^|[^0-9A-Za-z.:-])[0-9]{8}([^0-9A-Za-z]|$)`)
	address     = regexp.MustCompile(`127\.0\.0\.1|\[::1\]`)
)

// wantNoSecrets reads a whole run's log for what must never be in one.
func wantNoSecrets(t *testing.T, log string, e endpoints) {
	t.Helper()
	if !strings.Contains(log, `"route":"/t/:tenant/api/verify"`) {
		t.Error("the log does not tell of the requests at all")
	}
	for line := range strings.Lines(log) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("a line that is not JSON: %s", line)
		}
		delete(entry, "took")
		delete(entry, "time")
		delete(entry, "request") // a random ID
		if entry["msg"] == "audit checkpoint" {
			delete(entry, "statement") // signed for whoever keeps the log, with counts and a digest
		}
		rest, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		for name, form := range map[string]*regexp.Regexp{"a token, key or certificate": base64Run, "a code": eightDigits, "an address": address} {
			if form.Match(rest) {
				t.Errorf("the log has what looks like %s: %s", name, line)
			}
		}
	}
	for _, tenant := range e.Tenants {
		for _, secret := range []string{tenant.DeviceKey, tenant.AdminKey, tenant.StatsKey} {
			if strings.Contains(log, secret) {
				t.Error("the log has an API key")
			}
		}
	}
}

// Two demos run beside each other.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	for range 2 {
		dir := dataDir(t)
		group.Go(func() {
			var out, log buffer
			if err := Run(t.Context(), options(dir, &out, &log)); err != nil {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
	group.Wait()
}

// What programs read has exactly the promised members, and is for its owner's eyes.
func TestEndpointsFile(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	var out, log buffer
	if err := Run(t.Context(), options(dir, &out, &log)); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	path := filepath.Join(dir, endpointsFile)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Exports map[string]int               `json:"exports"`
		Tenants []map[string]json.RawMessage `json:"tenants"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if file.Exports["periodSeconds"] != 2 || len(file.Tenants) != 2 {
		t.Errorf("exports %v, %d tenants", file.Exports, len(file.Tenants))
	}
	members := strings.Fields(`name slug region portalURL deviceBase issueBase statsBase publishURL keyStatsURL
		indexURL downloadBase jwksURL jwksSetURL redirectBase inboxURL reportURL healthURLs deviceKey adminKey statsKey healthAuthorityID issuer
		audience exportKeyID exportKeyVersion exportPublicKeyPEM staff`)
	for _, tenant := range file.Tenants {
		if len(tenant) != len(members) {
			t.Errorf("%d members, want %d", len(tenant), len(members))
		}
		for _, m := range members {
			if v := string(tenant[m]); v == "" || v == `""` || v == "null" {
				t.Errorf("%s is %q", m, v)
			}
		}
	}
}

func TestBadOptionsAreExplained(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"period that does not divide a day", func(o *Options) { o.ExportPeriod = 7 * time.Second }, "--export-period"},
		{"period of no whole seconds", func(o *Options) { o.ExportPeriod = 1500 * time.Millisecond }, "--export-period"},
		{"no port", func(o *Options) { o.Listen = "127.0.0.1" }, "--listen"},
		{"an address that others can reach", func(o *Options) { o.Listen = "0.0.0.0:8080" }, "--listen"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out, log buffer
			o := options(t.TempDir(), &out, &log)
			test.change(&o)
			if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want one about %s", err, test.want)
			}
		})
	}
}

// A root key that others can read stops the start.
func TestExposedRootKeyIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "root.key")
	if _, err := openRoot(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.FileMode(0o600) {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openRoot(path); err == nil {
		t.Error("it was taken")
	}
}

// Interrupting the demo ends it in order.
func TestInterruptStopsEverything(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out, log buffer
	o := options(dir, &out, &log)
	o.Check = false
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	waitFor(t, filepath.Join(dir, endpointsFile), ended)
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "postgres", "data", "postmaster.pid")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Postgres was not stopped: %v", err)
	}
}

// waitFor polls for a file that appears when the demo is ready.
func waitFor(t *testing.T, path string, ended <-chan error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended before it was ready: %v", err)
		case <-tick.C:
		}
	}
}
