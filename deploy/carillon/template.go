package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"carillon/tenant"
	"carillon/tenant/message/template"
)

type tenantTemplateCommands struct {
	Set    templateSetCommand    `cmd:"" help:"Save a text under a label, in a language."`
	Check  templateCheckCommand  `cmd:"" help:"Check and measure a text without saving it."`
	List   templateListCommand   `cmd:"" help:"List the texts that the authority has written."`
	Remove templateRemoveCommand `cmd:"" help:"Remove a text; what is built in takes its place."`
}

// templateName is what a text is filed under.
type templateName struct {
	Label    string `help:"Label, as issuers name it (default: the main one). \"User Report\" is for self-reports."`
	Language string `help:"Language, such as es or es-MX (default: the authority's own)."`
}

type templateSetCommand struct {
	operation
	templateName
	Text           string `arg:"" help:"The text. Variables: [code] [longcode] [expires] [longexpires] [region] [enslink]."`
	RedirectDomain string `env:"CARILLON_REDIRECT_DOMAIN" help:"Domain of links, to measure them (the first of several)." placeholder:"DOMAIN"`
}

func (c templateSetCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error {
		m, err := template.Set(ctx, tx, t, operator, template.Text{Label: c.Label, Language: c.Language, Body: c.Text}, firstOf(c.RedirectDomain), time.Now())
		if err != nil {
			return err
		}
		printMeasure(os.Stdout, m)
		return nil
	})
}

type templateCheckCommand struct {
	operation
	templateName
	Text           string `arg:"" help:"The text."`
	RedirectDomain string `env:"CARILLON_REDIRECT_DOMAIN" help:"Domain of links, to measure them (the first of several)." placeholder:"DOMAIN"`
}

func (c templateCheckCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(_ *tenant.DB, t *tenant.Tenant) error {
		m, err := template.Check(t, c.Label, template.Normalise(c.Text), firstOf(c.RedirectDomain))
		printMeasure(os.Stdout, m)
		return err
	})
}

// firstOf is the first of several values of an environment variable.
func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return first
}

func printMeasure(to io.Writer, m template.Measure) {
	fmt.Fprintf(to, "Up to %d bytes: %d %s characters, %d segments.\n", m.Bytes, m.Units, m.Encoding, m.Segments)
	if m.Signed != m.Size {
		fmt.Fprintf(to, "With its signature: %d characters, %d segments.\n", m.Signed.Units, m.Signed.Segments)
	}
	for _, word := range m.Unknown {
		fmt.Fprintf(to, "Note: %s is no variable and stays as it is.\n", word)
	}
}

type templateListCommand struct{ operation }

func (c templateListCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		list, err := template.List(ctx, db, t.ID)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "LABEL\tLANGUAGE\tTEXT")
		for _, text := range list {
			fmt.Fprintf(table, "%s\t%s\t%s\n", text.Label, text.Language, text.Body)
		}
		return table.Flush()
	})
}

type templateRemoveCommand struct {
	operation
	templateName
}

func (c templateRemoveCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error {
		return template.Remove(ctx, tx, t, operator, c.Label, c.Language, time.Now())
	})
}
