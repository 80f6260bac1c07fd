package sheet

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/batch"
	"carillon/tenant/key"
	"carillon/tenant/sweep"
	"carillon/tenant/verification"
)

const (
	// Keep is how long a file waits that nobody comes back to.
	Keep = time.Hour
	// keepOfMember is how many files of one person wait.
	keepOfMember = 5
	// atOnce is how many files are in memory as tables at the same time.
	atOnce = 2
	// shownRows is how many rows are shown before the columns are known.
	shownRows = 5
	// shownCell is how much of a cell is shown, in characters.
	shownCell = 80
)

// Config is what a [Desk] works with.
type Config struct {
	// DB is a handle under the role carillon_portal.
	DB *tenant.DB
	// Keys hold the data keys that seal files.
	Keys *key.Ring
	// Codes tells who may issue codes, and what would be refused.
	Codes *verification.Service
	// Batches takes the orders in.
	Batches *batch.Service
	// Now is the clock.
	Now func() time.Time
}

// Desk is where people bring tables. It is safe for concurrent use. Its methods are for
// subjects who may order batches: others are [authz.ErrForbidden], and while a tenant has
// no batches everybody is verification.ErrBatchDisabled.
type Desk struct {
	c    Config
	busy chan struct{}
}

// NewDesk returns a desk.
func NewDesk(c Config) *Desk { return &Desk{c: c, busy: make(chan struct{}, atOnce)} }

// begin waits until there is room for one more table in memory. Then end must be called.
func (d *Desk) begin(ctx context.Context) error {
	select {
	case d.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Desk) end() { <-d.busy }

func (d *Desk) now() time.Time { return d.c.Now().UTC().Truncate(time.Second) }

// File is a table that waits.
type File struct {
	ID        uuid.UUID
	CreatedAt time.Time
	Head
	// Check is what the last dry run found; nil if there was none.
	Check *Check
	// Batch is the batch that was ordered by it, or zero.
	Batch uuid.UUID
}

// Head is what is shown of a table before its columns are known.
type Head struct {
	Columns []string
	// First are some first rows, cut to what is shown, and Count is how many there are.
	First [][]string
	Count int
}

// head is what is shown of a sheet.
func (s *Sheet) head() Head {
	h := Head{Columns: s.Columns, Count: len(s.Rows)}
	for _, row := range s.Rows[:min(len(s.Rows), shownRows)] {
		shown := make([]string, len(s.Columns))
		for i := range shown {
			shown[i] = cut(cell(row, i), shownCell)
		}
		h.First = append(h.First, shown)
	}
	return h
}

// What of a file is sealed, each for its own place.
const (
	sealedHead  = "head"
	sealedBody  = "body"
	sealedCheck = "check"
)

// safe seals what belongs to one file.
type safe struct {
	dk     *signing.DataKey
	tenant tenant.ID
	file   uuid.UUID
}

func (d *Desk) safe(ctx context.Context, t *tenant.Tenant, file uuid.UUID) (safe, error) {
	dk, err := d.c.Keys.DataKey(ctx, t.ID)
	return safe{dk, t.ID, file}, err
}

func (s safe) binding(what string) signing.Binding {
	return signing.Binding{Tenant: s.tenant.String(), Purpose: signing.Batch, KeyID: "file/" + what + "/" + s.file.String()}
}

func (s safe) seal(what string, value any) ([]byte, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", what, err)
	}
	defer clear(plain)
	return s.dk.Seal(s.binding(what), plain)
}

func (s safe) open(what string, sealed []byte, dst any) error {
	plain, err := s.dk.Open(s.binding(what), sealed)
	if err == nil {
		defer clear(plain)
		err = json.Unmarshal(plain, dst)
	}
	if err != nil {
		return fmt.Errorf("%s of file: %w", what, err)
	}
	return nil
}

const (
	keepSQL = `
insert into batch_file (tenant_id, file_id, member_id, created_at, sealed_head, sealed_body)
values (current_tenant(), $1, $2, $3, $4, $5)`

	crowdSQL = `
delete from batch_file
 where file_id in (
       select file_id
         from batch_file
        where member_id = $1
     order by created_at desc, file_id
       offset $2)`
)

// Upload reads a file and lets its table wait. If a batch was ordered by the same table in
// the last 14 days, the file is not kept, and that batch is returned. Errors are those of
// [Read] and the desk's.
func (d *Desk) Upload(ctx context.Context, t *tenant.Tenant, by authz.Subject, file []byte) (id uuid.UUID, earlier *batch.Batch, err error) {
	if err := d.c.Codes.CheckBatch(ctx, t, by); err != nil {
		return id, nil, err
	}
	if err := d.begin(ctx); err != nil {
		return id, nil, err
	}
	defer d.end()
	s, err := Read(file)
	if err != nil {
		return id, nil, err
	}
	name, err := d.name(ctx, t, s)
	if err != nil {
		return id, nil, err
	}
	earlier, err = d.c.Batches.ByKey(ctx, t, by, name)
	if !errors.Is(err, batch.ErrNotFound) {
		return id, earlier, err
	}
	id = uuid.New()
	return id, nil, d.keep(ctx, t, by, id, s)
}

