package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"carillon/signing"
	"carillon/signing/jws"
	"carillon/tenant"
	"carillon/tenant/issuer"
	"carillon/tenant/outbound"
)

type tenantVerificationServerCommands struct {
	Add     verificationServerAddCommand     `cmd:"" help:"Accept certificates of an outside verification server, or change how: everything is as this command says."`
	List    verificationServerListCommand    `cmd:"" help:"List the outside verification servers with their keys, and how their key sets were last fetched."`
	Remove  verificationServerRemoveCommand  `cmd:"" help:"Accept a server's certificates no more."`
	Refresh verificationServerRefreshCommand `cmd:"" help:"Fetch a server's key set now."`
}

// outside is what a command needs that asks servers that an authority names.
type outside struct {
	Loopback bool `help:"Allow addresses of this machine, for development."`
}

func (o outside) fetcher() *outbound.Fetcher {
	return outbound.NewFetcher(outbound.New(o.Loopback, 443, 8443))
}

type verificationServerAddCommand struct {
	operation
	outside
	Issuer   string   `arg:"" help:"iss of the server's certificates, exactly."`
	Audience string   `required:"" help:"aud of its certificates, exactly."`
	JWKS     string   `name:"jwks" xor:"keys" help:"URL of its key set; the keys are fetched every two minutes." placeholder:"URL"`
	Key      []string `xor:"keys" help:"A key instead: its kid, an equals sign and a file with the public key as PEM. May be given several times; other keys are not trusted." placeholder:"KID=FILE"`
}

func (c verificationServerAddCommand) Run(ctx context.Context) error {
	spec := issuer.Spec{Issuer: c.Issuer, Audience: c.Audience, JWKS: c.JWKS}
	for _, k := range c.Key {
		named, err := readNamedKey(k)
		if err != nil {
			return err
		}
		spec.Keys = append(spec.Keys, named)
	}
	fetcher := c.fetcher()
	if c.JWKS != "" {
		if err := fetcher.Check(c.JWKS); err != nil {
			return err
		}
	}
	return c.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		err := db.In(ctx, t.ID, func(tx *tenant.Tx) error { return issuer.Accept(ctx, tx, t, operator, spec, time.Now()) })
		if err != nil || c.JWKS == "" {
			return err
		}
		if err := refreshKeySet(ctx, db, fetcher, t, c.Issuer); err != nil {
			return fmt.Errorf("the server is accepted, but has no keys yet, which will be tried again: %w", err)
		}
		return nil
	})
}

// readNamedKey reads a key that is given as its name and a file.
func readNamedKey(text string) (jws.PublicKey, error) {
	kid, path, ok := strings.Cut(text, "=")
	if !ok {
		return jws.PublicKey{}, fmt.Errorf("%q is not of the form KID=FILE", text)
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return jws.PublicKey{}, err
	}
	public, err := signing.ParsePublicPEM(pem)
	if err != nil {
		return jws.PublicKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return jws.PublicKey{KeyID: kid, Key: public}, nil
}

func refreshKeySet(ctx context.Context, db *tenant.DB, f *outbound.Fetcher, t *tenant.Tenant, name string) error {
	r := issuer.NewRefresher(issuer.Config{DB: db, Fetcher: f, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	return r.Refresh(ctx, t.ID, name)
}

type verificationServerListCommand struct{ operation }

func (c verificationServerListCommand) Run(ctx context.Context) error {
	return tell(ctx, c.operation, issuer.List, printVerificationServers)
}

func printVerificationServers(to io.Writer, list []issuer.Entry) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, e := range list {
		from := "pinned keys"
		if e.JWKS != "" {
			from = e.JWKS + ", fetched " + instant(e.RefreshedAt)
		}
		fmt.Fprintf(table, "%s\taudience %s\t%s\n", e.Issuer, e.Audience, from)
		if e.FailedAt != nil {
			fmt.Fprintf(table, "  FAILED\t%s\t%s\n", instant(e.FailedAt), e.Failure)
		}
		for _, k := range e.Keys {
			state := "trusted"
			if k.RevokedAt != nil {
				state = "revoked " + instant(k.RevokedAt)
			}
			fmt.Fprintf(table, "  %s\tsince %s\t%s\n", k.KeyID, instant(&k.AddedAt), state)
		}
	}
	return table.Flush()
}

// instant writes a time for people; a nil one never was.
func instant(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

type verificationServerRemoveCommand struct {
	operation
	Issuer string `arg:"" help:"iss of the server's certificates."`
}

func (c verificationServerRemoveCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return issuer.Remove(ctx, tx, operator, c.Issuer, time.Now())
	})
}

type verificationServerRefreshCommand struct {
	operation
	outside
	Issuer string `arg:"" help:"iss of the server's certificates."`
}

func (c verificationServerRefreshCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		err := refreshKeySet(ctx, db, c.fetcher(), t, c.Issuer)
		if errors.Is(err, issuer.ErrUnknown) {
			return fmt.Errorf("%s: %w", c.Issuer, err)
		}
		if err == nil {
			fmt.Println("The keys are those of the set.")
		}
		return err
	})
}
