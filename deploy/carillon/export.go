package main

import (
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"carillon/deploy/inspect"
	"carillon/signing"
	"carillon/signing/exportfile"
)

type exportCommands struct {
	Verify exportVerifyCommand `cmd:"" help:"Check export files and their signatures, and say what is wrong."`
	Show   exportShowCommand   `cmd:"" help:"Show what is in export files."`
}

// exportPlace is what is to be examined.
type exportPlace struct {
	Place string `arg:"" help:"A file, the URL of a file, or an index (file or URL), which stands for all files that it names." placeholder:"PLACE"`
	Base  string `help:"What precedes each name in an index (default: the index's own folder)." placeholder:"URL"`
	JSON  bool   `name:"json" help:"Print one JSON object for each file."`
}

// each prints a report of each file and counts those with problems.
func (p exportPlace) each(ctx context.Context, public *ecdsa.PublicKey, print func(io.Writer, inspect.Report) error) (files, bad int, err error) {
	if p.JSON {
		print = func(to io.Writer, r inspect.Report) error { return json.NewEncoder(to).Encode(r) }
	}
	err = inspect.Source{Base: p.Base}.Each(ctx, p.Place, public, func(r inspect.Report) error {
		files++
		if len(r.Problems) > 0 {
			bad++
		}
		return print(os.Stdout, r)
	})
	return files, bad, err
}

type exportVerifyCommand struct {
	exportPlace
	Key string `required:"" type:"existingfile" help:"The authority's public export key, PEM." placeholder:"PEM"`
}

func (c exportVerifyCommand) Run(ctx context.Context) error {
	public, err := readPublic(c.Key)
	if err != nil {
		return err
	}
	files, bad, err := c.each(ctx, public, printVerdict)
	switch {
	case err != nil:
		return err
	case bad > 0:
		return fmt.Errorf("%d of %d files would be refused by phones", bad, files)
	}
	return nil
}

func readPublic(file string) (*ecdsa.PublicKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	public, err := signing.ParsePublicPEM(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a public P-256 key in PEM form: %w", file, err)
	}
	return public, nil
}

func printVerdict(to io.Writer, r inspect.Report) error {
	if len(r.Problems) > 0 {
		_, err := fmt.Fprintf(to, "%s: REFUSED: %s\n", r.Name, strings.Join(r.Problems, "; "))
		return err
	}
	_, err := fmt.Fprintf(to, "%s: signature valid, region %s, %s to %s, %d keys, %d revised\n",
		r.Name, r.Region, r.Start.Format(time.DateTime), r.End.Format(time.DateTime+" UTC"), r.Keys, r.Revised)
	return err
}

type exportShowCommand struct {
	exportPlace
	Key  string `type:"existingfile" help:"The authority's public export key, PEM, to check signatures with." placeholder:"PEM"`
	Keys bool   `help:"List every exposure key."`
}

func (c exportShowCommand) Run(ctx context.Context) error {
	var public *ecdsa.PublicKey
	if c.Key != "" {
		var err error
		if public, err = readPublic(c.Key); err != nil {
			return err
		}
	}
	_, _, err := c.each(ctx, public, func(to io.Writer, r inspect.Report) error {
		return c.print(to, r, public != nil)
	})
	return err
}

func (c exportShowCommand) print(to io.Writer, r inspect.Report, checked bool) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s\t%d bytes\n", r.Name, r.Size)
	fmt.Fprintf(table, "  SHA-256\t%s\n", r.SHA256)
	fmt.Fprintf(table, "  region\t%s\n", r.Region)
	fmt.Fprintf(table, "  window\t%s to %s\n", r.Start.Format(time.DateTime), r.End.Format(time.DateTime+" UTC"))
	fmt.Fprintf(table, "  keys\t%d new, %d revised (%s)\n", r.Keys, r.Revised, counts(r.Types))
	for _, s := range r.Signatures {
		fmt.Fprintf(table, "  signature\tkey %s, version %s%s\n", s.KeyID, s.KeyVersion, verdict(s, checked))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(table, "  PROBLEM\t%s\n", p)
	}
	if c.Keys {
		keys, revised := r.Contents()
		printKeys(table, "new", keys)
		printKeys(table, "revised", revised)
	}
	return table.Flush()
}

func verdict(s inspect.Signature, checked bool) string {
	switch {
	case !checked:
		return ", not checked: no --key"
	case s.Valid:
		return ", valid"
	default:
		return ", not by this key"
	}
}

func counts(types map[string]int) string {
	var parts []string
	for name, n := range types {
		parts = append(parts, fmt.Sprintf("%d %s", n, name))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

const intervalSeconds = 600

func printKeys(to io.Writer, list string, keys []exportfile.Key) {
	for _, k := range keys {
		onset := "no onset"
		if k.HasOnset {
			onset = fmt.Sprintf("%+d days from onset", k.DaysSinceOnset)
		}
		begins := time.Unix(int64(k.RollingStart)*intervalSeconds, 0).UTC()
		fmt.Fprintf(to, "  %s\t%s  from %s for %d intervals, risk %d, type %d, %s\n",
			list, base64.StdEncoding.EncodeToString(k.Data[:]), begins.Format(time.DateTime), k.RollingPeriod, k.TransmissionRisk, k.ReportType, onset)
	}
}
