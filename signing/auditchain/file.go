package auditchain

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
)

// A file of an audit log has a JSON object on each line: first the header, then
// entries and checkpoints in order. It is for keeping and for [Verify]; nothing in it
// needs to be trusted but the keys, and those only if they were not had from elsewhere.

// Format is what the header of a file says.
const Format = "carillon audit log 1"

// ErrFile means that a file is no audit log at all. The error's text says where.
var ErrFile = errors.New("not an audit log")

// Header is a file's first line.
type Header struct {
	Tenant uuid.UUID
	Slug   string
	At     time.Time
	Keys   Keys
}

type headerLine struct {
	Format string            `json:"format"`
	Tenant uuid.UUID         `json:"tenant"`
	Slug   string            `json:"slug"`
	At     time.Time         `json:"exported_at"`
	Keys   map[string]string `json:"keys"`
}

// line is any other: an entry, or a checkpoint.
type line struct {
	No         int64     `json:"entry,omitempty"`
	At         time.Time `json:"at,omitzero"`
	ActorKind  string    `json:"actor_kind,omitempty"`
	ActorID    string    `json:"actor_id,omitempty"`
	ActorName  string    `json:"actor_name,omitempty"`
	Action     string    `json:"action,omitempty"`
	Target     string    `json:"target,omitempty"`
	Detail     string    `json:"detail,omitempty"`
	Request    string    `json:"request,omitempty"`
	Because    string    `json:"because,omitempty"`
	Digest     string    `json:"digest,omitempty"`
	Checkpoint string    `json:"checkpoint,omitempty"`
}

// Writer writes a file.
type Writer struct{ to *json.Encoder }

// NewWriter begins a file.
func NewWriter(to io.Writer, h Header) (*Writer, error) {
	head := headerLine{Format: Format, Tenant: h.Tenant, Slug: h.Slug, At: h.At.UTC(), Keys: map[string]string{}}
	for kid, public := range h.Keys {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", kid, err)
		}
		head.Keys[kid] = base64.StdEncoding.EncodeToString(der)
	}
	w := &Writer{to: json.NewEncoder(to)}
	w.to.SetEscapeHTML(false)
	return w, w.to.Encode(head)
}

// Entry writes the next entry with the digest that is stored beside it, whatever that
// is.
func (w *Writer) Entry(e Entry, stored []byte) error {
	return w.to.Encode(line{
		No: e.No, At: e.At.UTC(), ActorKind: e.ActorKind, ActorID: e.ActorID, ActorName: e.ActorName,
		Action: e.Action, Target: e.Target, Detail: e.Detail, Request: e.Request, Because: e.Because,
		Digest: hex.EncodeToString(stored),
	})
}

// Checkpoint writes a checkpoint. It comes after the last entry that it counts, if
// that is in the file.
func (w *Writer) Checkpoint(statement string) error { return w.to.Encode(line{Checkpoint: statement}) }

// maxLine bounds a line. An entry's texts are a few hundred bytes.
const maxLine = 1 << 20

type reader struct {
	lines *bufio.Scanner
	count int
}

func newReader(from io.Reader) *reader {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	return &reader{lines: lines}
}

// next reads a line into an object: io.EOF at the end, [ErrFile] if it is none.
func (r *reader) next(into any) error {
	if !r.lines.Scan() {
		if err := r.lines.Err(); err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrFile, r.count+1, err)
		}
		return io.EOF
	}
	r.count++
	if err := json.Unmarshal(r.lines.Bytes(), into); err != nil {
		return fmt.Errorf("%w: line %d: %w", ErrFile, r.count, err)
	}
	return nil
}

func (r *reader) header() (Header, error) {
	var head headerLine
	if err := r.next(&head); errors.Is(err, io.EOF) {
		return Header{}, fmt.Errorf("%w: it is empty", ErrFile)
	} else if err != nil {
		return Header{}, err
	}
	if head.Format != Format {
		return Header{}, fmt.Errorf("%w: line 1 does not say %q", ErrFile, Format)
	}
	h := Header{Tenant: head.Tenant, Slug: head.Slug, At: head.At, Keys: Keys{}}
	for kid, text := range head.Keys {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return Header{}, fmt.Errorf("%w: key %q: %w", ErrFile, kid, err)
		}
		if h.Keys[kid], err = parsePublic(der); err != nil {
			return Header{}, fmt.Errorf("%w: key %q: %w", ErrFile, kid, err)
		}
	}
	return h, nil
}

func parsePublic(der []byte) (*ecdsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return public, nil
}

func (l line) entry() Entry {
	return Entry{
		No: l.No, At: l.At, ActorKind: l.ActorKind, ActorID: l.ActorID, ActorName: l.ActorName,
		Action: l.Action, Target: l.Target, Detail: l.Detail, Request: l.Request, Because: l.Because,
	}
}
