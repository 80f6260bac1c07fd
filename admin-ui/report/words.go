package report

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/text/language"

	"carillon/tenant/reportpage"
)

//go:embed messages/*.json
var messageFiles embed.FS

// edition is every word of the pages in one language, by key.
type edition struct {
	tag      string
	messages map[string]string
}

// name is what the language calls itself, direction how it is written: ltr or rtl.
func (e edition) name() string      { return e.messages["language.name"] }
func (e edition) direction() string { return e.messages["language.direction"] }

// words are the editions: English, which stands in for languages that are missing, and one
// for each other file.
type words struct {
	matcher  language.Matcher
	editions []edition
}

const english = "en"

var errMessages = errors.New("a language needs its name, and its direction as ltr or rtl")

func loadWords() (*words, error) {
	w := &words{}
	files, err := fs.Glob(messageFiles, "messages/*.json")
	if err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	for _, file := range files {
		e, err := loadEdition(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		w.editions = append(w.editions, e)
	}
	slices.SortStableFunc(w.editions, func(a, b edition) int { return order(a) - order(b) })
	var tags []language.Tag
	for _, e := range w.editions {
		tag, err := language.Parse(e.tag)
		if err != nil {
			return nil, fmt.Errorf("messages of %s: %w", e.tag, err)
		}
		tags = append(tags, tag)
	}
	w.matcher = language.NewMatcher(tags)
	return w, nil
}

func loadEdition(file string) (edition, error) {
	e := edition{tag: strings.TrimSuffix(path.Base(file), ".json")}
	text, err := messageFiles.ReadFile(file)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(text, &e.messages); err != nil {
		return e, err
	}
	if e.name() == "" || e.direction() != "ltr" && e.direction() != "rtl" {
		return e, errMessages
	}
	return e, nil
}

// order has English first.
func order(e edition) int {
	if e.tag == english {
		return 0
	}
	return 1
}

// of is the visitor's edition: what she has chosen on the page, what the browser prefers,
// the tenant's own language, or else English.
func (w *words) of(v *visit) edition {
	preferred, _, err := language.ParseAcceptLanguage(v.r.Header.Get("Accept-Language"))
	if err != nil {
		preferred = nil
	}
	if chosen, err := language.Parse(v.language); err == nil {
		preferred = slices.Insert(preferred, 0, chosen)
	}
	if v.tenant != nil {
		if own, err := language.Parse(v.tenant.Settings.Language); err == nil {
			preferred = append(preferred, own)
		}
	}
	_, number, confidence := w.matcher.Match(preferred...)
	if confidence == language.No {
		number = 0
	}
	return w.editions[number]
}

// own is what the tenant says in a language: the text whose tag it is, or else the
// first of the same language.
func (v *visit) own(e edition) reportpage.Text {
	var found reportpage.Text
	for _, t := range v.branding.Texts {
		base, _, _ := strings.Cut(t.Language, "-")
		if t.Language == e.tag {
			return t
		}
		if base == e.tag && found.Language == "" {
			found = t
		}
	}
	return found
}
