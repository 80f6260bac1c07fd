package signup

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
	"golang.org/x/text/unicode/norm"
)

// maxMarks is how many combining marks one letter may have.
const maxMarks = 3

// parseName reads the name of an authority or a person, of least to most characters.
func parseName(typed string, least, most int) (string, Fault) {
	if !utf8.ValidString(typed) {
		return "", Hidden
	}
	name := norm.NFC.String(strings.Join(strings.FieldsFunc(typed, func(c rune) bool { return c == ' ' }), " "))
	n := utf8.RuneCountInString(name)
	first, _ := utf8.DecodeRuneInString(name)
	switch {
	case n < least:
		return "", Missing
	case n > most:
		return "", Long
	case hidden(name):
		return "", Hidden
	case !unicode.IsLetter(first) && !unicode.IsDigit(first):
		return "", Start
	}
	return name, ""
}

// hidden reports whether a text has a character that is not seen, that turns what is
// around it, or that is none: controls, spaces other than the usual one, what Unicode
// lets programs ignore, private and unassigned code points, heaps of marks. Joiners are
// part of words where letters join.
func hidden(text string) bool {
	marks, before := 0, rune(0)
	for _, c := range text {
		switch {
		case c == utf8.RuneError:
			return true
		case c == '\u200c' || c == '\u200d':
			if !unicode.In(before, joining...) {
				return true
			}
		case c != ' ' && !unicode.IsPrint(c), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, c), unicode.Is(unicode.Variation_Selector, c):
			return true
		}
		if marks++; !unicode.Is(unicode.Mn, c) {
			marks = 0
		}
		if marks > maxMarks {
			return true
		}
		before = c
	}
	return false
}

// joining are scripts whose words need joiners.
var joining = []*unicode.RangeTable{
	unicode.Arabic, unicode.Bengali, unicode.Devanagari, unicode.Gujarati, unicode.Gurmukhi, unicode.Kannada, unicode.Khmer,
	unicode.Malayalam, unicode.Mongolian, unicode.Myanmar, unicode.Oriya, unicode.Sinhala, unicode.Syriac, unicode.Tamil, unicode.Telugu,
}

// names of the DNS that lead nowhere, or to this machine's own network.
var localNames = []string{"arpa", "corp", "home", "internal", "invalid", "lan", "local", "localdomain", "localhost", "onion"}

var (
	domainProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.ValidateLabels(true),
		idna.CheckHyphens(true), idna.CheckJoiners(true), idna.VerifyDNSLength(true))
	topForm = regexp.MustCompile(`^([a-z]{2,63}|xn--[a-z0-9-]{1,59})$`)
)

// parseDomain reads a domain, also if it was typed as an address of a page.
func parseDomain(typed string) (string, Fault) {
	text := strings.TrimSpace(typed)
	if text == "" {
		return "", Missing
	}
	if hidden(text) {
		return "", Hidden
	}
	if scheme, rest, found := strings.Cut(text, "://"); found {
		if !strings.EqualFold(scheme, "https") && !strings.EqualFold(scheme, "http") {
			return "", Malformed
		}
		text, _, _ = strings.Cut(rest, "/")
	}
	domain, err := domainProfile.ToASCII(strings.TrimSuffix(text, "."))
	if err != nil || strings.HasSuffix(domain, ".") {
		return "", Malformed
	}
	domain = strings.TrimPrefix(domain, "www.")
	labels := strings.Split(domain, ".")
	top := labels[len(labels)-1]
	if _, err := netip.ParseAddr(domain); err == nil || len(labels) < 2 || !topForm.MatchString(top) || slices.Contains(localNames, top) {
		return "", Malformed
	}
	if suffix, _ := publicsuffix.PublicSuffix(domain); suffix == domain {
		return "", Suffix
	}
	return domain, ""
}

// Readable is a domain as people of its language read it; the domain itself if there is
// no other form.
func Readable(domain string) string {
	text, err := idna.Display.ToUnicode(domain)
	if err != nil {
		return domain
	}
	return text
}
