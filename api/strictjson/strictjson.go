// Package strictjson decodes request bodies: exactly one JSON object of at most
// [MaxBody] bytes, without unknown and without repeated members, of the right types.
//
// Its errors have the English texts of the verification protocol §0.2 and the key
// server protocol §1.7. Names are matched without regard to case, because clients of
// both spellings of one member exist; null means absent.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// MaxBody is the longest body, in bytes.
const MaxBody = 64_000

// Error is a body that cannot be decoded. Its text is for the client: it names
// members and positions, never values.
type Error struct {
	text string
	// TooLarge says that the body is longer than [MaxBody].
	TooLarge bool
}

func (e *Error) Error() string { return e.text }

func refuse(format string, args ...any) error { return &Error{text: fmt.Sprintf(format, args...)} }

// ErrTooLarge is returned for a body longer than [MaxBody].
var ErrTooLarge error = &Error{text: "http: request body too large", TooLarge: true}

// Read reads a whole body: [ErrTooLarge] if it is too long; other errors are the
// reader's own.
func Read(body io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, MaxBody+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxBody {
		return nil, ErrTooLarge
	}
	return b, nil
}

// Decode decodes a body into the struct that dst points to. Every error is an
// [*Error].
func Decode(body []byte, dst any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return refuse("body must not be empty")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(dst); err != nil {
		return explain(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return refuse("body must contain only one JSON object")
	}
	return refuseRepeated(body)
}

func explain(err error) error {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse("malformed json")
	case errors.As(err, &syntax):
		return refuse("malformed json at position %d", syntax.Offset)
	case errors.As(err, &wrong):
		return refuse("invalid value %q at position %d", wrong.Field, wrong.Offset)
	}
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return refuse("unknown field %s", name)
	}
	return refuse("malformed json")
}

// refuseRepeated walks a body that is known to be valid: of two members of one name,
// a reader could take either.
func refuseRepeated(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	_, err := walk(d)
	return err
}

func walk(d *json.Decoder) (json.Token, error) {
	t, err := d.Token()
	if err != nil {
		return nil, refuse("malformed json")
	}
	switch t {
	case json.Delim('{'):
		return t, walkObject(d)
	case json.Delim('['):
		return t, walkArray(d)
	}
	return t, nil
}

func walkObject(d *json.Decoder) error {
	seen := map[string]bool{}
	for {
		t, err := walk(d)
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return nil // the closing brace
		}
		if folded := strings.ToLower(name); seen[folded] {
			return refuse("duplicate field %q", name)
		} else {
			seen[folded] = true
		}
		if _, err := walk(d); err != nil {
			return err
		}
	}
}

func walkArray(d *json.Decoder) error {
	for {
		t, err := walk(d)
		if err != nil {
			return err
		}
		if t == json.Delim(']') {
			return nil
		}
	}
}
