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

// Check applies the rules of §7.1 to a body in normal form, and measures it with the
// longest values of the tenant. The error joins all faults, each an [ErrRules].
func Check(of *tenant.Tenant, label, body, redirectDomain string) (Measure, error) {
	faults := ruleFaults(of.Settings.ENX, label, body)
	m := measure(of, label, body, redirectDomain)
	if m.Bytes > MaxBody {
		faults = append(faults, fmt.Sprintf("a message may have %d bytes, and this one may have %d", MaxBody, m.Bytes))
	}
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = fmt.Errorf("%w: %s", ErrRules, f)
	}
	return m, errors.Join(errs...)
}

func ruleFaults(enx bool, label, body string) []string {
	var faults []string
	fault := func(found bool, text string) {
		if found {
			faults = append(faults, text)
		}
	}
	has := func(variable string) bool { return strings.Contains(body, variable) }
	fault(body == "", "it is empty")
	fault(len(body) > MaxTemplate, fmt.Sprintf("it has %d bytes, and may have %d", len(body), MaxTemplate))
	fault(!utf8.ValidString(body) || strings.ContainsFunc(body, unicode.IsControl), "it has characters that cannot be printed")
	if enx {
		fault(!has("[enslink]"), "it must have [enslink]")
		fault(has("[region]"), "it must not have [region], which is part of the link")
		fault(has("[longcode]"), "it must not have [longcode], which is part of the link")
	} else {
		fault(has("[code]") == has("[longcode]"), "it must have exactly one of [code] and [longcode]")
		fault(has("[enslink]"), "it must not have [enslink], which is for ENX")
	}
	fault(label == UserReportLabel && has("[longexpires]"), "a self-report has no [longexpires]")
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
