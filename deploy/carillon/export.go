package main

import (
	"fmt"
	"os"

	"carillon/signing"
	"carillon/signing/exportfile"
)

type exportCommands struct {
	Verify exportVerifyCommand `cmd:"" help:"Check an export file's form and signature, and say what is in it."`
}

type exportVerifyCommand struct {
	File string `arg:"" type:"existingfile" help:"The export file, a zip."`
	Key  string `required:"" type:"existingfile" help:"The tenant's public key, PEM." placeholder:"PEM"`
}

func (c exportVerifyCommand) Run() error {
	text, err := os.ReadFile(c.Key)
	if err != nil {
		return err
	}
	public, err := signing.ParsePublicPEM(text)
	if err != nil {
		return fmt.Errorf("%s is not a public P-256 key in PEM form: %w", c.Key, err)
	}
	zip, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	f, err := exportfile.VerifyAny(zip, public)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	fmt.Printf("%s: signature valid, region %s, %s to %s, %d keys, %d revised\n",
		c.File, f.Region, f.Start.UTC().Format("2006-01-02 15:04:05"), f.End.UTC().Format("2006-01-02 15:04:05 UTC"),
		len(f.Keys), len(f.Revised))
	return nil
}
