package main

import (
	"context"
	"fmt"
	"time"

	"carillon/tenant"
)

type maintenanceCommand struct {
	Switch   string `arg:"" enum:"on,off,show" help:"on or off, or show who switched it last."`
	Database string `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
}

func (c maintenanceCommand) Run(ctx context.Context) error {
	dsn, err := asRole(c.Database, "carillon_operator")
	if err != nil {
		return err
	}
	db, err := tenant.Open(ctx, tenant.Config{DSN: dsn})
	if err != nil {
		return err
	}
	defer db.Close()
	if c.Switch == "show" {
		return showMaintenance(ctx, db)
	}
	if err := tenant.SetMaintenance(ctx, db, operator, c.Switch == "on", time.Now()); err != nil {
		return err
	}
	fmt.Printf("Maintenance is %s; every process follows within %v.\n", c.Switch, tenant.DirectoryAge)
	return nil
}

// shownSwitches is how many switches are shown.
const shownSwitches = 20

func showMaintenance(ctx context.Context, db *tenant.DB) error {
	switches, err := tenant.MaintenanceSwitches(ctx, db, shownSwitches)
	if err != nil {
		return err
	}
	if len(switches) == 0 {
		fmt.Println("Maintenance was never switched.")
	}
	for _, s := range switches {
		to := "off"
		if s.On {
			to = "on"
		}
		fmt.Printf("%s  %-3s  %s\n", s.At.UTC().Format(time.RFC3339), to, s.By)
	}
	return nil
}
