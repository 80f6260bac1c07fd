package document

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

// FHIRFields say where a bundle has what is needed; the first that is not empty
// counts. The telephone number is always the patient's telecom: a mobile one before
// others, then by rank.
type FHIRFields struct {
	Accession []FHIRIdentifier `json:"accession"`
	Collected []FHIRTime       `json:"collected"`
}

// FHIRIdentifier is a place of the accession.
type FHIRIdentifier string

// The places of the accession.
const (
	SpecimenAccession     FHIRIdentifier = "specimen.accessionIdentifier"
	SpecimenIdentifier    FHIRIdentifier = "specimen.identifier"
	ReportIdentifier      FHIRIdentifier = "report.identifier"
	ObservationIdentifier FHIRIdentifier = "observation.identifier"
)

// FHIRTime is a place of the day of collection.
type FHIRTime string

// The places of the day of collection.
const (
	SpecimenCollected    FHIRTime = "specimen.collection.collected"
	ObservationEffective FHIRTime = "observation.effective"
	ReportEffective      FHIRTime = "report.effective"
)

// Known reports whether there is such a place.
func (i FHIRIdentifier) Known() bool {
	return slices.Contains([]FHIRIdentifier{SpecimenAccession, SpecimenIdentifier, ReportIdentifier, ObservationIdentifier}, i)
}

// Known reports whether there is such a place.
func (t FHIRTime) Known() bool {
	return slices.Contains([]FHIRTime{SpecimenCollected, ObservationEffective, ReportEffective}, t)
}

// What follows are the parts of FHIR R4 that are read, and no others.

type reference struct {
	Reference string `json:"reference"`
}

// oneOrMany is a member that some resources have once and others as a list.
type oneOrMany[T any] []T

func (l *oneOrMany[T]) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '[' {
		return json.Unmarshal(text, (*[]T)(l))
	}
	var one T
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	*l = []T{one}
	return nil
}

type identifier struct {
	System string `json:"system"`
	Value  string `json:"value"`
}

type concept struct {
	Coding []struct {
		System string `json:"system"`
		Code   string `json:"code"`
	} `json:"coding"`
}

func (c concept) codes() []Code {
	var list codes
	for _, coding := range c.Coding {
		list.add(coding.System, coding.Code)
	}
	return list
}

type period struct {
	Start string `json:"start"`
}

type observation struct {
	ID           string               `json:"id"`
	Status       string               `json:"status"`
	Identifier   []identifier         `json:"identifier"`
	Code         concept              `json:"code"`
	Subject      reference            `json:"subject"`
	Specimen     oneOrMany[reference] `json:"specimen"`
	Value        concept              `json:"valueCodeableConcept"`
	ValueString  string               `json:"valueString"`
	ValueTime    string               `json:"valueDateTime"`
	Flags        []concept            `json:"interpretation"`
	Effective    string               `json:"effectiveDateTime"`
	EffectiveAt  string               `json:"effectiveInstant"`
	EffectiveFor period               `json:"effectivePeriod"`
	// Of a report:
	Result     []reference `json:"result"`
	Conclusion []concept   `json:"conclusionCode"`
}

func (o *observation) effective() Date {
	return isoDate(o.Effective).or(isoDate(o.EffectiveAt)).or(isoDate(o.EffectiveFor.Start))
}

func (o *observation) status() Status {
	switch o.Status {
	case "final", "amended", "corrected", "appended":
		return Final
	case "entered-in-error":
		return Withdrawn
	}
	return Unfinished
}

type specimen struct {
	ID         string       `json:"id"`
	Accession  identifier   `json:"accessionIdentifier"`
	Identifier []identifier `json:"identifier"`
	Collection struct {
		At  string `json:"collectedDateTime"`
		For period `json:"collectedPeriod"`
	} `json:"collection"`
}

func (s *specimen) collected() Date {
	return isoDate(s.Collection.At).or(isoDate(s.Collection.For.Start))
}

type subject struct {
	ID      string `json:"id"`
	Telecom []struct {
		System string `json:"system"`
		Value  string `json:"value"`
		Use    string `json:"use"`
		Rank   int    `json:"rank"`
	} `json:"telecom"`
}

// phone is the number to reach a patient by text message.
func (p *subject) phone() string {
	const unranked = 1 << 30
	best, bestRank := "", 0
	for _, t := range p.Telecom {
		if t.System != "phone" && t.System != "sms" || t.Use == "old" || t.Rank < 0 {
			continue
		}
		rank := 2 * min(cmp.Or(t.Rank, unranked), unranked)
		if t.Use != "mobile" && t.System != "sms" {
			rank += 4 * unranked
		}
		if number := clean(strings.TrimPrefix(t.Value, "tel:")); number != "" && (best == "" || rank < bestRank) {
			best, bestRank = number, rank
		}
	}
	return best
}

// bundle is a document's resources by the names that references use. A name that two
// resources have means neither: a result must not reach another person's telephone.
type bundle struct {
	patients  map[string][]*subject
	specimens map[string][]*specimen
	byName    map[string][]*resource
	all       []*resource // observations
	reports   []*resource
}

