package phone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"carillon/signing/exportfile"
)

// Memory is what a phone remembers between downloads: the last entry of the index that
// it has handled. If that entry is gone from the index, the phone reads all again (key
// server protocol §5.5).
type Memory struct {
	Last string `json:"last"`
}

// LoadMemory reads a memory from a file; a file that is not there is an empty memory.
func LoadMemory(path string) (Memory, error) {
	var m Memory
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%s is no memory of a phone: %w", path, err)
	}
	return m, nil
}

// Save writes the memory whole or not at all.
func (m Memory) Save(path string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".memory-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Fresh downloads what the index names after the entry that m remembers, and calls
// visit with each file once its signature is checked. The memory moves on after each
// file, so that an interrupted round goes on where it ended; like a phone it ends at
// the first file that fails.
func (p *Phone) Fresh(ctx context.Context, trust Trust, m *Memory, visit func(Downloaded) error) error {
	index, err := p.get(ctx, IndexStep, p.Server.IndexURL)
	if err != nil {
		return err
	}
	names := strings.Fields(string(index))
	for _, name := range names[slices.Index(names, m.Last)+1:] {
		zip, err := p.get(ctx, "download "+name, p.Server.DownloadBase+name)
		if err != nil {
			return err
		}
		f, err := exportfile.Verify(zip, trust.KeyID, trust.KeyVersion, trust.Key)
		if err != nil {
			return fmt.Errorf("download %s: %w", name, err)
		}
		if err := visit(Downloaded{Name: name, Size: len(zip), File: f}); err != nil {
			return err
		}
		m.Last = name
	}
	return nil
}

// Skip has m remember all that the index names now as handled: only what comes later is
// fresh.
func (p *Phone) Skip(ctx context.Context, m *Memory) error {
	index, err := p.get(ctx, IndexStep, p.Server.IndexURL)
	if err != nil {
		return err
	}
	if names := strings.Fields(string(index)); len(names) > 0 {
		m.Last = names[len(names)-1]
	}
	return nil
}

// Watch repeats [Phone.Fresh] with a pause in between until ctx ends, which is no error.
// A round that fails is told to failed, and tried again.
func (p *Phone) Watch(ctx context.Context, trust Trust, m *Memory, pause time.Duration, visit func(Downloaded) error, failed func(error)) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		if err := p.Fresh(ctx, trust, m, visit); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
