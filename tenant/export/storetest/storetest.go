// Package storetest is what every implementation of [export.Store] must do.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"carillon/tenant/export"
)

// Run runs the suite against stores that open makes; each is empty.
func Run(t *testing.T, open func(t *testing.T) export.Store) {
	t.Run("put and read", func(t *testing.T) { t.Parallel(); putAndRead(t, open(t)) })
	t.Run("put is only for absent names", func(t *testing.T) { t.Parallel(); conflict(t, open(t)) })
	t.Run("one of many creators wins", func(t *testing.T) { t.Parallel(); race(t, open(t)) })
	t.Run("replace", func(t *testing.T) { t.Parallel(); replace(t, open(t)) })
	t.Run("readers see whole objects", func(t *testing.T) { t.Parallel(); whole(t, open(t)) })
	t.Run("absent", func(t *testing.T) { t.Parallel(); absent(t, open(t)) })
	t.Run("names", func(t *testing.T) { t.Parallel(); names(t, open(t)) })
}

func read(ctx context.Context, s export.Store, name string) ([]byte, error) {
	o, err := s.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	body, err := io.ReadAll(o)
	if err == nil && int64(len(body)) != o.Size() {
		err = fmt.Errorf("%d bytes, but size %d", len(body), o.Size())
	}
	return body, err
}

func want(t *testing.T, s export.Store, name, body string) {
	t.Helper()
	got, err := read(t.Context(), s, name)
	if err != nil || string(got) != body {
		t.Errorf("%s: %q, %v; want %q", name, got, err, body)
	}
}

func putAndRead(t *testing.T, s export.Store) {
	if err := s.PutIfAbsent(t.Context(), "a/b/1.zip", []byte("body")); err != nil {
		t.Fatal(err)
	}
	want(t, s, "a/b/1.zip", "body")
	o, err := s.Open(t.Context(), "a/b/1.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if o.Modified().IsZero() {
		t.Error("no time of modification")
	}
	if _, err := o.Seek(2, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(o); err != nil || string(rest) != "dy" {
		t.Errorf("after seeking: %q, %v", rest, err)
	}
}

func conflict(t *testing.T, s export.Store) {
	put := func(body string) error { return s.PutIfAbsent(t.Context(), "a/1.zip", []byte(body)) }
	if err := put("first"); err != nil {
		t.Fatal(err)
	}
	if err := put("first"); err != nil {
		t.Errorf("the same bytes again: %v", err)
	}
	if err := put("other"); !errors.Is(err, export.ErrConflict) {
		t.Errorf("other bytes: %v, want ErrConflict", err)
	}
	want(t, s, "a/1.zip", "first")
}

func race(t *testing.T, s export.Store) {
	const rounds, creators = 100, 8
	for round := range rounds {
		name := fmt.Sprintf("race/%d.zip", round)
		var won atomic.Int32
		var group sync.WaitGroup
		for i := range creators {
			group.Go(func() {
				err := s.PutIfAbsent(t.Context(), name, []byte(fmt.Sprint("creator ", i)))
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, export.ErrConflict):
					t.Errorf("creator: %v", err)
				}
			})
		}
		group.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("round %d has %d winners", round, n)
		}
	}
}

func replace(t *testing.T, s export.Store) {
	for _, body := range []string{"one", "", "three"} {
		if err := s.Replace(t.Context(), "a/index.txt", []byte(body)); err != nil {
			t.Fatal(err)
		}
		want(t, s, "a/index.txt", body)
	}
}

// whole reads while an object is replaced again and again.
func whole(t *testing.T, s export.Store) {
	versions := [][]byte{bytes.Repeat([]byte("a"), 100_000), bytes.Repeat([]byte("b"), 50_000)}
	if err := s.Replace(t.Context(), "index.txt", versions[0]); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 100 {
			if err := s.Replace(t.Context(), "index.txt", versions[i%2]); err != nil {
				t.Errorf("replace: %v", err)
			}
		}
	}()
	for {
		body, err := read(t.Context(), s, "index.txt")
		if err != nil || (!bytes.Equal(body, versions[0]) && !bytes.Equal(body, versions[1])) {
			t.Fatalf("%d bytes that are neither version, %v", len(body), err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func absent(t *testing.T, s export.Store) {
	if _, err := s.Open(t.Context(), "no/such.zip"); !errors.Is(err, export.ErrNotFound) {
		t.Errorf("open: %v", err)
	}
	if err := s.Delete(t.Context(), "no/such.zip"); !errors.Is(err, export.ErrNotFound) {
		t.Errorf("delete: %v", err)
	}
	if err := s.PutIfAbsent(t.Context(), "a/1.zip", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "a/1.zip"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := s.Open(t.Context(), "a/1.zip"); !errors.Is(err, export.ErrNotFound) {
		t.Errorf("open after delete: %v", err)
	}
	if _, err := s.Open(t.Context(), "a"); !errors.Is(err, export.ErrNotFound) {
		t.Errorf("open a folder: %v", err)
	}
}

func names(t *testing.T, s export.Store) {
	for _, name := range []string{"", "/", "..", "../a", "a/../b", "a//b", "/a", "a/", ".hidden", "a/.hidden", "A.zip", "a\x00b", "a b", "a\\b"} {
		if err := s.PutIfAbsent(t.Context(), name, nil); !errors.Is(err, export.ErrName) {
			t.Errorf("put %q: %v, want ErrName", name, err)
		}
		if _, err := s.Open(t.Context(), name); !errors.Is(err, export.ErrName) {
			t.Errorf("open %q: %v, want ErrName", name, err)
		}
	}
}
