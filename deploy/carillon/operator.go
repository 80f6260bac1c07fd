package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/platform"
)

type operatorCommands struct {
	Add    operatorAddCommand    `cmd:"" help:"Let a person run the platform. One who is there already gets the name and the role, and is bound anew when she signs in."`
	List   operatorListCommand   `cmd:"" help:"List those who run the platform."`
	Remove operatorRemoveCommand `cmd:"" help:"Shut an operator out, at once."`
}

// onPlatform is what a command needs that works on the platform as the operator.
type onPlatform struct {
	Database string `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
}

func (o onPlatform) with(ctx context.Context, fn func(*tenant.DB) error) error {
	dsn, err := asRole(o.Database, "carillon_operator")
	if err != nil {
		return err
	}
	db, err := tenant.Open(ctx, tenant.Config{DSN: dsn})
	if err != nil {
		return err
	}
	defer db.Close()
	return fn(db)
}

type operatorAddCommand struct {
	onPlatform
	Email  string `arg:"" help:"Her address, as the identity provider knows it."`
	Issuer string `name:"oidc-issuer" required:"" env:"CARILLON_OIDC_ISSUER" help:"Issuer of the platform's identity provider, exactly as it spells itself." placeholder:"URL"`
	Name   string `required:"" help:"Her name, for people."`
	Role   string `default:"operator" enum:"operator,support" help:"operator decides about health authorities; support sees how they stand, and enters a portal by invitation only."`
}

func (c operatorAddCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB) error {
		return platform.Add(ctx, db, operator, platform.Operator{
			Issuer: c.Issuer, Email: c.Email, Name: c.Name, Role: authz.Role(c.Role),
		}, time.Now())
	})
}

type operatorListCommand struct{ onPlatform }

func (c operatorListCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB) error {
		list, err := platform.Operators(ctx, db)
		if err != nil {
			return err
		}
		return printOperators(os.Stdout, list)
	})
}

func printOperators(to io.Writer, list []platform.Operator) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "EMAIL\tNAME\tROLE\tSTATE\tISSUER")
	for _, o := range list {
		state := "has signed in"
		switch {
		case o.Disabled != nil:
			state = "removed " + o.Disabled.UTC().Format(time.RFC3339)
		case !o.Bound:
			state = "has never signed in"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", o.Email, o.Name, o.Role, state, o.Issuer)
	}
	return table.Flush()
}

type operatorRemoveCommand struct {
	onPlatform
	Email  string `arg:"" help:"Her address."`
	Issuer string `name:"oidc-issuer" required:"" env:"CARILLON_OIDC_ISSUER" help:"Issuer of the platform's identity provider." placeholder:"URL"`
}

func (c operatorRemoveCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB) error {
		return platform.Remove(ctx, db, operator, c.Issuer, c.Email, time.Now())
	})
}
