package document

import (
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
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

// message is the segments of one message, the first of which is MSH.
type message struct {
	segments []segment
	line     int // of MSH, counted from one, for errors
}

var segmentName = regexp.MustCompile(`^[A-Z][A-Z0-9]{2}$`)

// splitter divides a document into messages and checks a batch's own lines.
type splitter struct {
	messages []message
	by       *encoding
	line     int
	stack    []string // open envelopes: FHS, BHS
	inBatch  int      // messages since BHS
	batches  int      // since FHS
	closed   bool     // FTS, or BTS outside a file, has been seen
}

// split takes lines that end with a carriage return, a line feed or both.
func split(text string) ([]message, error) {
	var s splitter
	total := 0
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if total++; total > maxSegments {
			return nil, refuse(ErrTooMany, "at most %d segments are taken in one document", maxSegments)
		}
		if err := s.take(line); err != nil {
			return nil, err
		}
	}
	switch {
	case len(s.stack) > 0:
		return nil, refuse(ErrMalformed, "the batch does not end: a trailer segment is missing")
	case len(s.messages) == 0:
		return nil, refuse(ErrMalformed, "there is no MSH segment")
	}
	return s.messages, nil
}

func (s *splitter) take(line string) error {
	s.line++
	if len(line) < 4 || !segmentName.MatchString(line[:3]) {
		return refuse(ErrMalformed, "segment %d has no name", s.line)
	}
	name := line[:3]
	switch name {
	case "FHS", "BHS":
		return s.open(name, line)
	case "BTS", "FTS":
		return s.close(name, line)
	case "MSH":
		return s.begin(line)
	}
	if len(s.messages) == 0 || s.by == nil {
		return refuse(ErrMalformed, "segment %d: a message begins with MSH", s.line)
	}
	if line[3] != s.by.field {
		return refuse(ErrMalformed, "segment %d: no field separator of this message after the name", s.line)
	}
	m := &s.messages[len(s.messages)-1]
	m.segments = append(m.segments, segment{name: name, text: line, by: s.by})
	return nil
}

func (s *splitter) open(name, line string) error {
	_, err := parseEncoding(line)
	switch {
	case err != nil:
		return refuse(ErrMalformed, "segment %d: %s", s.line, err)
	case name == "FHS" && (len(s.stack) > 0 || len(s.messages) > 0 || s.closed):
		return refuse(ErrMalformed, "segment %d: a file header in the middle", s.line)
	case name == "BHS" && slices.Contains(s.stack, "BHS"):
		return refuse(ErrMalformed, "segment %d: a batch within a batch", s.line)
	case name == "BHS" && (s.closed || len(s.stack) == 0 && len(s.messages) > 0):
		return refuse(ErrMalformed, "segment %d: a batch header in the middle", s.line)
	}
	s.stack = append(s.stack, name)
	s.inBatch, s.by = 0, nil
	return nil
}

func (s *splitter) close(name, line string) error {
	header := map[string]string{"BTS": "BHS", "FTS": "FHS"}[name]
	if len(s.stack) == 0 || s.stack[len(s.stack)-1] != header {
		return refuse(ErrMalformed, "segment %d: %s without %s", s.line, name, header)
	}
	s.stack = s.stack[:len(s.stack)-1]
	counted := s.inBatch
	if name == "BTS" {
		s.batches++
	} else {
		counted = s.batches
	}
	s.closed = len(s.stack) == 0
	s.by = nil
	if said := strings.TrimSpace(nth(line, line[3], 1)); said != "" && said != strconv.Itoa(counted) {
		return refuse(ErrMalformed, "segment %d: the trailer's count is not what was sent", s.line)
	}
	return nil
}

func (s *splitter) begin(line string) error {
	by, err := parseEncoding(line)
	switch {
	case err != nil:
		return refuse(ErrMalformed, "segment %d: %s", s.line, err)
	case s.closed:
		return refuse(ErrMalformed, "segment %d: a message after the end of the batch", s.line)
	case len(s.messages) == maxMessages:
		return refuse(ErrTooMany, "at most %d messages are taken in one document", maxMessages)
	}
	s.by = by
	s.inBatch++
	s.messages = append(s.messages, message{line: s.line, segments: []segment{{name: "MSH", text: line, by: by}}})
	return nil
}

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

// versions of the standard whose ORU^R01 has the fields that are read where they
// are read.
var versions = []string{"2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8"}

const longestHeaderField = 250

