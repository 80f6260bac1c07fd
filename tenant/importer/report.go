package importer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"carillon/tenant"
)

// Entry is a source as it is shown.
type Entry struct {
	No       int16 `db:"import_no"`
	Name     string
	Index    string `db:"index_url"`
	Root     string `db:"root_url"`
	Region   string
	Traveler bool
	// Keys are the IDs and versions of those by which files are believed.
	Keys string
	// LookedAt is when the index was last read; nil if it never was.
	LookedAt *time.Time `db:"looked_at"`
	// FailedAt and Failure tell of the last look, if it failed.
	FailedAt *time.Time `db:"failed_at"`
	Failure  string
	// Open, Failing and Done count files, Failing among those that are open.
	Open, Failing, Done, Changed int
	// Stored, Revised, Known and Quarantined count the keys of all files that are told of.
	Stored, Revised, Known, Quarantined int
}

const listSQL = `
   select s.import_no, s.name, s.index_url, s.root_url, s.region, s.traveler, s.looked_at, s.failed_at, s.failure,
          coalesce((select string_agg(k.key_id || '/' || k.key_version, ' ' order by k.key_id, k.key_version)
                      from import_key k
                     where k.import_no = s.import_no), '') as keys,
          count(*) filter (where f.state = 'open' and f.unlisted_at is null) as open,
          count(*) filter (where f.state = 'open' and f.unlisted_at is null and f.failure <> '') as failing,
          count(*) filter (where f.state = 'done') as done,
          count(*) filter (where f.state = 'changed') as changed,
          coalesce(sum(f.stored), 0) as stored, coalesce(sum(f.revised), 0) as revised,
          coalesce(sum(f.known), 0) as known, coalesce(sum(f.quarantined), 0) as quarantined
     from import_source s
left join import_file f on f.tenant_id = s.tenant_id and f.import_no = s.import_no
    where s.removed_at is null
 group by s.tenant_id, s.import_no
 order by s.name`

// List returns the sources of tx's tenant, by name.
func List(ctx context.Context, tx *tenant.Tx) ([]Entry, error) {
	var list []Entry
	if err := tx.Select(ctx, &list, listSQL); err != nil {
		return nil, fmt.Errorf("list imports: %w", err)
	}
	return list, nil
}

// File is what became of a file.
type File struct {
	Name string
	// State is open, done or changed; an open file that is not listed any more is given up.
	State        string
	DiscoveredAt time.Time  `db:"discovered_at"`
	UnlistedAt   *time.Time `db:"unlisted_at"`
	// DueAt is when an open file is tried next, Attempts how often it failed, and Failure
	// why it did last.
	DueAt    time.Time `db:"due_at"`
	Attempts int
	Failure  string
	// Position is how many keys are dealt with, each in one of the four ways.
	Position, Stored, Revised, Known, Quarantined int
	FinishedAt                                    *time.Time `db:"finished_at"`
}

// Bad is a key in quarantine.
type Bad struct {
	File     string `db:"name"`
	Position int
	Revised  bool
	Reason   string
}

// Reasons is how many keys of a source are in quarantine for one reason.
type Reasons struct {
	Reason string
	Keys   int
}

const (
	numberSQL = `select import_no from import_source where name = $1 and removed_at is null`

	filesSQL = `
  select name, state, discovered_at, unlisted_at, due_at, attempts, failure, position, stored, revised, known,
         quarantined, finished_at
    from import_file
   where import_no = $1
order by name
   limit $2`

	reasonsSQL = `
  select reason, count(*) as keys
    from import_quarantine
   where import_no = $1
group by reason
order by keys desc, reason
   limit $2`

	badSQL = `
  select name, position, revised, reason
    from import_quarantine
   where import_no = $1
     and name = $2
order by position`

	maxReported = 10_000
)

// Report tells of a source's files, by name, and sums up its quarantine: [ErrUnknown] if
// tx's tenant has none of that name.
func Report(ctx context.Context, tx *tenant.Tx, name string) (files []File, reasons []Reasons, err error) {
	no, err := number(ctx, tx, name)
	if err != nil {
		return nil, nil, err
	}
	if err := tx.Select(ctx, &files, filesSQL, no, maxReported); err != nil {
		return nil, nil, fmt.Errorf("list files: %w", err)
	}
	if err := tx.Select(ctx, &reasons, reasonsSQL, no, maxReported); err != nil {
		return nil, nil, fmt.Errorf("sum up quarantine: %w", err)
	}
	return files, reasons, nil
}

// Quarantine tells of the bad keys of one file, at most a thousand, by their places:
// [ErrUnknown] if tx's tenant has no source of that name.
func Quarantine(ctx context.Context, tx *tenant.Tx, name, file string) (list []Bad, err error) {
	no, err := number(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	if err := tx.Select(ctx, &list, badSQL, no, file); err != nil {
		return nil, fmt.Errorf("list quarantine: %w", err)
	}
	return list, nil
}

func number(ctx context.Context, tx *tenant.Tx, name string) (no int16, err error) {
	err = tx.Get(ctx, &no, numberSQL, name)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrUnknown
	}
	return no, err
}
