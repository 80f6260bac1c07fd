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

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/sharing"
)

type tenantShareCommands struct {
	List     shareListCommand     `cmd:"" help:"List what the authority has offered and what was offered to it."`
	Offer    shareOfferCommand    `cmd:"" help:"Offer the authority's exposure keys to another one. Whether that one exists is not told."`
	Accept   shareAcceptCommand   `cmd:"" help:"Accept an offer that was made to the authority."`
	Decline  shareDeclineCommand  `cmd:"" help:"Decline one."`
	Withdraw shareWithdrawCommand `cmd:"" help:"End a share from either side. What has crossed stays; nothing more will."`
}

type shareListCommand struct{ operation }

func (c shareListCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		outgoing, err := sharing.Outgoing(ctx, tx)
		if err != nil {
			return err
		}
		incoming, err := sharing.Incoming(ctx, tx)
		if err != nil {
			return err
		}
		return printShares(os.Stdout, outgoing, incoming)
	})
}

func printShares(to io.Writer, outgoing, incoming []sharing.Share) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	printDirection(table, "to", outgoing)
	printDirection(table, "from", incoming)
	return table.Flush()
}

func printDirection(table io.Writer, direction string, list []sharing.Share) {
	for _, s := range list {
		keys, regions := "all keys", "any region"
		if s.TravelersOnly {
			keys = "travelers"
		}
		if len(s.Regions) > 0 {
			regions = strings.Join(s.Regions, " ")
		}
		fmt.Fprintf(table, "%s %s\t%s\t%s\t%s\toffered %s\t%s\n", direction, s.Peer, s.State(), keys, regions,
			s.OfferedAt.UTC().Format(time.DateTime), s.Offer)
	}
}

type shareOfferCommand struct {
	operation
	To        string   `arg:"" help:"The other authority's name in URLs."`
	Travelers bool     `help:"Only keys of people who have traveled."`
	Region    []string `help:"Only keys of this region; may be repeated." placeholder:"CODE"`
}

func (c shareOfferCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error {
		terms := sharing.Terms{TravelersOnly: c.Travelers, Regions: c.Region}
		id, err := sharing.Offer(ctx, tx, t, operator, c.To, terms, time.Now())
		if err == nil {
			fmt.Printf("Offer %s waits for %s.\n", id, c.To)
		}
		return err
	})
}

// answering is a command about an offer that exists.
type answering struct {
	operation
	Offer uuid.UUID `arg:"" help:"The offer's ID, as \"list\" shows it."`
}

type change func(context.Context, *tenant.Tx, *tenant.Tenant, authz.Subject, uuid.UUID, time.Time) error

func (c answering) run(ctx context.Context, do change) error {
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error { return do(ctx, tx, t, operator, c.Offer, time.Now()) })
}

type shareAcceptCommand struct{ answering }

func (c shareAcceptCommand) Run(ctx context.Context) error { return c.run(ctx, sharing.Accept) }

type shareDeclineCommand struct{ answering }

func (c shareDeclineCommand) Run(ctx context.Context) error { return c.run(ctx, sharing.Decline) }

type shareWithdrawCommand struct{ answering }

func (c shareWithdrawCommand) Run(ctx context.Context) error {
	return c.run(ctx, func(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, offer uuid.UUID, now time.Time) error {
		found, err := sharing.Find(ctx, tx, offer)
		if err != nil {
			return err
		}
		if !found.Incoming {
			return sharing.Withdraw(ctx, tx, t, by, offer, now)
		}
		return sharing.End(ctx, tx, t, by, offer, now)
	})
}
