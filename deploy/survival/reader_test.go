package survival

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"carillon/signing/exportfile"
	"carillon/tenant/export"
)

// reader looks at all published files again and again, as phones see them.
type reader struct {
	world *world
	stop  context.CancelFunc
	done  sync.WaitGroup
	looks int
	// seen are the files of each index, in its order, and times how often each key was
	// in one.
	seen  map[string]map[string][sha256.Size]byte
	times map[string]map[[16]byte]int
}

func newReader(w *world) *reader {
	r := &reader{world: w, seen: map[string]map[string][sha256.Size]byte{}, times: map[string]map[[16]byte]int{}}
	for _, a := range w.tenants {
		for _, path := range paths {
			r.seen[a.slug+"/"+path], r.times[a.slug+"/"+path] = map[string][sha256.Size]byte{}, map[[16]byte]int{}
		}
	}
	return r
}

// watch looks until end is called.
func (w *world) watch() *reader {
	ctx, stop := context.WithCancel(w.t.Context())
	r := newReader(w)
	r.stop = stop
	r.done.Go(func() {
		for ctx.Err() == nil {
			r.look()
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return r
}

func (r *reader) end() {
	r.stop()
	r.done.Wait()
	r.look()
}

func (r *reader) look() {
	r.looks++
	for _, a := range r.world.tenants {
		for _, path := range paths {
			if err := r.configuration(a, a.slug+"/"+path); err != nil {
				r.world.t.Errorf("%s/%s: %v", a.slug, path, err)
			}
		}
	}
}

// configuration checks what one index names: all that it named before, and every file is
// there and the one that it was.
func (r *reader) configuration(a *authority, prefix string) error {
	index, err := r.object(prefix + export.IndexName)
	if errors.Is(err, export.ErrNotFound) {
		return nil // not yet
	}
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, name := range strings.Fields(string(index)) {
		if named[name] {
			return fmt.Errorf("the index names %s twice", name)
		}
		named[name] = true
		body, err := r.object(prefix + name)
		if err != nil {
			return fmt.Errorf("the index names %s: %w", name, err)
		}
		sum := sha256.Sum256(body)
		if before, known := r.seen[prefix][name]; known {
			if before != sum {
				return fmt.Errorf("%s has changed", name)
			}
			continue
		}
		file, err := exportfile.Verify(body, a.key.KeyID, a.key.Label, a.key.Key)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.seen[prefix][name] = sum
		for _, k := range file.Keys {
			r.times[prefix][k.Data]++
			if n := r.times[prefix][k.Data]; n > 1 {
				return fmt.Errorf("a key is in %d files", n)
			}
		}
	}
	for name := range r.seen[prefix] {
		if !named[name] {
			return fmt.Errorf("%s has left the index", name)
		}
	}
	return nil
}

func (r *reader) object(name string) ([]byte, error) {
	o, err := r.world.files.Open(r.world.t.Context(), name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}

// missing counts acknowledged keys that are in no file of a configuration.
func (r *reader) missing(l *load) (n int) {
	for a, keys := range l.keys {
		for _, path := range paths {
			for _, k := range keys {
				if r.times[a.slug+"/"+path][k] == 0 {
					n++
				}
			}
		}
	}
	return n
}
