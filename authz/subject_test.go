package authz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSubjectHidesItsName(t *testing.T) {
	t.Parallel()
	s := Subject{Kind: Person, ID: "m1", Name: "Canary Person", Roles: []Role{Caseworker, Analyst}}
	const want = "person m1 (caseworker, analyst)"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		if got := fmt.Sprintf(verb, s); got != want {
			t.Errorf("%s = %q, want %q", verb, got, want)
		}
	}
	if got := fmt.Sprintf("%+v", struct{ By *Subject }{&s}); strings.Contains(got, "Canary") {
		t.Errorf("inside a struct: %s", got)
	}
	if got := (Subject{Kind: System, ID: "export"}).String(); got != "system export (no role)" {
		t.Errorf("without roles: %q", got)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("issued", "by", s)
	var line struct{ By map[string]string }
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if len(line.By) != 3 || line.By["id"] != "m1" || line.By["roles"] != "caseworker, analyst" {
		t.Errorf("logged as %v", line.By)
	}
}
