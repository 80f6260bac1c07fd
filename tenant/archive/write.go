package archive

import (
	"archive/zip"
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"filippo.io/age"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"carillon/signing"
	"carillon/signing/auditchain"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/export"
	"carillon/tenant/key"
)

// Maker makes archives.
type Maker struct {
	// DB is a handle under the role carillon_jobs.
	DB    *tenant.DB
	Keys  *key.Ring
	Files export.Store
	// Schema is the version of the database's schema.
	Schema int64
}

// Write writes an archive of a tenant as of now, while one is asked for ([Ask]). recipient
// is an age public key, or empty for an archive without keys. Memory does not grow with
// what is in it. The rows are those of one moment; files are read after that.
func (m Maker) Write(ctx context.Context, t *tenant.Tenant, recipient string, now time.Time, to io.Writer) (*Manifest, error) {
	now = now.UTC().Truncate(time.Second)
	p := packer{zip: zip.NewWriter(to), manifest: &Manifest{Format: Format, Schema: m.Schema, MadeAt: now, LeftOut: leftOut}}
	seal, err := parseRecipient(recipient)
	if err != nil {
		return nil, err
	}
	dk, err := m.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	public, err := m.Keys.Public(ctx, t.ID, signing.Audit)
	if err != nil {
		return nil, err
	}
	keys := auditchain.Keys{}
	for _, k := range public {
		keys[k.KeyID] = k.Key
	}
	var files []listed
	err = m.DB.InSnapshot(ctx, t.ID, tenant.Archivist, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, `set local timezone to 'UTC'`); err != nil {
			return err
		}
		var asked bool
		if err := tx.Get(ctx, &asked, `select archive_asked()`); err != nil {
			return err
		}
		if !asked {
			return ErrNotAsked
		}
		if err := p.rows(ctx, tx, now); err != nil {
			return err
		}
		err := p.entry(auditName, func(w io.Writer) error { return audit.Export(ctx, tx, t, keys, now, w) })
		if err == nil && seal != nil {
			p.manifest.Keys = true
			err = p.entry(sealedName, func(w io.Writer) error { return p.sealed(ctx, tx, t.ID, dk, seal, now, w) })
		}
		if err == nil {
			files, err = listFiles(ctx, tx)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("archive rows: %w", err)
	}
	for _, f := range files {
		if err := p.file(ctx, m.Files, export.Prefix(t), f); err != nil {
			return nil, fmt.Errorf("archive file %s: %w", f.Name, err)
		}
	}
	return p.manifest, p.finish()
}

func parseRecipient(text string) (age.Recipient, error) {
	if text == "" {
		return nil, nil
	}
	r, err := age.ParseX25519Recipient(text)
	if err != nil {
		return nil, ErrRecipient
	}
	return r, nil
}

// packer writes entries one after the other.
type packer struct {
	zip      *zip.Writer
	manifest *Manifest
}

// counted notes what goes through it.
type counted struct {
	to   io.Writer
	sum  hash.Hash
	size int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.sum.Write(b[:n])
	c.size += int64(n)
	return n, err
}

// entry adds a file. It has no time, so that the same content has the same bytes.
func (p *packer) entry(name string, write func(io.Writer) error) error {
	w, err := p.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
	if err != nil {
		return err
	}
	c := &counted{to: w, sum: sha256.New()}
	buffered := bufio.NewWriter(c)
	if err := errors.Join(write(buffered), buffered.Flush()); err != nil {
		return err
	}
	p.manifest.Entries = append(p.manifest.Entries, Entry{Name: name, Size: c.size, SHA256: hex.EncodeToString(c.sum.Sum(nil))})
	return nil
}

func (p *packer) finish() error {
	w, err := p.zip.CreateHeader(&zip.FileHeader{Name: manifestName, Method: zip.Deflate})
	if err != nil {
		return err
	}
	lines := json.NewEncoder(w)
	lines.SetIndent("", "  ")
	return errors.Join(lines.Encode(p.manifest), p.zip.Close())
}

const whoSQL = `
select tenant, slug, name, region, health_authority_id, kind
  from tenant_directory
 where tenant = current_tenant()`