// resource is an observation or a report.
type resource struct {
	*observation
	entry  entry
	report *resource // the first report that names the observation
	number int       // of the report, or of the observation that stands alone
}

// entry is where a resource stands in the bundle.
type entry struct {
	number  int
	fullURL string
}

// inner is the name of a resource that is contained in the entry's own.
func (e entry) inner(id string) string { return "#" + strconv.Itoa(e.number) + "#" + id }

// base is what relative references of the entry begin with, if its URL has one.
func (e entry) base() string {
	parts := strings.Split(e.fullURL, "/")
	if !strings.Contains(e.fullURL, "://") || len(parts) < 5 {
		return ""
	}
	return strings.Join(parts[:len(parts)-2], "/") + "/"
}

func readFHIR(body []byte, f Fields) (*Document, error) {
	if err := examine(body); err != nil {
		return &Document{}, err
	}
	var top struct {
		ResourceType string `json:"resourceType"`
		Entry        []struct {
			FullURL  string          `json:"fullUrl"`
			Resource json.RawMessage `json:"resource"`
		} `json:"entry"`
	}
	if err := decode(body, &top); err != nil {
		return &Document{}, err
	}
	switch {
	case top.ResourceType != "Bundle":
		return &Document{}, refuse(ErrUnsupported, "the resource is not a Bundle")
	case len(top.Entry) > maxEntries:
		return &Document{}, refuse(ErrTooMany, "at most %d entries are taken in one bundle", maxEntries)
	}
	b := &bundle{
		patients: map[string][]*subject{}, specimens: map[string][]*specimen{}, byName: map[string][]*resource{},
	}
	for i, e := range top.Entry {
		if err := b.take(e.Resource, entry{number: i, fullURL: e.FullURL}); err != nil {
			return &Document{}, err
		}
	}
	return b.results(f)
}

// decode explains errors without the values that the library's own would repeat.
func decode(body []byte, dst any) error {
	err := json.Unmarshal(body, dst)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return refuse(ErrMalformed, "the member %s has the wrong type", strings.ToValidUTF8(wrong.Field, ""))
	case err != nil:
		return refuse(ErrMalformed, "the JSON cannot be read")
	}
	return nil
}

// kind is what must be known of a resource before it is decoded. Only its own few
// kinds are.
type kind struct {
	ResourceType string            `json:"resourceType"`
	ID           string            `json:"id"`
	Contained    []json.RawMessage `json:"contained"`
}

