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
	"reflect"
	"strings"
)

const (
	// MaxBody is the longest body, in bytes.
	MaxBody = 64_000
	// MaxDepth is how deep objects and arrays may be nested.
	MaxDepth = 16
	// usualBody is as much as there is room for at first, in bytes: what phones send fits,
	// and bytes.Buffer's last reading.
	usualBody = 4096
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
	b := bytes.NewBuffer(make([]byte, 0, usualBody))
	if _, err := b.ReadFrom(io.LimitReader(body, MaxBody+1)); err != nil {
		return nil, err
	}
	if b.Len() > MaxBody {
		return nil, ErrTooLarge
	}
	return b.Bytes(), nil
}

// Decode decodes a body into the struct that dst points to, which must be its zero
// value. Every error is an [*Error], and then dst has no meaning.
func Decode(body []byte, dst any) error { return decode(body, dst, true) }

// DecodeTolerant is [Decode] for clients that may be newer than we are: members that
// dst does not have may be there, and are not looked into beyond their grammar.
func DecodeTolerant(body []byte, dst any) error { return decode(body, dst, false) }

// decode tries a shorter body first. If that is refused, the whole one is, and tells
// why, with its own positions.
func decode(body []byte, dst any, strict bool) error {
	if short := shorten(body); read(short, dst, strict) == nil && examine(short) == nil {
		return nil
	}
	reflect.ValueOf(dst).Elem().SetZero()
	if err := readWhole(body, dst, strict); err != nil {
		return err
	}
	return examine(body)
}

// read is readWhole without its words.
func read(body []byte, dst any, strict bool) error {
	if strict {
		return readWhole(body, dst, strict)
	}
	return json.Unmarshal(body, dst)
}

func readWhole(body []byte, dst any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(body))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(dst); err != nil {
		return explain(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return refuse("body must contain only one JSON object")
	}
	return nil
}

// shorten leaves out what a text called padding holds, which is most of a body, if it
// is made of plain characters: they change nothing about whether the rest is JSON.
func shorten(body []byte) []byte {
	const name = `"padding":"`
	before, after, found := bytes.Cut(body, []byte(name))
	n := 0
	for n < len(after) && isPlain(after[n]) {
		n++
	}
	if !found || n == len(after) || after[n] != '"' {
		return body
	}
	short := make([]byte, 0, len(body)-n)
	short = append(short, before...)
	short = append(short, name...)
	return append(short, after[n:]...)
}

// isPlain reports whether c stands for itself in a text.
func isPlain(c byte) bool { return ' ' <= c && c <= '~' && c != '\\' && c != '"' }

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
