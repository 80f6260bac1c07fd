package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/importer"
	"carillon/tenant/job"
)

type tenantImportCommands struct {
	Add    importAddCommand    `cmd:"" help:"Import the export files of an outside key server, or change how: everything is as this command says."`
	List   importListCommand   `cmd:"" help:"List the imports, and how they stand."`
	Run    importRunCommand    `cmd:"" help:"Look at the index now, and try files again that failed."`
	Report importReportCommand `cmd:"" help:"Tell of each file, and of the keys that were not imported."`
	Remove importRemoveCommand `cmd:"" help:"End an import. Keys that it has brought stay until they are old."`

	Archive tenantImportArchiveCommand `cmd:"" help:"Have a health authority of another deployment live here, from what \"carillon tenant archive\" wrote there."`
}

type importAddCommand struct {
	operation
	outside
	Name       string   `arg:"" help:"What to call it: lower-case letters, digits, hyphens."`
	Index      string   `required:"" help:"URL of the server's index." placeholder:"URL"`
	Root       string   `help:"URL that the names in the index are below; without it, the index's own folder. Servers like the reference need the folder above." placeholder:"URL"`
	Region     string   `required:"" help:"ISO 3166 code of where the keys count as reported: export configurations of this region have them."`
	Traveler   bool     `help:"The keys count as travelers'."`
	ReportType string   `default:"confirmed" enum:"confirmed,likely" help:"What keys count as that tell no report type: confirmed or likely."`
	Key        []string `required:"" help:"A public key that signs the files: its ID, a slash, its version, an equals sign and a file with it as PEM. May be given several times; other keys are not believed." placeholder:"ID/VERSION=FILE"`
}

func (c importAddCommand) Run(ctx context.Context) error {
	spec := importer.Spec{
		Name: c.Name, Index: c.Index, Root: c.Root, Region: c.Region, Traveler: c.Traveler,
		MissingType: certificate.ReportType(c.ReportType),
	}
	for _, k := range c.Key {
		trusted, err := readTrustedKey(k)
		if err != nil {
			return err
		}
		spec.Keys = append(spec.Keys, trusted)
	}
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return importer.Add(ctx, tx, c.fetcher(), operator, spec, time.Now())
	})
}

// readTrustedKey reads a key that is given as its ID, its version and a file.
func readTrustedKey(text string) (exportfile.TrustedKey, error) {
	name, path, ok := strings.Cut(text, "=")
	id, version, ok2 := strings.Cut(name, "/")
	if !ok || !ok2 {
		return exportfile.TrustedKey{}, fmt.Errorf("%q is not of the form ID/VERSION=FILE", text)
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return exportfile.TrustedKey{}, err
	}
	public, err := signing.ParsePublicPEM(pem)
	if err != nil {
		return exportfile.TrustedKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return exportfile.TrustedKey{KeyID: id, KeyVersion: version, Key: public}, nil
}

type importListCommand struct{ operation }

func (c importListCommand) Run(ctx context.Context) error {
	return tell(ctx, c.operation, importer.List, printImports)
}

func printImports(to io.Writer, list []importer.Entry) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, e := range list {
		travelers := ""
		if e.Traveler {
			travelers = ", as travelers'"
		}
		fmt.Fprintf(table, "%s\t%s\tbelow %s\n", e.Name, e.Index, e.Root)
		fmt.Fprintf(table, "  region %s%s\tsigned by %s\tindex read %s\n", e.Region, travelers, e.Keys, instant(e.LookedAt))
		fmt.Fprintf(table, "  files\t%d done, %d open (%d failing), %d changed\t\n", e.Done, e.Open, e.Failing, e.Changed)
		fmt.Fprintf(table, "  keys\t%d new, %d revised, %d known, %d in quarantine\t\n", e.Stored, e.Revised, e.Known, e.Quarantined)
		if e.FailedAt != nil {
			fmt.Fprintf(table, "  FAILED\t%s\t%s\n", instant(e.FailedAt), e.Failure)
		}
	}
	return table.Flush()
}

type importRunCommand struct {
	operation
	Name string `arg:"" help:"The import's name."`
}

func (c importRunCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		now := time.Now()
		err := db.In(ctx, t.ID, func(tx *tenant.Tx) error { return importer.Hurry(ctx, tx, operator, c.Name, now) })
		if err != nil {
			return err
		}
		err = job.Request(ctx, db, operator, importer.JobName, t, now)
		if errors.Is(err, job.ErrUnknown) {
			return errors.New("no process with the role jobs has served this authority yet; it will import when one does")
		}
		return err
	})
}

type importReportCommand struct {
	operation
	Name string `arg:"" help:"The import's name."`
	File string `help:"Tell of the bad keys of this file, one by one." placeholder:"NAME"`
}

func (c importReportCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		if c.File != "" {
			bad, err := importer.Quarantine(ctx, tx, c.Name, c.File)
			if err != nil {
				return err
			}
			return printQuarantine(os.Stdout, bad)
		}
		files, reasons, err := importer.Report(ctx, tx, c.Name)
		if err != nil {
			return err
		}
		return printImportReport(os.Stdout, files, reasons)
	})
}

func printQuarantine(to io.Writer, bad []importer.Bad) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tLIST\tREASON")
	for _, b := range bad {
		list := "new"
		if b.Revised {
			list = "revised"
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", b.Position, list, b.Reason)
	}
	return table.Flush()
}

func printImportReport(to io.Writer, files []importer.File, reasons []importer.Reasons) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FILE\tSTATE\tNEW\tREVISED\tKNOWN\tQUARANTINE\t")
	for _, f := range files {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%s\n", f.Name, f.State, f.Stored, f.Revised, f.Known, f.Quarantined, remark(f))
	}
	if len(reasons) > 0 {
		fmt.Fprintln(table, "\nQUARANTINE\tKEYS")
	}
	for _, r := range reasons {
		fmt.Fprintf(table, "%s\t%d\n", r.Reason, r.Keys)
	}
	return table.Flush()
}

// remark says what the state of a file does not.
func remark(f importer.File) string {
	switch {
	case f.State == "open" && f.UnlistedAt != nil:
		return "given up: not listed since " + instant(f.UnlistedAt)
	case f.State == "open" && f.Failure != "":
		return fmt.Sprintf("failed %d times, next try %s: %s", f.Attempts, instant(&f.DueAt), f.Failure)
	default:
		return f.Failure
	}
}

type importRemoveCommand struct {
	operation
	Name string `arg:"" help:"The import's name."`
}

func (c importRemoveCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return importer.Remove(ctx, tx, operator, c.Name, time.Now())
	})
}