func (p *packer) rows(ctx context.Context, tx *tenant.Tx, now time.Time) error {
	if err := tx.Get(ctx, &p.manifest.Tenant, whoSQL); err != nil {
		return fmt.Errorf("who it is: %w", err)
	}
	for _, t := range tables {
		err := p.entry(tablePrefix+t.name+tableSuffix, func(w io.Writer) error {
			return t.each(ctx, tx, now, func(row []byte) error {
				_, err := fmt.Fprintf(w, "%s\n", row)
				return err
			})
		})
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

const orderSQL = `
  select string_agg(quote_ident(a.attname), ', ' order by k.place)
    from pg_index i, unnest(i.indkey::int[]) with ordinality as k (attnum, place), pg_attribute a
   where i.indrelid = $1::regclass
     and i.indisprimary
     and a.attrelid = i.indrelid
     and a.attnum = k.attnum`

// each calls visit with every row as JSON, in the order of the primary key.
func (t table) each(ctx context.Context, tx *tenant.Tx, now time.Time, visit func([]byte) error) error {
	var order string
	if err := tx.Get(ctx, &order, orderSQL, t.name); err != nil {
		return err
	}
	where := cmp.Or(t.where, "true")
	query := `select (to_jsonb(x) - $2::text[])::text from ` + pq.QuoteIdentifier(t.name) +
		` x where tenant_id = current_tenant() and $1::timestamptz is not null and ` + where + ` order by ` + order
	return tx.Each(ctx, func(rows *sqlx.Rows) error {
		var row sql.RawBytes
		if err := rows.Scan(&row); err != nil {
			return err
		}
		return visit(row)
	}, query, now, pq.StringArray(append([]string{}, t.without...)))
}

const keyRowsSQL = `
  select (to_jsonb(x) - array['sealed', 'provider'])::text as row, purpose, key_id, label, sealed, provider
    from signing_key x
   where tenant_id = current_tenant()
     and purpose <> 'phone-mac'
     and state <> 'destroyed'
order by purpose, version`

// sealedLine is a line of the sealed part: a row, and what is secret of it.
type sealedLine struct {
	Table  string          `json:"table"`
	Row    json.RawMessage `json:"row"`
	Secret []byte          `json:"secret,omitempty"`
}

// sealed writes the keys and what phones have under way, encrypted as it is read.
func (p *packer) sealed(ctx context.Context, tx *tenant.Tx, id tenant.ID, dk *signing.DataKey, to age.Recipient, now time.Time, w io.Writer) error {
	closed, err := age.Encrypt(w, to)
	if err != nil {
		return fmt.Errorf("encrypt to the recipient: %w", err)
	}
	lines := json.NewEncoder(closed)
	var keys []struct {
		Row      []byte
		Purpose  signing.Purpose
		KeyID    string `db:"key_id"`
		Label    string
		Sealed   []byte
		Provider string
	}
	if err := tx.Select(ctx, &keys, keyRowsSQL); err != nil {
		return err
	}
	for _, k := range keys {
		if k.Provider != signing.InDatabase {
			p.manifest.Outside = append(p.manifest.Outside, fmt.Sprintf("%s %s %s, kept by %s", k.Purpose, k.KeyID, k.Label, k.Provider))
			continue
		}
		secret, err := key.Unseal(dk, id, k.Purpose, k.KeyID, k.Label, k.Sealed)
		if err != nil {
			return fmt.Errorf("%s key %s: %w", k.Purpose, k.KeyID, err)
		}
		err = lines.Encode(sealedLine{Table: "signing_key", Row: k.Row, Secret: secret}) //nolint:gosec // into what is sealed to the recipient
		clear(secret)
		if err != nil {
			return err
		}
	}
	for _, t := range sealedTables {
		err := t.each(ctx, tx, now, func(row []byte) error { return lines.Encode(sealedLine{Table: t.name, Row: row}) }) //nolint:gosec // as above
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return closed.Close()
}

// listed is a published file, by its name below the tenant's prefix.
type listed struct {
	Name   string
	Size   int64
	SHA256 []byte `db:"sha256"`
}

const filesSQL = `
  select c.path || f.name as name, f.size, f.sha256
    from export_file f
    join export_config c using (tenant_id, config_id)
   where f.state = 'published'
order by 1`

func listFiles(ctx context.Context, tx *tenant.Tx) (list []listed, err error) {
	if err := tx.Select(ctx, &list, filesSQL); err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	return list, nil
}

// file copies a published file.
func (p *packer) file(ctx context.Context, store export.Store, prefix string, f listed) error {
	o, err := store.Open(ctx, prefix+f.Name)
	if err != nil {
		return err
	}
	return errors.Join(p.entry(filePrefix+f.Name, func(w io.Writer) error {
		sum := sha256.New()
		if _, err := io.Copy(io.MultiWriter(w, sum), o); err != nil {
			return err
		}
		if [sha256.Size]byte(sum.Sum(nil)) != [sha256.Size]byte(f.SHA256) {
			return errors.New("the store has other bytes than were published")
		}
		return nil
	}), o.Close())
}
