// Command carillon is the whole service: one binary whose subcommands run it,
// prepare its database, and act as a phone to test it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time zones of health authorities, also where the system has none

	"github.com/alecthomas/kong"
)

// commands are all subcommands. The ones that only development needs are in
// developing, which is empty in a release.
type commands struct {
	Serve       serveCommand       `cmd:"" help:"Run the service: every role, or those named."`
	Migrate     migrateCommand     `cmd:"" help:"Bring the database schema up to this version."`
	Tenant      tenantCommands     `cmd:"" help:"Manage health authorities."`
	Root        rootCommands       `cmd:"" help:"The platform's root key: replacing it while everything runs."`
	Operator    operatorCommands   `cmd:"" help:"Those who run the platform: who may sign in to its pages."`
	Maintenance maintenanceCommand `cmd:"" help:"Make the whole platform read-only, or open it again, without a restart."`
	Jobs        jobCommands        `cmd:"" help:"Background jobs: how they stand, and running one now."`
	Phone       phoneCommands      `cmd:"" help:"Act as a phone against any server."`
	Export      exportCommands     `cmd:"" help:"Examine export files."`
	Backup      backupCommand      `cmd:"" help:"Back up the whole deployment, or one health authority."`
	Restore     restoreCommand     `cmd:"" help:"Restore a backup into an empty database."`
	Drill       drillCommand       `cmd:"" help:"Restore a backup into a database that is thrown away, and tell whether it would serve; exit code 1 if not."`
	Audit       auditCommands      `cmd:"" help:"Export audit logs, and tell whether they were tampered with."`
	Ceremony    ceremonyCommands   `cmd:"" help:"Acts on key material that two people do together."`
	ChaffCheck  chaffCheckCommand  `cmd:"" name:"chaff-check" help:"Try to tell cover traffic from real requests, at a running server without rate limits."`
	GuessRun    guessRunCommand    `cmd:"" name:"guess-run" help:"Guess codes of a server on this machine from many addresses, beside honest phones, and tell what it came to."`
	developing
}

const (
	exitFailed = 1 // the work was tried and did not succeed
	exitUsage  = 2 // the command line makes no sense
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// run returns the exit code: 0, or one of the exit constants.
func run(ctx context.Context, args []string) int {
	var c commands
	parser := kong.Must(&c,
		kong.Name("carillon"),
		kong.Description("Exposure Notifications Express for many health authorities. Settings may also come from the environment, as each help text says."),
		kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "carillon: %v\n", err)
		var usage *kong.ParseError
		if errors.As(err, &usage) {
			fmt.Fprintln(os.Stderr, `Run "carillon --help" to see what there is.`)
		}
		return exitUsage
	}
	if err := parsed.Run(); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintf(os.Stderr, "carillon: %v\n", err)
		}
		return exitFailed
	}
	return 0
}

// errReported ends a command that has already told the user what went wrong.
var errReported = errors.New("reported")
