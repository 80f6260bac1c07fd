// Package mailtest stands in for a mail server: a sender that records letters and can
// fail.
package mailtest

import (
	"context"
	"regexp"
	"slices"
	"sync"

	"carillon/tenant/mail"
)

// Recorder is a [mail.Sender] that keeps what it was given. The zero value works.
type Recorder struct {
	mu      sync.Mutex
	fail    error
	letters []mail.Letter
}

// Break makes every later letter fail with err; nil mends the recorder.
func (r *Recorder) Break(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Send keeps the letter.
func (r *Recorder) Send(_ context.Context, l mail.Letter) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.letters = append(r.letters, l)
	return nil
}

// Letters returns what was sent, oldest first.
func (r *Recorder) Letters() []mail.Letter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.letters)
}

// To returns what was sent to an address, oldest first.
func (r *Recorder) To(address string) []mail.Letter {
	return slices.DeleteFunc(r.Letters(), func(l mail.Letter) bool { return l.To != address })
}

var link = regexp.MustCompile(`https?://\S+`)

// Link returns the first link of a letter's text; empty if there is none.
func Link(l mail.Letter) string { return link.FindString(l.Text) }
