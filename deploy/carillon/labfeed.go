package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"carillon/tenant"
	"carillon/tenant/labfeed"
)

type tenantLabFeedCommand struct {
	operation
	Set string `type:"path" help:"File with the new mapping: what this command prints, edited." placeholder:"FILE"`
}

func (c tenantLabFeedCommand) Run(ctx context.Context) error {
	if c.Set != "" {
		return c.change(ctx)
	}
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		m, err := labfeed.ReadMapping(ctx, tx)
		if err != nil {
			return err
		}
		return printMapping(os.Stdout, m)
	})
}

func printMapping(to io.Writer, m labfeed.Mapping) error {
	out := json.NewEncoder(to)
	out.SetIndent("", "  ")
	return out.Encode(m)
}

func (c tenantLabFeedCommand) change(ctx context.Context) error {
	text, err := os.ReadFile(c.Set)
	if err != nil {
		return err
	}
	m, err := labfeed.ParseMapping(text)
	if err != nil {
		return err
	}
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error {
		version, err := labfeed.ChangeMapping(ctx, tx, operator, m, time.Now().UTC())
		if err == nil {
			fmt.Printf("%s reads laboratory results by version %d of its mapping.\n", t.Name, version)
		}
		return err
	})
}
