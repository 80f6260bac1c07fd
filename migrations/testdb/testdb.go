// Package testdb gives every test a database of its own on a real Postgres.
//
// The first test of a test program starts a server for that program, in a
// temporary folder, without regard for power failures; the kernel stops it when
// the program ends, even by kill -9. The schema is migrated once into a template,
// of which each test gets a copy. A machine without Postgres gets it installed; if
// that is impossible the test fails, it is never skipped.
package testdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"carillon/migrations"
	"carillon/migrations/postgres"
)

// DB is a database with the current schema, for one test.
type DB struct {
	name  string
	super *sql.DB
}

// New makes the database; it is dropped when the test ends.
func New(t testing.TB) *DB {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatalf("no Postgres to test with: %v", err)
	}
	name := "test_" + strconv.FormatInt(s.counter.Add(1), 10)
	if err := s.clone(t.Context(), name); err != nil {
		t.Fatalf("copy of the template database: %v", err)
	}
	db := &DB{name: name}
	db.super, err = sql.Open("postgres", db.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(db.super.Close(), s.drop(context.Background(), name)); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return db
}

// DSN is the connection string as a role; "" is the superuser.
func (db *DB) DSN(role string) string {
	s, err := shared()
	if err != nil {
		panic(err) // New has succeeded
	}
	return s.instance.DSN(db.name, role)
}

// Super is a handle that row-level security does not bind: for arranging what a
// test needs, and for looking at what it left.
func (db *DB) Super() *sql.DB { return db.super }

// server is the one of this test program.
type server struct {
	instance *postgres.Instance
	admin    *sql.DB
	counter  atomic.Int64
	cloning  sync.Mutex // a template has one reader at a time
}

var shared = sync.OnceValues(start)

const (
	template       = "carillon_template"
	maxConnections = 400
	startTimeout   = 5 * time.Minute // installing takes most of it
)

func start() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	removeAbandoned()
	bin, err := postgres.Find(os.Getenv("CARILLON_POSTGRES_BIN"))
	if errors.Is(err, postgres.ErrNotFound) {
		bin, err = postgres.Install(ctx, filepath.Join(os.TempDir(), "carillon-postgres-programs"), os.Stderr)
	}
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	s := &server{}
	s.instance, err = postgres.Start(ctx, postgres.Config{BinDir: bin, Dir: dir, MaxConnections: maxConnections})
	if err != nil {
		return nil, err
	}
	if s.admin, err = sql.Open("postgres", s.instance.DSN("postgres", "")); err != nil {
		return nil, err
	}
	if _, err := s.admin.ExecContext(ctx, "create database "+template); err != nil {
		return nil, err
	}
	if err := migrations.Up(ctx, s.instance.DSN(template, "")); err != nil {
		return nil, fmt.Errorf("migrate template: %w", err)
	}
	return s, nil
}

func (s *server) clone(ctx context.Context, name string) error {
	s.cloning.Lock()
	defer s.cloning.Unlock()
	_, err := s.admin.ExecContext(ctx, "create database "+name+" template "+template)
	return err
}

func (s *server) drop(ctx context.Context, name string) error {
	_, err := s.admin.ExecContext(ctx, "drop database "+name+" with (force)")
	return err
}

const dirPrefix = "carillon-testdb-"

// removeAbandoned removes the folders of test programs that have ended: nobody
// holds their locks, which a living server's program does.
func removeAbandoned() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*")) // the pattern is well formed
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // perhaps just being made
		}
		f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = f.Close()
	}
}
