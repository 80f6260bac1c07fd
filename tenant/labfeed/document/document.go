// Package document reads laboratory results out of the three kinds of documents
// that laboratories send: FHIR R4 bundles in JSON, HL7 v2 messages ORU^R01, and
// CSV tables.
//
// It takes from a document what is needed to decide about a verification code and
// to deliver it: the codes of test and result, the accession, two dates and a
// telephone number. Names, addresses, birth dates, patient numbers and everything
// else are never decoded. That is why the readers are the project's own and small,
// and not general models of the two standards, which hold whole patients.
//
// Every document is bounded in size, results and depth, is valid UTF-8, and is
// refused as a whole if it is broken anywhere: half a document is nobody's word.
// Errors name positions and fields, never values.
package document

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// Bounds of a document.
const (
	// MaxSize is the longest document, in bytes.
	MaxSize = 10_000_000
	// MaxResults is how many results of wanted tests a document may have.
	MaxResults = 5_000
	// MaxDepth is how deep a FHIR document may be nested.
	MaxDepth = 32

	maxSegments = 200_000 // of an HL7 document
	maxEntries  = 50_000  // of a FHIR bundle
	maxRows     = 50_000  // of a CSV table
	maxMessages = 5_000   // of an HL7 batch
)

// Format is a kind of document.
type Format string

// The formats.
const (
	FHIR Format = "fhir"
	HL7  Format = "hl7"
	CSV  Format = "csv"
)

// Formats are all of them.
func Formats() []Format { return []Format{FHIR, HL7, CSV} }

// Why a document is refused.
var (
	// ErrTooLarge: more than [MaxSize] bytes.
	ErrTooLarge = errors.New("document too large")
	// ErrTooMany: more results than [MaxResults], or far too many other parts.
	ErrTooMany = errors.New("too many results in one document")
	// ErrTooDeep: nested deeper than [MaxDepth].
	ErrTooDeep = errors.New("document nested too deep")
	// ErrEncoding: not UTF-8, or control characters that no text has.
	ErrEncoding = errors.New("document is not clean UTF-8")
	// ErrMalformed: not a document of its format.
	ErrMalformed = errors.New("malformed document")
	// ErrUnsupported: a document of the format, but not one that carries results
	// for production.
	ErrUnsupported = errors.New("unsupported document")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrTooLarge, ErrTooMany, ErrTooDeep, ErrEncoding, ErrMalformed, ErrUnsupported}
}

// Problem is a refusal with words for the sender: where and what, without values.
type Problem struct { //nolint:errname // it is a refusal in words for people, as verification.Problem
	// Kind is one of [Sentinels].
	Kind error
	Text string
}

// Error gives kind and text; neither repeats anything of the document.
func (p *Problem) Error() string { return p.Kind.Error() + ": " + p.Text }

// Unwrap lets errors.Is find the kind.
func (p *Problem) Unwrap() error { return p.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Problem{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Status is how final a result is.
type Status int

// The statuses.
const (
	// Unfinished results say nothing yet, or never will: preliminary, cancelled.
	Unfinished Status = iota
	// Final results count, corrected ones included.
	Final
	// Withdrawn results were reported by mistake.
	Withdrawn
)

// Result is one result of a wanted test. It prints and logs as a fixed word.
type Result struct {
	// Report tells reports of one document apart. Results of one report speak of one
	// examination; later reports may correct earlier ones.
	Report int
	// Accession is the laboratory's number for the specimen or order, and Assigner
	// the one within whose numbers it is unique. Empty if there is none.
	Accession, Assigner string
	// Phone is the telephone number as it was written; empty if there is none.
	Phone string
	// Tests are the codes of the test, Values those of its outcome, best first.
	Tests, Values []Code
	Status        Status
	Collected     Date
	Onset         Date
}

const hidden = "[laboratory result]"

// Format hides the result from every verb of package fmt.
func (Result) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the result from package slog.
func (Result) LogValue() slog.Value { return slog.StringValue(hidden) }

// Document is what was read.
type Document struct {
	Results []Result
	// Ignored counts results of tests that are not wanted.
	Ignored int
	// Messages are the headers of an HL7 document's messages, for the answer.
	Messages []Header
}

// Fields say where a document has what is needed, and which tests are wanted.
type Fields struct {
	// Wanted reports whether a test counts.
	Wanted func(Code) bool
	// Onset are codes of observations whose value is the day of the first symptoms.
	Onset []Code
	HL7   HL7Fields
	FHIR  FHIRFields
	CSV   CSVColumns
}

func (f Fields) wantsAny(tests []Code) bool {
	for _, t := range tests {
		if f.Wanted(t) {
			return true
		}
	}
	return false
}

func (f Fields) isOnset(codes []Code) bool {
	for _, c := range codes {
		for _, o := range f.Onset {
			if c == o {
				return true
			}
		}
	}
	return false
}

// Read reads a document. Every error is a [*Problem]. A refused HL7 document comes
// with the headers that could be read.
func Read(format Format, body []byte, f Fields) (*Document, error) {
	if len(body) > MaxSize {
		return &Document{}, refuse(ErrTooLarge, "at most %d bytes are taken", MaxSize)
	}
	if !utf8.Valid(body) {
		return &Document{}, refuse(ErrEncoding, "the document has bytes that are not UTF-8")
	}
	switch format {
	case FHIR:
		return readFHIR(body, f)
	case HL7:
		return readHL7(string(body), f)
	case CSV:
		return readCSV(body, f)
	}
	return &Document{}, refuse(ErrUnsupported, "there is no such format")
}

// add appends results, up to the limit.
func (d *Document) add(r Result) error {
	if len(d.Results) == MaxResults {
		return refuse(ErrTooMany, "at most %d results are taken in one document", MaxResults)
	}
	d.Results = append(d.Results, r)
	return nil
}

// clean is a text without surrounding blanks; empty if it is longer than anything
// that is used as it stands.
func clean(text string) string {
	text = strings.TrimSpace(text)
	const longest = 250
	if len(text) > longest {
		return ""
	}
	return text
}
