package main

import (
	"context"
	"fmt"
	"time"

	"carillon/signing"
	"carillon/tenant/onboarding"
)

type tenantCompleteKeysCommand struct {
	Database string `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
	RootKey  string `required:"" env:"CARILLON_ROOT_KEY" type:"path" help:"File with the platform's root key." placeholder:"FILE"`
}

func (c tenantCompleteKeysCommand) Run(ctx context.Context) error {
	root, err := signing.OpenRootFile(c.RootKey)
	if err != nil {
		return fmt.Errorf("root key: %w", err)
	}
	db, err := openAsOperator(ctx, c.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := onboarding.CompleteKeys(ctx, db, signing.Custody{Root: root}, time.Now()); err != nil {
		return err
	}
	fmt.Println("Every health authority has a key for every purpose.")
	return nil
}
