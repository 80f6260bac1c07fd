package shelf

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/export"
)

// partSize is how long a part is before it is sealed, in bytes; the last is shorter. An
// archive takes as much memory as a part, whatever its size.
const partSize = 4 << 20

// prefix is where an archive is in the store; see [leaving.Prefixes], which erases it.
func prefix(s tenant.Slug, id uuid.UUID) string {
	return "archives/" + string(s) + "/" + id.String() + "/"
}

// parts are those of one attempt to make an archive.
type parts struct {
	store   export.Store
	dk      *signing.DataKey
	tenant  tenant.ID
	prefix  string
	attempt int
}

// attemptPrefix is how the names of an attempt's parts begin.
func (p parts) attemptPrefix() string { return fmt.Sprintf("%s%d-", p.prefix, p.attempt) }

func (p parts) name(n int) string { return fmt.Sprintf("%s%06d", p.attemptPrefix(), n) }

// binding ties a part to its place, so that none can stand for another.
func (p parts) binding(n int) signing.Binding {
	return signing.Binding{Tenant: p.tenant.String(), Purpose: signing.Archive, KeyID: p.name(n)}
}

func (p parts) put(ctx context.Context, n int, plain []byte) error {
	sealed, err := p.dk.Seal(p.binding(n), plain)
	if err != nil {
		return err
	}
	return p.store.PutIfAbsent(ctx, p.name(n), sealed)
}

// copy writes the first n parts.
func (p parts) copy(ctx context.Context, n int, to io.Writer) error {
	for i := range n {
		plain, err := p.open(ctx, i)
		if err == nil {
			_, err = to.Write(plain)
		}
		if err != nil {
			return fmt.Errorf("part %d of archive: %w", i, err)
		}
	}
	return nil
}

func (p parts) open(ctx context.Context, n int) ([]byte, error) {
	o, err := p.store.Open(ctx, p.name(n))
	if err != nil {
		return nil, err
	}
	sealed, err := io.ReadAll(o)
	if err = errors.Join(err, o.Close()); err != nil {
		return nil, err
	}
	return p.dk.Open(p.binding(n), sealed)
}

// remove deletes all that is below the archive's prefix, but the parts of this attempt if
// keep says so.
func (p parts) remove(ctx context.Context, keep bool) error {
	names, err := p.store.List(ctx, p.prefix)
	if err != nil {
		return fmt.Errorf("list parts of archive: %w", err)
	}
	for _, name := range names {
		if keep && strings.HasPrefix(name, p.attemptPrefix()) {
			continue
		}
		if err := p.store.Delete(ctx, name); err != nil && !errors.Is(err, export.ErrNotFound) {
			return fmt.Errorf("delete part of archive: %w", err)
		}
	}
	return nil
}

// writer puts what is written into parts.
type writer struct {
	parts
	ctx context.Context //nolint:containedctx // of the attempt that writes
	// stored is told after each part how many there are, and bytes in them.
	stored func(n int, size int64) error
	buffer []byte
	n      int
	size   int64
	sum    hash.Hash
}

func newWriter(ctx context.Context, p parts, stored func(n int, size int64) error) *writer {
	return &writer{parts: p, ctx: ctx, stored: stored, buffer: make([]byte, 0, partSize), sum: sha256.New()}
}

func (w *writer) Write(b []byte) (written int, err error) {
	for len(b) > 0 {
		room := min(len(b), partSize-len(w.buffer))
		w.buffer = append(w.buffer, b[:room]...)
		b, written = b[room:], written+room
		if len(w.buffer) == partSize {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// flush stores what has been gathered as a part.
func (w *writer) flush() error {
	if len(w.buffer) == 0 {
		return nil
	}
	if err := w.put(w.ctx, w.n, w.buffer); err != nil {
		return fmt.Errorf("store part %d of archive: %w", w.n, err)
	}
	w.sum.Write(w.buffer)
	w.size += int64(len(w.buffer))
	w.n++
	w.buffer = w.buffer[:0]
	return w.stored(w.n, w.size)
}
