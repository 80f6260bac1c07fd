package sheet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant/batch"
	"carillon/tenant/batch/sheet"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		want sheet.Sheet
	}{
		"commas":     {"type,phone\nconfirmed,206 555 0100\n", sheet.Sheet{Columns: []string{"type", "phone"}, Rows: [][]string{{"confirmed", "206 555 0100"}}}},
		"semicolons": {"type;phone\r\nconfirmed;1\r\nlikely;2", sheet.Sheet{Columns: []string{"type", "phone"}, Rows: [][]string{{"confirmed", "1"}, {"likely", "2"}}}},
		"tabs":       {"type\tphone\nconfirmed\t1", sheet.Sheet{Columns: []string{"type", "phone"}, Rows: [][]string{{"confirmed", "1"}}}},
		"a mark":     {"\ufefftype\nconfirmed", sheet.Sheet{Columns: []string{"type"}, Rows: [][]string{{"confirmed"}}}},
		"UTF-16":     {"\xff\xfet\x00\n\x00a\x00\n\x00", sheet.Sheet{Columns: []string{"t"}, Rows: [][]string{{"a"}}}},
		"quotes and lines in cells": {
			"name,type\n\"Ana \"\"Z\"\"\nof Y\",confirmed\nא,likely\n🙂,\n",
			sheet.Sheet{Columns: []string{"name", "type"}, Rows: [][]string{{"Ana \"Z\"\nof Y", "confirmed"}, {"א", "likely"}, {"🙂"}}},
		},
		"empty rows at the end":   {"type,phone\nconfirmed,1\n,,\n\n  ,\n", sheet.Sheet{Columns: []string{"type", "phone"}, Rows: [][]string{{"confirmed", "1"}}}},
		"empty rows between":      {"a\n\n\"x\ny\"\n\n\nz\n,\nend\n", sheet.Sheet{Columns: []string{"a"}, Rows: [][]string{nil, {"x\ny"}, nil, nil, {"z"}, nil, {"end"}}}},
		"blanks around the cells": {" type , phone \n\u00a0confirmed , 1 ", sheet.Sheet{Columns: []string{"type", "phone"}, Rows: [][]string{{"confirmed", "1"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := sheet.Read([]byte(c.file))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	rows := func(n int) string { return "type\n" + strings.Repeat("confirmed\n", n) }
	for name, c := range map[string]struct {
		file string
		want error
		row  int
	}{
		"nothing":          {"", sheet.ErrEmpty, 0},
		"headings alone":   {"type,phone\n", sheet.ErrEmpty, 0},
		"empty rows alone": {"type,phone\n,\n\n", sheet.ErrEmpty, 0},
		"a picture":        {"\x89PNG\x00\x00\n", sheet.ErrText, 0},
		"half of UTF-16":   {"\xff\xfet", sheet.ErrText, 0},
		"Latin-1 cell":     {"type,name\nconfirmed,a\nconfirmed,Jos\xe9\n", sheet.ErrText, 3},
		"Latin-1 heading":  {"s\xedntoma\nx\n", sheet.ErrText, 1},
		"an open quote":    {"type\na\n\"b\nc\n", sheet.ErrForm, 3},
		"a bare quote":     {"type\na\nb\"c\n", sheet.ErrForm, 3},
		"no heading":       {"type,,phone\na,b,c\n", sheet.ErrHeadings, 0},
		"the same twice":   {"type,type\na,b\n", sheet.ErrHeadings, 0},
		"many columns":     {strings.Repeat("x,", 50) + "y\n", sheet.ErrHeadings, 0},
		"a row too many":   {rows(batch.MaxRows + 1), sheet.ErrRows, 0},
		"empty rows count": {"type\n" + strings.Repeat("\n", batch.MaxRows) + "confirmed\n", sheet.ErrRows, 0},
		"a byte too many":  {strings.Repeat("x", sheet.MaxBytes+1), sheet.ErrSize, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := sheet.Read([]byte(c.file))
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			var at *sheet.FormError
			if errors.As(err, &at) != (c.row > 0) || (at != nil && at.Row != c.row) {
				t.Errorf("it is told of row %v, want %d", at, c.row)
			}
		})
	}
	if s, err := sheet.Read([]byte(rows(batch.MaxRows))); err != nil || len(s.Rows) != batch.MaxRows {
		t.Errorf("as many rows as there may be: %v", err)
	}
}

// Whatever a file holds, reading it ends with a table or one of the errors.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{"type,phone\nconfirmed,1\n", "\xff\xfet\x00", "a;b\n\"x\ny\";\n\n;;\n", "\"", "\n\n\n", "a\r\n\r\nb\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := sheet.Read(file)
		if err == nil && (len(s.Columns) == 0 || len(s.Rows) == 0 || len(s.Rows) > batch.MaxRows || len(s.Rows[len(s.Rows)-1]) == 0) {
			t.Errorf("%d columns, %d rows", len(s.Columns), len(s.Rows))
		}
		for _, known := range sheet.Sentinels() {
			if errors.Is(err, known) {
				return
			}
		}
		if err != nil {
			t.Errorf("unknown error %v", err)
		}
	})
}

func TestGuess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		columns []string
		want    map[sheet.Field]int
	}{
		{[]string{"Result", "Test date", "Symptom onset", "Mobile phone"}, map[sheet.Field]int{sheet.TestType: 0, sheet.TestDate: 1, sheet.SymptomDate: 2, sheet.Phone: 3}},
		{[]string{"Teléfono", "Tipo de prueba", "Fecha de la prueba", "Inicio de síntomas"}, map[sheet.Field]int{sheet.Phone: 0, sheet.TestType: 1, sheet.TestDate: 2, sheet.SymptomDate: 3}},
		{[]string{"Name", "Phone", "Other phone"}, map[sheet.Field]int{sheet.Phone: 1}},
		{[]string{"x"}, map[sheet.Field]int{}},
	} {
		if diff := cmp.Diff(c.want, sheet.Guess(c.columns).Columns); diff != "" {
			t.Errorf("%v: -want +got:\n%s", c.columns, diff)
		}
	}
}

func table(lines ...string) []byte { return fmt.Appendf(nil, "%s\n", strings.Join(lines, "\n")) }
