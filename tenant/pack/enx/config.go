package enx

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/language"
)

// Config is a region's configuration as people have entered it.
type Config struct {
	// Languages are BCP 47 tags; the first is the default.
	Languages []string `json:"languages"`
	// Values are those that are the same in all languages, by the IDs of slots.
	Values map[string]string `json:"values"`
	// Texts are the others, by language and slot.
	Texts map[string]map[string]string `json:"texts"`
}

// ErrLanguage means that a text is no language in which a region can have texts. The
// error's text says why.
var ErrLanguage = errors.New("language cannot be used")

// Default is the default language, empty if none was chosen.
func (c Config) Default() string {
	if len(c.Languages) == 0 {
		return ""
	}
	return c.Languages[0]
}

// Value is what a slot has in a language, or its default. A class that is not in use has
// no thresholds, whatever was entered.
func (c Config) Value(s Slot, lang string) string {
	if s.Minutes && s.No > c.ClassCount() {
		return s.Default
	}
	if s.Local {
		return cmp.Or(c.Texts[lang][s.ID()], s.Default)
	}
	return cmp.Or(c.Values[s.ID()], s.Default)
}

// ClassCount is how many classes are in use, 0 to 4.
func (c Config) ClassCount() int {
	n, err := strconv.Atoi(c.Values[classCount])
	if err != nil || n < 0 || n > MaxClasses {
		return 0
	}
	return n
}

// used reports whether a slot's value goes out: texts and names of classes that are not
// in use do not, but their thresholds, being zero, do.
func (c Config) used(s Slot) bool { return s.No <= c.ClassCount() || s.Minutes }

// tongues are the languages in which a slot has values; one without a name if it is the
// same in all.
func (c Config) tongues(s Slot) []string {
	if s.Local {
		return c.Languages
	}
	return []string{""}
}

// Clone copies c, so that either can be changed.
func (c Config) Clone() Config {
	copied := Config{Languages: slices.Clone(c.Languages), Values: maps.Clone(c.Values), Texts: map[string]map[string]string{}}
	if copied.Values == nil {
		copied.Values = map[string]string{}
	}
	for lang, texts := range c.Texts {
		copied.Texts[lang] = maps.Clone(texts)
	}
	return copied
}

// ParseLanguages reads tags between commas or blanks, the default first, and gives them
// their usual form: [ErrLanguage] if there is none, or one of them cannot be used.
func ParseLanguages(text, region string) ([]string, error) {
	var list []string
	suffixes := map[string]string{}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' || r == '\r' }) {
		tag, err := language.Parse(word)
		if err != nil {
			return nil, fmt.Errorf("%w: %.40q is no language tag such as en or es", ErrLanguage, word)
		}
		suffix, err := Suffix(tag.String(), region)
		if err != nil {
			return nil, err
		}
		if other, taken := suffixes[suffix]; taken {
			return nil, fmt.Errorf("%w: %s and %s would both be %s", ErrLanguage, other, tag, suffix)
		}
		suffixes[suffix] = tag.String()
		list = append(list, tag.String())
	}
	const most = 60
	if len(list) == 0 || len(list) > most {
		return nil, fmt.Errorf("%w: name 1 to %d languages", ErrLanguage, most)
	}
	return list, nil
}

// Suffix is what stands behind a key for its value in a language: _EN_US. The country is
// the tag's, if it names one, else that of the region (section 2). [ErrLanguage] for
// languages without a code of two letters, which Apple's rule cannot express.
func Suffix(tag, region string) (string, error) {
	t, err := language.Parse(tag)
	if err != nil {
		return "", fmt.Errorf("%w: %.40q", ErrLanguage, tag)
	}
	base, _ := t.Base()
	if len(base.String()) != 2 {
		return "", fmt.Errorf("%w: Apple takes only languages with a code of two letters, and %s has none", ErrLanguage, tag)
	}
	country, _, _ := strings.Cut(region, "-")
	if named, sure := t.Region(); sure == language.Exact && len(named.String()) == 2 {
		country = named.String()
	}
	return "_" + strings.ToUpper(base.String()) + "_" + strings.ToUpper(country), nil
}

// Change is a difference between two configurations.
type Change struct {
	// ID is the slot's, Language empty for what is the same in all.
	ID, Label, Language string
	Before, After       string
}

// Differences lists what is different in b from a, by key and language, in the order of
// Apple's form. Values that are sent by default count as set.
func Differences(a, b Config) []Change {
	var list []Change
	for _, s := range Slots() {
		tongues := []string{""}
		if s.Local {
			tongues = slices.Clone(a.Languages)
			for _, l := range b.Languages {
				if !slices.Contains(tongues, l) {
					tongues = append(tongues, l)
				}
			}
		}
		for _, lang := range tongues {
			before, after := a.outgoing(s, lang), b.outgoing(s, lang)
			if before != after {
				list = append(list, Change{ID: s.ID(), Label: s.Label, Language: lang, Before: before, After: after})
			}
		}
	}
	if !slices.Equal(a.Languages, b.Languages) {
		list = append(list, Change{ID: "languages", Label: "Languages", Before: strings.Join(a.Languages, ", "), After: strings.Join(b.Languages, ", ")})
	}
	return list
}

// outgoing is what of a slot goes out.
func (c Config) outgoing(s Slot, lang string) string {
	if !c.used(s) || s.Local && !slices.Contains(c.Languages, lang) {
		return ""
	}
	return c.Value(s, lang)
}
