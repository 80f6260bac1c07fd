package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/stats"
)

type tenantAPIKeyCommands struct {
	List   apiKeyListCommand   `cmd:"" help:"List a health authority's API keys, and when each was used last."`
	Create apiKeyCreateCommand `cmd:"" help:"Make a key and print it, the only time."`
	Rotate apiKeyRotateCommand `cmd:"" help:"Make a key that takes another's place and print it, the only time."`
	Revoke apiKeyRevokeCommand `cmd:"" help:"End a key, everywhere and for good."`
}

type apiKeyListCommand struct{ operation }

func (c apiKeyListCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		keys, err := client.List(ctx, tx, time.Now())
		if err != nil {
			return err
		}
		uses, err := stats.LastUses(ctx, tx, time.Now())
		if err != nil {
			return err
		}
		return printAPIKeys(os.Stdout, keys, uses, time.Now())
	})
}

func printAPIKeys(to io.Writer, keys []client.Key, uses map[uuid.UUID]stats.LastUse, now time.Time) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVERSION\tKIND\tSTATE\tENDS\tLAST USED\tREQUESTS IN 7 DAYS\tNETWORKS\tID")
	for _, k := range keys {
		ends, used := "never", "never"
		if k.ExpiresAt != nil {
			ends = k.ExpiresAt.UTC().Format(time.RFC3339)
		}
		if use := uses[k.ID]; !use.Hour.IsZero() {
			used = use.Hour.Format("2006-01-02 15h UTC")
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", k.Name, k.Generation, k.Kind, k.State(now), ends, used,
			uses[k.ID].Requests, strings.Join(k.Networks, " "), k.ID)
	}
	return table.Flush()
}

type apiKeyCreateCommand struct {
	operation
	Kind    client.Kind `required:"" enum:"device,admin,stats,scim" help:"What it is for: device, admin, stats or scim."`
	Name    string      `required:"" help:"Name for people, of the system that will have it."`
	Life    int         `help:"Days after which it ends by itself. 0: never." placeholder:"DAYS"`
	Network []string    `help:"Network from which alone it is good, such as 192.0.2.0/24; may be repeated. Not for phones." placeholder:"CIDR"`
}

func (c apiKeyCreateCommand) Run(ctx context.Context) error {
	networks, err := client.ParseNetworks(strings.Join(c.Network, " "))
	if err != nil {
		return err
	}
	terms := client.Terms{Name: c.Name, Networks: networks, Expires: inDays(c.Life)}
	return c.printed(ctx, func(tx *tenant.Tx) (string, error) {
		text, _, err := client.Make(ctx, tx, operator, c.Kind, terms, time.Now())
		return text, err
	})
}

// inDays is the zero time for 0.
func inDays(n int) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Now().AddDate(0, 0, n)
}

// printed prints the text of a key once it is stored.
func (o operation) printed(ctx context.Context, do func(*tenant.Tx) (string, error)) error {
	var text string
	err := o.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) (err error) {
		text, err = do(tx)
		return err
	})
	if err == nil {
		fmt.Println(text)
	}
	return err
}

type apiKeyRotateCommand struct {
	operation
	Key     uuid.UUID `arg:"" help:"The key's ID, as \"list\" shows it."`
	Overlap int       `default:"7" help:"Days for which the old key lives on, 0 to 90."`
	Life    int       `help:"Days after which the new key ends by itself. 0: never." placeholder:"DAYS"`
}

func (c apiKeyRotateCommand) Run(ctx context.Context) error {
	return c.printed(ctx, func(tx *tenant.Tx) (string, error) {
		overlap := time.Duration(c.Overlap) * 24 * time.Hour
		text, _, err := client.Rotate(ctx, tx, operator, c.Key, overlap, inDays(c.Life), time.Now())
		return text, err
	})
}

type apiKeyRevokeCommand struct {
	operation
	Key uuid.UUID `arg:"" help:"The key's ID, as \"list\" shows it."`
}

func (c apiKeyRevokeCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		k, err := client.Revoke(ctx, tx, operator, c.Key, time.Now())
		if err == nil {
			fmt.Printf("%s, version %d, is refused everywhere from now on.\n", k.Name, k.Generation)
		}
		return err
	})
}
