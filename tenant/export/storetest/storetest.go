// Package storetest is what every implementation of [export.Store] must do.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant/export"
)

// Run tests the stores that open makes. Each is empty; two with the same place, as
// two processes have, share their objects.
func Run(t *testing.T, open func(t *testing.T, place string) export.Store) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, one, two export.Store){
		"put":     testPut,
		"replace": testReplace,
		"reading": testReading,
		"delete":  testDelete,
		"list":    testList,
		"names":   testNames,
		"race":    testRace,
		"readers": testReaders,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := t.TempDir()
			test(t, open(t, place), open(t, place))
		})
	}
}

func testPut(t *testing.T, one, two export.Store) {
	ctx := t.Context()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for name, body := range map[string][]byte{"north/1-2-00001.zip": []byte("first"), "north/deep/er/file.zip": big, "north/empty": {}, "top": []byte("x")} {
		if err := one.PutIfAbsent(ctx, name, body); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := read(t, two, name); !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes, want %d", name, len(got), len(body))
		}
		if err := two.PutIfAbsent(ctx, name, body); err != nil {
			t.Errorf("%s: the same again: %v", name, err)
		}
		if err := two.PutIfAbsent(ctx, name, append(slices.Clone(body), '!')); !errors.Is(err, export.ErrConflict) {
			t.Errorf("%s: other bytes: %v, want ErrConflict", name, err)
		}
		if got := read(t, one, name); !bytes.Equal(got, body) {
			t.Errorf("%s was changed", name)
		}
	}
}

func testReplace(t *testing.T, one, two export.Store) {
	ctx := t.Context()
	for _, body := range []string{"", "longer", "short", "short"} {
		if err := one.Replace(ctx, "north/index.txt", []byte(body)); err != nil {
			t.Fatal(err)
		}
		if got := string(read(t, two, "north/index.txt")); got != body {
			t.Errorf("got %q, want %q", got, body)
		}
	}
}

func testReading(t *testing.T, one, two export.Store) {
	ctx := t.Context()
	if err := one.Replace(ctx, "n/index.txt", []byte("before")); err != nil {
		t.Fatal(err)
	}
	o, err := two.Open(ctx, "n/index.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if o.Size() != 6 || o.Modified().IsZero() {
		t.Errorf("size %d, modified %v", o.Size(), o.Modified())
	}
	if err := one.Replace(ctx, "n/index.txt", []byte("afterwards")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := o.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(o); err != nil || string(b) != "before" {
			t.Errorf("an open object reads %q, %v", b, err)
		}
	}
	if _, err := two.Open(ctx, "n/missing"); !errors.Is(err, export.ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	if _, err := two.Open(ctx, "n"); !errors.Is(err, export.ErrNotFound) {
		t.Errorf("a prefix: %v", err)
	}
}

func testDelete(t *testing.T, one, two export.Store) {
	ctx := t.Context()
	if err := one.PutIfAbsent(ctx, "n/a", []byte("a")); err != nil {
		t.Fatal(err)
	}
	if err := two.Delete(ctx, "n/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Open(ctx, "n/a"); !errors.Is(err, export.ErrNotFound) {
		t.Errorf("open: %v", err)
	}
	if err := one.Delete(ctx, "n/a"); !errors.Is(err, export.ErrNotFound) {
		t.Errorf("delete again: %v", err)
	}
	if err := one.PutIfAbsent(ctx, "n/a", []byte("other")); err != nil {
		t.Errorf("put again: %v", err)
	}
}

func testList(t *testing.T, one, two export.Store) {
	ctx := t.Context()
	for _, name := range []string{"n/b", "n/a", "n/d/c", "nn/x", "z"} {
		if err := one.PutIfAbsent(ctx, name, nil); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, want := range map[string][]string{
		"": {"n/a", "n/b", "n/d/c", "nn/x", "z"}, "n/": {"n/a", "n/b", "n/d/c"}, "n/d/": {"n/d/c"}, "none/": nil,
	} {
		got, err := two.List(ctx, prefix)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("below %q (-want +got):\n%s", prefix, diff)
		}
	}
	if _, err := two.List(ctx, "n"); !errors.Is(err, export.ErrName) {
		t.Errorf("a prefix without a slash: %v", err)
	}
}

func testNames(t *testing.T, one, _ export.Store) {
	ctx := t.Context()
	for _, name := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".hidden", "a/.hidden", "A", "a b", "a\\b", "a\x00", "a\n",
		"ü", "-a", strings.Repeat("a/", 200) + "a", strings.Repeat("a", 200),
	} {
		if err := one.PutIfAbsent(ctx, name, []byte("x")); !errors.Is(err, export.ErrName) {
			t.Errorf("put %q: %v", name, err)
		}
		if err := one.Replace(ctx, name, []byte("x")); !errors.Is(err, export.ErrName) {
			t.Errorf("replace %q: %v", name, err)
		}
		if _, err := one.Open(ctx, name); !errors.Is(err, export.ErrName) {
			t.Errorf("open %q: %v", name, err)
		}
		if err := one.Delete(ctx, name); !errors.Is(err, export.ErrName) {
			t.Errorf("delete %q: %v", name, err)
		}
	}
}

// Of creators with different bytes exactly one wins, and its bytes stay.
func testRace(t *testing.T, one, two export.Store) {
	const creators, rounds = 8, 100
	for round := range rounds {
		name := fmt.Sprintf("race/%d", round)
		var winners atomic.Int32
		var winner atomic.Value
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range creators {
			store := []export.Store{one, two}[i%2]
			body := fmt.Sprintf("creator %d", i)
			wg.Go(func() {
				<-start
				err := store.PutIfAbsent(t.Context(), name, []byte(body))
				switch {
				case err == nil:
					winners.Add(1)
					winner.Store(body)
				case !errors.Is(err, export.ErrConflict):
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		close(start)
		wg.Wait()
		if winners.Load() != 1 || string(read(t, one, name)) != winner.Load() {
			t.Fatalf("%s: %d winners", name, winners.Load())
		}
	}
}

// Whoever reads while an object is replaced reads one of its contents whole.
func testReaders(t *testing.T, one, two export.Store) {
	ctx := t.Context()
	contents := []string{strings.Repeat("a", 100_000), strings.Repeat("b", 10), ""}
	if err := one.Replace(ctx, "index.txt", nil); err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !done.Load() {
				if got := string(read(t, two, "index.txt")); !slices.Contains(contents, got) {
					t.Errorf("read %d bytes of a mixture", len(got))
					return
				}
			}
		})
	}
	for i := range 50 {
		if err := one.Replace(ctx, "index.txt", []byte(contents[i%len(contents)])); err != nil {
			t.Error(err)
		}
	}
	done.Store(true)
	wg.Wait()
}

// read returns an object's content, which must be there.
func read(tb testing.TB, s export.Store, name string) []byte {
	tb.Helper()
	o, err := s.Open(context.WithoutCancel(tb.Context()), name)
	if err != nil {
		tb.Errorf("open %s: %v", name, err)
		return nil
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil {
		tb.Errorf("read %s: %v", name, err)
	}
	return b
}
