// Package labfeed turns laboratory results into verification codes: a laboratory
// hands in a document, and every positive result in it becomes a code and a text
// message, without a caseworker typing anything.
//
// At the door a document becomes rows and is forgotten. A row has a keyed digest of
// the accession, the test type, and, sealed under the tenant's data key, what is
// needed to issue: telephone number, dates, codes of test and outcome. Names and
// patient numbers are never read (see package document). What is sealed is erased
// when the code exists, when a later result replaces it, or [KeepSealed] after it
// turned out to be unusable.
//
// An accession yields at most one code of each test type, however often, in whatever
// format and by whichever process it is handed in:
//
//   - A result that says the same as an earlier one of its accession is a duplicate.
//   - Another one replaces all of its accession that have no code yet.
//   - If there is a code already, a result of a graver type (negative, likely,
//     confirmed) gets one of its own, because phones can be told the graver news.
//     Every other correction is for people: it becomes a dead letter that names the
//     earlier code, which can be expired while it is unclaimed.
//   - Within one report, the gravest result of an accession counts.
//
// A row is waiting until its code is issued in one transaction with the row's new
// state; so a process that dies anywhere leaves it waiting or issued, and a lease
// with a fencing number keeps two workers from doing it twice. Results that nobody
// can use become dead letters with a reason, and a person retries or discards them.
package labfeed

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/cache"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/verification"
)

// How long things are kept.
const (
	// KeepSealed is how long a dead letter can be retried.
	KeepSealed = 72 * time.Hour
	// KeepDigests is how long an accession is recognised, and how long submissions
	// can be asked about. It is far longer than the 28 days within which a test's date
	// must lie.
	KeepDigests = 90 * 24 * time.Hour
)

const (
	// lease is how long a worker may be silent before another one gets its results.
	lease = time.Minute
	// atOnce is how many results a worker leases.
	atOnce = 20
	// turnsAtOnce is how many tenants a process works for at the same time.
	turnsAtOnce = 4
	// batchesPerTurn keeps a tenant with many results from making others wait.
	batchesPerTurn = 5
	// maxAttempts are as many as take a bit more than a day.
	maxAttempts = 30
	maxBackoff  = time.Hour
)

// Config is what a [Service] works with.
type Config struct {
	// DB is a handle under the role carillon_issuer.
	DB *tenant.DB
	// Keys are the tenants' keys as that role may see them.
	Keys *key.Ring
	// Policies decide who may hand in results and change how they are read.
	Policies *authz.Policies
	// Codes issues. Its messages go through its outbox.
	Codes *verification.Service
	// Directory lists the tenants.
	Directory *tenant.Directory
	// Recorder is told how turns end.
	Recorder *job.Recorder
	// Log is told counts and failures; never anything of a result.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Service takes in results and issues codes for them. It is safe for concurrent
// use, also with services of other processes.
type Service struct {
	db        *tenant.DB
	keys      *key.Ring
	policies  *authz.Policies
	codes     *verification.Service
	directory *tenant.Directory
	recorder  *job.Recorder
	log       *slog.Logger
	now       func() time.Time

	secrets *cache.Cache[tenant.ID, secrets]
	// wake holds tenants whose results came in through this process.
	wake chan tenant.ID
	// step is called between any two things that another process could see; tests
	// stop there.
	step func(name string) error
}

const (
	secretsKept = 10_000
	wakeRoom    = 1_000
)

// New returns a service.
func New(c Config) *Service {
	s := &Service{
		db: c.DB, keys: c.Keys, policies: c.Policies, codes: c.Codes, directory: c.Directory, recorder: c.Recorder,
		log: c.Log, now: c.Now,
		wake: make(chan tenant.ID, wakeRoom), step: func(string) error { return nil },
	}
	s.secrets = cache.New(secretsKept, key.Age, s.loadSecrets)
	return s
}

// clock is the current time, UTC, in whole seconds.
func (s *Service) clock() time.Time { return s.now().UTC().Truncate(time.Second) }

// Run issues codes until ctx ends: at once for results that came in through this
// process, and in rounds for those of other processes and those to be tried again.
// What fails for one tenant is logged and keeps no other waiting.
func (s *Service) Run(ctx context.Context, pause time.Duration) error {
	var group errgroup.Group
	for range turnsAtOnce {
		group.Go(func() error {
			s.answerNudges(ctx)
			return nil
		})
	}
	group.Go(func() error {
		s.rounds(ctx, pause)
		return nil
	})
	return group.Wait()
}

func (s *Service) answerNudges(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-s.wake:
			s.turn(ctx, id)
		}
	}
}

func (s *Service) rounds(ctx context.Context, pause time.Duration) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		s.round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// round gives every active tenant a turn.
func (s *Service) round(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(turnsAtOnce)
	err := s.directory.Each(ctx, func(id tenant.ID) error {
		group.Go(func() error {
			s.turn(ctx, id)
			return nil
		})
		return ctx.Err()
	})
	_ = group.Wait() // turns tell of their own errors
	s.recorder.Note(ctx, job.Platform, err)
}

const turnTimeout = 5 * time.Minute

func (s *Service) turn(ctx context.Context, id tenant.ID) {
	limited, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	if err := s.Turn(limited, id); !errors.Is(err, tenant.ErrUnknown) {
		s.recorder.Note(ctx, id, err)
	}
}

// nudge has Run look after a tenant soon. A full queue only means that its turn
// comes with the next round.
func (s *Service) nudge(id tenant.ID) {
	select {
	case s.wake <- id:
	default:
	}
}
