package tenant

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sentOff are convoys whose departures a test sees and whose returns it decides.
type sentOff struct {
	convoys
	sizes chan int
	back  chan struct{}
}

func newSentOff() *sentOff {
	s := &sentOff{sizes: make(chan int, maxConvoys), back: make(chan struct{})}
	s.send = func(_ context.Context, all []*passenger) {
		s.sizes <- len(all)
		<-s.back
	}
	return s
}

func (s *sentOff) join(t *testing.T, n int) {
	t.Helper()
	for range n {
		s.convoys.join(t.Context(), &passenger{arrived: make(chan struct{})})
	}
	synctest.Wait()
}

// left checks how many passengers each convoy had that has left since the last look.
func (s *sentOff) left(t *testing.T, want ...int) {
	t.Helper()
	for _, n := range want {
		select {
		case got := <-s.sizes:
			if got != n {
				t.Errorf("a convoy of %d, want %d", got, n)
			}
		default:
			t.Errorf("no convoy of %d has left", n)
		}
	}
	select {
	case got := <-s.sizes:
		t.Errorf("another convoy has left, of %d", got)
	default:
	}
}

func TestWhenConvoysLeave(t *testing.T) {
	t.Parallel()
	t.Run("one takes along who came meanwhile", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newSentOff()
			s.join(t, 1)
			s.left(t, 1)
			s.join(t, maxPassengers-1)
			s.left(t)
			s.back <- struct{}{}
			synctest.Wait()
			s.left(t, maxPassengers-1)
			close(s.back)
		})
	})
	t.Run("a second one leaves when it is full", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newSentOff()
			s.join(t, 1)
			s.left(t, 1)
			s.join(t, maxPassengers)
			s.left(t, maxPassengers)
			s.join(t, 2*maxPassengers)
			s.left(t)
			close(s.back)
			synctest.Wait()
			s.left(t, maxPassengers, maxPassengers)
		})
	})
	t.Run("a second one leaves when the first is late", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newSentOff()
			s.join(t, 1)
			s.left(t, 1)
			s.join(t, 1)
			time.Sleep(late + 1) // of the bubble's time
			s.join(t, 1)
			s.left(t, 2)
			s.join(t, 1)
			s.back <- struct{}{} // either of them: who is left waits for the other one
			synctest.Wait()
			close(s.back)
			synctest.Wait()
			s.left(t, 1)
		})
	})
}

// A driver that panics fails the statements on their way, and nothing more.
func TestConvoyThatPanics(t *testing.T) {
	t.Parallel()
	err := recovered(func() error { panic("execute with a secret") })
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("err = %v", err)
	}
	if err := recovered(func() error { return errAlone }); !errors.Is(err, errAlone) {
		t.Errorf("err = %v, want errAlone", err)
	}
}
