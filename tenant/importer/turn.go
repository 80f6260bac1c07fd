package importer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/lib/pq"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/outbound"
)

// Config is what a [Service] works with.
type Config struct {
	// DB is a handle under the role carillon_jobs.
	DB *tenant.DB
	// Directory finds the tenants.
	Directory *tenant.Directory
	// Fetcher reaches the servers.
	Fetcher *outbound.Fetcher
	// Limits are [exposure.DefaultLimits] if they are left out.
	Limits exposure.Limits
	// Log is told what was imported and what failed; never keys.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Service imports. It is safe for concurrent use, also with services of other processes.
type Service struct {
	db        *tenant.DB
	directory *tenant.Directory
	fetcher   *outbound.Fetcher
	limits    exposure.Limits
	log       *slog.Logger
	now       func() time.Time

	// patience is how long a turn stays with one source, so that a slow one does not keep
	// the tenant's others from their turn.
	patience time.Duration
	// keysPerStep is how many keys are stored in one transaction, for which closing of
	// windows waits.
	keysPerStep int
	// step is called around and within each transaction that stores keys; tests stop there.
	step func(name string) error
}

// JobName is what the job is called whose work [Service.Turn] is.
const JobName = "imports"

const (
	keysPerStep  = 2000
	patience     = 4 * time.Minute
	indexTimeout = 30 * time.Second
	fileTimeout  = 2 * time.Minute
	// checkEvery is how old the last look at the bytes of an imported file may be.
	checkEvery = 24 * time.Hour
	// firstBackoff is how long a file waits after a failure; twice as long each time.
	firstBackoff, maxBackoff = 5 * time.Minute, 6 * time.Hour
	// keptUnlisted is how long is told of files that are not listed any more, and of
	// sources that were removed: longer than any key is kept.
	keptUnlisted = 30 * 24 * time.Hour
	// keptFailed is how long of those of which nothing was ever taken.
	keptFailed = 2 * 24 * time.Hour
	// maxQuarantined is of how many bad keys of a file is told, one by one.
	maxQuarantined         = 1000
	maxFailure, maxProblem = 300, 200
)

// New returns a service.
func New(c Config) *Service {
	if c.Limits == (exposure.Limits{}) {
		c.Limits = exposure.DefaultLimits()
	}
	return &Service{
		db: c.DB, directory: c.Directory, fetcher: c.Fetcher, limits: c.Limits, log: c.Log, now: c.Now,
		patience: patience, keysPerStep: keysPerStep, step: func(string) error { return nil },
	}
}

// source is what a turn needs to know of one.
type source struct {
	No          int16 `db:"import_no"`
	Name        string
	Index       string `db:"index_url"`
	Root        string `db:"root_url"`
	Region      string
	Traveler    bool
	MissingType certificate.ReportType `db:"missing_type"`

	keys []exportfile.TrustedKey
}

const (
	sourcesSQL = `
  select import_no, name, index_url, root_url, region, traveler, missing_type
    from import_source
   where removed_at is null
order by greatest(looked_at, failed_at) nulls first, import_no`

	keysSQL = `
  select import_no, key_id, key_version, public_der
    from import_key
order by import_no, key_id, key_version`
)

func (s *Service) sources(ctx context.Context, id tenant.ID) ([]*source, error) {
	var sources []*source
	var keys []struct {
		No      int16  `db:"import_no"`
		ID      string `db:"key_id"`
		Version string `db:"key_version"`
		DER     []byte `db:"public_der"`
	}
	err := s.db.In(ctx, id, func(tx *tenant.Tx) error {
		if err := tx.Select(ctx, &sources, sourcesSQL); err != nil || len(sources) == 0 {
			return err
		}
		return tx.Select(ctx, &keys, keysSQL)
	})
	if err != nil {
		return nil, fmt.Errorf("read imports: %w", err)
	}
	for _, k := range keys {
		public, err := signing.ParsePublicDER(k.DER)
		if err != nil {
			return nil, fmt.Errorf("key %s of import %d: %w", k.ID, k.No, err)
		}
		for _, src := range sources {
			if src.No == k.No {
				src.keys = append(src.keys, exportfile.TrustedKey{KeyID: k.ID, KeyVersion: k.Version, Key: public})
			}
		}
	}
	return sources, nil
}

// Turn imports what is new at a tenant's sources, as far as the time goes, and forgets
// what is past its time. A server that fails is told of in the rows and in the log; it
// keeps no other source from its turn.
func (s *Service) Turn(ctx context.Context, id tenant.ID) error {
	t, err := s.directory.ByID(ctx, id)
	if err != nil {
		return fmt.Errorf("find tenant: %w", err)
	}
	sources, err := s.sources(ctx, id)
	if err != nil {
		return err
	}
	errs := []error{s.clean(ctx, id)}
	for _, src := range sources {
		if err := s.visitFor(ctx, t, src); err != nil {
			errs = append(errs, fmt.Errorf("import %s: %w", src.Name, err))
		}
	}
	return errors.Join(errs...)
}

// visitFor visits a source for as long as patience lasts. The next turn goes on there,
// after the others.
func (s *Service) visitFor(ctx context.Context, t *tenant.Tenant, src *source) error {
	patient, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	err := s.visit(patient, t, src)
	if err != nil && patient.Err() != nil && ctx.Err() == nil {
		s.warn(ctx, t, src, "broken off, the next turn goes on", err)
		return s.noteLook(ctx, t.ID, src, errSlow)
	}
	return err
}

// errSlow means that a source took more than its share of a turn.
var errSlow = errors.New("server is slow: the next turn goes on")

// visit reads a source's index and works on its files.
func (s *Service) visit(ctx context.Context, t *tenant.Tenant, src *source) error {
	listed, failure := s.fetchIndex(ctx, src)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if failure != nil {
		s.warn(ctx, t, src, "index not read", failure)
		return s.noteLook(ctx, t.ID, src, failure)
	}
	switch err := s.discover(ctx, t.ID, src, listed); {
	case errors.Is(err, errManyFiles):
		s.warn(ctx, t, src, "index refused", err)
		return s.noteLook(ctx, t.ID, src, errManyFiles)
	case err != nil:
		return err
	}
	if err := s.importDue(ctx, t, src); err != nil {
		return err
	}
	return s.checkOne(ctx, t, src)
}

func (s *Service) warn(ctx context.Context, t *tenant.Tenant, src *source, what string, err error) {
	s.log.WarnContext(ctx, "import: "+what, slog.String("tenant", string(t.Slug)), slog.String("import", src.Name), slog.Any("error", err))
}

func (s *Service) fetchIndex(ctx context.Context, src *source) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, indexTimeout)
	defer cancel()
	text, err := s.fetcher.Get(ctx, src.Index, maxIndex)
	if err != nil {
		return nil, err
	}
	return parseIndex(text)
}

