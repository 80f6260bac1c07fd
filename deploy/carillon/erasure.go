package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"carillon/deploy/backup"
	"carillon/signing/erasure"
	"carillon/tenant/leaving"
)

type erasureKeyCommand struct {
	Database string `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
}

func (c erasureKeyCommand) Run(ctx context.Context) error {
	db, err := openAsOperator(ctx, c.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	keys, err := leaving.PublicKeys(ctx, db)
	if err != nil {
		return err
	}
	for kid, public := range keys {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return err
		}
		if err := pem.Encode(os.Stdout, &pem.Block{Type: "PUBLIC KEY", Headers: map[string]string{keyIDHeader: kid}, Bytes: der}); err != nil {
			return err
		}
	}
	return nil
}

type erasureCertificateCommand struct {
	Slug     string `arg:"" help:"The name in URLs that the authority had."`
	Database string `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
}

func (c erasureCertificateCommand) Run(ctx context.Context) error {
	db, err := openAsOperator(ctx, c.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	statement, err := leaving.Statement(ctx, db, c.Slug)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Slug, err)
	}
	fmt.Println(statement)
	return nil
}

type verifyErasureCommand struct {
	File string `arg:"" type:"existingfile" help:"The certificate: the line of text, or the letter that it is in."`
	Key  string `required:"" type:"existingfile" help:"The platform's public keys, as \"carillon tenant erasure-key\" prints them." placeholder:"FILE"`
	JSON bool   `name:"json" help:"Print the certificate as JSON."`
}

func (c verifyErasureCommand) Run(context.Context) error {
	keys, err := readAuditKeys(c.Key)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	found := statementForm.FindAll(text, -1)
	if len(found) != 1 {
		return fmt.Errorf("%s: %w: there are %d signed statements in it", c.File, erasure.ErrCertificate, len(found))
	}
	certificate, at, err := erasure.Keys(keys).Open(string(found[0]))
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if c.JSON {
		lines := json.NewEncoder(os.Stdout)
		lines.SetIndent("", "  ")
		return lines.Encode(certificate)
	}
	printCertificate(certificate, at)
	return nil
}

func printCertificate(c erasure.Certificate, at time.Time) {
	fmt.Printf("Valid. Signed %s.\n", at.Format(time.RFC3339))
	fmt.Printf("%s (%s, health authority ID %s)\n", c.Slug, c.Tenant, c.HealthAuthorityID)
	fmt.Printf("began to leave %s; data key destroyed %s; nothing found by the scan of %s, of %d tables\n",
		c.Begun.Format(time.RFC3339), c.KeyDestroyed.Format(time.RFC3339), c.Scanned.Format(time.RFC3339), len(c.Tables))
	var rows int64
	for _, n := range c.Deleted {
		rows += n
	}
	fmt.Printf("%d rows of %d tables and %d files deleted; key of backups: %s\n", rows, len(c.Deleted), c.Objects, c.BackupKey)
	fmt.Println("What remains by design:")
	for _, text := range c.Remains {
		fmt.Println("  - " + text)
	}
}

// openBackupKeys opens the place of the keys of backups; nil without one.
func openBackupKeys(ctx context.Context, place string) (leaving.BackupKeys, error) {
	if place == "" {
		return nil, nil //nolint:nilnil // none is what there is
	}
	objects, err := openExports(ctx, place)
	if err != nil {
		return nil, err
	}
	return backup.NewKeyStore(objects), nil
}
