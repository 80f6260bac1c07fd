package document

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// message is the segments of one message, the first of which is MSH.
type message struct {
	segments []segment
	line     int // of MSH, counted from one, for errors
}

var segmentName = regexp.MustCompile(`^[A-Z][A-Z0-9]{2}$`)

// splitter divides a document into messages and checks a batch's own lines.
type splitter struct {
	messages []message
	by       *encoding
	line     int
	stack    []string // open envelopes: FHS, BHS
	inBatch  int      // messages since BHS
	batches  int      // since FHS
	closed   bool     // FTS, or BTS outside a file, has been seen
}

// split takes lines that end with a carriage return, a line feed or both.
func split(text string) ([]message, error) {
	var s splitter
	total := 0
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if total++; total > maxSegments {
			return nil, refuse(ErrTooMany, "at most %d segments are taken in one document", maxSegments)
		}
		if err := s.take(line); err != nil {
			return nil, err
		}
	}
	switch {
	case len(s.stack) > 0:
		return nil, refuse(ErrMalformed, "the batch does not end: a trailer segment is missing")
	case len(s.messages) == 0:
		return nil, refuse(ErrMalformed, "there is no MSH segment")
	}
	return s.messages, nil
}

func (s *splitter) take(line string) error {
	s.line++
	if len(line) < 4 || !segmentName.MatchString(line[:3]) {
		return refuse(ErrMalformed, "segment %d has no name", s.line)
	}
	name := line[:3]
	switch name {
	case "FHS", "BHS":
		return s.open(name, line)
	case "BTS", "FTS":
		return s.close(name, line)
	case "MSH":
		return s.begin(line)
	}
	if len(s.messages) == 0 || s.by == nil {
		return refuse(ErrMalformed, "segment %d: a message begins with MSH", s.line)
	}
	if line[3] != s.by.field {
		return refuse(ErrMalformed, "segment %d: no field separator of this message after the name", s.line)
	}
	m := &s.messages[len(s.messages)-1]
	m.segments = append(m.segments, segment{name: name, text: line, by: s.by})
	return nil
}

func (s *splitter) open(name, line string) error {
	_, err := parseEncoding(line)
	switch {
	case err != nil:
		return refuse(ErrMalformed, "segment %d: %s", s.line, err)
	case name == "FHS" && (len(s.stack) > 0 || len(s.messages) > 0 || s.closed):
		return refuse(ErrMalformed, "segment %d: a file header in the middle", s.line)
	case name == "BHS" && slices.Contains(s.stack, "BHS"):
		return refuse(ErrMalformed, "segment %d: a batch within a batch", s.line)
	case name == "BHS" && (s.closed || len(s.stack) == 0 && len(s.messages) > 0):
		return refuse(ErrMalformed, "segment %d: a batch header in the middle", s.line)
	}
	s.stack = append(s.stack, name)
	s.inBatch, s.by = 0, nil
	return nil
}

func (s *splitter) close(name, line string) error {
	header := map[string]string{"BTS": "BHS", "FTS": "FHS"}[name]
	if len(s.stack) == 0 || s.stack[len(s.stack)-1] != header {
		return refuse(ErrMalformed, "segment %d: %s without %s", s.line, name, header)
	}
	s.stack = s.stack[:len(s.stack)-1]
	counted := s.inBatch
	if name == "BTS" {
		s.batches++
	} else {
		counted = s.batches
	}
	s.closed = len(s.stack) == 0
	s.by = nil
	if said := strings.TrimSpace(nth(line, line[3], 1)); said != "" && said != strconv.Itoa(counted) {
		return refuse(ErrMalformed, "segment %d: the trailer's count is not what was sent", s.line)
	}
	return nil
}

func (s *splitter) begin(line string) error {
	by, err := parseEncoding(line)
	switch {
	case err != nil:
		return refuse(ErrMalformed, "segment %d: %s", s.line, err)
	case s.closed:
		return refuse(ErrMalformed, "segment %d: a message after the end of the batch", s.line)
	case len(s.messages) == maxMessages:
		return refuse(ErrTooMany, "at most %d messages are taken in one document", maxMessages)
	}
	s.by = by
	s.inBatch++
	s.messages = append(s.messages, message{line: s.line, segments: []segment{{name: "MSH", text: line, by: by}}})
	return nil
}