const (
	lookedSQL = `
update import_source
   set looked_at = $2,
       failed_at = null,
       failure   = ''
 where import_no = $1`

	notLookedSQL = `
update import_source
   set failed_at = $2,
       failure   = $3
 where import_no = $1`
)

func (s *Service) noteLook(ctx context.Context, id tenant.ID, src *source, failure error) error {
	return s.db.In(ctx, id, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, notLookedSQL, src.No, s.now().UTC(), short(failure.Error(), maxFailure))
		return err
	})
}

// short bounds a text that is stored.
func short(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "")
}

const (
	// What was not listed for a while and is again goes on where it was.
	listedSQL = `
insert into import_file (tenant_id, import_no, name, discovered_at, due_at)
select current_tenant(), $1, l.name, $3, $3
  from unnest($2::text[]) as l (name)
    on conflict on constraint import_file_pkey do update
   set unlisted_at = null
 where import_file.unlisted_at is not null`

	// What was never tried, and is not listed any more, has nothing to tell.
	untriedSQL = `
delete from import_file
 where import_no = $1
   and state = 'open'
   and sha256 is null
   and attempts = 0
   and name <> all ($2::text[])`

	unlistedSQL = `
update import_file
   set unlisted_at = $3
 where import_no = $1
   and unlisted_at is null
   and name <> all ($2::text[])`

	filesKnownSQL = `select count(*) from import_file where import_no = $1`
)

// maxFiles is of how many files of a source is told: one every other minute for a month.
const maxFiles = 20_000

// errManyFiles means that a source has listed more files, within a month, than one that
// is what it should be.
var errManyFiles = fmt.Errorf("more than %d files were listed within a month", maxFiles)

// discover notes which files are listed: [errManyFiles], and nothing is noted, if those
// are too many together with what was listed before.
func (s *Service) discover(ctx context.Context, id tenant.ID, src *source, listed []string) error {
	now := s.now().UTC()
	names := append(pq.StringArray{}, listed...)
	err := s.db.In(ctx, id, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, untriedSQL, src.No, names); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, listedSQL, src.No, names, now); err != nil {
			return err
		}
		var known int
		if err := tx.Get(ctx, &known, filesKnownSQL, src.No); err != nil {
			return err
		}
		if known > maxFiles {
			return errManyFiles
		}
		if _, err := tx.Exec(ctx, unlistedSQL, src.No, names, now); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, lookedSQL, src.No, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("note what is listed: %w", err)
	}
	return nil
}

// file is a row of import_file.
type file struct {
	Name     string
	SHA256   []byte `db:"sha256"`
	Position int
	Attempts int
	// Quarantined is how many of its keys were bad.
	Quarantined int
}

