package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"carillon/tenant"
	"carillon/tenant/export/plan"
	"carillon/tenant/key"
)

type tenantExportCommands struct {
	List   exportListCommand   `cmd:"" help:"List the export configurations."`
	Add    exportAddCommand    `cmd:"" help:"Add a configuration: its own files below a path of its own."`
	Set    exportSetCommand    `cmd:"" help:"Change a configuration from the window on that is open now."`
	Retire exportRetireCommand `cmd:"" help:"Let a configuration end with the window that is open now."`
}

// planPath names a configuration.
type planPath struct {
	Path string `help:"The configuration's part of URLs, below exports/; empty for the one that every authority has." placeholder:"NAME"`
}

// folder is the path as it is stored.
func (p planPath) folder() string {
	if p.Path == "" {
		return ""
	}
	return strings.TrimSuffix(p.Path, "/") + "/"
}

type exportListCommand struct{ operation }

func (c exportListCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error {
		list, err := plan.List(ctx, tx)
		if err != nil {
			return err
		}
		return printPlans(os.Stdout, t.Slug, list)
	})
}

func printPlans(to io.Writer, slug tenant.Slug, list []plan.Plan) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for i, p := range list {
		if i > 0 {
			fmt.Fprintln(table)
		}
		fmt.Fprintf(table, "/t/%s/exports/%sindex.txt\n", slug, p.Path)
		values := p.Values()
		for _, f := range plan.Fields() {
			fmt.Fprintf(table, "  %s=%s\t%s\n", f.Name, values[f.Name], f.Meaning)
		}
	}
	return table.Flush()
}

type exportAddCommand struct {
	operation
	planPath
	Values []string `arg:"" optional:"" help:"What differs from the defaults, each as name=value; \"carillon tenant export list\" shows the names." placeholder:"NAME=VALUE"`
}

func (c exportAddCommand) Run(ctx context.Context) error {
	values, err := parseValues(c.Values)
	if err != nil {
		return err
	}
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error {
		return plan.Add(ctx, tx, t, operator, c.folder(), values, time.Now())
	})
}

type exportSetCommand struct {
	operation
	planPath
	Values []string `arg:"" help:"What to change, each as name=value; \"carillon tenant export list\" shows the names." placeholder:"NAME=VALUE"`
}

func (c exportSetCommand) Run(ctx context.Context) error {
	values, err := parseValues(c.Values)
	if err != nil {
		return err
	}
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return plan.Change(ctx, tx, operator, c.folder(), values, time.Now())
	})
}

type exportRetireCommand struct {
	operation
	planPath
}

func (c exportRetireCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		last, err := plan.Retire(ctx, tx, operator, c.folder(), time.Now())
		if err == nil {
			fmt.Printf("Keys that arrive until %s are exported there, and none after.\n", last.Format(time.RFC3339))
		}
		return err
	})
}

type tenantExportKeyCommands struct {
	List     exportKeyListCommand     `cmd:"" help:"List the versions of the key that signs export files, with their public halves."`
	Add      exportKeyAddCommand      `cmd:"" help:"Make the next version. It signs nothing before it is activated."`
	Activate exportKeyActivateCommand `cmd:"" help:"Let a version sign new files, beside those that do already."`
	Retire   exportKeyRetireCommand   `cmd:"" help:"End a version's signing."`
}

type exportKeyListCommand struct{ operation }

func (c exportKeyListCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		list, err := key.ExportVersions(ctx, tx)
		if err != nil {
			return err
		}
		for _, v := range list {
			if err := printVersion(os.Stdout, v); err != nil {
				return err
			}
		}
		return nil
	})
}

// printVersion prints what Apple and Google need, and a digest to compare by telephone.
func printVersion(to io.Writer, v key.Version) error {
	digest := sha256.Sum256(v.DER)
	fmt.Fprintf(to, "version %d: %s, key ID %s, key version %s, made %s, SHA-256 %s\n",
		v.No, v.State, v.KeyID, v.Label, v.Created.UTC().Format(time.RFC3339), hex.EncodeToString(digest[:]))
	return pem.Encode(to, &pem.Block{Type: "PUBLIC KEY", Bytes: v.DER})
}

type exportKeyAddCommand struct {
	operation
	keyOptions
}

func (c exportKeyAddCommand) Run(ctx context.Context) error {
	keys, err := c.open(ctx, false)
	if err != nil {
		return err
	}
	defer keys.Close()
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error {
		v, err := key.AddExport(ctx, tx, t.ID, keys.Custody, operator, time.Now())
		if err != nil {
			return err
		}
		return printVersion(os.Stdout, v)
	})
}

type exportKeyActivateCommand struct {
	operation
	Version   int    `arg:"" help:"The version's number, as listed."`
	Confirmed string `required:"" help:"Who confirmed that phones have its public half, and how. It is kept in the audit log." placeholder:"TEXT"`
}

func (c exportKeyActivateCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return key.ActivateExport(ctx, tx, operator, c.Version, c.Confirmed, time.Now())
	})
}

type exportKeyRetireCommand struct {
	operation
	Version int `arg:"" help:"The version's number, as listed."`
}

func (c exportKeyRetireCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return key.RetireExport(ctx, tx, operator, c.Version, time.Now())
	})
}
