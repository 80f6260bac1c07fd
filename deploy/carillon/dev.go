//go:build !release

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"carillon/deploy/dev"
)

type developing struct {
	Dev   devCommand   `cmd:"" help:"Run everything on this computer, with two demo health departments."`
	Bench benchCommand `cmd:"" help:"Measure this program on this computer."`
}

type devCommand struct {
	Listen       string        `default:"127.0.0.1:8080" help:"Address to serve, on loopback; port 0 takes any free one."`
	Data         string        `default:".data" type:"path" help:"Folder that keeps everything between runs." placeholder:"DIR"`
	ExportPeriod time.Duration `default:"15s" help:"How often export files are cut; it must divide a day evenly."`
	NoLimits     bool          `help:"Switch rate limits off, for load tests."`
	Check        bool          `help:"Run the whole flow for both departments, print each step, and end."`
	Database     string        `env:"CARILLON_OWNER_DATABASE" help:"Connection string of a superuser of a server to use instead of a private one." placeholder:"DSN"`
	PostgresBin  string        `env:"CARILLON_POSTGRES_BIN" help:"Folder of Postgres's programs (default: look for them)." placeholder:"DIR"`
}

// Run writes the service's log beside its data, so that the terminal keeps the
// addresses in sight.
func (c devCommand) Run(ctx context.Context) error {
	if err := os.MkdirAll(c.Data, 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.Data, "carillon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	err = dev.Run(ctx, dev.Options{
		Listen: c.Listen, Data: c.Data, ExportPeriod: c.ExportPeriod, NoLimits: c.NoLimits, Check: c.Check,
		Database: c.Database, PostgresBin: c.PostgresBin,
		Out: os.Stdout, Log: slog.New(slog.NewJSONHandler(log, nil)),
	})
	if errors.Is(err, dev.ErrCheckFailed) {
		return errReported
	}
	return err
}
