package bench

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"carillon/tenant"
)

// BackupOptions say what to measure of backups.
type BackupOptions struct {
	// Dir, PostgresBin and Out are as in [Options].
	Dir, PostgresBin string
	Out              io.Writer
	// Program is this program, which makes backups and holds drills, and Worker the program
	// and arguments that call [ExportWorker].
	Program string
	Worker  []string
	// Keys are how many exposure keys there are in all, spread over Tenants.
	Keys, Tenants int
}

// RunBackups stores keys of some tenants, publishes files of them, and has the commands
// that an operator uses back them up and hold a drill with the result.
// It prints how long each takes and how much memory, beside a floor: the same rows copied
// by the database into another table with the same keys. A drill that finds a fault is an
// error.
func RunBackups(ctx context.Context, o BackupOptions) error {
	s, err := startStore(ctx, Options{Dir: o.Dir, PostgresBin: o.PostgresBin, Out: o.Out})
	if err != nil {
		return err
	}
	defer s.stop(ctx)
	fmt.Fprint(o.Out, machine(ctx, s))
	r := &backupRun{exportRun: exportRun{options: ExportOptions{Worker: o.Worker, Out: io.Discard}, stack: s}, backups: o}
	if r.super, err = sql.Open("postgres", s.dsn("")); err != nil {
		return err
	}
	defer r.super.Close()
	if r.operator, err = tenant.Open(ctx, tenant.Config{DSN: s.dsn("carillon_operator")}); err != nil {
		return err
	}
	defer r.operator.Close()
	if err := r.store(ctx); err != nil {
		return err
	}
	if err := r.copyRows(ctx); err != nil {
		return err
	}
	return r.backUpAndDrill(ctx)
}

// backupRun is a measurement of backups under way.
type backupRun struct {
	exportRun
	backups BackupOptions
}

// store fills the tenants and publishes their files.
func (r *backupRun) store(ctx context.Context) error {
	all := make([]tenant.ID, r.backups.Tenants)
	for i := range all {
		var err error
		if all[i], err = r.fill(ctx, r.backups.Keys/r.backups.Tenants); err != nil {
			return err
		}
	}
	if _, err := r.super.ExecContext(ctx, `vacuum analyze exposure`); err != nil {
		return err
	}
	var f exportFigure
	if err := r.work(ctx, &f, [][]tenant.ID{all}); err != nil {
		return err
	}
	if err := r.count(ctx, &f, all); err != nil {
		return err
	}
	fmt.Fprintf(r.backups.Out, "%d exposure keys of %d authorities, %d export files of %d MB\n", r.backups.Keys, r.backups.Tenants, f.files, f.size>>20)
	return nil
}

// copyRows is the floor.
func (r *backupRun) copyRows(ctx context.Context) error {
	if _, err := r.super.ExecContext(ctx, `create table exposure_floor (like exposure including indexes including constraints)`); err != nil {
		return err
	}
	began := time.Now()
	if _, err := r.super.ExecContext(ctx, `insert into exposure_floor select * from exposure`); err != nil {
		return err
	}
	fmt.Fprintf(r.backups.Out, "floor: the same keys copied within the database in %.1f s\n", time.Since(began).Seconds())
	// Tables that no step of the schema makes would be a fault of the backup.
	_, err := r.super.ExecContext(ctx, `drop table exposure_floor, bench_floor, bench_floor_keys`)
	return err
}

func (r *backupRun) backUpAndDrill(ctx context.Context) error {
	place := func(name string) string { return filepath.Join(r.stack.dir, name) }
	keys := []string{"--backup-keys", place("backup-keys")}
	_, took, err := r.command(ctx, append([]string{"backup", "--database", r.stack.dsn("ignored"), "--folder", place("backups"), "--exports", r.stack.files()}, keys...))
	if err != nil {
		return err
	}
	folders, err := filepath.Glob(place("backups/*z"))
	if err != nil || len(folders) != 1 {
		return errors.Join(err, fmt.Errorf("%d backups", len(folders)))
	}
	size, err := sizeOf(folders[0])
	if err != nil {
		return err
	}
	fmt.Fprintf(r.backups.Out, "backup   %s, %d MB of rows\n", took, size>>20)
	report, took, err := r.command(ctx, append([]string{"drill", folders[0], "--database", r.stack.dsn(""), "--root-key", r.stack.rootFile(), "--json"}, keys...))
	if err != nil {
		return err
	}
	var drilled struct {
		Whole   bool    `json:"whole"`
		Age     float64 `json:"age_seconds"`
		Restore float64 `json:"restore_seconds"`
		Tenants []struct{ Rows int64 }
	}
	if err := json.Unmarshal(report, &drilled); err != nil {
		return fmt.Errorf("report of the drill: %w", err)
	}
	var rows int64
	for _, t := range drilled.Tenants {
		rows += t.Rows
	}
	fmt.Fprintf(r.backups.Out, "drill    %s, of which restoring %.1f s; %d rows of authorities, recovery point %.0f s old, nothing wrong: %v\n",
		took, drilled.Restore, rows, drilled.Age, drilled.Whole)
	return nil
}

// spent is what a command took.
type spent struct {
	elapsed time.Duration
	peak    int64 // resident bytes
}

func (s spent) String() string {
	return fmt.Sprintf("%.1f s, at most %d MB of memory", s.elapsed.Seconds(), s.peak>>20)
}

// command runs one of this program's, and returns what it printed.
func (r *backupRun) command(ctx context.Context, args []string) ([]byte, spent, error) {
	var out bytes.Buffer
	c := exec.CommandContext(ctx, r.backups.Program, args...)
	c.Stdout, c.Stderr = &out, os.Stderr
	began := time.Now()
	if err := c.Run(); err != nil {
		return nil, spent{}, fmt.Errorf("%s: %w: %s", args[0], err, out.Bytes())
	}
	took := spent{elapsed: time.Since(began)}
	if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		took.peak = usage.Maxrss << 10 // Linux, getrusage(2): kilobytes
	}
	return out.Bytes(), took, nil
}

func sizeOf(folder string) (size int64, err error) {
	err = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
