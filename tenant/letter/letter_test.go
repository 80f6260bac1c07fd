package letter_test

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/alert"
	"carillon/tenant/key/custody"
	"carillon/tenant/letter"
)

var noon = time.Date(2026, time.November, 27, 18, 30, 0, 0, time.UTC)

// samples are letters of each kind, with what each must tell whatever its language.
func samples() map[string]struct {
	contents letter.Contents
	tells    []string
} {
	type sample = struct {
		contents letter.Contents
		tells    []string
	}
	all := map[string]sample{
		"invitation": {letter.Invitation{Link: "https://x.example/join?token=T", Expires: noon}, []string{"https://x.example/join?token=T", "12:30 CST (18:30 UTC)"}},
		"decision":   {letter.Decision{Page: "https://x.example/approvals", Until: noon}, []string{"https://x.example/approvals", "12:30 CST (18:30 UTC)"}},
		"leaving":    {letter.Leaving{Closes: noon, Erases: noon.AddDate(0, 0, 1), Page: "https://x.example/leaving"}, []string{"https://x.example/leaving", "27", "28"}},
		"erased":     {letter.Erased{Statement: "a signed line"}, []string{"a signed line", "carillon tenant verify-erasure"}},
	}
	for _, f := range alert.Figures() {
		all["alert "+string(f)] = sample{
			letter.Alert{Figure: string(f), Value: 7, Threshold: 99, Day: noon, Statistics: "https://x.example/s", Alerts: "https://x.example/a"},
			[]string{"7", "https://x.example/s", "https://x.example/a", "2026"},
		}
	}
	for _, k := range []custody.AlarmKind{custody.Late, custody.Old, custody.Waiting, custody.Failed, custody.Missing} {
		all["keys "+string(k)] = sample{
			letter.Keys{Page: "https://x.example/keys", Alarms: []letter.Alarm{{Purpose: "export", Kind: string(k), Since: noon}, {Purpose: "sms", Kind: string(k), Since: noon}}},
			[]string{"https://x.example/keys", "2026"},
		}
	}
	return all
}

// Every letter is written in every language, tells what its reader must know, and says
// nothing in the name of a program's constant.
func TestLetters(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("America/Chicago")
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range letter.Languages() {
		written := map[string]bool{}
		for name, s := range samples() {
			r := letter.Reader{Authority: "Health of the North", Language: language, Zone: zone}
			l, err := r.Write("robin@north.example", s.contents)
			if err != nil {
				t.Errorf("%s in %s: %v", name, language, err)
				continue
			}
			if l.To != "robin@north.example" || l.Subject == "" || strings.ContainsAny(l.Subject, "\r\n") || !strings.HasSuffix(l.Text, "\n") {
				t.Errorf("%s in %s: %+v", name, language, l)
			}
			for _, want := range append(s.tells, "Health of the North") {
				if !strings.Contains(l.Text, want) {
					t.Errorf("%s in %s lacks %q:\n%s", name, language, want, l.Text)
				}
			}
			_, constant, _ := strings.Cut(name, " ")
			if constant != "" && regexp.MustCompile(`\b`+constant+`\b: \d|\b: `+constant).MatchString(l.Text) || strings.Contains(l.Text, "{{") || strings.Contains(l.Text, "<no value>") {
				t.Errorf("%s in %s speaks like a program:\n%s", name, language, l.Text)
			}
			if written[l.Subject+l.Text] {
				t.Errorf("%s in %s is as another letter", name, language)
			}
			written[l.Subject+l.Text] = true
		}
	}
}

// A region's own tag reads its language, and a language without letters English.
func TestLanguages(t *testing.T) {
	t.Parallel()
	for language, want := range map[string]string{
		"en": "Join the staff of North", "es": "Únase al personal de North", "es-419": "Únase al personal de North",
		"en-GB": "Join the staff of North", "fr": "Join the staff of North", "": "Join the staff of North", "%%": "Join the staff of North",
	} {
		l, err := letter.Reader{Authority: "North", Language: language}.Write("a@b.example", letter.Invitation{Link: "https://x.example", Expires: noon})
		if err != nil || l.Subject != want {
			t.Errorf("%q: %q, %v, want %q", language, l.Subject, err, want)
		}
	}
}

// What a tenant is called cannot become a line of a letter's head, or one of its marks.
func TestReaderOfTenant(t *testing.T) {
	t.Parallel()
	of := &tenant.Tenant{Name: "North\r\nBcc: x@y.example\n\n{{.Link}}", Settings: tenant.Settings{Language: "en", TimeZone: "nowhere"}}
	l, err := letter.Of(of).Write("a@b.example", letter.Invitation{Link: "https://x.example/secret", Expires: noon})
	if err != nil || l.Subject != "Join the staff of North Bcc: x@y.example {{.Link}}" {
		t.Errorf("%q, %v", l.Subject, err)
	}
	if !strings.Contains(l.Text, "November 27, 2026, 18:30 UTC") || strings.Count(l.Text, "https://x.example/secret") != 1 {
		t.Errorf("text:\n%s", l.Text)
	}
}

// Each language has each letter and no other.
func TestEveryLanguageHasEveryLetter(t *testing.T) {
	t.Parallel()
	of := func(language string) []string {
		names, err := fs.Glob(os.DirFS(language), "*.txt")
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	first := of(letter.Languages()[0])
	if len(first) == 0 {
		t.Fatal("no letters")
	}
	for _, language := range letter.Languages() {
		if !slices.Equal(of(language), first) {
			t.Errorf("%s has %v, want %v", language, of(language), first)
		}
	}
}
