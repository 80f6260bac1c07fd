// Package sheet lets people order batches of codes by a table in a file, as spreadsheets
// save it.
//
// A file is read as a [Sheet]. Its rows wait, sealed, for whoever uploaded it to say what
// the columns mean, and are tried by the very rules by which codes are issued: nothing is
// ordered before every row is in order. Then a [Desk] orders a batch, and forgets them.
// Files that nobody came back to are forgotten after an hour.
//
// The batch's idempotency key is a digest of the table under a key of the tenant's, so that
// the same file makes no second batch, and tells nothing about its rows.
package sheet

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"carillon/tenant/batch"
	"carillon/tenant/spreadsheet"
)

const (
	// MaxBytes is how long a file may be.
	MaxBytes = 10 << 20
	// MaxColumns is how many columns a table may have.
	MaxColumns = 50
	// maxHeading is the longest heading that is kept, in characters.
	maxHeading = 60
)

var (
	// ErrText means that a file is no text in UTF-8 or UTF-16.
	ErrText = errors.New("file is no text in UTF-8")
	// ErrForm means that quotes do not fit; a [FormError] says where.
	ErrForm = errors.New("file is no table")
	// ErrHeadings means that the first row does not name each column, and no two alike.
	ErrHeadings = errors.New("first row does not name the columns")
	// ErrEmpty means that no row has anything in it.
	ErrEmpty = errors.New("table has no rows")
	// ErrRows means that there are more rows than a batch may have.
	ErrRows = errors.New("table has too many rows")
	// ErrSize means that the file is longer than [MaxBytes].
	ErrSize = errors.New("file is too long")
	// ErrColumns means that no column was chosen for what every row needs, or one twice.
	ErrColumns = errors.New("columns do not make an order")
	// ErrNotFound means that there is no such file, or that somebody else uploaded it.
	ErrNotFound = errors.New("no such file")
	// ErrUnchecked means that the rows were not tried, or not all are in order.
	ErrUnchecked = errors.New("rows are not in order")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrText, ErrForm, ErrHeadings, ErrEmpty, ErrRows, ErrSize, ErrColumns, ErrNotFound, ErrUnchecked}
}

// FormError is an [ErrText] or [ErrForm] with the row where it was found, the headings
// being row 1.
type FormError struct {
	Row   int
	Cause error
}

func (e *FormError) Error() string { return fmt.Sprintf("row %d: %v", e.Row, e.Cause) }

// Unwrap lets errors.Is find the cause.
func (e *FormError) Unwrap() error { return e.Cause }

// Sheet is a table: the headings, and the cells of the rows below them. A row may have
// fewer cells than there are headings. Rows without a word in them at the end are left out;
// one between others has no cells.
type Sheet struct {
	Columns []string
	Rows    [][]string
}

// firstRow is what spreadsheets call the first row below the headings.
const firstRow = 2

// RowNumber is what spreadsheets call the row with an index.
func RowNumber(index int) int { return index + firstRow }

// Read reads a file.
func Read(file []byte) (*Sheet, error) {
	if len(file) > MaxBytes {
		return nil, ErrSize
	}
	text, ok := spreadsheet.Text(file)
	if !ok {
		return nil, ErrText
	}
	r := spreadsheet.Reader(text)
	headings, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, ErrEmpty
	}
	if err != nil {
		return nil, &FormError{1, ErrForm}
	}
	s := &Sheet{}
	if s.Columns, err = columns(headings); err != nil {
		return nil, err
	}
	line, _ := r.FieldPos(0)
	if err := s.read(r, line+newlines(headings)+1); err != nil {
		return nil, err
	}
	if len(s.Rows) == 0 {
		return nil, ErrEmpty
	}
	return s, nil
}

// columns are the headings as they are shown.
func columns(headings []string) ([]string, error) {
	headings = trimmed(headings)
	if len(headings) == 0 || len(headings) > MaxColumns {
		return nil, ErrHeadings
	}
	for i, h := range headings {
		if !utf8.ValidString(h) {
			return nil, &FormError{1, ErrText}
		}
		if h = cut(strings.Join(strings.Fields(h), " "), maxHeading); h == "" || slices.Contains(headings[:i], h) {
			return nil, ErrHeadings
		}
		headings[i] = h
	}
	return headings, nil
}

// read reads the rows. Lines that the reader passes over are empty rows: next is the line
// on which the following row would begin if there were none.
func (s *Sheet) read(r *csv.Reader, next int) error {
	empty := 0
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &FormError{RowNumber(len(s.Rows) + empty), ErrForm}
		}
		line, _ := r.FieldPos(0)
		empty += line - next
		next = line + newlines(cells) + 1
		if cells = trimmed(cells); len(cells) == 0 {
			empty++
			continue
		}
		if len(s.Rows)+empty >= batch.MaxRows {
			return ErrRows
		}
		s.Rows = append(s.Rows, make([][]string, empty)...)
		empty = 0
		if !utf8.ValidString(strings.Join(cells, "")) {
			return &FormError{RowNumber(len(s.Rows)), ErrText}
		}
		s.Rows = append(s.Rows, cells)
	}
}

// newlines counts the lines that a row goes on for after its first.
func newlines(cells []string) (n int) {
	for _, c := range cells {
		n += strings.Count(c, "\n")
	}
	return n
}

// trimmed is cells without blanks around them, and without empty ones at the end.
func trimmed(cells []string) []string {
	for i, c := range cells {
		cells[i] = strings.TrimSpace(strings.Trim(c, "\u00a0\ufeff"))
	}
	for len(cells) > 0 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	return cells
}

// cut is the first n characters of a text.
func cut(text string, n int) string {
	runes := []rune(text)
	return string(runes[:min(len(runes), n)])
}

// cell is one of a row's cells, empty where it has none.
func cell(row []string, at int) string {
	if at < 0 || at >= len(row) {
		return ""
	}
	return row[at]
}
