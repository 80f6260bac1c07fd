package providertest

import (
	"context"
	"sync"
)

// Switch is the fault of a stand-in, and what has reached it.
type Switch struct {
	arrived chan struct{}

	mu    sync.Mutex
	fault Fault // guarded by mu
	busy  bool  // guarded by mu; was busy once since the fault was set
	calls int   // guarded by mu
}

// NewSwitch returns one that is healthy.
func NewSwitch() *Switch { return &Switch{arrived: make(chan struct{}, 1)} }

// Set sets the fault of all calls that come.
func (s *Switch) Set(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.busy = f, false
}

// Fault is what was set last.
func (s *Switch) Fault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// Calls counts what has arrived.
func (s *Switch) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Arrived gets a value when a call has arrived that will not be answered.
func (s *Switch) Arrived() <-chan struct{} { return s.arrived }

// Take notes a call, and returns what is wrong with it: [Dead] for the first one if the
// fault is [OnceBusy], [Healthy] for those after it. A silent one returns when ctx ends.
func (s *Switch) Take(ctx context.Context) Fault {
	f := s.next()
	if f == Silent {
		select {
		case s.arrived <- struct{}{}:
		default:
		}
		<-ctx.Done()
	}
	return f
}

func (s *Switch) next() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fault != OnceBusy {
		return s.fault
	}
	if s.busy {
		return Healthy
	}
	s.busy = true
	return Dead
}
