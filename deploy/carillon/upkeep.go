package main

import (
	"context"
	"fmt"
	"time"

	"carillon/tenant/onboarding"
)

type tenantCompleteKeysCommand struct {
	Database string `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
	keyOptions
}

func (c tenantCompleteKeysCommand) Run(ctx context.Context) error {
	keys, err := c.open(ctx, false)
	if err != nil {
		return err
	}
	defer keys.Close()
	db, err := openAsOperator(ctx, c.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := onboarding.CompleteKeys(ctx, db, keys.Custody, time.Now()); err != nil {
		return err
	}
	fmt.Println("Every health authority has a key for every purpose.")
	return nil
}
