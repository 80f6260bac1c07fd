package main

import (
	"context"
	"fmt"

	"carillon/migrations"
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
