// Package spreadsheet opens tables as office programs save them in text: CSV in UTF-8 or
// UTF-16, with or without a byte order mark, separated by commas, semicolons or tabs.
package spreadsheet

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"unicode/utf16"
)

// Text is a file as UTF-8, as far as it is any; false if it is no text at all. UTF-16 is
// known by its byte order mark.
func Text(file []byte) ([]byte, bool) {
	for mark, order := range map[string]binary.ByteOrder{"\xff\xfe": binary.LittleEndian, "\xfe\xff": binary.BigEndian} {
		if rest, ok := bytes.CutPrefix(file, []byte(mark)); ok {
			return fromUTF16(rest, order)
		}
	}
	text := bytes.TrimPrefix(file, []byte("\xef\xbb\xbf"))
	return text, bytes.IndexByte(text, 0) < 0
}

func fromUTF16(text []byte, order binary.ByteOrder) ([]byte, bool) {
	if len(text)%2 != 0 {
		return nil, false
	}
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = order.Uint16(text[2*i:])
	}
	decoded := []byte(string(utf16.Decode(units)))
	return decoded, bytes.IndexByte(decoded, 0) < 0
}

// Reader reads the rows of a text, which may have any number of cells. What separates
// them is seen from the first line.
func Reader(text []byte) *csv.Reader {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord, r.TrimLeadingSpace, r.Comma = -1, true, separator(first)
	return r
}

// separator is what stands between the columns' names.
func separator(line []byte) rune {
	for _, s := range []byte{';', '\t'} {
		if bytes.IndexByte(line, s) >= 0 {
			return rune(s)
		}
	}
	return ','
}
