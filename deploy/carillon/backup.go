package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"filippo.io/age"

	"carillon/deploy/backup"
	"carillon/signing"
)

// backupPlaces are where backups and keys are.
type backupPlaces struct {
	Keys string `name:"backup-keys" required:"" env:"CARILLON_BACKUP_KEYS" help:"Where the wrapped data keys of health authorities are kept beside the backups, always the current ones: a folder, or s3://BUCKET/FOLDER/ of a bucket without versions." placeholder:"PLACE"`
}

func (p backupPlaces) open(ctx context.Context) (backup.KeyStore, error) {
	objects, err := openExports(ctx, p.Keys)
	if err != nil {
		return backup.KeyStore{}, fmt.Errorf("store of keys: %w", err)
	}
	return backup.NewKeyStore(objects), nil
}

type backupCommand struct {
	backupPlaces
	Database  string   `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_backup." placeholder:"DSN"`
	Folder    string   `required:"" type:"path" env:"CARILLON_BACKUPS" help:"Folder of backups; each gets a folder of its own in it, readable by this user alone." placeholder:"FOLDER"`
	Exports   string   `env:"CARILLON_EXPORTS" help:"Where export files are published: those that no backup has yet are copied. Without it they are left out." placeholder:"PLACE"`
	Tenant    string   `help:"Back up this health authority alone." placeholder:"SLUG"`
	SignKey   string   `name:"sign-key" type:"path" env:"CARILLON_BACKUP_SIGN_KEY" help:"File with a private key on P-256 (PEM, PKCS #8) that signs the manifest. Without it the manifest is unsigned." placeholder:"FILE"`
	Recipient []string `env:"CARILLON_BACKUP_RECIPIENT" help:"Encrypt to this age recipient (age1…). May be given several times." placeholder:"RECIPIENT"`
}

func (c backupCommand) Run(ctx context.Context) error {
	dsn, err := asRole(c.Database, "carillon_backup")
	if err != nil {
		return err
	}
	keys, err := c.open(ctx)
	if err != nil {
		return err
	}
	config := backup.Config{Database: dsn, Folder: c.Folder, Keys: keys, Tenant: c.Tenant, Log: slog.Default(), Now: time.Now}
	if c.Exports != "" {
		if config.Exports, err = openExports(ctx, c.Exports); err != nil {
			return fmt.Errorf("store of exports: %w", err)
		}
	}
	if len(c.Recipient) > 0 {
		if config.Recipients, err = age.ParseRecipients(strings.NewReader(strings.Join(c.Recipient, "\n"))); err != nil {
			return fmt.Errorf("recipient: %w", err)
		}
	}
	if c.SignKey != "" {
		if config.Signer, err = readSignKey(c.SignKey); err != nil {
			return err
		}
	}
	dir, m, err := backup.Make(ctx, config)
	if err != nil && !errors.Is(err, backup.ErrFilesMissing) {
		return fmt.Errorf("backup: %w", err)
	}
	fmt.Printf("%s\n%d health authorities, %d rows, %d export files; recovery point %s.\n", dir, len(m.Tenants), m.Rows(), m.Files.Count, m.RecoveryPoint.Format(time.RFC3339))
	if err != nil {
		return fmt.Errorf("%d files: %w", len(m.Files.Missing), err)
	}
	return nil
}

// readSignKey reads a private key. Its errors do not quote what is in the file.
func readSignKey(name string) (crypto.Signer, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: not a private key in PEM, PKCS #8", name)
	}
	defer clear(block.Bytes)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s: not a private key on P-256", name)
	}
	return key, nil
}

// restoreSource is a backup and what opens it.
type restoreSource struct {
	backupPlaces
	Dir      string   `arg:"" type:"existingdir" help:"The backup's own folder."`
	Database string   `required:"" env:"CARILLON_OWNER_DATABASE" help:"Connection string of the database's owner, who may also create roles." placeholder:"DSN"`
	Tenant   string   `help:"Restore this health authority alone." placeholder:"SLUG"`
	SignedBy string   `name:"signed-by" type:"existingfile" env:"CARILLON_BACKUP_SIGNED_BY" help:"File with the public key (PEM) of whoever makes the backups: one that is not signed by it is refused." placeholder:"FILE"`
	Identity []string `type:"existingfile" help:"File with an age identity that opens an encrypted backup. May be given several times." placeholder:"FILE"`
}

func (s restoreSource) config(ctx context.Context) (backup.RestoreConfig, error) {
	c := backup.RestoreConfig{Dir: s.Dir, Database: s.Database, Tenant: s.Tenant, Log: slog.Default(), Now: time.Now}
	var err error
	if c.Keys, err = s.open(ctx); err != nil {
		return c, err
	}
	if s.SignedBy != "" {
		text, err := os.ReadFile(s.SignedBy)
		if err != nil {
			return c, err
		}
		if c.SignedBy, err = signing.ParsePublicPEM(text); err != nil {
			return c, fmt.Errorf("%s: %w", s.SignedBy, err)
		}
	}
	for _, name := range s.Identity {
		f, err := os.Open(name)
		if err != nil {
			return c, err
		}
		found, err := age.ParseIdentities(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return c, fmt.Errorf("%s: %w", name, err)
		}
		c.Identities = append(c.Identities, found...)
	}
	return c, nil
}

