package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key/rootkey"
)

type rootCommands struct {
	Create rootCreateCommand `cmd:"" help:"Make a root key in a file."`
	Status rootStatusCommand `cmd:"" help:"Show which root keys wrapped the data keys of how many health authorities."`
	Rewrap rootRewrapCommand `cmd:"" help:"Wrap every data key anew, by --root-key, while everything runs. It may be interrupted and begun again."`
	Retire rootRetireCommand `cmd:"" help:"Let nothing be wrapped by a root key any more, for good. Only then may it be destroyed."`
}

type rootCreateCommand struct {
	File string `arg:"" type:"path" help:"Where to make it; there must be nothing yet."`
}

func (c rootCreateCommand) Run() error {
	root, err := signing.CreateRootFile(c.File)
	if err != nil {
		return fmt.Errorf("root key: %w", err)
	}
	fmt.Printf("Root key %s is in %s. Keep a copy where the database is not.\n", root.Name(), c.File)
	return nil
}

type rootStatusCommand struct {
	onPlatform
	keyOptions
}

func (c rootStatusCommand) Run(ctx context.Context) error {
	keys, err := c.open(ctx, false)
	if err != nil {
		return err
	}
	defer keys.Close()
	return c.with(ctx, func(db *tenant.DB) error {
		use, err := rootkey.Use(ctx, db)
		if err != nil {
			return err
		}
		return printRoots(ctx, db, keys.roots, use)
	})
}

// printRoots lists the root keys that are configured, and those that wrapped something.
func printRoots(ctx context.Context, db *tenant.DB, roots *signing.Roots, use map[string]int) error {
	names := slices.Compact(slices.Sorted(slices.Values(append(roots.Names(), slices.Collect(maps.Keys(use))...))))
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROOT KEY\tDATA KEYS\tHERE\tSTATE")
	for _, name := range names {
		here, state := "missing", "in use"
		switch {
		case name == "":
			here = "a file, by trying"
		case name == roots.Name():
			here = "wraps"
		case slices.Contains(roots.Names(), name):
			here = "opens"
		}
		err := rootkey.Check(ctx, db, name)
		if err != nil {
			state = "retired"
		}
		shown := name
		if shown == "" {
			shown = "(without a name)"
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", shown, use[name], here, state)
	}
	return table.Flush()
}

type rootRewrapCommand struct {
	onPlatform
	keyOptions
}

func (c rootRewrapCommand) Run(ctx context.Context) error {
	keys, err := c.open(ctx, false)
	if err != nil {
		return err
	}
	defer keys.Close()
	return c.with(ctx, func(db *tenant.DB) error {
		if err := rootkey.Check(ctx, db, keys.roots.Name()); err != nil {
			return err
		}
		n, err := rootkey.Rewrap(ctx, db, keys.roots, operator, time.Now, nil)
		fmt.Printf("%d data keys were wrapped anew by %s.\n", n, keys.roots.Name())
		return err
	})
}

type rootRetireCommand struct {
	onPlatform
	Root string `arg:"" help:"Its name, as the status shows it."`
}

func (c rootRetireCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB) error {
		if err := rootkey.Retire(ctx, db, operator, c.Root, time.Now()); err != nil {
			return err
		}
		fmt.Printf("Nothing is wrapped by %s any more. Take it out of every process's settings, then destroy it and its copies.\n", c.Root)
		return nil
	})
}
