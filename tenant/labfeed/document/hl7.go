package document

import (
	"encoding/hex"
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// HL7Fields say where an ORU^R01 message has what is needed. Each is a list of
// references, as PID-13, SPM-2.2 or OBX-14, of which the first that is not empty
// counts.
type HL7Fields struct {
	// Phone refers to telephone numbers (XTN) or plain text.
	Phone []Reference `json:"phone"`
	// Accession refers to entity identifiers (EI) or plain text.
	Accession []Reference `json:"accession"`
	// Collected refers to times.
	Collected []Reference `json:"collected"`
}

// Reference names a field, or a component of one, of a segment of PID, ORC, OBR,
// OBX or SPM. Its text form is PID-13 or SPM-2.2.
type Reference struct {
	Segment          string
	Field, Component int // Component is zero for the whole field
}

// ErrReference means that a text is not a reference.
var ErrReference = errors.New(`a reference is a field of PID, ORC, OBR, OBX or SPM, as in "PID-13" or "SPM-2.2"`)

var referenceForm = regexp.MustCompile(`^(PID|ORC|OBR|OBX|SPM)-([1-9][0-9]?)(?:\.([1-9][0-9]?))?$`)

// String gives the text form.
func (r Reference) String() string {
	text := r.Segment + "-" + strconv.Itoa(r.Field)
	if r.Component > 0 {
		text += "." + strconv.Itoa(r.Component)
	}
	return text
}

// MarshalText gives the text form.
func (r Reference) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the text form: [ErrReference] if it is none.
func (r *Reference) UnmarshalText(text []byte) error {
	m := referenceForm.FindStringSubmatch(string(text))
	if m == nil {
		return ErrReference
	}
	field, _ := strconv.Atoi(m[2]) // the form has digits only
	component := 0
	if m[3] != "" {
		component, _ = strconv.Atoi(m[3])
	}
	*r = Reference{Segment: m[1], Field: field, Component: component}
	return nil
}

// Header is what the answer to a message repeats of it: parts of its MSH segment as
// they stand, in the message's own encoding characters.
type Header struct {
	Separator, Encoding                string // MSH-1, MSH-2
	Application, Facility              string // MSH-3, MSH-4: the sender
	ReceivingApplication, ReceivingFac string // MSH-5, MSH-6
	ControlID                          string // MSH-10
	ProcessingID, Version              string // MSH-11, MSH-12
}

// encoding are the characters that divide a message, from MSH-1 and MSH-2.
type encoding struct{ field, component, repetition, escape, subcomponent byte }

// segment is one line of a message. Its fields are cut when they are asked for, so
// that a line of separators costs nothing.
type segment struct {
	name string
	text string // the whole line
	by   *encoding
}

// fieldText is field n of the segment as it stands; fields of MSH are counted as
// the standard does, with the separator itself as the first.
func (s segment) fieldText(n int) string {
	if s.name == "MSH" {
		n--
	}
	return nth(s.text, s.by.field, n)
}

// nth is the part of text after n separators.
func nth(text string, separator byte, n int) string {
	for range n {
		i := strings.IndexByte(text, separator)
		if i < 0 {
			return ""
		}
		text = text[i+1:]
	}
	if i := strings.IndexByte(text, separator); i >= 0 {
		return text[:i]
	}
	return text
}

// repetitions are those of a field, at most so many that no real field has more.
func (s segment) repetitions(n int) []string {
	const most = 20
	return strings.SplitN(s.fieldText(n), string(s.by.repetition), most)
}

// first is the first component of a field's first repetition, decoded.
func (s segment) first(n int) string {
	return s.decode(nth(nth(nth(s.fieldText(n), s.by.repetition, 0), s.by.component, 0), s.by.subcomponent, 0))
}

// decode replaces escape sequences. Formatting that means nothing to us is dropped.
func (s segment) decode(text string) string { return decodeEscapes(text, s.by) }

func decodeEscapes(text string, by *encoding) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, string(by.escape))
		out.WriteString(before)
		if !found {
			return out.String()
		}
		sequence, rest, closed := strings.Cut(after, string(by.escape))
		if !closed {
			return out.String()
		}
		out.WriteString(by.unescape(sequence))
		text = rest
	}
}

func (e *encoding) unescape(sequence string) string {
	switch sequence {
	case "F":
		return string(e.field)
	case "S":
		return string(e.component)
	case "T":
		return string(e.subcomponent)
	case "R":
		return string(e.repetition)
	case "E":
		return string(e.escape)
	}
	if digits, isHex := strings.CutPrefix(sequence, "X"); isHex {
		if raw, err := hex.DecodeString(digits); err == nil {
			return strings.ToValidUTF8(string(raw), "")
		}
	}
	return ""
}

// readHL7 reads one message, or a batch of them.
func readHL7(text string, f Fields) (*Document, error) {
	d := &Document{}
	if i := strings.IndexFunc(text, isControl); i >= 0 {
		return d, refuse(ErrEncoding, "control character at byte %d; segments end with a carriage return, and there is no framing", i)
	}
	messages, err := split(text)
	if err != nil {
		return d, err
	}
	for _, m := range messages {
		h, wrong := m.header()
		if wrong != nil && err == nil {
			err = wrong
		}
		if h.Separator != "" {
			d.Messages = append(d.Messages, h)
		}
	}
	if err != nil {
		return d, err
	}
	for _, m := range messages {
		if err := m.read(d, f); err != nil {
			return &Document{Messages: d.Messages}, err
		}
	}
	return d, nil
}

func isControl(r rune) bool { return r < ' ' && r != '\r' && r != '\n' && r != '\t' || r == 0x7f }

var errEncodingCharacters = errors.New("the encoding characters are not four or five different punctuation marks")

const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

// parseEncoding reads the characters from a segment MSH, BHS or FHS.
func parseEncoding(line string) (*encoding, error) {
	const name = 3
	set := line[name:]
	if i := strings.IndexByte(line[name+1:], line[name]); i >= 0 {
		set = line[name : name+1+i]
	}
	if len(set) != 5 && len(set) != 6 { // the separator and four, or five with truncation
		return nil, errEncodingCharacters
	}
	for i := range len(set) {
		c := set[i]
		if strings.IndexByte(punctuation, c) < 0 || strings.IndexByte(set[:i], c) >= 0 {
			return nil, errEncodingCharacters
		}
	}
	return &encoding{field: set[0], component: set[1], repetition: set[2], escape: set[3], subcomponent: set[4]}, nil
}
