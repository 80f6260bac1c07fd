package importer

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestParseIndex(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                            nil,
		"\n\n":                        nil,
		"b.zip\na.zip":                {"b.zip", "a.zip"},
		" a.zip \r\n\r\nx/b.zip\n":    {"a.zip", "x/b.zip"},
		"a.zip\na.zip\nb.zip":         {"a.zip", "b.zip"},
		"1614556800-1614571200-1.zip": {"1614556800-1614571200-1.zip"},
	} {
		if got, err := parseIndex([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, name := range []string{
		"..", ".", "../a", "a/../b", "a/./b", "/a", "a/", "a//b", "//host/a", "https://host/a", "a?b", "a#b", "a b", "a\\b",
		"%2e%2e/a", "a\x00", "ä", "a\tb", ".htaccess", "<html>", strings.Repeat("a", 301),
	} {
		if got, err := parseIndex([]byte("good.zip\n" + name)); !errors.Is(err, errIndex) {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
}

func FuzzParseIndex(f *testing.F) {
	for _, seed := range []string{
		"us/1614556800-1614571200-00001.zip\nus/1614571200-1614585600-00001.zip", "../../etc/passwd", "//evil.example/x",
		"https://evil.example/", "a\r\n\r\nb", "%2e%2e/x", "<html><body>", "a/..", "a?b#c", "\xff\x00",
	} {
		f.Add([]byte(seed))
	}
	root := "https://files.example/exports/"
	f.Fuzz(func(t *testing.T, text []byte) {
		names, err := parseIndex(text)
		if err != nil {
			if !errors.Is(err, errIndex) || names != nil {
				t.Fatalf("%d names, %v", len(names), err)
			}
			return
		}
		for _, name := range names {
			// What is asked for is below the root, as it is written.
			u, err := url.Parse(root + name)
			if err != nil || u.Host != "files.example" || u.RawQuery != "" || u.Fragment != "" || u.JoinPath().String() != root+name {
				t.Fatalf("%q leads to %v, %v", name, u, err)
			}
		}
		again, err := parseIndex([]byte(strings.Join(names, "\n")))
		if err != nil || !slices.Equal(again, names) {
			t.Fatalf("%q came back as %q, %v", names, again, err)
		}
	})
}
