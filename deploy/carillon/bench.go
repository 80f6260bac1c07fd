//go:build !release

package main

import (
	"context"
	"errors"
	"os"
	"time"

	"carillon/deploy/bench"
)

type benchCommand struct {
	Slice       time.Duration `default:"3s" help:"How long each figure is measured."`
	Callers     []int         `default:"1,8,32,64,128" help:"Numbers of concurrent callers."`
	Tenants     int           `default:"1000" help:"How many tenants the comparison with one tenant spreads over; 0 leaves it out."`
	Dir         string        `default:"/var/tmp" type:"existingdir" help:"Folder, on a real disk, for the data of the run, which is removed." placeholder:"DIR"`
	PostgresBin string        `env:"CARILLON_POSTGRES_BIN" help:"Folder of Postgres's programs (default: look for them)." placeholder:"DIR"`
}

// Run measures this very program, as another process.
func (c benchCommand) Run(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	err = bench.Run(ctx, bench.Options{
		Dir: c.Dir, PostgresBin: c.PostgresBin, Server: []string{program, "serve", "device", "issuer", "publish"},
		Slice: c.Slice, Callers: c.Callers, Tenants: c.Tenants, Out: os.Stdout,
	})
	if errors.Is(err, bench.ErrMissed) {
		return errReported
	}
	return err
}
