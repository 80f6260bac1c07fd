package sheet

import (
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"iter"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/verification"
)

// Check is what a dry run found: what would come of a table's rows.
type Check struct {
	Mapping Mapping
	// Codes would be issued, Messages of them by text message, and the others be read in
	// the result.
	Codes, Messages int
	// Duplicates are rows with the telephone number of an earlier one: no code is issued
	// for them. Problems are rows that cannot be used.
	Duplicates, Problems int
	// Findings are the first rows of both kinds.
	Findings []Finding
}

// maxFindings is how many rows a check tells of each kind.
const maxFindings = 50

// Finding is a row that is not as the others.
type Finding struct {
	// Row is what spreadsheets call it.
	Row int
	// Field is what must be put right, and Text what stands there.
	Field Field
	Text  string
	// Kind is the words of one of verification.Sentinels; empty for a row without cells,
	// and for one that has the telephone number of the row DuplicateOf.
	Kind        string
	DuplicateOf int
}

// Cause is the rule that the row breaks; nil if Kind is empty.
func (f Finding) Cause() error {
	for _, kind := range verification.Sentinels() {
		if f.Kind == kind.Error() {
			return kind
		}
	}
	return nil
}

// vet tells whether an order breaks a rule by which codes are issued.
type vet func(batch.Order) error

func (d *Desk) vet(t *tenant.Tenant, by authz.Subject) vet {
	return func(o batch.Order) error {
		return d.c.Codes.Vet(t, by, verification.IssueRequest{
			TestType: o.TestType, SymptomDate: o.SymptomDate, TestDate: o.TestDate, TZOffset: o.TZOffset, Phone: o.Phone, Deferred: true,
		})
	}
}

// try is a dry run over all rows.
func (s *Sheet) try(m Mapping, offset float64, numbers *batch.Numbers, allowed vet) Check {
	c := Check{Mapping: m}
	for i, row := range s.Rows {
		o := m.order(row, offset)
		err := allowed(o)
		switch {
		case row == nil:
			c.problem(Finding{Row: RowNumber(i), Field: TestType})
		case err != nil:
			field := blame(o, err, allowed)
			c.problem(Finding{Row: RowNumber(i), Field: field, Text: cut(m.text(row, field), maxHeading), Kind: kindOf(err)})
		default:
			c.good(i, o, numbers.Seen(i+1, o.Phone))
		}
	}
	return c
}

func (c *Check) problem(f Finding) {
	if c.Problems++; c.Problems <= maxFindings {
		c.Findings = append(c.Findings, f)
	}
}

// good counts a row that can be used. original is the number of the earlier row, from 1,
// that has its telephone number.
func (c *Check) good(index int, o batch.Order, original int) {
	switch {
	case original > 0:
		if c.Duplicates++; c.Duplicates <= maxFindings {
			c.Findings = append(c.Findings, Finding{Row: RowNumber(index), Field: Phone, DuplicateOf: RowNumber(original - 1)})
		}
	case o.Phone != "":
		c.Codes++
		c.Messages++
	default:
		c.Codes++
	}
}

// kindOf is the words of the rule that err tells of.
func kindOf(err error) string {
	for _, kind := range verification.Sentinels() {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return ""
}

// blame finds the field that breaks a rule. Of two dates it is the one without which the
// order would break another rule or none.
func blame(o batch.Order, err error, allowed vet) Field {
	switch {
	case errors.Is(err, verification.ErrPhoneInvalid), errors.Is(err, verification.ErrNoProvider), errors.Is(err, verification.ErrMissingPhone):
		return Phone
	case errors.Is(err, verification.ErrMissingDate):
		return TestDate
	case errors.Is(err, verification.ErrInvalidDate), errors.Is(err, verification.ErrUnparsable):
		without := o
		without.SymptomDate = ""
		if text(allowed(without)) != text(err) {
			return SymptomDate
		}
		return TestDate
	}
	return TestType
}

// text is what a refusal says.
func text(err error) string {
	var p *verification.Problem
	if errors.As(err, &p) {
		return p.Text
	}
	return ""
}

// orders are what the rows ask for.
func (s *Sheet) orders(m Mapping, offset float64) iter.Seq2[batch.Order, error] {
	return func(yield func(batch.Order, error) bool) {
		for _, row := range s.Rows {
			if !yield(m.order(row, offset), nil) {
				return
			}
		}
	}
}

// digest writes the table as it is known again into h: neither how it is separated nor
// blanks count.
func (s *Sheet) digest(h hash.Hash) {
	for _, row := range append([][]string{s.Columns}, s.Rows...) {
		_ = binary.Write(h, binary.BigEndian, uint32(len(row))) // a hash takes everything
		for _, c := range row {
			_ = binary.Write(h, binary.BigEndian, uint32(len(c)))
			_, _ = io.WriteString(h, c)
		}
	}
}
