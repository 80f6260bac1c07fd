package tenant_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"carillon/tenant"
)

func TestParseSlug(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"wa", "a1", "1a", "00", "north", "north-shore", "a-b-c-d", "x1-2y", "apis", "wwww", "test1", "my-api",
		strings.Repeat("a", 40),
	} {
		if got, err := tenant.ParseSlug(good); err != nil || string(got) != good {
			t.Errorf("ParseSlug(%q) = %q, %v", good, got, err)
		}
	}
	bad := []string{
		"", "a", strings.Repeat("a", 41), "-north", "north-", "north--shore", "-", "--", "North", "NORTH",
		"north_shore", "north shore", " north", "north\n", "north\x00", "north.", ".", "..", "a/b", "a%2fb", "é1", "nörth", "ⅷ1", "\xff\xfe",
		"admin", "api", "assets", "carillon", "codes", "dev", "docs", "exports", "health", "help", "internal",
		"jobs", "jwks", "login", "logout", "metrics", "new", "operator", "platform", "portal", "public", "ready",
		"report", "root", "security", "signup", "static", "status", "support", "system", "tenant", "test",
		"well-known", "www",
	}
	for _, slug := range bad {
		if got, err := tenant.ParseSlug(slug); !errors.Is(err, tenant.ErrSlug) || got != "" {
			t.Errorf("ParseSlug(%q) = %q, %v, want ErrSlug", slug, got, err)
		}
	}
}

// A slug can stand in a path, a host name, a key ID and a file name as it is.
func FuzzParseSlug(f *testing.F) {
	for _, seed := range []string{"north-shore", "a--b", "-a", "a-", "A", "api", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		slug, err := tenant.ParseSlug(s)
		if err != nil {
			return
		}
		if string(slug) != s {
			t.Errorf("ParseSlug(%q) = %q", s, slug)
		}
		for _, c := range s {
			if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				t.Errorf("slug %q holds %q", s, c)
			}
		}
		if len(s) < 2 || len(s) > 40 || s[0] == '-' || s[len(s)-1] == '-' || strings.Contains(s, "--") {
			t.Errorf("slug %q has a wrong form", s)
		}
	})
}

func TestID(t *testing.T) {
	t.Parallel()
	id := tenant.NewID()
	if other := tenant.NewID(); other == id {
		t.Error("two new IDs are the same")
	}
	text := id.String()
	if parsed, err := uuid.Parse(text); err != nil || tenant.ID(parsed) != id {
		t.Errorf("String = %q, which is not its UUID (%v)", text, err)
	}
	value, err := id.Value()
	if err != nil || value != text {
		t.Errorf("Value = %v, %v", value, err)
	}
	for _, src := range []any{text, []byte(text)} {
		var scanned tenant.ID
		if err := scanned.Scan(src); err != nil || scanned != id {
			t.Errorf("Scan(%T) = %v, %v", src, scanned, err)
		}
	}
	var scanned tenant.ID
	if err := scanned.Scan("no UUID"); err == nil {
		t.Error("Scan takes what is no UUID")
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	s := tenant.Settings{TestTypes: []string{"confirmed", "likely"}}
	for testType, want := range map[string]bool{
		"confirmed": true, "likely": true, "negative": false, "user-report": false, "": false, "Confirmed": false, "confirm": false,
	} {
		if got := s.Allows(testType); got != want {
			t.Errorf("Allows(%q) = %v", testType, got)
		}
	}
	if (tenant.Settings{}).Allows("confirmed") {
		t.Error("settings that name no type allow one")
	}
}
