package archive

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/export"
	"carillon/tenant/key"
	"carillon/tenant/onboarding"
	"carillon/tenant/platform"
)

// Importer brings archives into a deployment.
type Importer struct {
	// DB is a handle under the role carillon_operator.
	DB *tenant.DB
	// Root wraps the data key that the authority gets here.
	Root signing.Root
	// Files are those of this deployment.
	Files export.Store
	By    authz.Subject
	// Issuers gives staff of an identity provider of the old deployment to one of this one:
	// they are known by their e-mail addresses when they first sign in. Others keep theirs.
	Issuers map[string]string
	Now     func() time.Time
}

// Import makes the authority of an archive live here, under its own names and with its own
// keys, active at once, whole or not at all. identity opens what was sealed to its
// recipient: [ErrNoKeys] without one, or if the archive has no keys. [ErrHere] if the
// authority is or was here; [onboarding.ErrExists] if another has one of its names;
// [ErrArchive].
func (i Importer) Import(ctx context.Context, a *Archive, identity age.Identity) (tenant.ID, error) {
	m := a.Manifest
	if !m.Keys || identity == nil {
		return tenant.ID{}, ErrNoKeys
	}
	if _, err := tenant.ParseSlug(m.Tenant.Slug); err != nil {
		return tenant.ID{}, refuse("slug: %v", err)
	}
	put, err := i.putFiles(ctx, a)
	if err == nil {
		err = i.rows(ctx, a, identity)
	}
	if err != nil { // the files of what was not imported are nobody's
		return tenant.ID{}, errors.Join(err, i.remove(context.WithoutCancel(ctx), put))
	}
	return tenant.ID(m.Tenant.ID), nil
}

// putFiles puts the published files and the indexes that name them, which nobody asks for
// before the directory knows the authority. It returns what was not there before.
func (i Importer) putFiles(ctx context.Context, a *Archive) (put []string, err error) {
	prefix := a.Manifest.Tenant.Slug + "/"
	if there, err := i.Files.List(ctx, prefix); err != nil || len(there) > 0 {
		if err == nil {
			err = fmt.Errorf("%w: there are files below %s", ErrHere, prefix)
		}
		return nil, err
	}
	folders := map[string][]string{"": nil}
	for _, e := range a.Manifest.Entries {
		name, is := strings.CutPrefix(e.Name, filePrefix)
		if !is {
			continue
		}
		if e.Size > maxLine {
			return put, refuse("%s is larger than files are", e.Name)
		}
		put = append(put, prefix+name)
		err := a.read(e.Name, func(r io.Reader) error {
			body, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			return i.Files.PutIfAbsent(ctx, prefix+name, body)
		})
		if err != nil {
			return put, err
		}
		folder, base := "", name
		if at := strings.LastIndexByte(name, '/'); at >= 0 {
			folder, base = name[:at+1], name[at+1:]
		}
		folders[folder] = append(folders[folder], base)
	}
	for folder, names := range folders {
		slices.Sort(names)
		put = append(put, prefix+folder+export.IndexName)
		if err := i.Files.Replace(ctx, prefix+folder+export.IndexName, []byte(strings.Join(names, "\n"))); err != nil {
			return put, err
		}
	}
	return put, nil
}

func (i Importer) remove(ctx context.Context, names []string) error {
	var errs []error
	for _, name := range names {
		if err := i.Files.Delete(ctx, name); err != nil && !errors.Is(err, export.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

const (
	directorySQL = `
insert into tenant_directory (tenant, slug, name, region, health_authority_id, kind)
values ($1, $2, $3, $4, $5, $6)`

	dataKeySQL = `insert into data_key (tenant_id, wrapped) values (current_tenant(), $1)`

	phoneKeySQL = `
insert into signing_key (tenant_id, purpose, version, key_id, state, sealed, activated_at)
values (current_tenant(), 'phone-mac', 1, $1, 'active', $2, $3)`
)

// rows is the one transaction in which the authority comes to be.
func (i Importer) rows(ctx context.Context, a *Archive, identity age.Identity) error {
	m, now := a.Manifest, i.Now().UTC().Truncate(time.Second)
	id := tenant.ID(m.Tenant.ID)
	dk, wrapped, err := signing.NewDataKey(ctx, i.Root, id.String())
	if err != nil {
		return err
	}
	err = i.DB.InRole(ctx, id, tenant.Importer, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, directorySQL, id, m.Tenant.Slug, m.Tenant.Name, m.Tenant.Region, m.Tenant.HealthAuthorityID, m.Tenant.Kind); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, dataKeySQL, wrapped); err != nil {
			return err
		}
		f := filler{tx: tx, tenant: id, dk: dk, issuers: i.Issuers, columns: map[string][]string{}}
		for _, t := range tables {
			if t.readOnly {
				continue
			}
			if err := a.read(tablePrefix+t.name+tableSuffix, func(r io.Reader) error { return f.fill(ctx, t.name, r) }); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
		if err := a.read(sealedName, func(r io.Reader) error { return f.unseal(ctx, r, identity) }); err != nil {
			return fmt.Errorf("sealed part: %w", err)
		}
		keyID, sealed, err := key.FreshPhoneMAC(dk, id)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, phoneKeySQL, keyID, sealed, now); err != nil {
			return err
		}
		if err := f.chained(ctx); err != nil {
			return err
		}
		detail := map[string]string{"made_at": m.MadeAt.Format(time.RFC3339)}
		if err := platform.Record(ctx, tx, i.By, platform.Entry{At: now, Action: "tenant:import", Target: m.Tenant.Slug, Detail: detail}); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, i.By, "tenant:import", m.Tenant.Slug, detail)
	})
	return explain(err)
}

