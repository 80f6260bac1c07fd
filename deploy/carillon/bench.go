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
	Requests benchRequests     `cmd:"" default:"withargs" help:"Requests per second beside a floor, delays, costs."`
	Exports  benchExports      `cmd:"" help:"Export files of many keys: time beside a floor, memory."`
	Backups  benchBackups      `cmd:"" help:"A backup and a drill with many keys: time beside a floor, memory."`
	Policy   benchPolicy       `cmd:"" help:"Decisions by rules of many tenants: time, memory, and how fast a change is seen."`
	Changes  benchChanges      `cmd:"" help:"How long changes to tenants are not seen by another process."`
	Pages    benchPages        `cmd:"" help:"Pages for people of an authority with many codes: weight, delay, round trips."`
	Bulk     benchBulk         `cmd:"" help:"Many codes from a table in the portal, by a server that is killed half-way: time, memory."`
	Worker   benchExportWorker `cmd:"" hidden:"" name:"export-worker"`
	Server   benchBulkServer   `cmd:"" hidden:"" name:"bulk-server"`
	Bare     benchBareServer   `cmd:"" hidden:"" name:"bare-server"`
}

type benchRequests struct {
	Slice       time.Duration `default:"3s" help:"How long each figure is measured."`
	Callers     []int         `default:"1,8,32,64,128" help:"Numbers of concurrent callers."`
	Tenants     int           `default:"1000" help:"How many tenants the comparison with one tenant spreads over; 0 leaves it out."`
	Dir         string        `default:"/var/tmp" type:"existingdir" help:"Folder, on a real disk, for the data of the run, which is removed." placeholder:"DIR"`
	PostgresBin string        `env:"CARILLON_POSTGRES_BIN" help:"Folder of Postgres's programs (default: look for them)." placeholder:"DIR"`
}

// Run measures this very program, as another process.
func (c benchRequests) Run(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	err = bench.Run(ctx, bench.Options{
		Dir: c.Dir, PostgresBin: c.PostgresBin, Server: []string{program, "serve", "device", "issuer", "publish"},
		Bare:  []string{program, "bench", "bare-server"},
		Slice: c.Slice, Callers: c.Callers, Tenants: c.Tenants, Out: os.Stdout,
	})
	if errors.Is(err, bench.ErrMissed) {
		return errReported
	}
	return err
}

type benchExports struct {
	Keys        []int  `default:"100000,1000000,5000000" help:"Numbers of keys in a window."`
	Pair        int    `default:"1000000" help:"Keys of each of two workers that work at once; 0 leaves them out."`
	Tenants     int    `default:"200" help:"How many tenants of 1000 keys one worker exports; 0 leaves them out."`
	Dir         string `default:"/var/tmp" type:"existingdir" help:"Folder, on a real disk, for the data of the run, which is removed." placeholder:"DIR"`
	PostgresBin string `env:"CARILLON_POSTGRES_BIN" help:"Folder of Postgres's programs (default: look for them)." placeholder:"DIR"`
}

// Run measures this very program, as other processes.
func (c benchExports) Run(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	err = bench.RunExports(ctx, bench.ExportOptions{
		Dir: c.Dir, PostgresBin: c.PostgresBin, Worker: []string{program, "bench", "export-worker"},
		Keys: c.Keys, Pair: c.Pair, Tenants: c.Tenants, Out: os.Stdout,
	})
	if errors.Is(err, bench.ErrMissed) {
		return errReported
	}
	return err
}

type benchBackups struct {
	Keys        int    `default:"1000000" help:"How many exposure keys there are in all."`
	Tenants     int    `default:"5" help:"How many health authorities have them."`
	Dir         string `default:"/var/tmp" type:"existingdir" help:"Folder, on a real disk, for the data of the run, which is removed." placeholder:"DIR"`
	PostgresBin string `env:"CARILLON_POSTGRES_BIN" help:"Folder of Postgres's programs (default: look for them)." placeholder:"DIR"`
}

// Run measures this very program, as other processes.
func (c benchBackups) Run(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return bench.RunBackups(ctx, bench.BackupOptions{
		Dir: c.Dir, PostgresBin: c.PostgresBin, Program: program, Worker: []string{program, "bench", "export-worker"},
		Keys: c.Keys, Tenants: c.Tenants, Out: os.Stdout,
	})
}

