package storetest

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"carillon/tenant/export"
)

// Fault is what goes wrong when a store creates or replaces an object.
type Fault string

// The faults.
const (
	// None is that all goes well.
	None Fault = "none"
	// Failed is that nothing happened.
	Failed Fault = "failed"
	// SaidFailed is that the object was written, and the answer that it was is lost.
	SaidFailed Fault = "succeeded but said it failed"
	// Slow is that it takes until [Faulty.Release].
	Slow Fault = "slow"
	// Full is that there is no room.
	Full Fault = "full"
)

// Faulty is a store that can be made to fail.
type Faulty struct {
	export.Store
	// Set chooses what goes wrong from now on.
	Set func(Fault)
	// Reached is sent to when a slow change waits, which it does until Release is sent to.
	Reached, Release chan struct{}
}

// RunFaults tests what a store does when that fails by which it keeps objects: a disk, a
// network, a server. open makes two stores with the same place, as two processes have; the
// first can be made to fail.
func RunFaults(t *testing.T, open func(t *testing.T) (one Faulty, two export.Store)) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, one Faulty, two export.Store){
		"failed":      func(t *testing.T, one Faulty, two export.Store) { testFailure(t, one, two, Failed) },
		"said failed": func(t *testing.T, one Faulty, two export.Store) { testFailure(t, one, two, SaidFailed) },
		"full":        func(t *testing.T, one Faulty, two export.Store) { testFailure(t, one, two, Full) },
		"slow":        testSlow,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := open(t)
			test(t, one, two)
		})
	}
}

// testFailure: what fails leaves the object as it was or as it was to be, never in
// between, and all others alone. Doing it again mends it.
func testFailure(t *testing.T, one Faulty, two export.Store, fault Fault) {
	ctx := t.Context()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
	for _, name := range []string{"n/old.zip", "n/index.txt"} {
		if err := one.Replace(ctx, name, []byte("before")); err != nil {
			t.Fatal(err)
		}
	}
	one.Set(fault)
	putErr := one.PutIfAbsent(ctx, "n/new.zip", big)
	replaceErr := one.Replace(ctx, "n/index.txt", big)
	one.Set(None)
	if fault != SaidFailed && (putErr == nil || replaceErr == nil) {
		t.Fatalf("said to have succeeded: %v, %v", putErr, replaceErr)
	}
	if errors.Is(putErr, export.ErrConflict) || errors.Is(putErr, export.ErrNotFound) {
		t.Errorf("the failure says something of the object: %v", putErr)
	}
	names, err := two.List(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"n/index.txt", "n/old.zip"}
	if fault == SaidFailed {
		want = []string{"n/index.txt", "n/new.zip", "n/old.zip"}
	}
	if !slices.Equal(names, want) {
		t.Errorf("the objects are %q, want %q", names, want)
	}
	index := []byte("before")
	if fault == SaidFailed {
		index = big
	}
	if got := read(t, two, "n/index.txt"); !bytes.Equal(got, index) {
		t.Errorf("the index has %d bytes, want %d", len(got), len(index))
	}
	if got := read(t, one, "n/old.zip"); string(got) != "before" {
		t.Errorf("another object has %q", got)
	}
	if err := errors.Join(one.PutIfAbsent(ctx, "n/new.zip", big), one.Replace(ctx, "n/index.txt", []byte("after"))); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := two.PutIfAbsent(ctx, "n/new.zip", []byte("other")); !errors.Is(err, export.ErrConflict) {
		t.Errorf("other bytes: %v, want ErrConflict", err)
	}
	if got := read(t, two, "n/new.zip"); !bytes.Equal(got, big) {
		t.Errorf("the object has %d bytes, want %d", len(got), len(big))
	}
}

// testSlow: while an object is being made nobody sees any of it, and somebody else may
// make it; then it is theirs, if the bytes are the same.
func testSlow(t *testing.T, one Faulty, two export.Store) {
	ctx := t.Context()
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
	one.Set(Slow)
	done := make(chan error)
	go func() { done <- one.PutIfAbsent(ctx, "n/new.zip", body) }()
	select {
	case <-one.Reached:
	case err := <-done:
		t.Fatalf("it was not slow: %v", err)
	}
	if _, err := two.Open(ctx, "n/new.zip"); !errors.Is(err, export.ErrNotFound) {
		t.Errorf("while it is being made: %v, want ErrNotFound", err)
	}
	if names, err := two.List(ctx, ""); err != nil || len(names) > 0 {
		t.Errorf("there are objects: %q, %v", names, err)
	}
	if err := two.PutIfAbsent(ctx, "n/new.zip", body); err != nil {
		t.Errorf("made by another: %v", err)
	}
	one.Release <- struct{}{}
	if err := <-done; err != nil {
		t.Errorf("when it goes on: %v", err)
	}
	if got := read(t, two, "n/new.zip"); !bytes.Equal(got, body) {
		t.Errorf("the object has %d bytes, want %d", len(got), len(body))
	}
}