const dueFilesSQL = `
  select name, sha256, position, attempts, quarantined
    from import_file
   where import_no = $1
     and state = 'open'
     and unlisted_at is null
     and due_at <= $2
order by name
   limit $3`

// filesAtOnce is how many rows are read at a time.
const filesAtOnce = 100

// importDue works on the files that are due, in the order of their names: that is the
// order in which they were published, so that keys come before their revisions.
func (s *Service) importDue(ctx context.Context, t *tenant.Tenant, src *source) error {
	for {
		var files []file
		now := s.now().UTC()
		err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
			return tx.Select(ctx, &files, dueFilesSQL, src.No, now, filesAtOnce)
		})
		if err != nil {
			return fmt.Errorf("read files that are due: %w", err)
		}
		for _, f := range files {
			if err := s.work(ctx, t, src, f); err != nil {
				return fmt.Errorf("file %s: %w", f.Name, err)
			}
		}
		if len(files) < filesAtOnce {
			return nil
		}
	}
}

const (
	failedSQL = `
update import_file
   set attempts = attempts + 1,
       due_at   = $3,
       failure  = $4
 where import_no = $1
   and name = $2
   and state = 'open'`

	changedSQL = `
update import_file
   set state   = 'changed',
       failure = $3
 where import_no = $1
   and name = $2
   and state <> 'changed'`
)

// fail lets a file be tried again after a while.
func (s *Service) fail(ctx context.Context, t *tenant.Tenant, src *source, f file, cause error) error {
	s.warn(ctx, t, src, "file not imported", fmt.Errorf("%s: %w", f.Name, cause))
	const doublings = 7
	wait := min(firstBackoff<<min(f.Attempts, doublings), maxBackoff)
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, failedSQL, src.No, f.Name, s.now().UTC().Add(wait), short(cause.Error(), maxFailure))
		return err
	})
}

// setAside gives up a file whose bytes were changed under its name: what it was and what
// it is cannot both be right.
func (s *Service) setAside(ctx context.Context, t *tenant.Tenant, src *source, f file, now [32]byte) error {
	why := fmt.Sprintf("its bytes have changed: SHA-256 was %x, is %x", f.SHA256, now)
	s.warn(ctx, t, src, "file set aside", fmt.Errorf("%s: %s", f.Name, why))
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, changedSQL, src.No, f.Name, why)
		return err
	})
}

const (
	leastCheckedSQL = `
  select name, sha256
    from import_file
   where import_no = $1
     and state = 'done'
     and unlisted_at is null
     and checked_at <= $2
order by checked_at
   limit 1`

	checkedSQL = `
update import_file
   set checked_at = $3
 where import_no = $1
   and name = $2`
)

// checkOne compares one imported file that is still listed with what it was.
func (s *Service) checkOne(ctx context.Context, t *tenant.Tenant, src *source) error {
	var files []file
	now := s.now().UTC()
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := tx.Select(ctx, &files, leastCheckedSQL, src.No, now.Add(-checkEvery)); err != nil || len(files) == 0 {
			return err
		}
		_, err := tx.Exec(ctx, checkedSQL, src.No, files[0].Name, now)
		return err
	})
	if err != nil || len(files) == 0 {
		return err
	}
	_, digest, err := s.fetchFile(ctx, src, files[0])
	if errors.Is(err, errChanged) {
		return s.setAside(ctx, t, src, files[0], digest)
	}
	return ctx.Err() // that it could not be had now harms nothing
}

const (
	cleanFailedSQL = `
delete from import_file
 where state = 'open'
   and sha256 is null
   and unlisted_at < $1`

	cleanQuarantineSQL = `
delete from import_quarantine q
 using import_file f, import_source s
 where f.import_no = q.import_no and f.name = q.name
   and s.import_no = q.import_no
   and (f.unlisted_at < $1 or s.removed_at < $1)`

	cleanFilesSQL = `
delete from import_file f
 using import_source s
 where s.import_no = f.import_no
   and (f.unlisted_at < $1 or s.removed_at < $1)`

	cleanKeysSQL = `
delete from import_key k
 using import_source s
 where s.import_no = k.import_no
   and s.removed_at < $1`

	cleanSourcesSQL = `delete from import_source where removed_at < $1`
)

// clean forgets files that are not listed any more, and removed sources.
func (s *Service) clean(ctx context.Context, id tenant.ID) error {
	before, failed := s.now().UTC().Add(-keptUnlisted), s.now().UTC().Add(-keptFailed)
	err := s.db.In(ctx, id, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, cleanFailedSQL, failed); err != nil {
			return err
		}
		for _, statement := range []string{cleanQuarantineSQL, cleanFilesSQL, cleanKeysSQL, cleanSourcesSQL} {
			if _, err := tx.Exec(ctx, statement, before); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget old files: %w", err)
	}
	return nil
}
