package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"carillon/tenant"
	"carillon/tenant/app"
)

type tenantAppCommands struct {
	Add    appAddCommand    `cmd:"" help:"Add an app. Links of text messages lead to the first of each system."`
	List   appListCommand   `cmd:"" help:"List the apps, the first that was added first."`
	Remove appRemoveCommand `cmd:"" help:"Remove an app."`
}

type appAddCommand struct {
	operation
	OS          app.OS   `name:"os" required:"" enum:"ios,android" help:"ios or android."`
	Name        string   `required:"" help:"Name for people, unique among the authority's apps of the system."`
	ID          string   `name:"app-id" required:"" help:"Android: the package's name. iOS: the team's prefix, a dot, the bundle's ID."`
	StoreURL    string   `name:"store-url" help:"Where the app is to be had, https." placeholder:"URL"`
	Fingerprint []string `help:"SHA-256 fingerprint of the Android app's signing certificate: 32 upper-case hexadecimal pairs with colons. May be given several times."`
	NoRedirect  bool     `name:"disable-redirect" help:"Lead no links to this app. It may open them still."`
	Headless    bool     `help:"The app has no face: Android's own pages stand for it."`
}

func (c appAddCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return app.Add(ctx, tx, operator, app.Record{
			OS: c.OS, Name: c.Name, ID: c.ID, StoreURL: c.StoreURL, Fingerprints: c.Fingerprint,
			DisableRedirect: c.NoRedirect, Headless: c.Headless,
		}, time.Now())
	})
}

type appListCommand struct{ operation }

func (c appListCommand) Run(ctx context.Context) error {
	return tell(ctx, c.operation, app.List, printApps)
}

func printApps(to io.Writer, list []app.Record) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SYSTEM\tNAME\tID\tSTORE\tLINKS\tFINGERPRINTS")
	for _, r := range list {
		links := "lead here"
		switch {
		case r.DisableRedirect:
			links = "disabled"
		case r.Headless:
			links = "headless"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.OS, r.Name, r.ID, r.StoreURL, links, strings.Join(r.Fingerprints, " "))
	}
	return table.Flush()
}

type appRemoveCommand struct {
	operation
	OS   app.OS `name:"os" required:"" enum:"ios,android" help:"ios or android."`
	Name string `required:"" help:"The app's name."`
}

func (c appRemoveCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return app.Remove(ctx, tx, operator, c.OS, c.Name, time.Now())
	})
}
