package mail

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Box is a [Sender] for development: it keeps letters in memory, where a page shows
// them, instead of delivering them.
type Box struct {
	now func() time.Time

	mu       sync.Mutex
	received []Received // oldest first
}

// Received is a letter in a [Box].
type Received struct {
	At time.Time
	Letter
}

// BoxSize is how many letters a [Box] keeps.
const BoxSize = 500

// NewBox returns an empty box that dates letters with now.
func NewBox(now func() time.Time) *Box { return &Box{now: now} }

// Send keeps the letter, dropping the oldest one if there are too many.
func (b *Box) Send(ctx context.Context, l Letter) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !IsAddress(l.To) {
		return ErrRecipient
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.received) == BoxSize {
		b.received = slices.Delete(b.received, 0, 1)
	}
	b.received = append(b.received, Received{At: b.now(), Letter: l})
	return nil
}

// List returns the letters, newest first.
func (b *Box) List() []Received {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Clone(b.received)
	slices.Reverse(list)
	return list
}
