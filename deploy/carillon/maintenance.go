package main

import (
	"context"
	"fmt"

	"carillon/tenant"
)

type maintenanceCommand struct {
	Switch   string `arg:"" enum:"on,off" help:"on or off."`
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
	if err := tenant.SetMaintenance(ctx, db, c.Switch == "on"); err != nil {
		return err
	}
	fmt.Printf("Maintenance is %s; every process follows within %v.\n", c.Switch, tenant.DirectoryAge)
	return nil
}
