package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/setting"
)

// operation is what a command needs that works on one tenant as the operator.
type operation struct {
	Slug     string `arg:"" help:"The authority's name in URLs."`
	Database string `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
}

// in runs fn in a transaction of the tenant.
func (o operation) in(ctx context.Context, fn func(*tenant.Tx, *tenant.Tenant) error) error {
	return o.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		return db.In(ctx, t.ID, func(tx *tenant.Tx) error { return fn(tx, t) })
	})
}

// with runs fn with the operator's handle.
func (o operation) with(ctx context.Context, fn func(*tenant.DB, *tenant.Tenant) error) error {
	dsn, err := asRole(o.Database, "carillon_operator")
	if err != nil {
		return err
	}
	db, err := tenant.Open(ctx, tenant.Config{DSN: dsn})
	if err != nil {
		return err
	}
	defer db.Close()
	t, err := tenant.NewDirectory(db).BySlug(ctx, o.Slug)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Slug, err)
	}
	return fn(db, t)
}

// tell prints what is found of the tenant.
func tell[T any](ctx context.Context, o operation, find func(context.Context, *tenant.Tx) (T, error), print func(io.Writer, T) error) error {
	return o.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		found, err := find(ctx, tx)
		if err != nil {
			return err
		}
		return print(os.Stdout, found)
	})
}

// operator is who acts when a command does: whoever can run it.
var operator = authz.Subject{Kind: authz.System, ID: "operator", Name: "Operator's command"}

type tenantShowCommand struct{ operation }

func (c tenantShowCommand) Run(ctx context.Context) error {
	return tell(ctx, c.operation, setting.Read, printSettings)
}

func printSettings(to io.Writer, values map[string]string) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, s := range setting.List() {
		fmt.Fprintf(table, "%s=%s\t%s\n", s.Name, values[s.Name], s.Meaning)
	}
	return table.Flush()
}

type tenantSetCommand struct {
	operation
	Values []string `arg:"" help:"Settings to change, each as name=value; \"carillon tenant show\" lists them." placeholder:"NAME=VALUE"`
}

func (c tenantSetCommand) Run(ctx context.Context) error {
	values, err := parseValues(c.Values)
	if err != nil {
		return err
	}
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return setting.Change(ctx, tx, operator, values, time.Now())
	})
}

// parseValues parses arguments of the form name=value.
func parseValues(arguments []string) (map[string]string, error) {
	values := map[string]string{}
	for _, a := range arguments {
		name, value, ok := strings.Cut(a, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not of the form name=value", a)
		}
		values[name] = value
	}
	return values, nil
}
