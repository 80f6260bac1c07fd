package sheet

import (
	"slices"
	"strings"
	"time"

	"carillon/signing/certificate"
	"carillon/tenant/batch"
)

// Field is what a column can hold.
type Field string

// The fields.
const (
	TestType    Field = "test_type"
	TestDate    Field = "test_date"
	SymptomDate Field = "symptom_date"
	Phone       Field = "phone"
)

// Fields lists them.
func Fields() []Field { return []Field{TestType, TestDate, SymptomDate, Phone} }

// Dates is the order in which dates are written.
type Dates string

// The orders. Years have four digits; the parts are separated by hyphens, points or
// slashes.
const (
	YearFirst  Dates = "ymd"
	MonthFirst Dates = "mdy"
	DayFirst   Dates = "dmy"
)

// AllDates lists them.
func AllDates() []Dates { return []Dates{YearFirst, MonthFirst, DayFirst} }

func (d Dates) layout() string {
	switch d {
	case MonthFirst:
		return "1-2-2006"
	case DayFirst:
		return "2-1-2006"
	case YearFirst:
	}
	return "2006-1-2"
}

// read is a date as the protocol writes it; what is none is left as it is.
func (d Dates) read(text string) string {
	plain := strings.NewReplacer("/", "-", ".", "-").Replace(text)
	day, err := time.Parse(d.layout(), plain)
	if err != nil {
		return text
	}
	return day.Format(time.DateOnly)
}

// Mapping says what the columns of a table mean.
type Mapping struct {
	// Columns are the headings' indexes, of the fields that have a column.
	Columns map[Field]int
	Dates   Dates
	// Type is the test type of all rows, if no column has it.
	Type string
}

// words are what headings have in them, in the languages of the portal, by which columns
// are guessed. The first field that fits has the column.
func words() []struct {
	field Field
	words []string
} {
	return []struct {
		field Field
		words []string
	}{
		{Phone, []string{"phone", "mobile", "cell", "tel", "móvil", "movil", "celular"}},
		{SymptomDate, []string{"symptom", "onset", "síntoma", "sintoma"}},
		{TestDate, []string{"date", "fecha", "collected", "sampled"}},
		{TestType, []string{"type", "result", "diagnos", "tipo", "resultado"}},
	}
}

// Guess is a mapping to begin with, by the headings.
func Guess(columns []string) Mapping {
	m := Mapping{Columns: map[Field]int{}, Dates: YearFirst}
	for i, heading := range columns {
		heading = strings.ToLower(heading)
		for _, w := range words() {
			_, taken := m.Columns[w.field]
			if !taken && slices.ContainsFunc(w.words, func(word string) bool { return strings.Contains(heading, word) }) {
				m.Columns[w.field] = i
				break
			}
		}
	}
	return m
}

// check tells whether m makes orders of a table with so many columns.
func (m Mapping) check(columns int) error {
	used := map[int]bool{}
	for _, f := range Fields() {
		at, mapped := m.Columns[f]
		if mapped && (at < 0 || at >= columns || used[at]) {
			return ErrColumns
		}
		if mapped {
			used[at] = true
		}
	}
	if _, mapped := m.Columns[TestType]; !mapped {
		if _, err := certificate.ParseReportType(m.Type); err != nil {
			return ErrColumns
		}
	}
	if !slices.Contains(AllDates(), m.Dates) {
		return ErrColumns
	}
	return nil
}

// text is what a row has for a field.
func (m Mapping) text(row []string, f Field) string {
	at, mapped := m.Columns[f]
	if !mapped {
		return ""
	}
	return cell(row, at)
}

// order is what a row asks for. Dates may be of the day that it is now so many minutes east
// of UTC.
func (m Mapping) order(row []string, offset float64) batch.Order {
	o := batch.Order{
		TestType:    strings.ToLower(m.text(row, TestType)),
		TestDate:    m.Dates.read(m.text(row, TestDate)),
		SymptomDate: m.Dates.read(m.text(row, SymptomDate)),
		Phone:       m.text(row, Phone),
		TZOffset:    offset,
	}
	if _, mapped := m.Columns[TestType]; !mapped {
		o.TestType = m.Type
	}
	return o
}
