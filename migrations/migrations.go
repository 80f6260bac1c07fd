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
	_, err = provider.Up(ctx)
	return errors.Join(err, provider.Close())
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
