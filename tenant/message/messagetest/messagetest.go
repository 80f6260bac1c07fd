// Package messagetest fakes the delivery of text messages, with the ways in
// which it can go wrong.
package messagetest

import (
	"context"
	"slices"
	"sync"

	"carillon/tenant"
	"carillon/tenant/message"
)

// Fault is what happens to a message.
type Fault int

// The faults. They are the ones that callers must survive.
const (
	// None: delivered.
	None Fault = iota
	// Failed: not delivered, and said so.
	Failed
	// QueueFull: not delivered, the provider takes no more.
	QueueFull
	// SaidFailed: delivered, but reported as failed.
	SaidFailed
	// Silent: the provider does not answer until the caller gives up.
	Silent
)

// Sender is a [message.Sender] that keeps what it delivers. The zero value works.
type Sender struct {
	mu        sync.Mutex
	fault     Fault
	attempts  int
	delivered []Delivery
}

// Delivery is one delivered message.
type Delivery struct {
	Tenant tenant.ID
	message.Message
}

// Break makes every later message suffer the fault; None mends the sender.
func (s *Sender) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Send delivers the message, or does what the fault says.
func (s *Sender) Send(ctx context.Context, t *tenant.Tenant, m message.Message) error {
	switch s.attempt(t.ID, m) {
	case Failed, SaidFailed:
		return message.ErrFailed
	case QueueFull:
		return message.ErrQueueFull
	case Silent:
		<-ctx.Done()
		return ctx.Err()
	case None:
	}
	return nil
}

func (s *Sender) attempt(id tenant.ID, m message.Message) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts++
	if s.fault == None || s.fault == SaidFailed {
		s.delivered = append(s.delivered, Delivery{Tenant: id, Message: m})
	}
	return s.fault
}

// Attempts is how often Send was called.
func (s *Sender) Attempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts
}

// Delivered returns the delivered messages, oldest first.
func (s *Sender) Delivered() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.delivered)
}