func (d *Desk) keep(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, s *Sheet) error {
	safe, err := d.safe(ctx, t, id)
	if err != nil {
		return err
	}
	head, err := safe.seal(sealedHead, s.head())
	if err != nil {
		return err
	}
	body, err := safe.seal(sealedBody, s)
	if err != nil {
		return err
	}
	return d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, crowdSQL, by.ID, keepOfMember-1); err != nil {
			return fmt.Errorf("make room for file: %w", err)
		}
		if _, err := tx.Exec(ctx, keepSQL, id.String(), by.ID, d.now(), head, body); err != nil {
			return fmt.Errorf("keep file: %w", err)
		}
		return audit.Record(ctx, tx, d.now(), by, "batch:upload", id.String(), map[string]string{"rows": strconv.Itoa(len(s.Rows))})
	})
}

type storedFile struct {
	CreatedAt time.Time     `db:"created_at"`
	Head      []byte        `db:"sealed_head"`
	Body      []byte        `db:"sealed_body"`
	Check     []byte        `db:"sealed_check"`
	Batch     uuid.NullUUID `db:"batch_id"`
}

const (
	fileSQL = `
select created_at, sealed_head, sealed_check, batch_id
  from batch_file
 where file_id = $1
   and member_id = $2`

	bodySQL = `
select created_at, sealed_head, sealed_body, sealed_check, batch_id
  from batch_file
 where file_id = $1
   and member_id = $2`
)

// File returns a file that by has uploaded: [ErrNotFound] if there is none.
func (d *Desk) File(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*File, error) {
	f, _, err := d.find(ctx, t, by, id, fileSQL)
	return f, err
}

// find reads a file, and its table if the query has it.
func (d *Desk) find(ctx context.Context, t *tenant.Tenant, by authz.Subject, text, query string) (*File, *Sheet, error) {
	if err := d.c.Codes.CheckBatch(ctx, t, by); err != nil {
		return nil, nil, err
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return nil, nil, ErrNotFound
	}
	safe, err := d.safe(ctx, t, id)
	if err != nil {
		return nil, nil, err
	}
	var found storedFile
	err = d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Get(ctx, &found, query, id.String(), by.ID) })
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find file: %w", err)
	}
	f := &File{ID: id, CreatedAt: found.CreatedAt, Batch: found.Batch.UUID}
	if err := safe.open(sealedHead, found.Head, &f.Head); err != nil {
		return nil, nil, err
	}
	if found.Check != nil {
		f.Check = &Check{}
		if err := safe.open(sealedCheck, found.Check, f.Check); err != nil {
			return nil, nil, err
		}
	}
	if found.Body == nil {
		return f, nil, nil
	}
	var s Sheet
	return f, &s, safe.open(sealedBody, found.Body, &s)
}

const checkSQL = `
update batch_file
   set sealed_check = $3
 where file_id = $1
   and member_id = $2
   and batch_id is null`

// Try says what the columns mean, and tries all rows by it, as [Check] tells: [ErrColumns]
// if the mapping makes no orders, [ErrNotFound] if there is no such file, or a batch was
// ordered by it already.
func (d *Desk) Try(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string, m Mapping) (*Check, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	defer d.end()
	f, s, err := d.find(ctx, t, by, id, bodySQL)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return nil, ErrNotFound
	}
	if err := m.check(len(s.Columns)); err != nil {
		return nil, err
	}
	c, err := d.try(t, by, s, m)
	if err != nil {
		return nil, err
	}
	return c, d.note(ctx, t, by, f.ID, c)
}

func (d *Desk) try(t *tenant.Tenant, by authz.Subject, s *Sheet, m Mapping) (*Check, error) {
	offset, err := d.offset(t)
	if err != nil {
		return nil, err
	}
	c := s.try(m, offset, batch.NewNumbers(t), d.vet(t, by))
	return &c, nil
}

// note keeps what a dry run found.
func (d *Desk) note(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, c *Check) error {
	safe, err := d.safe(ctx, t, id)
	if err != nil {
		return err
	}
	sealed, err := safe.seal(sealedCheck, c)
	if err != nil {
		return err
	}
	return d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		n, err := tx.Exec(ctx, checkSQL, id.String(), by.ID, sealed)
		switch {
		case err != nil:
			return fmt.Errorf("note check: %w", err)
		case n == 0:
			return ErrNotFound
		}
		return audit.Record(ctx, tx, d.now(), by, "batch:check", id.String(), map[string]string{
			"codes": strconv.Itoa(c.Codes), "problems": strconv.Itoa(c.Problems), "duplicates": strconv.Itoa(c.Duplicates),
		})
	})
}

