package backup

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/signing"
	"carillon/signing/auditchain"
	"carillon/tenant"
	"carillon/tenant/export"
)

// DrillConfig is what a drill needs.
type DrillConfig struct {
	// RestoreConfig is as for a restore, with the connection string of somebody who may
	// make databases: the drill makes one of its own beside the named one, and drops it.
	// Exports is not touched.
	RestoreConfig
	// Root unwraps the tenants' data keys.
	Root signing.Root
}

// Drilled tells what a drill found.
type Drilled struct {
	Manifest *Manifest
	// Age is from the recovery point to the drill, Restore how long restoring took, Took
	// the whole drill.
	Age, Restore, Took time.Duration
	Tenants            []DrilledTenant
	// Fault is why nothing could be restored at all; nil if it was.
	Fault error
}

// DrilledTenant is one tenant of it.
type DrilledTenant struct {
	RestoredTenant
	// AuditEntries are those of its audit log, and Files its published files.
	AuditEntries int64
	Files        int
	// Newest is the newest file whose signature was verified; empty if there are none.
	Newest string
	// Faults are what is wrong with the tenant.
	Faults []error
}

// Whole reports whether nothing was wrong.
func (d *Drilled) Whole() bool {
	if d.Fault != nil {
		return false
	}
	for _, t := range d.Tenants {
		if len(t.Faults) > 0 {
			return false
		}
	}
	return true
}

// Drill restores a backup into a database that it makes and drops, and looks whether the
// result would serve: every data key opens with the root key, every audit log is whole, and
// the newest file of every tenant is signed by its key. What is wrong with the backup is in
// the report; an error is what kept the drill from being held.
func Drill(ctx context.Context, c DrillConfig) (d *Drilled, err error) {
	began := c.Now()
	dsn, drop, err := scratch(ctx, c.Database)
	if err != nil {
		return nil, fmt.Errorf("database for the drill: %w", err)
	}
	defer func() { err = errors.Join(err, drop()) }()
	dir, err := os.MkdirTemp("", "carillon-drill-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	files, err := export.NewFileStore(dir)
	if err != nil {
		return nil, err
	}
	c.Database, c.Exports = dsn, files
	d = &Drilled{}
	if d.Manifest, err = ReadManifest(c.Dir); err != nil {
		return &Drilled{Fault: err}, nil
	}
	d.Age = c.Now().Sub(d.Manifest.RecoveryPoint)
	restored, err := Restore(ctx, c.RestoreConfig)
	if ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		d.Fault, d.Took = err, c.Now().Sub(began)
		return d, nil
	}
	d.Restore = restored.Took
	err = c.examine(ctx, dsn, restored, d)
	d.Took = c.Now().Sub(began)
	return d, err
}

// scratch makes an empty database beside the one that dsn names.
func scratch(ctx context.Context, dsn string) (own string, drop func() error, err error) {
	admin, err := sql.Open("postgres", dsn)
	if err != nil {
		return "", nil, err
	}
	name := "carillon_drill_" + strings.ToLower(rand.Text()[:12])
	if _, err := admin.ExecContext(ctx, "create database "+pq.QuoteIdentifier(name)); err != nil {
		return "", nil, errors.Join(err, admin.Close())
	}
	drop = func() error {
		// Also if the drill was stopped: nobody else would remove it.
		_, err := admin.ExecContext(context.WithoutCancel(ctx), "drop database "+pq.QuoteIdentifier(name)+" with (force)")
		return errors.Join(err, admin.Close())
	}
	own, err = inDatabase(dsn, name)
	if err != nil {
		return "", nil, errors.Join(err, drop())
	}
	return own, drop, nil
}

var namedDatabase = regexp.MustCompile(`(^|\s)dbname\s*=\s*('[^']*'|\S+)`)

// inDatabase is a connection string of either form, to another database of the server.
func inDatabase(dsn, name string) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return namedDatabase.ReplaceAllString(dsn, " ") + " dbname=" + name, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errors.New("the database connection string is not a URL that can be read") // it may hold a password
	}
	u.Path = "/" + name
	return u.String(), nil
}

