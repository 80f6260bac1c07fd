package ceremony

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// ErrTranscript means that a transcript is not one, or that it has been changed.
var ErrTranscript = errors.New("the transcript has been changed, or is none")

// What a record can be about.
const (
	recordBegin  = "begin"
	recordStep   = "step"
	recordResume = "resume"
	recordAbort  = "abort"
	recordEnd    = "end"
)

// Record is a line of a transcript. It never has a secret.
type Record struct {
	Record string    `json:"record"`
	At     time.Time `json:"at"`
	// Confirmed are the participants who have confirmed it.
	Confirmed []string `json:"confirmed"`

	// Of the beginning: which ceremony it is, its file, and the program that runs it.
	Ceremony     string   `json:"ceremony,omitempty"`
	Title        string   `json:"title,omitempty"`
	Rehearsal    bool     `json:"rehearsal,omitempty"`
	Participants []string `json:"participants,omitempty"`
	File         string   `json:"file_sha256,omitempty"`
	Program      string   `json:"program,omitempty"`
	Binary       string   `json:"program_sha256,omitempty"`
	Steps        []string `json:"steps,omitempty"`

	// Of a step: its number, from 1, what it does, whose key it is, and what came of it.
	Step    int               `json:"step,omitempty"`
	Do      Act               `json:"do,omitempty"`
	Tenant  string            `json:"tenant,omitempty"`
	Outcome map[string]string `json:"outcome,omitempty"`

	// Reason is why it was aborted.
	Reason string `json:"reason,omitempty"`
}

func (r Record) line() ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("transcript: %w", err)
	}
	return append(text, '\n'), nil
}

// transcript is what has been written so far.
type transcript struct {
	path    string
	text    []byte
	records []Record
	// hashes are, for each record, of the text up to its end.
	hashes []string
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

const maxTranscript = 1 << 20 // bytes

// readTranscript reads a transcript, strictly: [ErrTranscript].
func readTranscript(path string) (*transcript, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &transcript{path: path, text: text}
	if len(text) == 0 || len(text) > maxTranscript || text[len(text)-1] != '\n' {
		return nil, ErrTranscript
	}
	end := 0
	for line := range bytes.Lines(text) {
		end += len(line)
		var r Record
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if d.Decode(&r) != nil {
			return nil, ErrTranscript
		}
		if again, err := r.line(); err != nil || !bytes.Equal(again, line) {
			return nil, ErrTranscript
		}
		t.records, t.hashes = append(t.records, r), append(t.hashes, hashOf(text[:end]))
	}
	return t, t.validate()
}

// validate checks that the records are those of one ceremony, in order, each confirmed by
// both but an abortion, which needs one.
func (t *transcript) validate() error {
	first, steps := t.records[0], 0
	if first.Record != recordBegin || len(first.Participants) != 2 || first.Participants[0] == first.Participants[1] {
		return ErrTranscript
	}
	for i, r := range t.records {
		both := slices.Equal(r.Confirmed, first.Participants)
		switch {
		case i > 0 && t.over(i):
			return ErrTranscript // after the end
		case r.Record == recordBegin && i == 0 && both, r.Record == recordResume && both, r.Record == recordAbort:
		case r.Record == recordStep && both && r.Step == steps+1 && r.Step <= len(first.Steps):
			steps++
		case r.Record == recordEnd && both && steps == len(first.Steps):
		default:
			return ErrTranscript
		}
	}
	return nil
}

// over reports whether one of the first n records ends the ceremony.
func (t *transcript) over(n int) bool {
	return slices.ContainsFunc(t.records[:n], func(r Record) bool { return r.Record == recordAbort || r.Record == recordEnd })
}

// done is how many steps have been done.
func (t *transcript) done() (n int) {
	for _, r := range t.records {
		if r.Record == recordStep {
			n++
		}
	}
	return n
}

// with is the hash that the transcript will have with one more line.
func (t *transcript) with(line []byte) string { return hashOf(append(slices.Clone(t.text), line...)) }

// append writes a line for good.
func (t *transcript) append(r Record, line []byte) error {
	f, err := os.OpenFile(t.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write transcript: %w", err)
	}
	t.text = append(t.text, line...)
	t.records, t.hashes = append(t.records, r), append(t.hashes, hashOf(t.text))
	return nil
}
