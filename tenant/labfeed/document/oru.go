package document

import (
	"slices"
	"strings"
)

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
