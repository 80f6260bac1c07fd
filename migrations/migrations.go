// Package migrations is the database schema, as a sequence of steps that are
// embedded in the program.
//
// Each step does one thing, goes forward only, and runs while the previous release
// is still serving. Steps run as the database's owner, who may create roles; the
// processes of the service connect under the unprivileged roles made here.
package migrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	_ "github.com/lib/pq" // the driver
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed sql/*.sql
var files embed.FS

// Up brings the schema to the newest version. Several programs may call it at
// once: one works, the others wait. A step that fails is rolled back whole, and
// the steps before it stay.
func Up(ctx context.Context, dsn string) error {
	steps, err := fs.Sub(files, "sql")
	if err != nil {
		return err
	}
	return up(ctx, dsn, steps)
}

func up(ctx context.Context, dsn string, steps fs.FS) error {
	return with(ctx, dsn, steps, func(p *goose.Provider) error {
		_, err := p.Up(ctx)
		return err
	})
}

// UpTo brings an empty database to the schema of a version, for rows that were written
// under it. A schema that is there and newer stays as it is.
func UpTo(ctx context.Context, dsn string, version int64) error {
	steps, err := fs.Sub(files, "sql")
	if err != nil {
		return err
	}
	return with(ctx, dsn, steps, func(p *goose.Provider) error {
		_, err := p.UpTo(ctx, version)
		return err
	})
}

func with(ctx context.Context, dsn string, steps fs.FS, work func(*goose.Provider) error) error {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return errors.Join(err, db.Close())
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, steps, goose.WithSessionLocker(locker))
	if err != nil {
		return errors.Join(err, db.Close())
	}
	err = work(provider)
	if err == nil {
		err = openToErasure(ctx, db)
	}
	return errors.Join(err, provider.Close())
}

// Newest is the version of the last step.
func Newest() int64 {
	entries, err := fs.ReadDir(files, "sql")
	if err != nil || len(entries) == 0 {
		panic("no steps") // embedded: they cannot be missing
	}
	version, err := goose.NumericComponent(entries[len(entries)-1].Name())
	if err != nil {
		panic(err)
	}
	return version
}

// openToErasure lets the role that erases tenants empty tables that are new.
func openToErasure(ctx context.Context, db *sql.DB) error {
	var known bool
	err := db.QueryRowContext(ctx, `select to_regprocedure('open_to_erasure()') is not null`).Scan(&known)
	if err == nil && known {
		_, err = db.ExecContext(ctx, `select open_to_erasure()`)
	}
	if err != nil {
		return fmt.Errorf("open new tables to erasure: %w", err)
	}
	return nil
}

// Fingerprint is a short text that changes whenever a step does.
func Fingerprint() string {
	h := sha256.New()
	entries, err := fs.ReadDir(files, "sql")
	if err != nil {
		panic(err) // embedded: it cannot be missing
	}
	for _, e := range entries {
		body, err := files.ReadFile("sql/" + e.Name())
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(h, "%s %d\n", e.Name(), len(body))
		h.Write(body)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
