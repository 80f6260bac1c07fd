package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"carillon/migrations/testdb"
)

func TestReadNumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"+12065550100\n": "+12065550100", "  206 555 0100  \nmore\n": "206 555 0100", "+1": "+1", "": "", "\n": "",
	} {
		got, err := readNumber(strings.NewReader(text))
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, errNoNumber) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// What an operator does for self-reports.
func TestReportCommands(t *testing.T) {
	t.Parallel()
	database := testdb.New(t).DSN("")
	root := filepath.Join(t.TempDir(), "root.key")
	for _, step := range []struct {
		args []string
		want int
	}{
		{[]string{"tenant", "create", "north", "--name", "North", "--region", "XA-N", "--health-authority-id", "org.north", "--issuer", "n.example", "--export-key-id", "310", "--root-key", root}, 0},
		{[]string{"tenant", "complete-keys", "--root-key", root}, 0},
		{[]string{"tenant", "complete-keys", "--root-key", root + "x"}, exitFailed},
		{[]string{"tenant", "set", "north", "self-report=on", "self-report-page=on"}, 0},
		{[]string{"tenant", "report-page", "look", "north", "--color", "#102030", "--image", "https://north.example/l.svg", "--learn-more", "https://north.example/"}, 0},
		{[]string{"tenant", "report-page", "look", "north", "--color", "blue"}, exitFailed},
		{[]string{"tenant", "report-page", "text", "north", "es", "--agency", "Salud", "--intro", "Hola"}, 0},
		{[]string{"tenant", "report-page", "text", "north", "Spanish"}, exitFailed},
		{[]string{"tenant", "report-page", "text", "nowhere", "es"}, exitFailed},
		{[]string{"tenant", "purge-phone", "north", "--root-key", root}, exitFailed}, // nothing on standard input
		{[]string{"tenant", "purge-phone", "north", "+12065550100", "--root-key", root}, exitUsage},
	} {
		if code := run(t.Context(), append(step.args, "--database", database)); code != step.want {
			t.Errorf("%v: exit code %d, want %d", step.args, code, step.want)
		}
	}
}
