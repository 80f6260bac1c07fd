package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"carillon/api/strictjson"
	"carillon/tenant/batch"
)

const (
	// maxBatchBody bounds the body of a batch, in bytes, and maxBatchRow one row of it.
	maxBatchBody = 25 << 20
	maxBatchRow  = 16 << 10
	contentLines = "application/x-ndjson"
)

// bodyError is a body that cannot be read. Its text is for the client.
type bodyError struct{ text string }

func (e *bodyError) Error() string { return e.text }

// batchBody reads a batch row by row, and never holds more than a few of them. Its form
// is {"key":"…","codes":[…]}, or one row a line.
type batchBody struct {
	from  *bounded
	json  *json.Decoder  // of the first form
	lines *bufio.Scanner // of the second
	rows  int
}

func newBatchBody(r io.Reader) *batchBody {
	return &batchBody{from: &bounded{r: r, left: maxBatchBody}}
}

// begin reads up to the first row and returns the idempotency key: the header's, or the
// one of the body, which comes before the codes.
func (b *batchBody) begin(contentType, header string) (key string, err error) {
	switch {
	case strings.HasPrefix(contentType, contentLines):
		b.lines = bufio.NewScanner(b.from)
		b.lines.Buffer(nil, maxBatchRow)
		return header, nil
	case strings.HasPrefix(contentType, contentJSON):
		b.json = json.NewDecoder(b.from)
		return b.beginJSON(header)
	}
	return "", &bodyError{"content-type is neither application/json nor application/x-ndjson"}
}

func (b *batchBody) beginJSON(header string) (string, error) {
	key := header
	if err := b.expect(json.Delim('{')); err != nil {
		return "", err
	}
	for seen := false; ; {
		name, err := b.token()
		if err != nil {
			return "", err
		}
		switch {
		case name == "codes":
			return key, b.expect(json.Delim('['))
		case name == "key" && !seen:
			seen = true
			if key, err = b.key(header); err != nil {
				return "", err
			}
		case name == json.Delim('}'):
			return "", &bodyError{"codes are missing"}
		default:
			return "", &bodyError{"the members must be key, once, and then codes"}
		}
	}
}

func (b *batchBody) key(header string) (string, error) {
	value, err := b.token()
	if err != nil {
		return "", err
	}
	key, ok := value.(string)
	switch {
	case !ok:
		return "", &bodyError{"key must be a string"}
	case header != "" && header != key:
		return "", &bodyError{"key and the header Idempotency-Key differ"}
	}
	return key, nil
}

func (b *batchBody) token() (json.Token, error) {
	t, err := b.json.Token()
	return t, b.explain(err)
}

func (b *batchBody) expect(want json.Delim) error {
	t, err := b.token()
	if err == nil && t != want {
		err = &bodyError{"malformed json"}
	}
	return err
}

// explain makes an error that is for the client of what the decoder says.
func (b *batchBody) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, batch.ErrTooLarge):
		return batch.ErrTooLarge
	case errors.Is(err, errLongRow), errors.Is(err, bufio.ErrTooLong):
		return &batch.RowError{Row: b.rows + 1, Text: "is too long"}
	}
	return &bodyError{"malformed json"}
}

// orders gives the rows to whoever takes them, with an error for what cannot be read.
func (b *batchBody) orders(yield func(batch.Order, error) bool) {
	for {
		text, err := b.next()
		if errors.Is(err, io.EOF) {
			return
		}
		var o batch.Order
		if err == nil {
			b.rows++
			o, err = b.order(text)
		}
		if !yield(o, err) || err != nil {
			return
		}
	}
}

// next is the text of the next row; [io.EOF] after the last.
func (b *batchBody) next() ([]byte, error) {
	b.from.row = 0
	if b.lines != nil {
		return b.nextLine()
	}
	if !b.json.More() {
		for _, end := range []json.Delim{']', '}'} {
			if err := b.expect(end); err != nil {
				return nil, err
			}
		}
		if _, err := b.json.Token(); !errors.Is(err, io.EOF) {
			return nil, &bodyError{"body must contain only one JSON object"}
		}
		return nil, io.EOF
	}
	var text json.RawMessage
	if err := b.json.Decode(&text); err != nil {
		return nil, b.explain(err)
	}
	if len(text) > maxBatchRow {
		return nil, b.explain(errLongRow)
	}
	return text, nil
}

func (b *batchBody) nextLine() ([]byte, error) {
	for b.lines.Scan() {
		if text := bytes.TrimSpace(b.lines.Bytes()); len(text) > 0 {
			return text, nil
		}
	}
	if err := b.lines.Err(); err != nil {
		return nil, b.explain(err)
	}
	return nil, io.EOF
}

// order reads a row: the request of /api/issue, without onlyGenerateSMS.
func (b *batchBody) order(text []byte) (batch.Order, error) {
	var r issueRequest
	if err := strictjson.Decode(text, &r); err != nil {
		return batch.Order{}, &batch.RowError{Row: b.rows, Text: bodyText(err)}
	}
	if r.OnlyGenerateSMS {
		return batch.Order{}, &batch.RowError{Row: b.rows, Text: "onlyGenerateSMS is not possible here"}
	}
	return batch.Order{
		TestType: r.TestType, SymptomDate: r.SymptomDate, TestDate: r.TestDate, TZOffset: r.TZOffset,
		Phone: r.Phone, SMSTemplateLabel: r.SMSTemplateLabel, UUID: r.UUID, ExternalIssuerID: r.ExternalIssuerID,
	}, nil
}

var errLongRow = errors.New("row too long")

// bounded ends a body that is too long, or has no end of a row in sight.
type bounded struct {
	r    io.Reader
	left int // of the body
	row  int // read since the last row
}

// readAhead is more than a decoder reads of the rows that follow.
const readAhead = 16 * maxBatchRow

func (b *bounded) Read(p []byte) (int, error) {
	switch {
	case b.row > readAhead:
		return 0, errLongRow
	case b.left < 0:
		return 0, batch.ErrTooLarge
	}
	n, err := b.r.Read(p[:min(len(p), b.left+1)])
	b.left -= n
	b.row += n
	if b.left < 0 {
		return n, batch.ErrTooLarge
	}
	return n, err
}