type benchPolicy struct {
	Tenants     int    `default:"1000" help:"How many tenants have rules of their own."`
	Users       int    `default:"20" help:"How many users each has."`
	Changes     int    `default:"200" help:"How many changes are waited for."`
	Dir         string `default:"/var/tmp" type:"existingdir" help:"Folder, on a real disk, for the data of the run, which is removed." placeholder:"DIR"`
	PostgresBin string `env:"CARILLON_POSTGRES_BIN" help:"Folder of Postgres's programs (default: look for them)." placeholder:"DIR"`
}

// Run measures in this very process.
func (c benchPolicy) Run(ctx context.Context) error {
	err := bench.RunPolicy(ctx, bench.PolicyOptions{
		Dir: c.Dir, PostgresBin: c.PostgresBin, Tenants: c.Tenants, Users: c.Users, Changes: c.Changes, Out: os.Stdout,
	})
	if errors.Is(err, bench.ErrMissed) {
		return errReported
	}
	return err
}

type benchChanges struct {
	Changes     int    `default:"50" help:"How many changes of each kind are waited for."`
	Dir         string `default:"/var/tmp" type:"existingdir" help:"Folder, on a real disk, for the data of the run, which is removed." placeholder:"DIR"`
	PostgresBin string `env:"CARILLON_POSTGRES_BIN" help:"Folder of Postgres's programs (default: look for them)." placeholder:"DIR"`
}

// Run measures in this very process.
func (c benchChanges) Run(ctx context.Context) error {
	err := bench.RunChanges(ctx, bench.ChangeOptions{Dir: c.Dir, PostgresBin: c.PostgresBin, Changes: c.Changes, Out: os.Stdout})
	if errors.Is(err, bench.ErrMissed) {
		return errReported
	}
	return err
}

type benchPages struct {
	Codes       int    `default:"1000000" help:"How many codes the health authority has."`
	Requests    int    `default:"40" help:"How often each page is asked for."`
	Dir         string `default:"/var/tmp" type:"existingdir" help:"Folder, on a real disk, for the data of the run, which is removed." placeholder:"DIR"`
	PostgresBin string `env:"CARILLON_POSTGRES_BIN" help:"Folder of Postgres's programs (default: look for them)." placeholder:"DIR"`
}

// Run measures in this very process.
func (c benchPages) Run(ctx context.Context) error {
	err := bench.RunPages(ctx, bench.PageOptions{
		Dir: c.Dir, PostgresBin: c.PostgresBin, Codes: c.Codes, Requests: c.Requests, Out: os.Stdout,
	})
	if errors.Is(err, bench.ErrMissed) {
		return errReported
	}
	return err
}

type benchBulk struct {
	Rows        int    `default:"50000" help:"How many rows the table has."`
	Dir         string `default:"/var/tmp" type:"existingdir" help:"Folder, on a real disk, for the data of the run, which is removed." placeholder:"DIR"`
	PostgresBin string `env:"CARILLON_POSTGRES_BIN" help:"Folder of Postgres's programs (default: look for them)." placeholder:"DIR"`
}

// Run measures this very program, as other processes.
func (c benchBulk) Run(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return bench.RunBulk(ctx, bench.BulkOptions{
		Dir: c.Dir, PostgresBin: c.PostgresBin, Server: []string{program, "bench", "bulk-server"}, Rows: c.Rows, Out: os.Stdout,
	})
}

type benchBulkServer struct{}

// Run collects garbage as serving does.
func (benchBulkServer) Run(ctx context.Context) error {
	defer leaveGarbage()()
	return bench.BulkServer(ctx, os.Stdin)
}

type benchExportWorker struct{}

// Run collects garbage as serving does.
func (benchExportWorker) Run(ctx context.Context) error {
	defer leaveGarbage()()
	return bench.ExportWorker(ctx, os.Stdin, os.Stdout)
}

type benchBareServer struct {
	Folder string `arg:"" type:"existingdir"`
}

// Run serves with as many processors as the server that it is compared with.
func (c benchBareServer) Run() error {
	leaveHalf()
	return bench.ServeBare(c.Folder, os.Stdin, os.Stdout)
}
