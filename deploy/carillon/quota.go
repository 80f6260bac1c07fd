package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"carillon/tenant"
	"carillon/tenant/quota"
)

type quotaCommands struct {
	Show  quotaShowCommand  `cmd:"" help:"Show where today's quota stands, and what the days before lead to."`
	Burst quotaBurstCommand `cmd:"" help:"Add codes to today's quota, once."`
}

type quotaShowCommand struct{ operation }

func (c quotaShowCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error {
		now := time.Now()
		s, err := quota.Stand(ctx, tx, t, now)
		if err != nil {
			return err
		}
		days, err := quota.History(ctx, tx, now)
		if err != nil {
			return err
		}
		showQuota(os.Stdout, t, s, days)
		return nil
	})
}

func showQuota(to io.Writer, t *tenant.Tenant, s quota.Standing, days []quota.Day) {
	state := "enforced"
	if !t.Settings.QuotaEnforced {
		state = "not enforced"
	}
	fmt.Fprintf(to, "%s UTC: %d codes (%d modelled × %.2f) and %d added; processes have taken %d, %d are left; %s.\n",
		s.Day.Format(time.DateOnly), s.Effective, s.Base, t.Settings.QuotaFactor, s.Burst, s.Taken, s.Left(), state)
	forecast, ok := quota.Forecast(days, s.Day)
	if !ok {
		fmt.Fprintf(to, "No forecast: %d of the days before are known, and it takes 14.\n", len(days))
		return
	}
	fmt.Fprintf(to, "Forecast for today: %d codes.\n", forecast)
}

type quotaBurstCommand struct {
	operation
	Codes int `arg:"" help:"How many codes to add."`
}

func (c quotaBurstCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error {
		if err := quota.Burst(ctx, tx, operator, c.Codes, time.Now()); err != nil {
			return err
		}
		fmt.Printf("%s may issue %d more codes until midnight UTC.\n", t.Slug, c.Codes)
		return nil
	})
}
