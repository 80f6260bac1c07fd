// Package export turns stored exposure keys into the signed files that phones
// download (key server protocol §5 and §6).
//
// Time is divided into windows, one batch for each window of each configuration. A
// batch goes through three states, and killing the process between any two lines
// leaves a state from which the next round goes on:
//
//	open       The window is closed: no key will ever be dated into it again.
//	staged     The batch's files exist as rows, with their exact bytes. This is the
//	           commit point: the choice of keys and the padding are final.
//	published  The files are in the store and the index names them.
//
// Closing windows and accepting keys exclude each other by the lock
// [exposure.Arrivals]: whoever closes a window holds it alone and moves the tenant's
// horizon to the window's end; whoever stores keys shares it and dates them no
// earlier than the horizon. So a key that was acknowledged either was committed
// before the window closed, and is seen by its batch, or is dated into a later one.
// Which of two clocks was right does not matter.
//
// Work on an open batch is leased with a fencing number, so that a worker which was
// taken for dead cannot stage. Batches may be made in any order, by any number of
// processes, but those of one configuration are published in theirs: a phone reads
// the index from the last entry it knows, and would never see a file that is put in
// before it. What follows staging needs no lease, because it only repeats what is
// already decided: files are written if absent and never changed, and the index
// follows from the rows; see [Service.Apply]. The normal path and recovery are the
// same code.
package export

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/sharing"
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
	// Log is told what was published and what went wrong; never keys.
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

	// copies makes the padding; tests make it badly.
	copies func(real []stored, p plan, random io.Reader) ([]stored, error)

	// checked says when this process last compared an index with its rows: a
	// time.Time for each object name.
	checked sync.Map

	// renewEvery is how often a lease is renewed.
	renewEvery time.Duration

	// step is called between any two things that another process could see; tests
	// stop there.
	step func(name string) error
}

// New returns a service.
func New(c Config) *Service {
	return &Service{
		db: c.DB, keys: c.Keys, directory: c.Directory, store: c.Store, log: c.Log, now: c.Now,
		random: rand.Reader, copies: copies, renewEvery: lease / 3, step: func(string) error { return nil },
	}
}

// Retention is how long files stay in the index, by the start of their window, and
// how far back windows are closed (§5.5). It is also how long keys are kept.
const Retention = 14 * 24 * time.Hour

const (
	// deletionGrace is for phones that have read an index and are still loading
	// what it named: a file is deleted when its window's end is that much older
	// than the retention.
	deletionGrace = 24 * time.Hour
	// lease is how long a worker may be silent before another one gets its batch.
	// A live worker renews it.
	lease = 30 * time.Second
	// retryAfter is how long a batch waits after an attempt that failed.
	retryAfter = 10 * time.Second
	// batchesPerTurn keeps a tenant that has much to catch up with from making the
	// others wait.
	batchesPerTurn = 8
	// indexCheck is how often an index is compared with its rows.
	indexCheck = 30 * time.Second
)

// Turn does what is due for one tenant: it fetches shared keys and closes windows,
// finishes what was left staged, makes open batches, and retires old files. What fails
// does not keep the rest from being done. A turn in which nothing is due is one round of questions to the
// database.
func (s *Service) Turn(ctx context.Context, id tenant.ID) error {
	t, err := s.directory.ByID(ctx, id)
	if err != nil {
		return fmt.Errorf("find tenant: %w", err)
	}
	due, err := s.look(ctx, t)
	if err != nil {
		return err
	}
	var errs []error
	if due.windows {
		// What others share comes first, so that it is in the windows about to be closed.
		errs = append(errs, sharing.Receive(ctx, s.db, s.directory, t, s.hide, s.now()), s.Cut(ctx, t))
	}
	if due.windows || due.batches {
		errs = append(errs, s.Apply(ctx, t), s.work(ctx, t))
	}
	for _, c := range due.configs {
		errs = append(errs, s.tend(ctx, t, c))
	}
	return errors.Join(errs...)
}

// Tend does for a tenant that rests what retention asks for: what is staged is finished,
// so that no row keeps keys, and old files are retired. No window is closed and no file is made.
func (s *Service) Tend(ctx context.Context, id tenant.ID) error {
	t, err := s.directory.ByID(ctx, id)
	if err != nil {
		return fmt.Errorf("find tenant: %w", err)
	}
	due, err := s.look(ctx, t)
	if err != nil {
		return err
	}
	errs := []error{s.Apply(ctx, t)}
	for _, c := range due.configs {
		errs = append(errs, s.tend(ctx, t, c))
	}
	return errors.Join(errs...)
}

const behindSQL = `
select min(b.ends_at + make_interval(secs => c.min_age_seconds))
  from export_batch b
  join export_config c using (tenant_id, config_id)
 where b.state <> 'published'`

// Behind says since when a tenant's oldest batch has been due that is not published; the
// zero time if there is none. A batch that cannot be made holds back the later ones of its
// configuration, because phones would miss it after them: so this grows.
func (s *Service) Behind(ctx context.Context, id tenant.ID) (time.Time, error) {
	var since sql.NullTime
	err := s.db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Get(ctx, &since, behindSQL) })
	if err != nil {
		return time.Time{}, fmt.Errorf("find oldest batch: %w", err)
	}
	return since.Time, nil
}

// work makes and publishes some batches.
func (s *Service) work(ctx context.Context, t *tenant.Tenant) error {
	for range batchesPerTurn {
		worked, err := s.Work(ctx, t)
		if err != nil || !worked {
			return err
		}
		if err := s.Apply(ctx, t); err != nil {
			return err
		}
	}
	return nil
}
