package signup

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/language"

	"carillon/tenant"
)

// Form is what an applicant typed, as she typed it.
type Form struct {
	Name         string `json:"name,omitempty"`
	Region       string `json:"region,omitempty"`
	Domain       string `json:"domain,omitempty"`
	ContactName  string `json:"contact_name,omitempty"`
	ContactEmail string `json:"contact_email,omitempty"`
	ContactPhone string `json:"contact_phone,omitempty"`
	Languages    string `json:"languages,omitempty"`
	Codes        string `json:"codes,omitempty"`
	// Reply is the answer to an operator's question.
	Reply string `json:"reply,omitempty"`
}

// Details are what a complete form means.
type Details struct {
	// Name is the authority's, in Unicode's composed form, Region its ISO 3166 code.
	Name, Region string
	// Domain is the official web domain, as the DNS has it: ASCII, lower case.
	Domain                                  string
	ContactName, ContactEmail, ContactPhone string
	// Languages are BCP 47 tags, the authority's own first.
	Languages []string
	// CodesPerDay is how many codes are expected, 1 to 20,000.
	CodesPerDay int
}

// Field names a field of a [Form].
type Field string

// The fields of a form.
const (
	FieldName         Field = "name"
	FieldRegion       Field = "region"
	FieldDomain       Field = "domain"
	FieldContactName  Field = "contact_name"
	FieldContactEmail Field = "contact_email"
	FieldContactPhone Field = "contact_phone"
	FieldLanguages    Field = "languages"
	FieldCodes        Field = "codes"
	FieldReply        Field = "reply"
)

// Fault says what is wrong with a field.
type Fault string

// The faults.
const (
	Missing Fault = "missing"
	Long    Fault = "long"
	// Hidden is a character that nobody sees, or that turns text around.
	Hidden Fault = "hidden"
	// Start is a text that does not begin with a letter or digit: a spreadsheet would
	// take some of those for a formula.
	Start Fault = "start"
	// Malformed is what is not of the field's kind.
	Malformed Fault = "form"
	// Suffix is a domain under which anybody can have one.
	Suffix Fault = "suffix"
	// Fixed is a domain that is proven and cannot be changed any more.
	Fixed Fault = "fixed"
)

// Problem is one field that must be put right.
type Problem struct {
	Field Field
	Fault Fault
}

// FormError lists what must be put right, in the order of the form.
type FormError struct{ Problems []Problem }

func (e *FormError) Error() string {
	words := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		words[i] = string(p.Field) + " " + string(p.Fault)
	}
	return "the form needs mending: " + strings.Join(words, ", ")
}

const (
	maxTyped    = 1000 // bytes of a field that are kept as typed
	maxReply    = 2000 // characters
	minName     = 2    // characters
	maxName     = 120
	maxContact  = 100
	maxPhone    = 40
	maxTongues  = 20
	minCodes    = 1
	maxCodes    = 20_000
	minPhoneLen = 5
)

// fits reports whether a form can be kept as it was typed.
func (f Form) fits() bool {
	for _, text := range []string{f.Name, f.Region, f.Domain, f.ContactName, f.ContactEmail, f.ContactPhone, f.Languages, f.Codes} {
		if len(text) > maxTyped {
			return false
		}
	}
	return utf8.RuneCountInString(f.Reply) <= maxReply
}

// storable is the form without what the database cannot hold as text.
func (f Form) storable() Form {
	for _, text := range []*string{&f.Name, &f.Region, &f.Domain, &f.ContactName, &f.ContactEmail, &f.ContactPhone, &f.Languages, &f.Codes, &f.Reply} {
		*text = strings.ReplaceAll(strings.ToValidUTF8(*text, "\uFFFD"), "\x00", "\uFFFD")
	}
	return f
}

// parse reads a form. The error is a [*FormError].
func (f Form) parse() (*Details, error) {
	var d Details
	var e FormError
	note := func(field Field, fault Fault) {
		if fault != "" {
			e.Problems = append(e.Problems, Problem{field, fault})
		}
	}
	var fault Fault
	d.Name, fault = parseName(f.Name, minName, maxName)
	note(FieldName, fault)
	d.Region, fault = parseRegion(f.Region)
	note(FieldRegion, fault)
	d.Domain, fault = parseDomain(f.Domain)
	note(FieldDomain, fault)
	d.ContactName, fault = parseName(f.ContactName, 1, maxContact)
	note(FieldContactName, fault)
	d.ContactEmail, fault = parseContact(f.ContactEmail)
	note(FieldContactEmail, fault)
	d.ContactPhone, fault = parsePhone(f.ContactPhone)
	note(FieldContactPhone, fault)
	d.Languages, fault = parseLanguages(f.Languages)
	note(FieldLanguages, fault)
	d.CodesPerDay, fault = parseCodes(f.Codes)
	note(FieldCodes, fault)
	note(FieldReply, parseReply(f.Reply))
	if len(e.Problems) > 0 {
		return nil, &e
	}
	return &d, nil
}

func parseRegion(typed string) (string, Fault) {
	typed = strings.TrimSpace(typed)
	if typed == "" {
		return "", Missing
	}
	code, err := tenant.ParseRegion(typed)
	if err != nil {
		return "", Malformed
	}
	country, _, _ := strings.Cut(code, "-")
	r, err := language.ParseRegion(country)
	if err != nil || !r.IsCountry() || r.String() != country {
		return "", Malformed
	}
	return code, ""
}

func parseContact(typed string) (string, Fault) {
	if strings.TrimSpace(typed) == "" {
		return "", Missing
	}
	a, err := address(typed)
	if err != nil {
		return "", Malformed
	}
	return a, ""
}

var phoneForm = regexp.MustCompile(`^\+?[0-9][0-9 ().\-/]*$`)

func parsePhone(typed string) (string, Fault) {
	typed = strings.TrimSpace(typed)
	switch {
	case typed == "":
		return "", Missing
	case len(typed) > maxPhone:
		return "", Long
	case len(typed) < minPhoneLen || !phoneForm.MatchString(typed):
		return "", Malformed
	}
	return typed, ""
}

// languageForm is what the settings of a tenant take.
var languageForm = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$`)

func parseLanguages(typed string) ([]string, Fault) {
	words := strings.FieldsFunc(typed, func(c rune) bool { return c == ',' || c == ';' || c == ' ' || c == '\t' })
	if len(words) == 0 {
		return nil, Missing
	}
	var tags []string
	for _, word := range words {
		tag, err := language.Parse(word)
		if err != nil || !languageForm.MatchString(tag.String()) || tag == language.Und {
			return nil, Malformed
		}
		if !slices.Contains(tags, tag.String()) {
			tags = append(tags, tag.String())
		}
	}
	if len(tags) > maxTongues {
		return nil, Long
	}
	return tags, ""
}

func parseCodes(typed string) (int, Fault) {
	typed = strings.NewReplacer(",", "", " ", "").Replace(typed)
	if typed == "" {
		return 0, Missing
	}
	n, err := strconv.ParseUint(typed, 10, 31)
	if err != nil || n < minCodes || n > maxCodes {
		return 0, Malformed
	}
	return int(n), ""
}

func parseReply(typed string) Fault {
	switch {
	case utf8.RuneCountInString(typed) > maxReply:
		return Long
	case hidden(strings.NewReplacer("\r", "", "\n", "", "\t", "").Replace(typed)):
		return Hidden
	}
	return ""
}
