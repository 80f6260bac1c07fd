package adminui

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/alert"
	"carillon/tenant/approval"
	"carillon/tenant/archive/shelf"
	"carillon/tenant/batch"
	"carillon/tenant/batch/sheet"
	"carillon/tenant/client"
	"carillon/tenant/idp"
	"carillon/tenant/key/custody"
	"carillon/tenant/leaving"
	"carillon/tenant/member"
	"carillon/tenant/message"
	"carillon/tenant/message/template"
	"carillon/tenant/pack"
	"carillon/tenant/platform"
	"carillon/tenant/quota"
	"carillon/tenant/rehearsal"
	"carillon/tenant/role"
	"carillon/tenant/setting"
	"carillon/tenant/sharing"
	"carillon/tenant/signup"
	"carillon/tenant/support"
	"carillon/tenant/verification"
)

func TestEveryErrorOfTheDomainHasAnAnswer(t *testing.T) {
	t.Parallel()
	sentinels := slices.Concat(authz.Sentinels(), oidc.Sentinels(), member.Sentinels(), idp.Sentinels(), verification.Sentinels(), sharing.Sentinels(), client.Sentinels(), role.Sentinels(), setting.Sentinels(), alert.Sentinels(), quota.Sentinels(), template.Sentinels(), message.Sentinels(), platform.Sentinels(), support.Sentinels(), leaving.Sentinels(), shelf.Sentinels(), signup.Sentinels(), pack.Sentinels(), custody.Sentinels(), approval.Sentinels(), rehearsal.Sentinels(), batch.Sentinels(), sheet.Sentinels(),
		[]error{tenant.ErrUnknown, errNoPage, errNoChange, errMethod, errCrossOrigin, errForm, errClosed, errOutside, errUnlinked, errShutOut})
	for _, sentinel := range sentinels {
		k, found := lookUp(sentinel)
		if found == slices.Contains(unmet(), sentinel) {
			t.Errorf("%v must be either in the table or among those that no page can cause", sentinel)
		}
		if found && !errors.Is(sentinel, k.cause) {
			t.Errorf("%v is answered as %v", sentinel, k.cause)
		}
	}
	words, err := loadCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range knownErrors() {
		if k.status < 400 || words.messages[k.message] == "" {
			t.Errorf("%v: status %d, message %q", k.cause, k.status, k.message)
		}
		if page := k.field == "" && !k.ofLogin(); page != (k.advice != "") {
			t.Errorf("%v: a page of its own has advice, and nothing else has", k.cause)
		}
	}
}

// Every language has each message of the first, with the same placeholders, and dates of
// its own.
func TestEveryLanguageHasEveryMessage(t *testing.T) {
	t.Parallel()
	first, err := loadCatalogue(spokenHere[0].tag)
	if err != nil {
		t.Fatal(err)
	}
	placeholder := regexp.MustCompile(`\{[a-z_]+\}`)
	placeholders := func(message string) []string {
		found := placeholder.FindAllString(message, -1)
		slices.Sort(found)
		return slices.Compact(found)
	}
	for _, l := range spokenHere[1:] {
		words, err := loadCatalogue(l.tag)
		if err != nil {
			t.Fatal(err)
		}
		for key, message := range first.messages {
			if want, got := placeholders(message), placeholders(words.messages[key]); words.messages[key] == "" || !slices.Equal(want, got) {
				t.Errorf("%s: %q has placeholders %v, want %v", l.tag, key, got, want)
			}
		}
		for key := range words.messages {
			if first.messages[key] == "" {
				t.Errorf("%s: %q is in no other language", l.tag, key)
			}
		}
		if words.date(time.Date(2026, time.March, 4, 0, 0, 0, 0, time.UTC)) == first.date(time.Date(2026, time.March, 4, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: dates are those of %s", l.tag, first.lang)
		}
	}
}

var (
	inTemplate = regexp.MustCompile(`\bt "([^"]+)"`)
	inSource   = regexp.MustCompile(`"([a-z][a-z0-9_.]*)"`)
)

// A key is used if it stands in quotes in a template or in the source.
func TestEveryMessageIsUsedAndEveryUseHasAMessage(t *testing.T) {
	t.Parallel()
	words, err := loadCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for name, text := range sources(t) {
		pattern := inSource
		if strings.HasSuffix(name, ".html") {
			pattern = inTemplate
		}
		for _, m := range pattern.FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
		}
		for _, m := range append(inTemplate.FindAllStringSubmatch(text, -1), regexp.MustCompile(`\b(?:text|counted)\("([^"]+)"`).FindAllStringSubmatch(text, -1)...) {
			if words.messages[m[1]] == "" {
				t.Errorf("%s uses %q, which has no message", name, m[1])
			}
		}
	}
	for key := range words.messages {
		if !used[key] {
			t.Errorf("%q is not used", key)
		}
	}
}

