package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"carillon/migrations"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/archive"
	"carillon/tenant/key"
)

type tenantArchiveCommand struct {
	operation
	Out       string `required:"" type:"path" help:"File to write." placeholder:"FILE"`
	Recipient string `help:"Whose age public key the authority's keys are encrypted to, for import elsewhere. Without it they are left out." placeholder:"age1…"`
	RootKey   string `required:"" env:"CARILLON_ROOT_KEY" type:"path" help:"File with the platform's root key." placeholder:"FILE"`
	Exports   string `required:"" env:"CARILLON_EXPORTS" help:"Where export files are published, as for serve." placeholder:"PLACE"`
}

func (c tenantArchiveCommand) Run(ctx context.Context) error {
	root, err := signing.OpenRootFile(c.RootKey)
	if err != nil {
		return fmt.Errorf("root key: %w", err)
	}
	files, err := openExports(ctx, c.Exports)
	if err != nil {
		return err
	}
	dsn, err := asRole(c.Database, "carillon_jobs")
	if err != nil {
		return err
	}
	jobs, err := tenant.Open(ctx, tenant.Config{DSN: dsn})
	if err != nil {
		return err
	}
	defer jobs.Close()
	maker := archive.Maker{DB: jobs, Keys: key.NewRing(jobs, signing.Custody{Root: root}), Files: files, Schema: migrations.Newest()}
	return c.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		var id uuid.UUID
		err := db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
			id, err = archive.Ask(ctx, tx, operator, c.Recipient, time.Now())
			return err
		})
		if err != nil {
			return err
		}
		return c.make(ctx, maker, t, id)
	})
}

// make writes the archive and notes what came of it, whatever that is: nothing more can be
// read for it then.
func (c tenantArchiveCommand) make(ctx context.Context, maker archive.Maker, t *tenant.Tenant, id uuid.UUID) error {
	var manifest *archive.Manifest
	sum, size := sha256.New(), new(length)
	err := writeTo(c.Out, func(to io.Writer) (err error) {
		manifest, err = maker.Write(ctx, t, c.Recipient, time.Now(), io.MultiWriter(to, sum, size))
		return err
	})
	var digest []byte
	if err == nil {
		digest = sum.Sum(nil)
	}
	err = errors.Join(err, maker.DB.In(context.WithoutCancel(ctx), t.ID, func(tx *tenant.Tx) error {
		return archive.End(context.WithoutCancel(ctx), tx, id, int64(*size), digest, time.Now())
	}))
	if err != nil {
		return err
	}
	fmt.Printf("%s has %d files and %d bytes.\nSHA-256 %x\n", c.Out, len(manifest.Entries), *size, digest)
	for _, k := range manifest.Outside {
		fmt.Printf("Left out: key %s.\n", k)
	}
	if !manifest.Keys {
		fmt.Println("It has no keys: it is for reading, and cannot be imported.")
	}
	return nil
}

// length counts bytes.
type length int64

func (l *length) Write(b []byte) (int, error) {
	*l += length(len(b))
	return len(b), nil
}

type tenantImportArchiveCommand struct {
	File        string            `arg:"" type:"existingfile" help:"What \"carillon tenant archive\" wrote."`
	Identity    string            `required:"" type:"existingfile" help:"File with the age identity to which the keys are encrypted, as age-keygen writes it." placeholder:"FILE"`
	SHA256      string            `name:"sha256" help:"What the archive's SHA-256 must be, had by another way than the archive." placeholder:"HEX"`
	StaffIssuer map[string]string `name:"staff-issuer" help:"Staff who signed in at one identity provider sign in at another from now on. May be given several times." placeholder:"OLD=NEW"`
	MaxSize     int64             `name:"max-size" default:"68719476736" help:"How many bytes it may have when it is unpacked."`
	Database    string            `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
	RootKey     string            `required:"" env:"CARILLON_ROOT_KEY" type:"path" help:"File with this platform's root key." placeholder:"FILE"`
	Exports     string            `required:"" env:"CARILLON_EXPORTS" help:"Where this platform publishes export files, as for serve." placeholder:"PLACE"`
}

func (c tenantImportArchiveCommand) Run(ctx context.Context) error {
	root, err := signing.OpenRootFile(c.RootKey)
	if err != nil {
		return fmt.Errorf("root key: %w", err)
	}
	files, err := openExports(ctx, c.Exports)
	if err != nil {
		return err
	}
	identity, err := readIdentity(c.Identity)
	if err != nil {
		return err
	}
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	a, err := c.open(f)
	if err != nil {
		return err
	}
	db, err := openAsOperator(ctx, c.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	i := archive.Importer{
		DB: db, Root: signing.Custody{Root: root}, Files: files, By: operator, Issuers: c.StaffIssuer, Now: time.Now,
	}
	id, err := i.Import(ctx, a, identity)
	if err != nil {
		return err
	}
	fmt.Printf("%s is tenant %s, served below /t/%s/: its phones go on here.\n", a.Manifest.Tenant.Name, id, a.Manifest.Tenant.Slug)
	return nil
}

func (c tenantImportArchiveCommand) open(f *os.File) (*archive.Archive, error) {
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return nil, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); c.SHA256 != "" && !strings.EqualFold(got, c.SHA256) {
		return nil, fmt.Errorf("%w: its SHA-256 is %s", archive.ErrArchive, got)
	}
	return archive.Open(f, size, c.MaxSize, migrations.Newest())
}

func readIdentity(name string) (age.Identity, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	list, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil || len(list) != 1 {
		return nil, fmt.Errorf("%s: it does not hold one age identity", name) // the cause could quote it
	}
	return list[0], nil
}
