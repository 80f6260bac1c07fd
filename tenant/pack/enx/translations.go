package enx

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The columns of a sheet of translations before its languages.
const (
	columnKey   = "key"
	columnLabel = "label"
	columnLimit = "limit"
	fixed       = 3
	// lengthMark ends the heading of a column with lengths, which are not read.
	lengthMark = " length"
)

// MaxTranslations bounds a sheet, in bytes.
const MaxTranslations = 1 << 20

// ErrTranslations means that a file is no sheet of translations. The error's text says
// what is wrong, with the line, for whoever made it.
var ErrTranslations = errors.New("translations cannot be read")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTranslations, fmt.Sprintf(format, args...))
}

// Translations writes all texts as a sheet for translators: a row for each key, with its
// limit, and for each language a column with the text and one with its length.
func (c Config) Translations() ([]byte, error) {
	heading := []string{columnKey, columnLabel, columnLimit}
	for _, lang := range c.Languages {
		heading = append(heading, lang, lang+lengthMark)
	}
	rows := [][]string{heading}
	for _, s := range Slots() {
		if !s.Local || !c.used(s) {
			continue
		}
		row := []string{s.ID(), s.Meaning, limitText(s.Key)}
		for _, lang := range c.Languages {
			text := c.Texts[lang][s.ID()]
			row = append(row, text, strconv.Itoa(Length(text)))
		}
		rows = append(rows, row)
	}
	return writeCSV(rows)
}

// formulas are what a spreadsheet takes the beginning of a formula for.
const formulas = "=+-@\t\r"

// shield puts an apostrophe before what a spreadsheet would take for a formula, and
// before an apostrophe, so that reading undoes exactly what writing did.
func shield(cell string) string {
	if cell != "" && strings.ContainsRune(formulas+"'", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

// ReadTranslations reads a sheet as [Config.Translations] writes it, of any of c's
// languages and keys, and returns the texts by language and slot. It changes nothing.
// [ErrTranslations] if it is none: not in UTF-8, a key or language that there is not, one
// twice, or a cell that a spreadsheet takes for a formula. A cell that is empty says
// nothing of its text.
func (c Config) ReadTranslations(file []byte) (map[string]map[string]string, error) {
	rows, err := readRows(file)
	if err != nil {
		return nil, err
	}
	columns, err := c.columns(rows[0])
	if err != nil {
		return nil, err
	}
	texts := map[string]map[string]string{}
	seen := map[string]bool{}
	for i, row := range rows[1:] {
		line := i + 2
		s, known := find(strings.TrimSpace(row[0]))
		switch {
		case !known || !s.Local:
			return nil, refuse("row %d: there is no text with the key %.60q", line, row[0])
		case seen[s.ID()]:
			return nil, refuse("row %d: %s is there twice", line, s.ID())
		}
		seen[s.ID()] = true
		for at, lang := range columns {
			if err := take(texts, s, lang, row[at], line); err != nil {
				return nil, err
			}
		}
	}
	return texts, nil
}

func readRows(file []byte) ([][]string, error) {
	file = bytes.TrimPrefix(file, []byte("\xEF\xBB\xBF"))
	switch {
	case len(file) > MaxTranslations:
		return nil, refuse("the file has more than %d bytes", MaxTranslations)
	case bytes.HasPrefix(file, []byte("\xFF\xFE")) || bytes.HasPrefix(file, []byte("\xFE\xFF")) || bytes.IndexByte(file, 0) >= 0:
		return nil, refuse("the file is in UTF-16: save it as CSV in UTF-8")
	case !utf8.Valid(file) || bytes.Contains(file, []byte("\uFFFD")):
		return nil, refuse("the file is not in UTF-8, or lost characters when it was saved: save it as CSV in UTF-8")
	}
	r := csv.NewReader(bytes.NewReader(file))
	r.ReuseRecord = false
	rows, err := r.ReadAll()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, refuse("%v", err)
	}
	if len(rows) == 0 {
		return nil, refuse("the file is empty")
	}
	return rows, nil
}

// columns are where each language's texts are.
func (c Config) columns(heading []string) (map[int]string, error) {
	if len(heading) < fixed || heading[0] != columnKey {
		return nil, refuse("the first row must begin with %q, as in the file that you can download", columnKey)
	}
	columns := map[int]string{}
	for i, name := range heading {
		name = strings.TrimSpace(name)
		switch {
		case i == 0 || name == columnLabel || name == columnLimit || strings.HasSuffix(name, lengthMark) || name == "":
			continue
		case !slices.Contains(c.Languages, name):
			return nil, refuse("column %d: %.40q is none of your languages (%s)", i+1, name, strings.Join(c.Languages, ", "))
		}
		for _, other := range columns {
			if other == name {
				return nil, refuse("column %d: %s is there twice", i+1, name)
			}
		}
		columns[i] = name
	}
	if len(columns) == 0 {
		return nil, refuse("there is no column with texts of a language")
	}
	return columns, nil
}

func take(texts map[string]map[string]string, s Slot, lang, cell string, line int) error {
	switch {
	case cell == "":
		return nil
	case strings.HasPrefix(cell, "'") && shield(cell[1:]) == cell:
		cell = cell[1:]
	case shield(cell) != cell:
		return refuse("row %d, %s: a text may not begin with %q, which spreadsheets take for a formula; put an apostrophe before it", line, lang, cell[:1])
	}
	if why := Form(s.Key, cell, false); why != "" {
		return refuse("row %d, %s in %s: %s", line, s.ID(), lang, why)
	}
	if texts[lang] == nil {
		texts[lang] = map[string]string{}
	}
	texts[lang][s.ID()] = cell
	return nil
}
