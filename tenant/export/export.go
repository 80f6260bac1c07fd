// Package export turns stored exposure keys into the signed files that phones
// download (key server protocol §5 and §6).
//
// Time is divided into windows, one batch for each. A batch goes through three
// states, and killing the process between any two lines leaves a state from which
// the next run goes on:
//
//	open       The window is closed: no key will ever be dated into it again.
//	staged     The batch's files exist as rows, with their exact bytes. This is the
//	           commit point: the choice of keys and the padding are final.
//	published  The files are in the store and the index names them.
//
// Closing windows and accepting keys exclude each other by the lock
// [exposure.Arrivals]: whoever closes a window holds it alone and moves the
// tenant's horizon to the window's end; whoever stores keys shares it and dates
// them no earlier than the horizon. So a key that was acknowledged is either seen
// by the batch or belongs to a later one.
//
// Work on an open batch is leased with a fencing number, so that a worker which was
// taken for dead cannot stage. What follows staging needs no lease: it only repeats
// what is already decided. Files are written if absent and never changed; the index
// is written from the rows after the files are there, and read back until it agrees
// with them. The normal path and recovery are the same code.
package export

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"carillon/tenant"
	"carillon/tenant/key"
)

// Config is what a [Service] works with.
type Config struct {
	// DB is a handle under the role carillon_jobs.
	DB *tenant.DB
	// Keys are the tenants' keys as that role may see them.
	Keys *key.Ring
	// Directory lists the tenants.
	Directory *tenant.Directory
	// Store keeps the files.
	Store Store
	// Log is told what went wrong; never keys.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Service makes and publishes files. It is safe for concurrent use, also with
// services of other processes.
type Service struct {
	db        *tenant.DB
	keys      *key.Ring
	directory *tenant.Directory
	store     Store
	log       *slog.Logger
	now       func() time.Time
	random    io.Reader

	// indexed are the indexes that this process has made sure of.
	indexed sync.Map // of object names

	// step is called before each step that a crash could fall on; tests stop there.
	step func(name string) error
}

// New returns a service.
func New(c Config) *Service {
	return &Service{
		db: c.DB, keys: c.Keys, directory: c.Directory, store: c.Store, log: c.Log, now: c.Now,
		random: rand.Reader, step: func(string) error { return nil },
	}
}

// Retention is how long files stay in the index, by the start of their window;
// a file is deleted a day after its window's end is as old (§5.6).
const Retention = 14 * 24 * time.Hour

const (
	deletionGrace = 24 * time.Hour
	// lease is how long a worker may take to stage a batch before another may try.
	lease = 30 * time.Second
	// batchesPerTurn keeps a tenant that has much to catch up with from making the
	// others wait.
	batchesPerTurn = 8
)

// errFenced means that another worker was given the batch.
var errFenced = errors.New("batch was leased to another worker")

// Run works for all tenants until ctx ends, pausing between rounds. What fails for
// one tenant is logged, tried again in the next round, and keeps no other waiting.
func (s *Service) Run(ctx context.Context, pause time.Duration) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		s.Round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Round gives each active tenant one turn.
func (s *Service) Round(ctx context.Context) {
	err := s.directory.Each(ctx, func(id tenant.ID) error {
		if err := s.Turn(ctx, id); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "export failed", slog.String("tenant", id.String()), slog.Any("error", err))
		}
		return ctx.Err()
	})
	if err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "export round failed", slog.Any("error", err))
	}
}

// Turn does what is due for one tenant: it closes windows, finishes what was left
// staged, makes the open batches, and retires old files.
func (s *Service) Turn(ctx context.Context, id tenant.ID) error {
	t, err := s.directory.ByID(ctx, id)
	if err != nil {
		return fmt.Errorf("find tenant: %w", err)
	}
	configs, err := s.Cut(ctx, t)
	if err != nil {
		return err
	}
	if err := s.Apply(ctx, t); err != nil {
		return err
	}
	for range batchesPerTurn {
		worked, err := s.Work(ctx, t)
		if err != nil {
			return err
		}
		if !worked {
			break
		}
		if err := s.Apply(ctx, t); err != nil {
			return err
		}
	}
	for _, c := range configs {
		if err := s.tend(ctx, t, c); err != nil {
			return err
		}
	}
	return nil
}
