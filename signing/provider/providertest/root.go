package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"carillon/signing"
)

// RootSubject is a root key that is tested, with switches for the other side.
type RootSubject struct {
	Root signing.NamedRoot
	// Other is another root key at the same place.
	Other signing.NamedRoot
	// Faults, Set, Calls, Arrived and Secrets are as in [Subject].
	Faults  []Fault
	Set     func(Fault)
	Calls   func() int
	Arrived <-chan struct{}
	Secrets []string
}

// RunRoot runs the suite for a root key.
func RunRoot(t *testing.T, open func(t *testing.T) RootSubject) {
	t.Helper()
	for name, part := range map[string]func(*testing.T, RootSubject){
		"wraps": wraps, "refuses": refuses, "root faults": rootFaults, "ends with context": rootEnds,
	} {
		t.Run(name, func(t *testing.T) { part(t, open(t)) })
	}
}

const dataKey = "data key, 32 bytes long, is here"

var whose = []byte("\x00\x00\x00\x05north and \xff any bytes")

func wrapped(t *testing.T, root signing.Root) []byte {
	t.Helper()
	w, err := root.Wrap(t.Context(), []byte(dataKey), whose)
	if err != nil {
		t.Fatalf("wrap: %v", err)
	}
	return w
}

func wraps(t *testing.T, s RootSubject) {
	one, two := wrapped(t, s.Root), wrapped(t, s.Root)
	if bytes.Equal(one, two) || bytes.Contains(one, []byte(dataKey)) {
		t.Errorf("wrapped as %q and %q", one, two)
	}
	for _, w := range [][]byte{one, two} {
		if got, err := s.Root.Unwrap(t.Context(), w, whose); err != nil || string(got) != dataKey {
			t.Errorf("unwrapped %q, %v", got, err)
		}
	}
	if s.Root.Name() == s.Other.Name() {
		t.Error("two root keys have one name")
	}
	roots, err := signing.NewRoots(s.Root, s.Other)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := roots.Unwrap(t.Context(), wrapped(t, roots), whose); err != nil || string(got) != dataKey {
		t.Errorf("among others: %q, %v", got, err)
	}
	for _, secret := range s.Secrets {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if strings.Contains(fmt.Sprintf(verb, s.Root), secret) {
				t.Errorf("%s prints a secret", verb)
			}
		}
	}
}

func refuses(t *testing.T, s RootSubject) {
	w := wrapped(t, s.Root)
	changed := bytes.Clone(w)
	changed[len(changed)-3] ^= 1
	for name, wrong := range map[string]struct{ wrapped, aad []byte }{
		"another's": {w, append(bytes.Clone(whose), 0)}, "nobody's": {w, nil},
		"changed": {changed, whose}, "cut": {w[:len(w)-4], whose}, "nothing": {nil, whose},
		"text":                {[]byte("no wrapped key at all, but as long as one would be"), whose},
		"by another root key": {wrapped(t, s.Other), whose},
	} {
		if got, err := s.Root.Unwrap(t.Context(), wrong.wrapped, wrong.aad); !errors.Is(err, signing.ErrSealed) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func rootFaults(t *testing.T, s RootSubject) {
	w := wrapped(t, s.Root)
	for _, f := range s.Faults {
		for operation, work := range rootOperations(s.Root, w) {
			before := s.Calls()
			s.Set(f)
			err := work(t.Context())
			calls := s.Calls() - before
			s.Set(Healthy)
			if calls > Attempts {
				t.Errorf("%s, %s: %d calls", f, operation, calls)
			}
			judgeRoot(t, f, operation, err, s.Secrets)
		}
	}
	if got, err := s.Root.Unwrap(t.Context(), w, whose); err != nil || string(got) != dataKey {
		t.Errorf("after all faults: %q, %v", got, err)
	}
}

func judgeRoot(t *testing.T, f Fault, operation string, err error, secrets []string) {
	t.Helper()
	if (f == OnceBusy) != (err == nil) {
		t.Errorf("%s, %s: %v", f, operation, err)
	}
	if err == nil {
		return
	}
	if f == Dead && !errors.Is(err, signing.ErrUnavailable) || f == Nonsense && !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("%s, %s: %v", f, operation, err)
	}
	for _, secret := range append(secrets, dataKey) {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("an error tells a secret: %v", err)
		}
	}
}

func rootOperations(root signing.Root, w []byte) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"wrap": func(ctx context.Context) error {
			_, err := root.Wrap(ctx, []byte(dataKey), whose)
			return err
		},
		"unwrap": func(ctx context.Context) error {
			_, err := root.Unwrap(ctx, w, whose)
			return err
		},
	}
}

func rootEnds(t *testing.T, s RootSubject) {
	w := wrapped(t, s.Root)
	for name, work := range rootOperations(s.Root, w) {
		ctx, cancel := context.WithCancel(t.Context())
		if s.Arrived == nil { // what answers at once has nothing to end
			cancel()
			continue
		}
		s.Set(Silent)
		ended := make(chan error, 1)
		go func() { ended <- work(ctx) }()
		<-s.Arrived
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || !errors.Is(err, signing.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		s.Set(Healthy)
	}
}
