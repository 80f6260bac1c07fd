package shelf

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/export"
)

// watched notes the most memory that lives while parts come and go.
type watched struct {
	export.Store
	most uint64
}

func (w *watched) look() {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.most = max(w.most, m.HeapAlloc)
}

func (w *watched) PutIfAbsent(ctx context.Context, name string, body []byte) error {
	w.look()
	return w.Store.PutIfAbsent(ctx, name, body)
}

func (w *watched) Open(ctx context.Context, name string) (export.Object, error) {
	w.look()
	return w.Store.Open(ctx, name)
}

// An archive takes the memory of some parts, whatever its size, when it is stored and when
// it is taken. The test runs alone, since it looks at the memory of the process.
func TestMemoryIsThatOfSomeParts(t *testing.T) { //nolint:paralleltest // as it says
	root, err := signing.CreateRootFile(filepath.Join(t.TempDir(), "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	id := tenant.NewID()
	dk, _, err := signing.NewDataKey(t.Context(), root, id.String())
	if err != nil {
		t.Fatal(err)
	}
	files, err := export.NewFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	store := &watched{Store: files}
	store.look()
	before := store.most
	p := parts{store: store, dk: dk, tenant: id, prefix: prefix("north", uuid.New()), attempt: 1}
	w := newWriter(t.Context(), p, func(int, int64) error { return nil })
	const count = 24
	block := bytes.Repeat([]byte("row "), 1<<14)
	for range count * partSize / len(block) {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.flush(); err != nil || w.n != count {
		t.Fatalf("%d parts, %v", w.n, err)
	}
	if err := p.copy(t.Context(), w.n, io.Discard); err != nil {
		t.Fatal(err)
	}
	if used := store.most - before; used > 4*partSize {
		t.Errorf("%d MB of memory for %d MB", used>>20, count*partSize>>20)
	}
}
