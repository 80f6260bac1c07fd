package api

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzBatchBody looks for a body that is taken although it is no single JSON object with
// one list of codes, or of which more or fewer rows are taken than it has.
func FuzzBatchBody(f *testing.F) {
	for _, seed := range []string{
		`{"key":"k","codes":[{"testType":"confirmed"},{"phone":"1"}]}`, `{"codes":[]}`, `{"codes":[{}],"codes":[{}]}`,
		`{"codes":[null]}`, `{"codes":{}}`, `{"codes":[{}]}x`, "{}\n\n{}\n", `[`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if rows, ok := taken(text, contentJSON); ok {
			var whole struct{ Codes []json.RawMessage }
			if err := json.Unmarshal(text, &whole); err != nil || len(whole.Codes) != rows {
				t.Errorf("%d rows are taken of %q, which has %d: %v", rows, text, len(whole.Codes), err)
			}
		}
		if rows, ok := taken(text, contentLines); ok && rows > bytes.Count(text, []byte("\n"))+1 {
			t.Errorf("%d rows are taken of the lines %q", rows, text)
		}
	})
}

// taken reads a body to its end and counts its rows; ok if there was no error.
func taken(text []byte, contentType string) (rows int, ok bool) {
	body := newBatchBody(bytes.NewReader(text))
	if _, err := body.begin(contentType, "k"); err != nil {
		return 0, false
	}
	for _, err := range body.orders {
		if err != nil {
			return rows, false
		}
		rows++
	}
	return rows, true
}
