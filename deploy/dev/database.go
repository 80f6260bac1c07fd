//go:build !release

package dev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"carillon/migrations/postgres"
)

const stopTimeout = 20 * time.Second

// startDatabase returns how to connect under a role ("" is the owner), and how
// to stop what it started.
func (o Options) startDatabase(ctx context.Context) (dsn func(role string) string, stop func(), err error) {
	if o.Database != "" {
		return func(role string) string { return withUser(o.Database, role) }, func() {}, nil
	}
	bin, err := postgres.Find(o.PostgresBin)
	if errors.Is(err, postgres.ErrNotFound) {
		fmt.Fprintln(o.Out, "Installing Postgres …")
		bin, err = postgres.Install(ctx, filepath.Join(o.Data, "postgres-programs"), o.Out)
	}
	if err != nil {
		return nil, nil, err
	}
	server, err := o.startServer(ctx, bin)
	if err != nil {
		return nil, nil, err
	}
	stop = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			fmt.Fprintf(o.Out, "stop Postgres: %v\n", err)
		}
	}
	return func(role string) string { return server.DSN("postgres", role) }, stop, nil
}

// startServer keeps the data below the data folder. Postgres refuses to run as
// root, and the user it runs as instead may be unable to reach that folder (a
// clone in root's home): then the data is below /var/tmp, found again by name.
func (o Options) startServer(ctx context.Context, bin postgres.BinDir) (*postgres.Instance, error) {
	data, err := filepath.Abs(o.Data)
	if err != nil {
		return nil, err
	}
	config := postgres.Config{BinDir: bin, Dir: filepath.Join(data, "postgres"), Durable: true}
	server, err := postgres.Start(ctx, config)
	if !errors.Is(err, postgres.ErrUnreachable) {
		return server, err
	}
	name := sha256.Sum256([]byte(data))
	config.Dir = filepath.Join("/var/tmp", "carillon-"+hex.EncodeToString(name[:8]))
	fmt.Fprintf(o.Out, "Postgres's own user cannot reach %s; its data is in %s\n", data, config.Dir)
	if err := os.MkdirAll(config.Dir, 0o755); err != nil {
		return nil, err
	}
	return postgres.Start(ctx, config)
}

// withUser adds a role to a connection string that the user gave; "" is whoever the
// string names.
func withUser(dsn, role string) string {
	if role == "" {
		return dsn
	}
	return dsn + " user=" + role
}
