package token_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/certificate"
	"carillon/signing/token"
)

var key = bytes.Repeat([]byte{7}, 32)

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

func contents() token.Contents {
	c := token.Contents{
		ReportType: certificate.Likely, SymptomDate: day("2021-06-13"), TestDate: day("2021-06-15"),
		Expires: time.Unix(1623760195, 0).UTC(),
	}
	copy(c.ID[:], "0123456789abcdef0123456789abcdef")
	return c
}

func seal(t testing.TB, c token.Contents) string {
	t.Helper()
	tok, err := token.Seal("t1", key, "north", c)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// variety is every shape that contents can have.
func variety() []token.Contents {
	var all []token.Contents
	for _, r := range []certificate.ReportType{certificate.Confirmed, certificate.Likely, certificate.Negative, certificate.UserReport} {
		for _, symptom := range []time.Time{{}, day("1969-12-31"), day("1970-01-01"), day("2021-06-13")} {
			for _, test := range []time.Time{{}, day("2021-06-15")} {
				c := contents()
				c.ReportType, c.SymptomDate, c.TestDate = r, symptom, test
				all = append(all, c)
			}
		}
	}
	return all
}

func TestTokenComesBackAndHasOneLength(t *testing.T) {
	t.Parallel()
	length := len(seal(t, contents()))
	for _, want := range variety() {
		tok := seal(t, want)
		if len(tok) != length {
			t.Errorf("token of %d characters beside one of %d", len(tok), length)
		}
		got, err := token.Open(key, "north", tok)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if kid, err := token.KeyID(tok); err != nil || kid != "t1" {
			t.Errorf("key ID %q, %v", kid, err)
		}
	}
}

// Verification protocol §1.4, Caution: the holder must not see the test type. Equal
// contents look different, and no part of them shows.
func TestTokenTellsNothing(t *testing.T) {
	t.Parallel()
	one, two := seal(t, contents()), seal(t, contents())
	if one == two {
		t.Error("two tokens of the same contents are equal")
	}
	b, err := base64.RawURLEncoding.DecodeString(one)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"likely", "2021", "0123456789"} {
		if bytes.Contains(b, []byte(part)) {
			t.Errorf("%q is in the open", part)
		}
	}
}

// A token that a phone holds stays good when the program is replaced.
func TestEarlierTokenOpens(t *testing.T) {
	t.Parallel()
	const tok = "AQJ0MRpaKBxKsUaBPRMRy0gRrZOcDhGo6nesjuWfmgoomwHFDfn4OUQd9_L4lJbU07ML9-5j5E9ktoKsK0ai85iIWCJE8VUpeCzt2OVyQaN-"
	got, err := token.Open(key, "north", tok)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(contents(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	tok := seal(t, contents())
	refuse := func(name, tenant, tok string, key []byte) {
		t.Helper()
		if _, err := token.Open(key, tenant, tok); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refuse("another tenant", "south", tok, key)
	refuse("another key", "north", tok, bytes.Repeat([]byte{8}, 32))
	for name, text := range map[string]string{
		"nothing":    "",
		"padded":     tok + "=",
		"line break": tok[:20] + "\n" + tok[20:],
		"blank":      tok + " ",
		"huge":       strings.Repeat("A", 1<<20),
		"a JWT":      "eyJhbGciOiJFUzI1NiJ9.e30.AAAA",
	} {
		refuse(name, "north", text, key)
		if _, err := token.KeyID(text); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("key ID of %s: %v", name, err)
		}
	}
	for i := range tok { // every character counts
		other := byte('A')
		if tok[i] == 'A' {
			other = 'B'
		}
		refuse(fmt.Sprintf("character %d", i), "north", tok[:i]+string(other)+tok[i+1:], key)
	}
	if _, err := token.Open(key[:16], "north", tok); err == nil || errors.Is(err, token.ErrMalformed) {
		t.Errorf("a key of 16 bytes: %v", err)
	}
}

func TestSealRefuses(t *testing.T) {
	t.Parallel()
	none := contents()
	none.ReportType = ""
	if _, err := token.Seal("t1", key, "north", none); !errors.Is(err, certificate.ErrReportType) {
		t.Errorf("no type: %v", err)
	}
	noon := contents()
	noon.TestDate = noon.TestDate.Add(12 * time.Hour)
	if _, err := token.Seal("t1", key, "north", noon); err == nil {
		t.Error("a date with a time of day was sealed")
	}
	if _, err := token.Seal("", key, "north", contents()); err == nil {
		t.Error("sealed without a key ID")
	}
	if _, err := token.Seal("t1", key[:31], "north", contents()); err == nil {
		t.Error("sealed with a short key")
	}
	if _, err := token.Seal(strings.Repeat("k", 100), key, "north", contents()); err != nil {
		t.Errorf("longest key ID: %v", err)
	}
}

func TestContentsHideThemselves(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "c", contents())
	if got := fmt.Sprintf("%v %+v %#v %x", contents(), contents(), contents(), contents()); got != "[token] [token] [token] [token]" {
		t.Errorf("prints %s", got)
	}
	if !strings.Contains(log.String(), `"c":"[token]"`) {
		t.Errorf("logs %s", log.String())
	}
}

func FuzzOpen(f *testing.F) {
	for _, c := range variety()[:3] {
		f.Add(seal(f, c))
	}
	f.Add("")
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, tok string) {
		kid, err := token.KeyID(tok)
		if err != nil && !errors.Is(err, token.ErrMalformed) {
			t.Fatalf("unknown error %v", err)
		}
		c, openErr := token.Open(key, "north", tok)
		if openErr != nil {
			if !errors.Is(openErr, token.ErrMalformed) {
				t.Fatalf("unknown error %v", openErr)
			}
			return
		}
		if err != nil {
			t.Fatal("a token opens that names no key")
		}
		if _, err := token.Seal(kid, key, "north", c); err != nil {
			t.Fatalf("opened what cannot be sealed: %v", err)
		}
	})
}
