package template

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"carillon/tenant"
)

// Normalise makes one line of a text: every run of white space becomes one blank.
func Normalise(body string) string { return strings.Join(strings.Fields(body), " ") }

// Measure is how long a template's message may become.
type Measure struct {
	// Bytes is the longest message, without a signature.
	Bytes int
	// Size counts the same as phones receive it.
	Size
	// Signed is its size with the signature, if the tenant signs; else the same.
	Signed Size
	// Unknown are words in brackets that are no variables, and stay as they are.
	Unknown []string
}

// signatureLength is that of ` \nAuthentication:MMDD:<key ID>:<signature>` without
// the key ID: an ECDSA signature has up to 72 bytes.
const signatureLength = 2 + len("Authentication:MMDD::") + 96

// keyIDLength is what a tenant's key ID adds to it: its slug and a version.
const keyIDLength = 40 + 4

// variables are all there are.
func variables() []string {
	return []string{"[enslink]", "[region]", "[code]", "[expires]", "[longcode]", "[longexpires]"}
}

var variableForm = regexp.MustCompile(`\[[A-Za-z]+\]`)

// Rule is what a text must keep to, as a word for which people are told what to do.
type Rule string

// The rules (§7.1).
const (
	Empty          Rule = "empty"            // there must be a text
	Length         Rule = "length"           // of the text: [MaxTemplate]
	Unprintable    Rule = "unprintable"      // characters that no phone shows
	LinkMissing    Rule = "link-missing"     // ENX needs the link
	PartOfLink     Rule = "part-of-link"     // what the link has need not be said again
	OneCode        Rule = "one-code"         // without ENX, one of the two codes
	LinkWithoutENX Rule = "link-without-enx" // which nothing would open
	LongLife       Rule = "long-life"        // self-reports have no long life
	MessageLength  Rule = "message-length"   // of the longest message: [MaxBody]
	LabelForm      Rule = "label"            // of the name that issuers choose by
	LanguageForm   Rule = "language"         // of the language's tag
	Number         Rule = "number"           // of a tenant's texts
)

// ruleError is an [ErrRules] about one rule.
type ruleError struct {
	rule Rule
	text string
}

func broken(r Rule, format string, args ...any) error {
	return &ruleError{r, fmt.Sprintf(format, args...)}
}

func (e *ruleError) Error() string { return ErrRules.Error() + ": " + e.text }

func (*ruleError) Unwrap() error { return ErrRules }

// Broken lists the rules that an error is about, in their order.
func Broken(err error) []Rule {
	switch e := err.(type) { //nolint:errorlint // it looks into every branch of a tree
	case nil:
		return nil
	case *ruleError:
		return []Rule{e.rule}
	case interface{ Unwrap() []error }:
		var rules []Rule
		for _, one := range e.Unwrap() {
			rules = append(rules, Broken(one)...)
		}
		return rules
	}
	return Broken(errors.Unwrap(err))
}

// Check applies the rules of §7.1 to a body in normal form, and measures it with the
// longest values of the tenant. The error joins all faults, each an [ErrRules].
func Check(of *tenant.Tenant, label, body, redirectDomain string) (Measure, error) {
	faults := ruleFaults(of.Settings.ENX, label, body)
	m := measure(of, label, body, redirectDomain)
	if m.Bytes > MaxBody {
		faults = append(faults, broken(MessageLength, "a message may have %d bytes, and this one may have %d", MaxBody, m.Bytes))
	}
	return m, errors.Join(faults...)
}

func ruleFaults(enx bool, label, body string) []error {
	var faults []error
	fault := func(found bool, r Rule, format string, args ...any) {
		if found {
			faults = append(faults, broken(r, format, args...))
		}
	}
	has := func(variable string) bool { return strings.Contains(body, variable) }
	fault(body == "", Empty, "it is empty")
	fault(len(body) > MaxTemplate, Length, "it has %d bytes, and may have %d", len(body), MaxTemplate)
	fault(!utf8.ValidString(body) || strings.ContainsFunc(body, unicode.IsControl), Unprintable, "it has characters that cannot be printed")
	if enx {
		fault(!has("[enslink]"), LinkMissing, "it must have [enslink]")
		fault(has("[region]"), PartOfLink, "it must not have [region], which is part of the link")
		fault(has("[longcode]"), PartOfLink, "it must not have [longcode], which is part of the link")
	} else {
		fault(has("[code]") == has("[longcode]"), OneCode, "it must have exactly one of [code] and [longcode]")
		fault(has("[enslink]"), LinkWithoutENX, "it must not have [enslink], which is for ENX")
	}
	fault(label == UserReportLabel && has("[longexpires]"), LongLife, "a self-report has no [longexpires]")
	return faults
}

func measure(of *tenant.Tenant, label, body, redirectDomain string) Measure {
	s := of.Settings
	v := Vars{
		Code: strings.Repeat("0", s.CodeDigits), LongCode: strings.Repeat("x", s.LongCodeLength),
		Life: s.CodeLife, LongLife: s.LongCodeLife, Region: of.Region, RedirectDomain: redirectDomain,
	}
	if label == UserReportLabel {
		v.LongLife = s.CodeLife
	}
	text := v.fill(body)
	m := Measure{Bytes: len(text), Size: SizeOf(text), Signed: SizeOf(text)}
	if s.SMSSigning == tenant.SigningOpen || s.SMSSigning == tenant.SigningClosed {
		m.Signed = SizeOf(text + strings.Repeat("x", signatureLength+keyIDLength))
	}
	for _, word := range variableForm.FindAllString(body, -1) {
		if !slices.Contains(variables(), word) && !slices.Contains(m.Unknown, word) {
			m.Unknown = append(m.Unknown, word)
		}
	}
	return m
}