type restoreCommand struct {
	restoreSource
	Exports     string `required:"" env:"CARILLON_EXPORTS" help:"Where export files are published. What the store has lost is put back; what it has from after the backup is adopted, so that phones' index goes on." placeholder:"PLACE"`
	KeepAPIKeys bool   `name:"keep-api-keys" help:"Leave the API keys of back ends good. You vouch that none was revoked after the recovery point."`
}

func (c restoreCommand) Run(ctx context.Context) error {
	config, err := c.config(ctx)
	if err != nil {
		return err
	}
	config.KeepAPIKeys = c.KeepAPIKeys
	if config.Exports, err = openExports(ctx, c.Exports); err != nil {
		return fmt.Errorf("store of exports: %w", err)
	}
	restored, err := backup.Restore(ctx, config)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return printRestored(os.Stdout, restored, c.KeepAPIKeys, time.Now())
}

func printRestored(to io.Writer, r *backup.Restored, keptAPIKeys bool, now time.Time) error {
	fmt.Fprintf(to, "Restored to %s, %s ago, in %s.\n", r.Manifest.RecoveryPoint.Format(time.RFC3339), brief(now.Sub(r.Manifest.RecoveryPoint).Seconds()), brief(r.Took.Seconds()))
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENANT\tROWS\tFILES PUT BACK\tFILES ADOPTED\tFILES LOST\t")
	for _, t := range r.Tenants {
		note := ""
		if t.Erased {
			note = "erased since; not restored"
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%s\n", t.Slug, t.Rows, t.FilesBroughtBack, t.FilesAdopted, len(t.FilesLost), note)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(to, "Open codes, tokens, messages, invitations and sign-ins have ended, running batches are paused.")
	if !keptAPIKeys {
		fmt.Fprintln(to, "API keys of back ends are revoked: their owners make new ones in the portal.")
	}
	return printReview(to, r)
}

// reviewed says what has to be done about each kind of thing that may be there again.
var reviewed = []struct{ kind, heading string }{
	{"member", "People who can sign in. Suspend again who was suspended, and take roles again that were taken:"},
	{"device-key", "Device keys that are good. Revoke again what was revoked:"},
	{"signing-key", "Signing keys beside the active ones. Destroy again what was destroyed:"},
}

func printReview(to io.Writer, r *backup.Restored) error {
	fmt.Fprintf(to, "\nBefore you start anything: a restore cannot know what was taken away after %s.\nLook through this with somebody of each health authority.\n", r.Manifest.RecoveryPoint.Format(time.RFC3339))
	for _, t := range r.Tenants {
		if t.Erased {
			continue
		}
		fmt.Fprintf(to, "\n%s\n", t.Slug)
		for _, kind := range reviewed {
			table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "  "+kind.heading)
			n := 0
			for _, v := range t.Review {
				if v.Kind == kind.kind {
					fmt.Fprintf(table, "    [ ] %q\t%s\n", v.Name, v.Detail)
					n++
				}
			}
			if n == 0 {
				fmt.Fprintln(table, "    none")
			}
			if err := table.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

type drillCommand struct {
	restoreSource
	RootKey string `required:"" env:"CARILLON_ROOT_KEY" type:"path" help:"File with the platform's root key." placeholder:"FILE"`
	JSON    bool   `name:"json" help:"Print the report as JSON."`
}

// Help says what the connection string is for.
func (drillCommand) Help() string {
	return "The drill makes a database of its own on that server, restores into it, examines it and drops it: the connection string is of somebody who may create databases and roles. Use another server than the one that serves."
}

func (c drillCommand) Run(ctx context.Context) error {
	config, err := c.config(ctx)
	if err != nil {
		return err
	}
	root, err := signing.OpenRootFile(c.RootKey)
	if err != nil {
		return fmt.Errorf("root key: %w", err)
	}
	drilled, err := backup.Drill(ctx, backup.DrillConfig{RestoreConfig: config, Root: root})
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if c.JSON {
		err = json.NewEncoder(os.Stdout).Encode(drilled)
	} else {
		err = printDrilled(os.Stdout, drilled)
	}
	if err == nil && !drilled.Whole() {
		return errReported
	}
	return err
}

func printDrilled(to io.Writer, d *backup.Drilled) error {
	if d.Manifest != nil {
		fmt.Fprintf(to, "Recovery point %s, %s ago.\n", d.Manifest.RecoveryPoint.Format(time.RFC3339), brief(d.Age.Seconds()))
	}
	if d.Fault != nil {
		fmt.Fprintf(to, "NOT restorable: %v\n", d.Fault)
		return nil //nolint:nilerr // told, and the command fails by it
	}
	fmt.Fprintf(to, "Restored %d rows in %s; the drill took %s.\n", d.Manifest.Rows(), brief(d.Restore.Seconds()), brief(d.Took.Seconds()))
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENANT\tROWS\tAUDIT ENTRIES\tFILES\tNEWEST FILE\tFAULTS")
	for _, t := range d.Tenants {
		newest := t.Newest
		if t.Erased {
			newest = "(erased since)"
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\t%d\n", t.Slug, t.Rows, t.AuditEntries, t.Files, newest, len(t.Faults))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, t := range d.Tenants {
		for _, f := range t.Faults {
			fmt.Fprintf(to, "%s: %v\n", t.Slug, f)
		}
	}
	if d.Whole() {
		fmt.Fprintln(to, "Nothing is wrong: every sum is right, every data key opens, every audit log is whole.")
	}
	return nil
}
