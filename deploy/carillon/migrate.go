package main

import (
	"context"
	"fmt"
	"time"

	"carillon/migrations"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/onboarding"
)

type migrateCommand struct {
	Database string `required:"" env:"CARILLON_OWNER_DATABASE" help:"Connection string of the database's owner, who may also create roles. Never give this one to a running service." placeholder:"DSN"`
}

func (c migrateCommand) Run(ctx context.Context) error {
	if err := migrations.Up(ctx, c.Database); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	fmt.Println("The schema is current.")
	return nil
}

type tenantCompleteCommand struct {
	operatorAccess `prefix:""`
}

// Run makes the keys that an upgrade asks for.
func (c tenantCompleteCommand) Run(ctx context.Context) error {
	root, err := signing.OpenRootFile(c.RootKey)
	if err != nil {
		return fmt.Errorf("root key: %w", err)
	}
	return c.with(ctx, func(db *tenant.DB) error {
		if err := onboarding.CompleteKeys(ctx, db, root, time.Now()); err != nil {
			return err
		}
		fmt.Println("Every health authority has a key for every purpose.")
		return nil
	})
}