// explain says which name is taken.
func explain(err error) error {
	for constraint, what := range map[string]string{
		"tenant_directory_slug_key": "slug", "tenant_directory_region_key": "region",
		"tenant_directory_health_authority_id_key": "health authority ID",
	} {
		if tenant.Violates(err, constraint) {
			return fmt.Errorf("%s %w", what, onboarding.ErrExists)
		}
	}
	if tenant.Violates(err, "tenant_directory_pkey") {
		return ErrHere
	}
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// filler fills tables from rows in JSON.
type filler struct {
	tx      *tenant.Tx
	tenant  tenant.ID
	dk      *signing.DataKey
	issuers map[string]string
	columns map[string][]string
	// last is the digest of the last of so many entries of the audit log; signed is how many
	// a checkpoint counts, at most.
	last            []byte
	entries, signed int64
}

// lines calls visit with each line.
func lines(r io.Reader, visit func([]byte) error) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		if err := visit(scanner.Bytes()); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return refuse("a line of it: %v", err)
	}
	return nil
}

func (f *filler) fill(ctx context.Context, table string, r io.Reader) error {
	return lines(r, func(row []byte) error { return f.insert(ctx, table, row, nil) })
}

const columnsSQL = `
  select a.attname
    from pg_attribute a
   where a.attrelid = $1::regclass
     and a.attnum > 0
     and not a.attisdropped
     and a.attgenerated = ''
     and a.attidentity <> 'a'`

// insert adds a row, as far as this schema knows its columns; what the row does not say is as
// the schema has it. The row says itself whose it is, and must be the authority's.
func (f *filler) insert(ctx context.Context, table string, row []byte, sealed []byte) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(row, &values); err != nil {
		return refuse("a row of %s: %v", table, err)
	}
	if string(values["tenant_id"]) != `"`+f.tenant.String()+`"` {
		return refuse("a row of %s is another authority's", table)
	}
	if err := f.prepare(table, values); err != nil {
		return err
	}
	if sealed != nil {
		values["sealed"], _ = json.Marshal(`\x` + hex.EncodeToString(sealed)) // a string always encodes
	}
	known := f.columns[table]
	if known == nil {
		if err := f.tx.Select(ctx, &known, columnsSQL, table); err != nil {
			return err
		}
		f.columns[table] = known
	}
	var names []string
	for _, name := range known {
		if _, said := values[name]; said {
			names = append(names, pq.QuoteIdentifier(name))
		}
	}
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	list := strings.Join(names, ", ")
	_, err = f.tx.Exec(ctx, `insert into `+table+` (`+list+`) select `+list+` from jsonb_populate_record(null::`+table+`, $1::jsonb)`, string(text))
	return err
}

// prepare makes a row one of this deployment.
func (f *filler) prepare(table string, values map[string]json.RawMessage) error {
	switch table {
	case "member":
		var issuer string
		if err := json.Unmarshal(values["issuer"], &issuer); err != nil {
			return refuse("a member: %v", err)
		}
		if to, given := f.issuers[issuer]; given {
			values["issuer"], _ = json.Marshal(to) // a string always encodes
			delete(values, "subject")
		}
	case "audit_entry":
		var digest string
		err := json.Unmarshal(values["digest"], &digest)
		if err == nil {
			f.last, err = hex.DecodeString(strings.TrimPrefix(digest, `\x`))
		}
		if err != nil {
			return refuse("an audit entry: %v", err)
		}
		f.entries++
	case "audit_checkpoint":
		var entries int64
		if err := json.Unmarshal(values["entries"], &entries); err != nil {
			return refuse("a checkpoint: %v", err)
		}
		f.signed = max(f.signed, entries)
	}
	return nil
}

var sealedNames = []string{"signing_key", "verification_code", "verification_token", "exposure"}

// unseal opens the sealed part, which is in memory a line at a time.
func (f *filler) unseal(ctx context.Context, r io.Reader, identity age.Identity) error {
	opened, err := age.Decrypt(r, identity)
	if err != nil {
		return fmt.Errorf("%w: it is sealed to somebody else", ErrNoKeys)
	}
	return lines(opened, func(line []byte) error {
		var l sealedLine
		if err := json.Unmarshal(line, &l); err != nil || !slices.Contains(sealedNames, l.Table) {
			return refuse("the sealed part has something else in it")
		}
		if l.Table != "signing_key" {
			return f.insert(ctx, l.Table, l.Row, nil)
		}
		var k struct {
			Purpose signing.Purpose
			KeyID   string `json:"key_id"`
			Label   string
		}
		if err := json.Unmarshal(l.Row, &k); err != nil {
			return refuse("a key: %v", err)
		}
		sealed, err := key.Reseal(f.dk, f.tenant, k.Purpose, k.KeyID, k.Label, l.Secret)
		clear(l.Secret)
		if err != nil {
			return err
		}
		return f.insert(ctx, l.Table, l.Row, sealed)
	})
}

const headSQL = `select digest from audit_head`

// chained reports whether the audit log came as it was: the database has chained it anew
// and must have come to the same.
func (f *filler) chained(ctx context.Context) error {
	if f.entries == 0 || f.entries < f.signed {
		return refuse("its audit log was cut off")
	}
	var digest []byte
	if err := f.tx.Get(ctx, &digest, headSQL); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if !bytes.Equal(digest, f.last) {
		return refuse("its audit log is not the one that was written")
	}
	return nil
}
