package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/migrations/testdb"
	"carillon/tenant/message/provider"
	"carillon/tenant/message/template"
)

// Providers and texts are set, listed and removed; what cannot be used is refused.
func TestTenantMessages(t *testing.T) {
	t.Parallel()
	database, dir := testdb.New(t).DSN(""), t.TempDir()
	root, secret := filepath.Join(dir, "root.key"), filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("a long secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	create := []string{
		"tenant", "create", "north", "--name", "Health of the north", "--region", "XA-N", "--health-authority-id", "org.north",
		"--issuer", "north.example", "--export-key-id", "310", "--database", database, "--root-key", root,
	}
	if code := run(t.Context(), create); code != 0 {
		t.Fatalf("tenant create: exit code %d", code)
	}
	set := func(place, kind, options string, more ...string) []string {
		return append([]string{"provider", "set", "north", place, kind, "--options", options, "--secret-file", secret, "--root-key", root}, more...)
	}
	for _, step := range []struct {
		name string
		args []string
		want int
	}{
		{"webhook", set("1", "webhook", `{"url":"https://health.example/hook"}`), 0},
		{"second", set("2", "twilio", `{"account":"AC1","from":"+15005550006"}`, "--per-minute", "60"), 0},
		{"third", set("3", "webhook", `{"url":"https://health.example/hook"}`), exitFailed},
		{"this machine", set("1", "webhook", `{"url":"http://127.0.0.1/hook"}`), exitFailed},
		{"this machine, allowed", set("1", "webhook", `{"url":"http://127.0.0.1/hook"}`, "--loopback"), 0},
		{"unknown kind", set("1", "pigeon", `{}`), exitFailed},
		{"list", []string{"provider", "list", "north"}, 0},
		{"list nobody's", []string{"provider", "list", "south"}, exitFailed},
		{"remove", []string{"provider", "remove", "north", "2"}, 0},
		{"remove again", []string{"provider", "remove", "north", "2"}, exitFailed},
		{"text", []string{"template", "set", "north", "Code: [longcode]"}, 0},
		{"text of a label", []string{"template", "set", "north", "Código: [longcode]", "--label", "Clinic", "--language", "es"}, 0},
		{"text without a code", []string{"template", "set", "north", "Hello"}, exitFailed},
		{"check", []string{"template", "check", "north", "Code: [longcode]"}, 0},
		{"check a bad one", []string{"template", "check", "north", "[code] [longcode]"}, exitFailed},
		{"list texts", []string{"template", "list", "north"}, 0},
		{"remove a text", []string{"template", "remove", "north", "--label", "Clinic", "--language", "es"}, 0},
		{"remove it again", []string{"template", "remove", "north", "--label", "Clinic", "--language", "es"}, exitFailed},
	} {
		if code := run(t.Context(), append(append([]string{"tenant"}, step.args...), "--database", database)); code != step.want {
			t.Errorf("%s: exit code %d, want %d", step.name, code, step.want)
		}
	}
}

func TestReadProvider(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sms.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := readProvider(""); s != nil || err != nil {
		t.Errorf("no file: %v, %v", s, err)
	}
	write(`{"kind":"webhook","options":{"url":"https://a.example/"},"secret":"123456789012","perMinute":60}`)
	if s, err := readProvider(file); err != nil || s.Kind != provider.Webhook || s.Secret != "123456789012" || s.PerMinute != 60 {
		t.Errorf("%v, %v", s, err)
	}
	write(`{"kind":"webhook","password":"canary"}`)
	if _, err := readProvider(file); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("an unknown member: %v", err)
	}
	if _, err := readProvider(file + "x"); err == nil {
		t.Error("a missing file was read")
	}
}

func TestPrintProvidersAndMeasures(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := printProviders(&out, []provider.Entry{{Place: 1, Kind: provider.Webhook, Options: []byte(`{}`), ChangedAt: time.Unix(0, 0)}}); err != nil || !strings.Contains(out.String(), "1      webhook  any         1970-01-01T00:00:00Z  {}") {
		t.Errorf("%v\n%s", err, out.String())
	}
	out.Reset()
	printMeasure(&out, template.Measure{Bytes: 3, Size: template.SizeOf("abc"), Signed: template.SizeOf(strings.Repeat("x", 161)), Unknown: []string{"[Name]"}})
	if want := "Up to 3 bytes: 3 GSM-7 characters, 1 segments.\nWith its signature: 161 characters, 2 segments.\nNote: [Name] is no variable and stays as it is.\n"; out.String() != want {
		t.Errorf("measure:\n%s", out.String())
	}
}
