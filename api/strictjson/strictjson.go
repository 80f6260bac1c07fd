// Package strictjson decodes request bodies: exactly one JSON object of at most
// [MaxBody] bytes and [MaxDepth] levels, without repeated and, but for
// [DecodeTolerant], without unknown members, of the right types.
//
// Its errors have the English texts of the verification protocol §0.2 and the key
// server protocol §1.7; they name members and positions, never values. Names are
// matched without regard to case, because clients of both spellings of one member
// exist; null means absent, so a body of null is an empty object. A member called
// padding may be anything and is not looked into.
//
// The grammar is that of encoding/json, whose positions the protocol's texts have.
// What that package lets pass is refused after it: repeated members, of which two
// readers could take different ones, and nesting that no request needs.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

const (
	// MaxBody is the longest body, in bytes.
	MaxBody = 64_000
	// MaxDepth is how deep objects and arrays may be nested.
	MaxDepth = 16
)

// Error is a body that cannot be decoded. Its text is for the client.
type Error struct{ text string }

func (e *Error) Error() string { return e.text }

func refuse(format string, args ...any) error { return &Error{text: fmt.Sprintf(format, args...)} }

// ErrTooLarge is returned for a body longer than [MaxBody].
var ErrTooLarge error = &Error{text: "http: request body too large"}

// Ignored is a member that may have any value.
type Ignored struct{}

// UnmarshalJSON takes whatever comes.
func (*Ignored) UnmarshalJSON([]byte) error { return nil }

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

// Decode decodes a body into the struct that dst points to, which must be its zero
// value. Every error is an [*Error], and then dst has no meaning.
func Decode(body []byte, dst any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	return decode(d, body, dst)
}

// DecodeTolerant is [Decode] for clients that may be newer than we are: members that
// dst does not have may be there, and are not looked into beyond their grammar.
func DecodeTolerant(body []byte, dst any) error {
	return decode(json.NewDecoder(bytes.NewReader(body)), body, dst)
}

func decode(d *json.Decoder, body []byte, dst any) error {
	if err := d.Decode(dst); err != nil {
		return explain(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return refuse("body must contain only one JSON object")
	}
	return examine(body)
}

func explain(err error) error {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return refuse("body must not be empty")
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

// examine walks a body that is known to be valid.
func examine(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	_, err := walk(d, 0)
	return err
}

// walk takes one value, or the delimiter that ends the array or object around it.
func walk(d *json.Decoder, depth int) (json.Token, error) {
	t, err := d.Token()
	if err != nil {
		return nil, refuse("malformed json")
	}
	switch t {
	case json.Delim('{'):
		return t, walkObject(d, depth+1)
	case json.Delim('['):
		return t, walkArray(d, depth+1)
	}
	return t, nil
}

func tooDeep(d *json.Decoder) error {
	return refuse("malformed json at position %d", d.InputOffset())
}

func walkObject(d *json.Decoder, depth int) error {
	if depth > MaxDepth {
		return tooDeep(d)
	}
	seen := map[string]bool{}
	for {
		t, err := walk(d, depth)
		if err != nil {
			return err
		}
		name, isName := t.(string)
		if !isName {
			return nil // the closing brace
		}
		folded := fold(name)
		if seen[folded] {
			return refuse("duplicate field %q", name)
		}
		seen[folded] = true
		if err := walkMember(d, depth, folded); err != nil {
			return err
		}
	}
}

const padding = "PADDING" // as fold gives it

func walkMember(d *json.Decoder, depth int, folded string) error {
	if depth == 1 && folded == padding {
		var anything json.RawMessage
		if err := d.Decode(&anything); err != nil {
			return refuse("malformed json")
		}
		return nil
	}
	_, err := walk(d, depth)
	return err
}

func walkArray(d *json.Decoder, depth int) error {
	if depth > MaxDepth {
		return tooDeep(d)
	}
	for {
		t, err := walk(d, depth)
		if err != nil {
			return err
		}
		if t == json.Delim(']') {
			return nil
		}
	}
}

// fold makes one text of all spellings that the decoder takes for the same name.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}