func (c DrillConfig) examine(ctx context.Context, dsn string, restored *Restored, d *Drilled) error {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	for _, t := range restored.Tenants {
		found := DrilledTenant{RestoredTenant: t, Files: t.FilesBroughtBack}
		for _, name := range t.FilesLost {
			found.Faults = append(found.Faults, fmt.Errorf("published file %s: %w", name, ErrFilesMissing))
		}
		if !t.Erased {
			if err := bind(ctx, tx, t.ID); err != nil {
				return err
			}
			e := examination{tx: tx, owner: owner{t.ID, t.Slug}, found: &found}
			if err := e.run(ctx, c); err != nil {
				return fmt.Errorf("tenant %s: %w", t.Slug, err)
			}
		}
		d.Tenants = append(d.Tenants, found)
	}
	return nil
}

// examination is of one restored tenant. Its methods note faults; an error means that they
// could not look.
type examination struct {
	tx    *sql.Tx
	owner owner
	found *DrilledTenant
}

func (e *examination) fault(what string, err error) {
	e.found.Faults = append(e.found.Faults, fmt.Errorf("%s: %w", what, err))
}

func (e *examination) run(ctx context.Context, c DrillConfig) error {
	for _, look := range []func(context.Context, DrillConfig) error{e.dataKey, e.auditLog, e.newestFile} {
		if err := look(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (e *examination) dataKey(ctx context.Context, c DrillConfig) error {
	var wrapped []byte
	err := e.tx.QueryRowContext(ctx, `select wrapped from data_key where tenant_id = $1`, e.owner.id).Scan(&wrapped)
	if errors.Is(err, sql.ErrNoRows) {
		return e.withoutKey(ctx)
	}
	if err != nil {
		return err
	}
	if _, err := signing.OpenDataKey(ctx, c.Root, e.owner.id.String(), wrapped); err != nil {
		e.fault("data key", err)
	}
	return nil
}

// withoutKey: an erased tenant has no data key, and any other needs one.
func (e *examination) withoutKey(ctx context.Context) error {
	var state string
	err := e.tx.QueryRowContext(ctx, `select state from tenant_directory where tenant = $1`, e.owner.id).Scan(&state)
	if err == nil && state != string(tenant.Erased) {
		e.fault("data key", ErrNoBackupKey)
	}
	return err
}

const auditSQL = `
  select entry_no, at, actor_kind, actor_id, actor_name, action, target, detail::text,
         request, because, digest, ''
    from audit_entry
   where tenant_id = $1
   union all
  select entries, at, '', '', '', '', '', '', '', '', null, statement
    from audit_checkpoint
   where tenant_id = $1
order by 1, 12`

// auditLog verifies the audit log as whoever gets it exported would.
func (e *examination) auditLog(ctx context.Context, c DrillConfig) error {
	keys, err := e.auditKeys(ctx)
	if err != nil {
		return err
	}
	from, to := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := e.writeAudit(ctx, c, keys, to)
		written <- err
		to.CloseWithError(err) // nil ends the text
	}()
	report, err := auditchain.Verify(from, auditchain.Trust{Keys: keys})
	from.CloseWithError(io.ErrClosedPipe) // whatever is left is not wanted
	if failed := <-written; failed != nil && !errors.Is(failed, io.ErrClosedPipe) {
		return fmt.Errorf("read audit log: %w", failed)
	}
	if err != nil {
		e.fault("audit log", err)
		return nil
	}
	e.found.AuditEntries = report.Entries
	for _, f := range report.Findings {
		e.fault("audit log", fmt.Errorf("entry %d: %s", f.Entry, f.Text))
	}
	return nil
}

func (e *examination) auditKeys(ctx context.Context) (auditchain.Keys, error) {
	rows, err := e.tx.QueryContext(ctx, `select key_id, public_der from signing_key where tenant_id = $1 and purpose = 'audit'`, e.owner.id)
	if err != nil {
		return nil, fmt.Errorf("keys of the audit log: %w", err)
	}
	defer rows.Close()
	keys := auditchain.Keys{}
	for rows.Next() {
		var kid string
		var der []byte
		if err := rows.Scan(&kid, &der); err != nil {
			return nil, fmt.Errorf("keys of the audit log: %w", err)
		}
		var public *ecdsa.PublicKey
		if public, err = signing.ParsePublicDER(der); err != nil {
			return nil, fmt.Errorf("key %s of the audit log: %w", kid, err)
		}
		keys[kid] = public
	}
	return keys, rows.Err()
}

func (e *examination) writeAudit(ctx context.Context, c DrillConfig, keys auditchain.Keys, to io.Writer) error {
	w, err := auditchain.NewWriter(to, auditchain.Header{Tenant: uuid.UUID(e.owner.id), Slug: e.owner.slug, At: c.Now(), Keys: keys})
	if err != nil {
		return err
	}
	rows, err := e.tx.QueryContext(ctx, auditSQL, e.owner.id)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var entry auditchain.Entry
		var digest []byte
		var statement string
		err := rows.Scan(&entry.No, &entry.At, &entry.ActorKind, &entry.ActorID, &entry.ActorName, &entry.Action,
			&entry.Target, &entry.Detail, &entry.Request, &entry.Because, &digest, &statement)
		if err == nil && statement != "" {
			err = w.Checkpoint(statement)
		} else if err == nil {
			err = w.Entry(entry, digest)
		}
		if err != nil {
			return err
		}
	}
	return rows.Err()
}

// newestFile verifies the file that phones would read next. All others were compared with
// their sums when they were brought back.
func (e *examination) newestFile(ctx context.Context, c DrillConfig) error {
	files, err := listedFiles(ctx, e.tx, e.owner)
	if err != nil || len(files) == 0 {
		return err
	}
	newest := files[0]
	for _, f := range files {
		if f.end() > newest.end() {
			newest = f
		}
	}
	keys, err := exportKeys(ctx, e.tx, e.owner)
	if err != nil {
		return err
	}
	body, err := newest.fetch(ctx, c.Exports)
	if err == nil {
		_, err = verifiedFile(body, keys)
	}
	if err != nil {
		e.fault("newest file "+newest.name, err)
		return nil
	}
	e.found.Newest = newest.name
	return nil
}

// end is when a file's window ended, as its name says.
func (f listed) end() int64 {
	file, ok := parseFile(f.name[strings.LastIndexByte(f.name, '/')+1:])
	if !ok {
		return 0
	}
	return file.end.Unix()
}

// MarshalJSON writes the report for programs.
func (d *Drilled) MarshalJSON() ([]byte, error) {
	type line struct {
		Tenant       string   `json:"tenant"`
		Rows         int64    `json:"rows"`
		Erased       bool     `json:"erased,omitempty"`
		AuditEntries int64    `json:"audit_entries"`
		Files        int      `json:"files"`
		Newest       string   `json:"newest_file,omitempty"`
		Faults       []string `json:"faults,omitempty"`
	}
	out := struct {
		Whole         bool      `json:"whole"`
		Fault         string    `json:"fault,omitempty"`
		RecoveryPoint time.Time `json:"recovery_point,omitzero"`
		AgeSeconds    float64   `json:"age_seconds"`
		RestoreTook   float64   `json:"restore_seconds"`
		Took          float64   `json:"drill_seconds"`
		Tenants       []line    `json:"tenants"`
	}{Whole: d.Whole(), AgeSeconds: d.Age.Seconds(), RestoreTook: d.Restore.Seconds(), Took: d.Took.Seconds(), Tenants: []line{}}
	if d.Fault != nil {
		out.Fault = d.Fault.Error()
	}
	if d.Manifest != nil {
		out.RecoveryPoint = d.Manifest.RecoveryPoint
	}
	for _, t := range d.Tenants {
		l := line{Tenant: t.Slug, Rows: t.Rows, Erased: t.Erased, AuditEntries: t.AuditEntries, Files: t.Files, Newest: t.Newest}
		for _, f := range t.Faults {
			l.Faults = append(l.Faults, f.Error())
		}
		out.Tenants = append(out.Tenants, l)
	}
	return json.Marshal(out)
}
