package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message/provider"
)

type tenantProviderCommands struct {
	Set    providerSetCommand    `cmd:"" help:"Set the provider in a place: 1 is asked first, 2 if the first surely did not send."`
	List   providerListCommand   `cmd:"" help:"List the providers, without their secrets."`
	Remove providerRemoveCommand `cmd:"" help:"Remove the provider in a place."`
}

type providerSetCommand struct {
	operation
	Place   int           `arg:"" help:"1 or 2."`
	Kind    provider.Kind `arg:"" help:"twilio, webhook or smtp."`
	Options string        `required:"" help:"What the kind needs, as JSON. twilio: account, from, reportFrom, api. webhook: url. smtp: host, port, user, from, to, subject." placeholder:"JSON"`

	SecretFile string `type:"path" help:"File with the account's password or the webhook's key." placeholder:"FILE"`
	Secret     string `env:"CARILLON_PROVIDER_SECRET" help:"The same. Prefer the file or the environment: command lines are visible."`
	PerMinute  int    `help:"How many messages each process may give to the provider in a minute; 0 for any number."`
	Loopback   bool   `help:"Allow addresses of this machine, for development."`
	keyOptions
}

func (c providerSetCommand) Run(ctx context.Context) error {
	keys, err := c.open(ctx, false)
	if err != nil {
		return err
	}
	defer keys.Close()
	secret, err := c.secret()
	if err != nil {
		return err
	}
	return c.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		return provider.Set(ctx, db, key.NewRing(db, keys.Custody), provider.NewNetworks(c.Loopback), t.ID, operator, c.Place, provider.Settings{
			Kind: c.Kind, Options: json.RawMessage(c.Options), Secret: secret, PerMinute: c.PerMinute,
		}, time.Now())
	})
}

// secret reads a file's first line, because editors end files with a line feed.
func (c providerSetCommand) secret() (string, error) {
	if c.SecretFile == "" {
		return c.Secret, nil
	}
	text, err := os.ReadFile(c.SecretFile)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r"))), nil
}

type providerListCommand struct{ operation }

func (c providerListCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		list, err := provider.List(ctx, db, t.ID)
		if err != nil {
			return err
		}
		return printProviders(os.Stdout, list)
	})
}

func printProviders(to io.Writer, list []provider.Entry) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PLACE\tKIND\tPER MINUTE\tCHANGED\tOPTIONS")
	for _, e := range list {
		pace := "any"
		if e.PerMinute > 0 {
			pace = fmt.Sprint(e.PerMinute)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", e.Place, e.Kind, pace, e.ChangedAt.UTC().Format(time.RFC3339), e.Options)
	}
	return table.Flush()
}

type providerRemoveCommand struct {
	operation
	Place int `arg:"" help:"1 or 2."`
}

func (c providerRemoveCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		return provider.Remove(ctx, db, t.ID, operator, c.Place, time.Now())
	})
}

// readProvider reads the platform's provider from a file; no file means none.
func readProvider(path string) (*provider.Settings, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // there need be none
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Kind      provider.Kind   `json:"kind"`
		Options   json.RawMessage `json:"options"`
		Secret    string          `json:"secret"`
		PerMinute int             `json:"perMinute"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, errors.New("the file is not the JSON that it should be") // the cause may quote the secret
	}
	return &provider.Settings{Kind: file.Kind, Options: file.Options, Secret: file.Secret, PerMinute: file.PerMinute}, nil
}
