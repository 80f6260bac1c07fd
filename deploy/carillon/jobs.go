package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/job"
)

type jobCommands struct {
	List jobListCommand `cmd:"" default:"withargs" help:"Show how the background jobs stand."`
	Run  jobRunCommand  `cmd:"" help:"Have a job run now, by the process that does it."`
}

type jobListCommand struct {
	Tenant   string `help:"Show each job of this health authority." placeholder:"SLUG"`
	Late     bool   `help:"Show what is late, of every health authority; exit code 1 if anything is."`
	JSON     bool   `name:"json" help:"Print JSON."`
	Database string `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
}

func (c jobListCommand) Run(ctx context.Context) error {
	db, err := openAsOperator(ctx, c.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	now := time.Now()
	if c.Tenant == "" && !c.Late && !c.JSON {
		all, err := job.Summarise(ctx, db, now)
		if err != nil {
			return err
		}
		return printSummaries(os.Stdout, all, now)
	}
	if c.Tenant != "" {
		if _, err := tenant.NewDirectory(db).BySlug(ctx, c.Tenant); err != nil {
			return fmt.Errorf("%s: %w", c.Tenant, err)
		}
	}
	list, err := job.List(ctx, db, job.Filter{Slug: c.Tenant, Late: c.Late}, now)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(os.Stdout).Encode(append([]job.Standing{}, list...))
	} else {
		err = printStandings(os.Stdout, list, now)
	}
	if err == nil && c.Late && len(list) > 0 {
		return errReported
	}
	return err
}

func printSummaries(to io.Writer, all []job.Summary, now time.Time) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "JOB\tEVERY\tTENANTS\tRUNNING\tFAILING\tLATE\tLAG\tLAST SUCCESS\tNEXT")
	for _, j := range all {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", j.Job, brief(j.EverySeconds), j.Tenants, j.Running, j.Failing,
			j.Late, brief(j.LagSeconds), ago(j.SucceededAt, now), until(j.DueAt, now))
	}
	return table.Flush()
}

func printStandings(to io.Writer, list []job.Standing, now time.Time) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "JOB\tTENANT\tEVERY\tLAST START\tLAST SUCCESS\tNEXT\tLAG\tFAILURES\tLAST ERROR\tHOLDER")
	for _, s := range list {
		slug, next := s.Slug, until(s.DueAt, now)
		if slug == "" {
			slug = "(platform)"
		}
		if s.Running {
			next = "running"
		}
		lag := brief(s.LagSeconds)
		if s.Late {
			lag += " LATE"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", s.Job, slug, brief(s.EverySeconds),
			ago(s.StartedAt, now), ago(s.SucceededAt, now), next, lag, s.Failures, s.Error, s.Holder)
	}
	return table.Flush()
}

func brief(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

func ago(t *time.Time, now time.Time) string {
	if t == nil {
		return "never"
	}
	return brief(now.Sub(*t).Seconds()) + " ago"
}

// until says when a job is due; one without a time is at work all the time.
func until(t *time.Time, now time.Time) string {
	switch {
	case t == nil:
		return "always"
	case !t.After(now):
		return "due"
	default:
		return "in " + brief(t.Sub(now).Seconds())
	}
}

type jobRunCommand struct {
	Name     string        `arg:"" help:"The job's name, as \"carillon jobs\" shows it."`
	Tenant   string        `help:"For this health authority; without it, for all." placeholder:"SLUG"`
	Wait     time.Duration `default:"1m" help:"How long to wait for the end; 0 for not at all."`
	Database string        `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
}

func (c jobRunCommand) Run(ctx context.Context) error {
	db, err := openAsOperator(ctx, c.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	var of *tenant.Tenant
	if c.Tenant != "" {
		if of, err = tenant.NewDirectory(db).BySlug(ctx, c.Tenant); err != nil {
			return fmt.Errorf("%s: %w", c.Tenant, err)
		}
	}
	before, err := c.list(ctx, db)
	if err != nil {
		return err
	}
	if err := job.Request(ctx, db, operator, c.Name, of, time.Now()); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	if c.Wait == 0 {
		fmt.Println("Requested.")
		return nil
	}
	done, err := c.await(ctx, db, before)
	if err != nil {
		return err
	}
	if err := printStandings(os.Stdout, done, time.Now()); err != nil {
		return err
	}
	for _, s := range done {
		if s.Failures > 0 {
			return errReported
		}
	}
	return nil
}

// errNotRun means that no process took the job up, or that it takes longer.
var errNotRun = errors.New("not done in time: \"carillon jobs\" shows whether it runs, and whether a process does such jobs at all")

func (c jobRunCommand) list(ctx context.Context, db *tenant.DB) ([]job.Standing, error) {
	return job.List(ctx, db, job.Filter{Job: c.Name, Slug: c.Tenant}, time.Now())
}

// await waits until every requested run has ended.
func (c jobRunCommand) await(ctx context.Context, db *tenant.DB, before []job.Standing) ([]job.Standing, error) {
	const look = 200 * time.Millisecond
	limited, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		list, err := c.list(ctx, db)
		if err != nil {
			return nil, err
		}
		if ended(before, list) {
			return list, nil
		}
		select {
		case <-limited.Done():
			return nil, errNotRun
		case <-tick.C:
		}
	}
}

// ended reports whether all have started anew since a list before, and ended. Both times
// are of the process that does the job, whose clock need not be this one's.
func ended(before, now []job.Standing) bool {
	started := map[uuid.UUID]time.Time{}
	for _, s := range before {
		if s.StartedAt != nil {
			started[s.Tenant] = *s.StartedAt
		}
	}
	for _, s := range now {
		if s.StartedAt == nil || s.StartedAt.Equal(started[s.Tenant]) || s.EndedAt == nil || s.EndedAt.Before(*s.StartedAt) {
			return false
		}
	}
	return len(now) > 0
}
