package auditchain

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Trust is what a reader has from elsewhere than the file.
type Trust struct {
	// Keys are the log's public keys. If there are none, those in the file are
	// believed, and whoever wrote the file could have signed anything; if it has none
	// either, checkpoints say nothing.
	Keys Keys
	// Kept are checkpoints that were kept outside the database: what they count must
	// be in the file. Those of other tenants' logs do not matter.
	Kept []string
}

// Finding is one thing that is wrong with a log.
type Finding struct {
	// Entry is the number of the entry where it shows.
	Entry int64  `json:"entry"`
	Text  string `json:"text"`
}

// Report is what a file shows.
type Report struct {
	Header Header
	// Entries are how many there are; First and Last are the times of the first and
	// the last of them.
	Entries     int64
	First, Last time.Time
	// Sealed is the number of the last entry that a valid checkpoint counts, and
	// SealedAt that checkpoint's time. What comes after could have been written by
	// anybody who can write to the database.
	Sealed   int64
	SealedAt time.Time
	// Checkpoints are how many were valid, those that were kept outside included.
	Checkpoints int
	// Believed says that the checkpoints were checked with the file's own keys, and
	// Keyless that there were no keys to check them with.
	Believed, Keyless bool
	// Findings are in the order of the file, at most [MaxFindings].
	Findings []Finding
}

// MaxFindings bounds a report: one entry that is missing can make all others wrong.
const MaxFindings = 100

// Whole reports that nothing was found.
func (r *Report) Whole() bool { return len(r.Findings) == 0 }

// Verify reads a file and tells whether it is as it was written: every entry in its
// place and unchanged, and as the checkpoints say. [ErrFile] if it is no such file.
// It holds one line at a time, and the digests that checkpoints ask for.
func Verify(from io.Reader, trust Trust) (*Report, error) {
	in := newReader(from)
	head, err := in.header()
	if err != nil {
		return nil, err
	}
	v := &verifier{report: &Report{Header: head}, keys: trust.Keys, kept: map[int64][]Checkpoint{}}
	if len(v.keys) == 0 {
		v.keys, v.report.Believed, v.report.Keyless = head.Keys, len(head.Keys) > 0, len(head.Keys) == 0
	}
	for _, statement := range trust.Kept {
		if ofAnother(statement, head.Tenant) {
			continue
		}
		if c, ok := v.open(statement); ok {
			v.keep(c)
		}
	}
	for {
		var l line
		err := in.next(&l)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if l.Checkpoint != "" {
			v.checkpoint(l.Checkpoint)
		} else {
			v.entry(l)
		}
	}
	v.end()
	return v.report, nil
}

type verifier struct {
	report *Report
	keys   Keys
	last   Digest
	// kept are checkpoints from outside by the entry they count, until it has come.
	kept map[int64][]Checkpoint
}

func (v *verifier) find(entry int64, format string, args ...any) {
	if len(v.report.Findings) < MaxFindings {
		v.report.Findings = append(v.report.Findings, Finding{Entry: entry, Text: fmt.Sprintf(format, args...)})
	}
}

// entry judges an entry. It goes on from the digest that the file gives, so that one
// change shows once.
func (v *verifier) entry(l line) {
	r := v.report
	switch want := r.Entries + 1; {
	case l.No > want:
		v.find(l.No, "entries %d to %d are missing", want, l.No-1)
	case l.No < want:
		v.find(l.No, "stands where entry %d should be", want)
	}
	given, err := hex.DecodeString(l.Digest)
	if err != nil || len(given) != len(Digest{}) {
		v.find(l.No, "has no digest")
		given = make([]byte, len(Digest{}))
	} else if l.entry().Digest(r.Header.Tenant, v.last) != Digest(given) {
		v.find(l.No, "is not what was written, or does not follow the entry before it")
	}
	v.last = Digest(given)
	if r.Entries == 0 {
		r.First = l.At
	}
	r.Entries, r.Last = l.No, l.At
	for _, c := range v.kept[l.No] {
		v.compare(c)
	}
	delete(v.kept, l.No)
}

// open reads a checkpoint of this log.
func (v *verifier) open(statement string) (Checkpoint, bool) {
	if v.report.Keyless {
		return Checkpoint{}, false
	}
	c, err := v.keys.OpenCheckpoint(statement)
	switch {
	case err != nil:
		v.find(v.report.Entries, "a checkpoint after it is not valid: %v", err)
		return c, false
	case c.Tenant != v.report.Header.Tenant:
		v.find(v.report.Entries, "a checkpoint after it is of another log")
		return c, false
	}
	return c, true
}

// keep keeps a checkpoint until the entry that it counts last has come.
func (v *verifier) keep(c Checkpoint) { v.kept[c.Entries] = append(v.kept[c.Entries], c) }

func (v *verifier) checkpoint(statement string) {
	c, ok := v.open(statement)
	switch {
	case !ok:
	case c.Entries > v.report.Entries:
		v.keep(c)
	case c.Entries < v.report.Entries:
		v.find(c.Entries, "its checkpoint stands after entry %d", v.report.Entries)
	default:
		v.compare(c)
	}
}

// compare judges the newest entry by a checkpoint that counts it.
func (v *verifier) compare(c Checkpoint) {
	if c.Digest != v.last {
		v.find(c.Entries, "the entries up to here are not those that were signed on %s", c.At.Format(time.RFC3339))
		return
	}
	v.report.Checkpoints++
	if c.Entries >= v.report.Sealed {
		v.report.Sealed, v.report.SealedAt = c.Entries, c.At
	}
}

// end tells of checkpoints whose entries never came.
func (v *verifier) end() {
	for _, entries := range slices.Sorted(maps.Keys(v.kept)) {
		for _, c := range v.kept[entries] {
			v.find(entries, "a checkpoint of %s counts %d entries, but there are %d", c.At.Format(time.RFC3339), entries, v.report.Entries)
		}
	}
}