// header checks that the message is one that carries results for production.
func (m message) header() (Header, error) {
	msh := m.segments[0]
	h := Header{
		Separator: string(msh.by.field), Encoding: msh.fieldText(2),
		Application: msh.fieldText(3), Facility: msh.fieldText(4),
		ReceivingApplication: msh.fieldText(5), ReceivingFac: msh.fieldText(6),
		ControlID: msh.fieldText(10), ProcessingID: msh.fieldText(11), Version: msh.fieldText(12),
	}
	for _, part := range []string{h.Application, h.Facility, h.ReceivingApplication, h.ReceivingFac, h.ControlID, h.ProcessingID, h.Version} {
		if len(part) > longestHeaderField {
			return Header{}, refuse(ErrMalformed, "segment %d: a field of MSH is too long", m.line)
		}
	}
	kind := nth(msh.fieldText(9), msh.by.component, 0) + "^" + nth(msh.fieldText(9), msh.by.component, 1)
	charset := msh.first(18)
	switch {
	case kind != "ORU^R01":
		return h, refuse(ErrUnsupported, "segment %d: MSH-9 is not ORU^R01", m.line)
	case strings.TrimSpace(h.ControlID) == "":
		return h, refuse(ErrMalformed, "segment %d: MSH-10, the message control ID, is missing", m.line)
	case msh.first(11) != "P":
		return h, refuse(ErrUnsupported, "segment %d: MSH-11 is not P; training and debugging messages issue no codes", m.line)
	case !slices.Contains(versions, msh.first(12)):
		return h, refuse(ErrUnsupported, "segment %d: MSH-12 is none of the versions %s", m.line, strings.Join(versions, ", "))
	case !slices.Contains([]string{"", "ASCII", "UNICODE UTF-8", "UTF-8"}, charset):
		return h, refuse(ErrUnsupported, "segment %d: MSH-18 is neither ASCII nor UNICODE UTF-8", m.line)
	}
	return h, nil
}

// patient is what follows one PID.
type patient struct {
	pid    segment
	orders []order
	onset  Date
}

// order is one OBR with what belongs to it.
type order struct {
	orc, obr segment
	obx      []segment
	spm      segment
}

// read adds the results of a message.
func (m message) read(d *Document, f Fields) error {
	var p *patient
	var orc segment
	for _, s := range m.segments[1:] {
		switch s.name {
		case "PID":
			if err := m.emit(d, f, p); err != nil {
				return err
			}
			p, orc = &patient{pid: s}, segment{}
			continue
		case "ORC", "OBR", "OBX", "SPM":
			if p == nil {
				return refuse(ErrMalformed, "message at segment %d: %s before PID", m.line, s.name)
			}
		default:
			continue
		}
		if s.name == "ORC" {
			orc = s
			continue
		}
		if s.name == "OBR" {
			p.orders = append(p.orders, order{orc: orc, obr: s})
			orc = segment{}
			continue
		}
		if len(p.orders) == 0 {
			return refuse(ErrMalformed, "message at segment %d: %s before OBR", m.line, s.name)
		}
		p.orders[len(p.orders)-1].add(s)
	}
	return m.emit(d, f, p)
}

func (o *order) add(s segment) {
	if s.name == "OBX" {
		o.obx = append(o.obx, s)
		return
	}
	if o.spm.name == "" {
		o.spm = s
	}
}

