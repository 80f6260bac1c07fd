package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"carillon/signing"
	"carillon/signing/auditchain"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
)

type auditCommands struct {
	Export auditExportCommand `cmd:"" help:"Write a health authority's whole audit log, for keeping and for verifying."`
	Key    auditKeyCommand    `cmd:"" help:"Print the public keys with which a health authority's audit log is signed. Keep them elsewhere."`
	Verify auditVerifyCommand `cmd:"" help:"Tell whether an exported audit log is as it was written. Needs no database."`
}

type auditExportCommand struct {
	operation
	Out string `type:"path" help:"File to write; standard output if there is none." placeholder:"FILE"`
}

func (c auditExportCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		keys, err := auditKeys(ctx, db, t)
		if err != nil {
			return err
		}
		return writeTo(c.Out, func(to io.Writer) error {
			return db.In(ctx, t.ID, func(tx *tenant.Tx) error { return audit.Export(ctx, tx, t, keys, time.Now(), to) })
		})
	})
}

// writeTo writes a file whole or not at all; an empty name is standard output.
func writeTo(name string, write func(io.Writer) error) error {
	if name == "" {
		return write(os.Stdout)
	}
	part := name + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, name)
}

func auditKeys(ctx context.Context, db *tenant.DB, t *tenant.Tenant) (auditchain.Keys, error) {
	public, err := key.NewRing(db, signing.Custody{}).Public(ctx, t.ID, signing.Audit)
	if err != nil {
		return nil, fmt.Errorf("keys of the audit log: %w", err)
	}
	keys := auditchain.Keys{}
	for _, p := range public {
		keys[p.KeyID] = p.Key
	}
	return keys, nil
}

type auditKeyCommand struct{ operation }

// keyIDHeader names the key in a PEM block.
const keyIDHeader = "Key-ID"

func (c auditKeyCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB, t *tenant.Tenant) error {
		keys, err := auditKeys(ctx, db, t)
		if err != nil {
			return err
		}
		for kid, public := range keys {
			der, err := x509.MarshalPKIXPublicKey(public)
			if err != nil {
				return err
			}
			block := &pem.Block{Type: "PUBLIC KEY", Headers: map[string]string{keyIDHeader: kid}, Bytes: der}
			if err := pem.Encode(os.Stdout, block); err != nil {
				return err
			}
		}
		return nil
	})
}

type auditVerifyCommand struct {
	File string   `arg:"" type:"existingfile" help:"What \"carillon audit export\" wrote."`
	Key  string   `type:"existingfile" help:"What \"carillon audit key\" printed when the log was young. Without it the keys in the file are believed." placeholder:"FILE"`
	Kept []string `type:"existingfile" help:"Text with checkpoints that were kept outside the database, such as the log of \"carillon serve\"; may be given more than once." placeholder:"FILE"`
	JSON bool     `help:"Print the report as JSON."`
}

func (c auditVerifyCommand) Run(context.Context) error {
	trust, err := c.trust()
	if err != nil {
		return err
	}
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	report, err := auditchain.Verify(f, trust)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if err := c.print(os.Stdout, report); err != nil {
		return err
	}
	if !report.Whole() {
		return errReported
	}
	return nil
}

func (c auditVerifyCommand) trust() (trust auditchain.Trust, err error) {
	if c.Key != "" {
		if trust.Keys, err = readAuditKeys(c.Key); err != nil {
			return trust, err
		}
	}
	for _, name := range c.Kept {
		text, err := os.ReadFile(name)
		if err != nil {
			return trust, err
		}
		found := statementForm.FindAll(text, -1)
		if len(found) == 0 {
			return trust, fmt.Errorf("%s: there is no checkpoint in it", name)
		}
		for _, s := range found {
			trust.Kept = append(trust.Kept, string(s))
		}
	}
	return trust, nil
}

// statementForm finds signed statements in any text.
var statementForm = regexp.MustCompile(`\beyJ[\w-]+\.[\w-]+\.[\w-]{86}`)

func readAuditKeys(name string) (auditchain.Keys, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	keys := auditchain.Keys{}
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		public, ok := parsed.(*ecdsa.PublicKey)
		if err != nil || !ok || block.Headers[keyIDHeader] == "" {
			return nil, fmt.Errorf("%s: a block in it is not what \"carillon audit key\" prints", name)
		}
		keys[block.Headers[keyIDHeader]], text = public, rest
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: there is no key in it", name)
	}
	return keys, nil
}

func (c auditVerifyCommand) print(to io.Writer, r *auditchain.Report) error {
	if c.JSON {
		lines := json.NewEncoder(to)
		lines.SetIndent("", "  ")
		return lines.Encode(struct {
			Tenant   string               `json:"tenant"`
			Slug     string               `json:"slug"`
			Whole    bool                 `json:"whole"`
			Entries  int64                `json:"entries"`
			Sealed   int64                `json:"sealed"`
			SealedAt time.Time            `json:"sealed_at,omitzero"`
			Believed bool                 `json:"keys_believed"`
			Keyless  bool                 `json:"keyless"`
			Findings []auditchain.Finding `json:"findings"`
		}{r.Header.Tenant.String(), r.Header.Slug, r.Whole(), r.Entries, r.Sealed, r.SealedAt, r.Believed, r.Keyless, append([]auditchain.Finding{}, r.Findings...)})
	}
	fmt.Fprintf(to, "Audit log of %s (%s), exported %s\n", r.Header.Slug, r.Header.Tenant, r.Header.At.Format(time.RFC3339))
	if r.Entries > 0 {
		fmt.Fprintf(to, "%d entries, %s to %s\n", r.Entries, r.First.Format(time.RFC3339), r.Last.Format(time.RFC3339))
	}
	for _, f := range r.Findings {
		fmt.Fprintf(to, "  entry %d: %s\n", f.Entry, f.Text)
	}
	switch {
	case !r.Whole() && len(r.Findings) == auditchain.MaxFindings:
		fmt.Fprintln(to, "This is NOT what was written; there may be more wrong than is listed.")
	case !r.Whole():
		fmt.Fprintln(to, "This is NOT what was written.")
	case r.Keyless:
		fmt.Fprintln(to, "The entries follow each other. Checkpoints were not checked: give --key.")
	case r.Sealed == 0:
		fmt.Fprintln(to, "The entries follow each other. No checkpoint says that they are what was written.")
	default:
		fmt.Fprintf(to, "Entries 1 to %d are what was written by %s; %d valid checkpoints say so.\n", r.Sealed, r.SealedAt.Format(time.RFC3339), r.Checkpoints)
		if r.Sealed < r.Entries {
			fmt.Fprintf(to, "The %d entries after them are not signed yet.\n", r.Entries-r.Sealed)
		}
	}
	if r.Believed {
		fmt.Fprintln(to, "The keys are those in the file itself: give --key with what was kept elsewhere.")
	}
	return nil
}