// take files a resource under its names, and those that it contains under names of
// the entry.
func (b *bundle) take(raw json.RawMessage, e entry) error {
	if len(raw) == 0 {
		return nil // an entry may have a request alone
	}
	var k kind
	if err := decode(raw, &k); err != nil {
		return err
	}
	var names []string
	if e.fullURL != "" {
		names = append(names, e.fullURL)
	}
	if name := k.ResourceType + "/" + k.ID; k.ID != "" && name != e.fullURL {
		names = append(names, name)
	}
	if err := b.file(raw, k.ResourceType, e, names...); err != nil {
		return err
	}
	for _, inner := range k.Contained {
		var within kind
		if err := decode(inner, &within); err != nil {
			return err
		}
		if err := b.file(inner, within.ResourceType, e, e.inner(within.ID)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bundle) file(raw json.RawMessage, kind string, e entry, names ...string) error {
	var err error
	switch kind {
	case "Patient":
		var p subject
		err = decode(raw, &p)
		for _, n := range names {
			b.patients[n] = append(b.patients[n], &p)
		}
	case "Specimen":
		var s specimen
		err = decode(raw, &s)
		for _, n := range names {
			b.specimens[n] = append(b.specimens[n], &s)
		}
	case "Observation", "DiagnosticReport":
		var o observation
		err = decode(raw, &o)
		r := &resource{observation: &o, entry: e}
		if kind == "DiagnosticReport" {
			b.reports = append(b.reports, r)
			break
		}
		b.all = append(b.all, r)
		for _, n := range names {
			b.byName[n] = append(b.byName[n], r)
		}
	}
	return err
}

// names are those under which what a reference means may have been filed: a contained
// resource, an absolute URL, or type and ID on the same server or in the same bundle.
func (r *resource) names(to reference) []string {
	text, _, _ := strings.Cut(to.Reference, "/_history/")
	if id, contained := strings.CutPrefix(text, "#"); contained {
		return []string{r.entry.inner(id)}
	}
	if base := r.entry.base(); base != "" && !strings.Contains(text, ":") {
		return []string{base + text, text}
	}
	return []string{text}
}

// find is the one resource of the first name that any has.
func find[T any](in map[string][]*T, names []string) *T {
	for _, n := range names {
		switch len(in[n]) {
		case 0:
		case 1:
			return in[n][0]
		default:
			return nil
		}
	}
	return nil
}

// patientOf is who an observation is about, by itself or by its report; nil if nobody
// can be found.
func (b *bundle) patientOf(o *resource) *subject {
	if o.Subject.Reference == "" && o.report != nil {
		return find(b.patients, o.report.names(o.report.Subject))
	}
	return find(b.patients, o.names(o.Subject))
}

// results makes a result of every wanted observation, and of every report that has
// a conclusion and no observation.
func (b *bundle) results(f Fields) (*Document, error) {
	for i, report := range b.reports {
		report.number = i + 1
		for _, ref := range report.Result {
			if o := find(b.byName, report.names(ref)); o != nil && o.report == nil {
				o.report = report
			}
		}
	}
	onsets := map[*subject]Date{}
	for _, o := range b.all {
		if who := b.patientOf(o); who != nil && f.isOnset(o.Code.codes()) && o.status() == Final {
			onsets[who] = onsets[who].or(isoDate(o.ValueTime))
		}
	}
	d := &Document{}
	for i, o := range b.all {
		o.number = len(b.reports) + i + 1
		if o.report != nil {
			o.number = o.report.number
		}
		values := o.Value.codes()
		if o.ValueString != "" {
			if c, ok := NewCode(Text, o.ValueString); ok {
				values = append(values, c)
			}
		}
		for _, flag := range o.Flags {
			values = append(values, flag.codes()...)
		}
		if err := b.add(d, f, o, values, onsets); err != nil {
			return &Document{}, err
		}
	}
	for _, report := range b.reports {
		if len(report.Result) > 0 || len(report.Conclusion) == 0 {
			continue
		}
		var values []Code
		for _, c := range report.Conclusion {
			values = append(values, c.codes()...)
		}
		report.report = report
		if err := b.add(d, f, report, values, onsets); err != nil {
			return &Document{}, err
		}
	}
	return d, nil
}

func (b *bundle) add(d *Document, f Fields, o *resource, values []Code, onsets map[*subject]Date) error {
	tests := o.Code.codes()
	switch {
	case f.isOnset(tests):
		return nil
	case !f.wantsAny(tests):
		d.Ignored++
		return nil
	}
	r := Result{Report: o.number, Tests: tests, Values: values, Status: o.status()}
	if p := b.patientOf(o); p != nil {
		r.Phone, r.Onset = p.phone(), onsets[p]
	}
	b.identify(&r, f.FHIR, o)
	return d.add(r)
}

// identify fills in accession and day of collection.
func (b *bundle) identify(r *Result, f FHIRFields, o *resource) {
	s, report := b.specimenOf(o), &resource{observation: &observation{}}
	if o.report != nil {
		report = o.report
	}
	for _, place := range f.Accession {
		if r.Accession != "" {
			break
		}
		switch place {
		case SpecimenAccession:
			r.identifiedBy(s.Accession)
		case SpecimenIdentifier:
			r.identifiedBy(s.Identifier...)
		case ReportIdentifier:
			r.identifiedBy(report.Identifier...)
		case ObservationIdentifier:
			r.identifiedBy(o.Identifier...)
		}
	}
	for _, place := range f.Collected {
		switch place {
		case SpecimenCollected:
			r.Collected = r.Collected.or(s.collected())
		case ObservationEffective:
			r.Collected = r.Collected.or(o.effective())
		case ReportEffective:
			r.Collected = r.Collected.or(report.effective())
		}
	}
}

// identifiedBy takes the first identifier with a value.
func (r *Result) identifiedBy(list ...identifier) {
	for _, i := range list {
		if value := clean(i.Value); value != "" {
			r.Accession, r.Assigner = value, clean(i.System)
			return
		}
	}
}

// specimenOf is the specimen of an observation, or of its report; empty if there is
// none.
func (b *bundle) specimenOf(o *resource) *specimen {
	for _, r := range []*resource{o, o.report} {
		if r == nil {
			continue
		}
		for _, ref := range r.Specimen {
			if s := find(b.specimens, r.names(ref)); s != nil {
				return s
			}
		}
	}
	return &specimen{}
}

// examine checks that a body is exactly one JSON value, not too deep, in which no
// object has a member twice: two readers could take different ones.
func examine(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var open []map[string]bool // by level; nil for an array
	named := false             // the next token of the object is a value
	for {
		t, err := d.Token()
		switch {
		case errors.Is(err, io.EOF) && len(open) == 0 && d.InputOffset() > 0:
			return nil
		case err != nil:
			return refuse(ErrMalformed, "no JSON at byte %d", d.InputOffset())
		}
		var object map[string]bool
		if len(open) > 0 {
			object = open[len(open)-1]
		}
		if name, isText := t.(string); isText && object != nil && !named {
			if object[name] {
				return refuse(ErrMalformed, "a member is there twice, before byte %d", d.InputOffset())
			}
			object[name], named = true, true
			continue
		}
		named = false
		switch t {
		case json.Delim('{'):
			open = append(open, map[string]bool{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > MaxDepth {
			return refuse(ErrTooDeep, "nested deeper than %d levels at byte %d", MaxDepth, d.InputOffset())
		}
		if len(open) == 0 && d.More() {
			return refuse(ErrMalformed, "something follows the JSON at byte %d", d.InputOffset())
		}
	}
}