// offset is how far a tenant is from UTC now, in minutes, east positive.
func (d *Desk) offset(t *tenant.Tenant) (float64, error) {
	zone, err := time.LoadLocation(t.Settings.TimeZone)
	if err != nil {
		return 0, fmt.Errorf("time zone of %s: %w", t.Slug, err)
	}
	_, seconds := d.c.Now().In(zone).Zone()
	return float64(seconds) / 60, nil
}

const orderedSQL = `
update batch_file
   set sealed_body = null, sealed_check = null, batch_id = $3
 where file_id = $1
   and member_id = $2
   and batch_id is null`

// Order orders the codes of a file whose rows are in order, and forgets the rows. It may
// be repeated: the batch is one, and new tells whether this call made it. [ErrUnchecked] if
// the rows were not tried or do not pass any more, batch.ErrKeyUsed if another batch was
// ordered by the same table with other columns meanwhile, [ErrNotFound] if there is no such
// file; otherwise errors are those of [batch.Service.Create].
//
// The batch is made before the rows are forgotten: a process that dies in between leaves a
// file by which the same batch is found.
func (d *Desk) Order(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (b uuid.UUID, created bool, err error) {
	if err := d.begin(ctx); err != nil {
		return b, false, err
	}
	defer d.end()
	f, s, err := d.find(ctx, t, by, id, bodySQL)
	switch {
	case err != nil:
		return b, false, err
	case s == nil:
		return f.Batch, false, nil
	case f.Check == nil:
		return b, false, ErrUnchecked
	}
	made, created, err := d.create(ctx, t, by, f, s)
	if err != nil {
		return b, false, err
	}
	err = d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, orderedSQL, f.ID.String(), by.ID, made.ID.String())
		return err
	})
	if err != nil {
		return b, false, fmt.Errorf("forget rows of file: %w", err)
	}
	return made.ID, created, nil
}

// create tries the rows once more, for settings may have changed, and orders.
func (d *Desk) create(ctx context.Context, t *tenant.Tenant, by authz.Subject, f *File, s *Sheet) (*batch.Batch, bool, error) {
	c, err := d.try(t, by, s, f.Check.Mapping)
	if err == nil && c.Problems > 0 {
		err = errors.Join(ErrUnchecked, d.note(ctx, t, by, f.ID, c))
	}
	if err != nil {
		return nil, false, err
	}
	name, err := d.name(ctx, t, s)
	if err != nil {
		return nil, false, err
	}
	offset, err := d.offset(t)
	if err != nil {
		return nil, false, err
	}
	return d.c.Batches.Create(ctx, t, by, name, s.orders(c.Mapping, offset))
}

const dropSQL = `
delete from batch_file
 where file_id = $1
   and member_id = $2
   and batch_id is null`

// Drop forgets a file by which nothing was ordered: [ErrNotFound] if there is none.
func (d *Desk) Drop(ctx context.Context, t *tenant.Tenant, by authz.Subject, text string) error {
	if err := d.c.Codes.CheckBatch(ctx, t, by); err != nil {
		return err
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return ErrNotFound
	}
	return d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		n, err := tx.Exec(ctx, dropSQL, id.String(), by.ID)
		switch {
		case err != nil:
			return fmt.Errorf("drop file: %w", err)
		case n == 0:
			return ErrNotFound
		}
		return audit.Record(ctx, tx, d.now(), by, "batch:drop", id.String(), nil)
	})
}

const (
	secretSize = 32

	makeSecretSQL = `
insert into batch_secret (tenant_id, sealed)
values (current_tenant(), $1)
    on conflict do nothing`

	secretSQL = `select sealed from batch_secret`
)

// name is the idempotency key of the batch that a table orders: the same for the same
// table, and to nobody without the tenant's key a word about it.
func (d *Desk) name(ctx context.Context, t *tenant.Tenant, s *Sheet) (string, error) {
	secret, err := d.secret(ctx, t)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, secret)
	s.digest(mac)
	return "file-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:20])), nil
}

// secret is the tenant's key of tables' names; the first asker makes it.
func (d *Desk) secret(ctx context.Context, t *tenant.Tenant) ([]byte, error) {
	dk, err := d.c.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	binding := signing.Binding{Tenant: t.ID.String(), Purpose: signing.Batch, KeyID: "files"}
	fresh := make([]byte, secretSize)
	rand.Read(fresh)
	sealed, err := dk.Seal(binding, fresh)
	if err != nil {
		return nil, err
	}
	err = d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, makeSecretSQL, sealed); err != nil {
			return err
		}
		return tx.Get(ctx, &sealed, secretSQL)
	})
	if err != nil {
		return nil, fmt.Errorf("key of files: %w", err)
	}
	return dk.Open(binding, sealed)
}

const forgetSQL = `
delete from batch_file
 where file_id in (
       select file_id
         from batch_file
        where created_at <= $1
        limit $2)`

// Cleanup forgets a tenant's files after [Keep]. db is a handle under the role
// carillon_jobs.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	if err := sweep.Run(ctx, db, id, forgetSQL, now.UTC().Add(-Keep)); err != nil {
		return fmt.Errorf("forget files: %w", err)
	}
	return nil
}
