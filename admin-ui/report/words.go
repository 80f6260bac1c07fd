package report

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/text/language"

	"carillon/tenant/reportpage"
)

//go:embed messages/*.json
var messageFiles embed.FS

// languages are those of the messages, each written in its direction.
var languages = []struct{ tag, direction string }{{"en", "ltr"}, {"es", "ltr"}, {"ar", "rtl"}}

// words is every word of the page, by language and key.
type words struct {
	matcher  language.Matcher
	messages []map[string]string // in the order of languages
}

func loadWords() (*words, error) {
	w := &words{}
	var tags []language.Tag
	for _, l := range languages {
		text, err := messageFiles.ReadFile("messages/" + l.tag + ".json")
		if err != nil {
			return nil, fmt.Errorf("messages: %w", err)
		}
		var messages map[string]string
		if err := json.Unmarshal(text, &messages); err != nil {
			return nil, fmt.Errorf("messages of %s: %w", l.tag, err)
		}
		w.messages = append(w.messages, messages)
		tags = append(tags, language.MustParse(l.tag))
	}
	w.matcher = language.NewMatcher(tags)
	return w, nil
}

// language is the number of the visitor's language: what the browser prefers, then the
// tenant's own, then English.
func (w *words) language(v *visit) int {
	preferred, _, err := language.ParseAcceptLanguage(v.r.Header.Get("Accept-Language"))
	if err != nil {
		preferred = nil
	}
	if v.tenant != nil {
		if own, err := language.Parse(v.tenant.Settings.Language); err == nil {
			preferred = append(preferred, own)
		}
	}
	_, number, confidence := w.matcher.Match(preferred...)
	if confidence == language.No {
		return 0
	}
	return number
}

// own is what the tenant says in a language: the text whose tag it is, or else the
// first of the same language.
func (v *visit) own(number int) reportpage.Text {
	tag := languages[number].tag
	var found reportpage.Text
	for _, t := range v.branding.Texts {
		base, _, _ := strings.Cut(t.Language, "-")
		if t.Language == tag {
			return t
		}
		if base == tag && found.Language == "" {
			found = t
		}
	}
	return found
}