// Every action has words, and the form for roles a place for it.
func TestEveryActionHasWords(t *testing.T) {
	t.Parallel()
	words, err := loadCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]authz.Action{}
	for _, a := range authz.Actions() {
		if words.action(a) == string(a) {
			t.Errorf("%s has no words", a)
		}
		if other, taken := fields[ruleField(a)]; taken {
			t.Errorf("%s and %s have the same field", a, other)
		}
		fields[ruleField(a)] = a
	}
}

func sources(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"*.go", "*.html", "pages/*.html", "components/*/*.html"} {
		names, err := fs.Glob(os.DirFS("."), pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(text)
		}
	}
	return files
}

// Words outside of the catalogue cannot be translated.
func TestTemplatesHaveNoWordsOfTheirOwn(t *testing.T) {
	t.Parallel()
	action, tag := regexp.MustCompile(`(?s)\{\{.*?\}\}`), regexp.MustCompile(`(?s)<[^>]*>`)
	letters := regexp.MustCompile(`[A-Za-z]+`)
	for name, text := range sources(t) {
		if !strings.HasSuffix(name, ".html") {
			continue
		}
		bare := tag.ReplaceAllString(action.ReplaceAllString(text, ""), "")
		if found := letters.FindString(bare); found != "" {
			t.Errorf("%s: %q", name, found)
		}
	}
}

func TestPlaceholdersAreFilledIn(t *testing.T) {
	t.Parallel()
	words, err := loadCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	west, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		words.text("error.back", "authority", "A"):                         "Go back to A",
		words.minutes(time.Minute):                                         "1 minute",
		words.minutes(15*time.Minute - time.Second):                        "15 minutes",
		words.spell([]string{"123", "4509"}):                               "one two three, four five zero nine",
		words.date(time.Date(2026, time.March, 4, 0, 0, 0, 0, time.UTC)):   "March 4, 2026",
		words.moment(time.Unix(0, 0), time.Unix(60, 0).UTC()).Text:         "00:00 UTC",
		words.moment(time.Unix(86_400, 0), time.Unix(60, 0).UTC()).Text:    "January 2, 1970, 00:00 UTC",
		words.moment(time.Unix(86_400, 0), time.Unix(60, 0).In(west)).Text: "January 1, 1970, 16:00 PST",
		words.moment(time.Unix(86_400, 0), time.Unix(60, 0).In(west)).UTC:  "1970-01-02 00:00 UTC",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{"12345678": "1234 5678", "1234567": "123 4567", "123456": "123 456", "1234": "1234"} {
		if got := strings.Join(groups(code), " "); got != want {
			t.Errorf("%s: got %q, want %q", code, got, want)
		}
	}
}

func TestLastDigits(t *testing.T) {
	t.Parallel()
	for phone, want := range map[string]string{"+1 (206) 555-0142": "0142", "12": "12", "": ""} {
		if got := lastDigits(phone); got != want {
			t.Errorf("%s: got %q, want %q", phone, got, want)
		}
	}
}

// The window of hints is the domain's rule (verification protocol §4.2).
func TestDateWindow(t *testing.T) {
	t.Parallel()
	evening := time.Date(2026, time.November, 26, 20, 0, 0, 0, time.UTC)
	s := &Server{config: Config{Now: func() time.Time { return evening }}}
	for _, c := range []struct {
		offset      float64
		first, last string
	}{
		{0, "2026-10-29", "2026-11-26"},
		{-480, "2026-10-28", "2026-11-26"},
		{60, "2026-10-29", "2026-11-26"},
		{600, "2026-10-29", "2026-11-27"},
		{1e9, "2026-10-29", "2026-11-27"},
	} {
		w := s.dateWindow(c.offset)
		if got := w.first.Format(time.DateOnly); got != c.first {
			t.Errorf("offset %v: first %s, want %s", c.offset, got, c.first)
		}
		if got := w.last.Format(time.DateOnly); got != c.last {
			t.Errorf("offset %v: last %s, want %s", c.offset, got, c.last)
		}
		if !w.holds("") || !w.holds(c.first) || !w.holds(c.last) || w.holds("2026-10-27") || w.holds("2026-11-28") || w.holds("x") {
			t.Errorf("offset %v: holds", c.offset)
		}
	}
}
