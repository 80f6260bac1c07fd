package document

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
)

// CSVColumns are the names, in the first line, of the columns that are read. They
// are compared without regard to case and surrounding blanks; other columns are
// skipped. Test, Result, Accession and Phone must be there.
type CSVColumns struct {
	Test      string `json:"test"`
	Result    string `json:"result"`
	Phone     string `json:"phone"`
	Accession string `json:"accession"`
	Assigner  string `json:"assigner"`
	Collected string `json:"collected"`
	Onset     string `json:"onset"`
	Status    string `json:"status"`
	// TestSystem and ResultSystem are whose codes the first two columns have.
	TestSystem   string `json:"testSystem"`
	ResultSystem string `json:"resultSystem"`
}

// Required are the names of the columns that a table must have.
func (c CSVColumns) Required() []string { return []string{c.Test, c.Result, c.Phone, c.Accession} }

// columnName is how names of columns are compared.
func columnName(text string) string { return strings.ToLower(strings.TrimSpace(text)) }

// row finds cells by the names of their columns.
type row struct {
	at    map[string]int
	cells []string
}

func (r row) cell(column string) string {
	i, there := r.at[columnName(column)]
	if !there || column == "" {
		return ""
	}
	return clean(r.cells[i])
}

func readCSV(body []byte, f Fields) (*Document, error) {
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	reader.ReuseRecord = true
	if i := bytes.IndexFunc(body, isControl); i >= 0 {
		return &Document{}, refuse(ErrEncoding, "control character at byte %d", i)
	}
	header, err := reader.Read()
	if err != nil {
		return &Document{}, unreadable(err)
	}
	at := map[string]int{}
	for i, name := range header {
		if _, twice := at[columnName(name)]; twice && columnName(name) != "" {
			return &Document{}, refuse(ErrMalformed, "columns %d and %d have the same name", at[columnName(name)]+1, i+1)
		}
		at[columnName(name)] = i
	}
	for _, name := range f.CSV.Required() {
		if _, there := at[columnName(name)]; !there {
			return &Document{}, refuse(ErrMalformed, "there is no column %q", name)
		}
	}
	return readRows(reader, at, f)
}

func readRows(reader *csv.Reader, at map[string]int, f Fields) (*Document, error) {
	d := &Document{}
	for n := 1; ; n++ {
		cells, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF):
			return d, nil
		case err != nil:
			return &Document{}, unreadable(err)
		case n > maxRows:
			return &Document{}, refuse(ErrTooMany, "at most %d lines are taken in one table", maxRows)
		}
		if err := d.addRow(row{at: at, cells: cells}, n, f); err != nil {
			return &Document{}, err
		}
	}
}

func (d *Document) addRow(r row, number int, f Fields) error {
	var tests, values codes
	tests.add(f.CSV.TestSystem, r.cell(f.CSV.Test))
	values.add(f.CSV.ResultSystem, r.cell(f.CSV.Result))
	values.add(Text, r.cell(f.CSV.Result))
	if !f.wantsAny(tests) {
		d.Ignored++
		return nil
	}
	return d.add(Result{
		Report: number, Tests: tests, Values: values, Status: rowStatus(r.cell(f.CSV.Status)),
		Accession: r.cell(f.CSV.Accession), Assigner: r.cell(f.CSV.Assigner), Phone: r.cell(f.CSV.Phone),
		Collected: isoDate(r.cell(f.CSV.Collected)), Onset: isoDate(r.cell(f.CSV.Onset)),
	})
}

// rowStatus reads FHIR's words; a table without any has final results.
func rowStatus(word string) Status {
	if word == "" {
		return Final
	}
	o := observation{Status: strings.ToLower(word)}
	return o.status()
}

// unreadable explains the library's errors, which name lines and no values.
func unreadable(err error) error {
	var bad *csv.ParseError
	if errors.As(err, &bad) {
		return refuse(ErrMalformed, "line %d, column %d: %s", bad.Line, bad.Column, bad.Err)
	}
	return refuse(ErrMalformed, "there is no line with the names of columns")
}