// emit adds the results of one patient; a day of first symptoms is the patient's,
// wherever in the message it stands.
func (m message) emit(d *Document, f Fields, p *patient) error {
	if p == nil {
		return nil
	}
	for _, o := range p.orders {
		for _, x := range o.obx {
			if f.isOnset(codesOf(x, 3)) {
				p.onset = p.onset.or(hl7Date(x.first(5)))
			}
		}
	}
	for _, o := range p.orders {
		for _, x := range o.obx {
			tests := codesOf(x, 3)
			if f.isOnset(tests) {
				continue
			}
			if !f.wantsAny(tests) {
				d.Ignored++
				continue
			}
			if err := d.add(m.result(f, p, o, x, tests)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m message) result(f Fields, p *patient, o order, x segment, tests []Code) Result {
	from := map[string]segment{"PID": p.pid, "ORC": o.orc, "OBR": o.obr, "OBX": x, "SPM": o.spm}
	r := Result{Report: m.line, Tests: tests, Values: valuesOf(x), Status: statusOf(x, o.obr), Onset: p.onset}
	for _, ref := range f.HL7.Phone {
		if r.Phone == "" {
			r.Phone = phoneAt(from[ref.Segment], ref)
		}
	}
	for _, ref := range f.HL7.Accession {
		if r.Accession == "" {
			r.Accession, r.Assigner = entityAt(from[ref.Segment], ref)
		}
	}
	if r.Assigner == "" {
		r.Assigner = m.facility()
	}
	for _, ref := range f.HL7.Collected {
		s := from[ref.Segment]
		if s.name != "" {
			r.Collected = r.Collected.or(hl7Date(s.decode(nth(s.at(ref), s.separatorIn(ref), 0))))
		}
	}
	return r
}

// facility names the sender, for laboratories that do not say who assigned their
// numbers: the universal ID of MSH-4 if there is one, else its namespace.
func (m message) facility() string {
	msh := m.segments[0]
	if id := clean(msh.decode(nth(msh.fieldText(4), msh.by.component, 1))); id != "" {
		return id
	}
	return clean(msh.first(4))
}

// at is what a reference refers to, in the first repetition, as it stands.
func (s segment) at(ref Reference) string {
	text := nth(s.fieldText(ref.Field), s.by.repetition, 0)
	if ref.Component > 0 {
		return nth(text, s.by.component, ref.Component-1)
	}
	return text
}

// separatorIn divides what a reference refers to.
func (s segment) separatorIn(ref Reference) byte {
	if ref.Component > 0 {
		return s.by.subcomponent
	}
	return s.by.component
}

// entityAt reads an identifier with the name of whoever assigned it: the universal
// ID if there is one, else the namespace.
func entityAt(s segment, ref Reference) (value, assigner string) {
	if s.name == "" {
		return "", ""
	}
	text, separator := s.at(ref), s.separatorIn(ref)
	part := func(n int) string { return clean(s.decode(nth(text, separator, n))) }
	if assigner = part(2); assigner == "" {
		assigner = part(1)
	}
	return part(0), assigner
}

// codesOf reads the codes of a coded element: the first triplet and the alternate.
func codesOf(s segment, field int) []Code {
	return s.coded(nth(s.fieldText(field), s.by.repetition, 0))
}

func (s segment) coded(text string) []Code {
	var list codes
	for _, at := range []int{0, 3} {
		list.add(s.decode(nth(text, s.by.component, at+2)), s.decode(nth(text, s.by.component, at)))
	}
	return list
}

// valuesOf reads the outcome: the coded value or the words of OBX-5, then the flags
// of OBX-8.
func valuesOf(x segment) []Code {
	var list codes
	value := nth(x.fieldText(5), x.by.repetition, 0)
	switch x.first(2) {
	case "CE", "CWE", "CNE", "CF":
		list = x.coded(value)
	case "ST", "TX", "FT":
		list.add(Text, x.decode(value))
	}
	for _, flag := range x.repetitions(8) {
		list.add(Interpretation, x.decode(nth(flag, x.by.component, 0)))
	}
	return list
}

// statusOf reads OBX-11, and OBR-25 if that is empty (tables 0085 and 0123).
func statusOf(x, obr segment) Status {
	code := x.first(11)
	if code == "" {
		code = obr.first(25)
	}
	switch code {
	case "F", "C", "U":
		return Final
	case "W", "D":
		return Withdrawn
	}
	return Unfinished
}

// phoneAt reads a telephone number: a mobile one if there is, else the first that
// is one.
func phoneAt(s segment, ref Reference) string {
	if s.name == "" {
		return ""
	}
	if ref.Component > 0 {
		return clean(s.decode(nth(s.at(ref), s.by.subcomponent, 0)))
	}
	best := ""
	for _, repetition := range s.repetitions(ref.Field) {
		number, mobile := s.telephone(repetition)
		if mobile && number != "" {
			return number
		}
		if best == "" {
			best = number
		}
	}
	return best
}

// telephone reads an XTN. Networks, faxes, pagers and modems are no telephones.
func (s segment) telephone(text string) (number string, mobile bool) {
	part := func(n int) string { return strings.TrimSpace(s.decode(nth(text, s.by.component, n-1))) }
	use, equipment := strings.ToUpper(part(2)), strings.ToUpper(part(3))
	if use == "NET" || slices.Contains([]string{"FX", "MD", "BP", "INTERNET", "X.400", "TTY"}, equipment) {
		return "", false
	}
	number = part(12)
	if number == "" && part(7) != "" {
		number = part(6) + part(7)
		if country := strings.TrimLeft(part(5), "+"); country != "" {
			number = "+" + country + number
		}
	}
	if number == "" {
		number = part(1)
	}
	return clean(number), equipment == "CP"
}
