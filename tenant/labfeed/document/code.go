package document

import (
	"errors"
	"strings"
)

// Systems of codes, as FHIR names them.
const (
	LOINC  = "http://loinc.org"
	SNOMED = "http://snomed.info/sct"
	// Interpretation has the flags of HL7 table 0078 and of FHIR's interpretation.
	Interpretation = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
	// Text is no system: its codes are words as they stand, compared without regard
	// to case.
	Text = "text"
)

// aliases are other names of these systems, in lower case.
var aliases = map[string]string{
	"ln": LOINC, "loinc": LOINC, "urn:oid:2.16.840.1.113883.6.1": LOINC, "2.16.840.1.113883.6.1": LOINC,
	"sct": SNOMED, "snm": SNOMED, "snomed": SNOMED, "urn:oid:2.16.840.1.113883.6.96": SNOMED, "2.16.840.1.113883.6.96": SNOMED,
	"hl70078": Interpretation, "http://terminology.hl7.org/codesystem/v2-0078": Interpretation,
}

// Code is a code of a system. Its text form is system|code, as in FHIR searches.
type Code struct{ System, Code string }

// ErrCode means that a text is not a code.
var ErrCode = errors.New(`a code is "system|code", as in "http://loinc.org|94500-6"`)

const (
	maxSystem = 200 // bytes
	maxCode   = 100
)

// NewCode joins system and code, with the system under its FHIR name. It reports
// whether they are a code: both present and not too long.
func NewCode(system, code string) (Code, bool) {
	system, code = strings.TrimSpace(system), strings.TrimSpace(code)
	if known, ok := aliases[strings.ToLower(system)]; ok {
		system = known
	}
	if strings.EqualFold(system, Text) {
		system, code = Text, strings.ToLower(strings.Join(strings.Fields(code), " "))
	}
	ok := system != "" && code != "" && len(system) <= maxSystem && len(code) <= maxCode
	return Code{System: system, Code: code}, ok
}

// String gives the text form.
func (c Code) String() string { return c.System + "|" + c.Code }

// MarshalText gives the text form.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the text form: [ErrCode] if it is none.
func (c *Code) UnmarshalText(text []byte) error {
	system, code, found := strings.Cut(string(text), "|")
	parsed, ok := NewCode(system, code)
	if !found || !ok {
		return ErrCode
	}
	*c = parsed
	return nil
}

// codes collects codes, without those that are none.
type codes []Code

func (l *codes) add(system, code string) {
	if c, ok := NewCode(system, code); ok {
		*l = append(*l, c)
	}
}
