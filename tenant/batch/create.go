package batch

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/member"
	"carillon/tenant/message"
)

// Create takes in a batch and reports whether it is new. orders are read as they come,
// and an error among them ends it; nothing remains of a batch that is refused.
//
// Whoever may not order batches is [authz.ErrForbidden]; other refusals are
// verification.ErrBatchDisabled, [ErrKey], [ErrKeyUsed], [ErrTooMany], [ErrEmpty],
// [ErrTooLarge] and [ErrRow]. Whether the rows themselves are in order is found out when
// they are worked on, and told as their results.
func (s *Service) Create(ctx context.Context, t *tenant.Tenant, by authz.Subject, key string, orders iter.Seq2[Order, error]) (b *Batch, created bool, err error) {
	if err := s.c.Codes.CheckBatch(ctx, t, by); err != nil {
		return nil, false, err
	}
	if !validKey(key) {
		return nil, false, ErrKey
	}
	u, err := s.begin(ctx, t, by, key)
	if err != nil {
		return nil, false, err
	}
	if err := u.receive(ctx, orders); err != nil {
		return nil, false, errors.Join(err, u.discard(ctx))
	}
	if u.earlier != nil {
		b, err = u.same(u.earlier)
		return b, false, err
	}
	b, err = u.finish(ctx)
	if tenant.Violates(err, "batch_idempotency_key_key") { // somebody was faster
		b, err = u.yield(ctx)
		return b, false, err
	}
	if err != nil {
		return nil, false, errors.Join(err, u.discard(ctx))
	}
	s.c.Wake()
	return b, true, nil
}

func validKey(key string) bool {
	return key != "" && len(key) <= MaxKey &&
		strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// stored is a batch with what tells whether another is the same.
type stored struct {
	Batch
	Digest []byte
}

// upload is a batch on its way in. Its rows are stored as they come, under a batch that
// nobody sees until all are there.
type upload struct {
	s    *Service
	t    *tenant.Tenant
	by   authz.Subject
	key  string
	at   time.Time
	safe vault
	// earlier is the batch that has this key already; then nothing is stored.
	earlier *stored

	digest hash.Hash
	phones *Numbers
	count  int
	chunk  chunk
}

const (
	byKeySQL = `
select ` + batchColumns + `, digest
  from batch
 where idempotency_key = $1`

	unfinishedSQL = `select count(*) from batch where state in ('receiving', 'running', 'paused')`

	beginSQL = `
insert into batch (tenant_id, batch_id, created_at, issuer_kind, issuer_id, issuer_name, issuer_roles)
values (current_tenant(), $1, $2, $3, $4, $5, $6)`
)

func (s *Service) begin(ctx context.Context, t *tenant.Tenant, by authz.Subject, key string) (*upload, error) {
	dk, err := s.c.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	u := &upload{
		s: s, t: t, by: by, key: key, at: clock(s.c.Now), safe: vault{dk, t.ID, uuid.New()},
		digest: sha256.New(), phones: NewNumbers(t),
	}
	return u, s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if u.earlier, err = find(ctx, tx, key); err != nil || u.earlier != nil {
			return err
		}
		var unfinished int
		if err := tx.Get(ctx, &unfinished, unfinishedSQL); err != nil {
			return fmt.Errorf("count batches: %w", err)
		}
		if unfinished >= MaxUnfinished {
			return ErrTooMany
		}
		roles, err := keptRoles(ctx, tx, by)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, beginSQL, u.safe.batch.String(), u.at, string(by.Kind), by.ID, by.Name, roles); err != nil {
			return fmt.Errorf("begin batch: %w", err)
		}
		return nil
	})
}

// keptRoles are those of a subject's roles that are kept with her batch: of a person only
// the ones that the database does not know, because it is asked again at each step.
func keptRoles(ctx context.Context, tx *tenant.Tx, by authz.Subject) (pq.StringArray, error) {
	var known []authz.Role
	if by.Kind == authz.Person {
		var err error
		if known, err = member.Standing(ctx, tx, by.ID); err != nil {
			return nil, err
		}
	}
	kept := pq.StringArray{}
	for _, r := range by.Roles {
		if !slices.Contains(known, r) {
			kept = append(kept, string(r))
		}
	}
	return kept, nil
}

// find returns the batch with a key, or nil.
func find(ctx context.Context, tx *tenant.Tx, key string) (*stored, error) {
	var found []stored
	if err := tx.Select(ctx, &found, byKeySQL, key); err != nil {
		return nil, fmt.Errorf("find batch: %w", err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	return &found[0], nil
}

// receive reads the orders.
func (u *upload) receive(ctx context.Context, orders iter.Seq2[Order, error]) error {
	for o, err := range orders {
		if err != nil {
			return err
		}
		if u.count++; u.count > MaxRows {
			return ErrTooLarge
		}
		if err := u.take(ctx, o); err != nil {
			return err
		}
	}
	if u.count == 0 {
		return ErrEmpty
	}
	return u.flush(ctx)
}

func (u *upload) take(ctx context.Context, o Order) error {
	id := codeID(u.safe.batch, u.count)
	if text := strings.TrimSpace(o.UUID); text != "" {
		var err error
		if id, err = uuid.Parse(text); err != nil {
			return &RowError{u.count, "uuid is not a valid UUID"}
		}
	}
	plain, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode row: %w", err)
	}
	u.digest.Write(append(plain, '\n'))
	if u.earlier != nil {
		return nil
	}
	original := u.phones.Seen(u.count, o.Phone)
	var sealed []byte
	if original == 0 {
		if sealed, err = u.safe.seal(sealedOrder, u.count, o); err != nil {
			return err
		}
	}
	u.chunk.add(u.count, id, o.Phone != "", original, sealed)
	if len(u.chunk.numbers) < chunkSize {
		return nil
	}
	return u.flush(ctx)
}

// Numbers knows the telephone numbers of a tenant's rows again, by digests.
type Numbers struct {
	country string
	first   map[[sha256.Size]byte]int
}

// NewNumbers knows none yet.
func NewNumbers(t *tenant.Tenant) *Numbers {
	return &Numbers{country: t.Settings.SMSCountry, first: map[[sha256.Size]byte]int{}}
}

// Seen returns the number of the earlier row that has a telephone number, and 0 if there is
// none; then the number is this row's. One that cannot be read is none here: its row will
// say so.
func (n *Numbers) Seen(row int, text string) int {
	if text == "" {
		return 0
	}
	phone, err := message.ParsePhone(text, n.country)
	if err != nil {
		return 0
	}
	digest := sha256.Sum256([]byte(phone))
	if earlier := n.first[digest]; earlier != 0 {
		return earlier
	}
	n.first[digest] = row
	return 0
}

// chunk is rows that go into the database together.
type chunk struct {
	numbers   pq.Int64Array
	codes     pq.StringArray
	messaged  pq.BoolArray
	originals pq.Int64Array
	sealed    pq.ByteaArray
}

const chunkSize = 500

func (c *chunk) add(number int, id uuid.UUID, messaged bool, original int, sealed []byte) {
	c.numbers = append(c.numbers, int64(number))
	c.codes = append(c.codes, id.String())
	c.messaged = append(c.messaged, messaged)
	c.originals = append(c.originals, int64(original))
	c.sealed = append(c.sealed, sealed)
}

const rowsSQL = `
insert into batch_row (tenant_id, batch_id, row_number, code_id, messaged, state, sealed_order, duplicate_of, done_at)
select current_tenant(), $1::uuid, n, code::uuid, messaged,
       case original when 0 then 'pending' else 'duplicate' end,
       case original when 0 then sealed end,
       nullif(original, 0),
       case original when 0 then null else $7::timestamptz end
  from unnest($2::integer[], $3::text[], $4::boolean[], $5::integer[], $6::bytea[])
    as r(n, code, messaged, original, sealed)`

func (u *upload) flush(ctx context.Context) error {
	c := u.chunk
	if len(c.numbers) == 0 {
		return nil
	}
	u.chunk = chunk{}
	err := u.s.c.DB.In(ctx, u.t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, rowsSQL, u.safe.batch.String(), c.numbers, c.codes, c.messaged, c.originals, c.sealed, u.at)
		return err
	})
	if err != nil {
		return fmt.Errorf("store rows: %w", err)
	}
	return nil
}

const finishSQL = `
   update batch
      set state = 'running', idempotency_key = $2, digest = $3, row_count = $4
    where batch_id = $1
      and state = 'receiving'
returning ` + batchColumns

// finish is the point of no return: now the batch exists.
func (u *upload) finish(ctx context.Context) (*Batch, error) {
	digest, err := u.safe.seal(sealedDigest, 0, u.digest.Sum(nil))
	if err != nil {
		return nil, err
	}
	var b Batch
	err = u.s.c.DB.In(ctx, u.t.ID, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &b, finishSQL, u.safe.batch.String(), u.key, digest, u.count); err != nil {
			return fmt.Errorf("finish batch: %w", err)
		}
		return audit.Record(ctx, tx, u.at, u.by, string(authz.CodeBulkIssue), u.safe.batch.String(), nil)
	})
	return &b, err
}

// yield gives way to a batch of the same key that was there first.
func (u *upload) yield(ctx context.Context) (*Batch, error) {
	var earlier *stored
	err := u.s.c.DB.In(ctx, u.t.ID, func(tx *tenant.Tx) (err error) {
		earlier, err = find(ctx, tx, u.key)
		return err
	})
	if err == nil && earlier == nil {
		err = sql.ErrNoRows // it has come and gone
	}
	if err = errors.Join(err, u.discard(ctx)); err != nil {
		return nil, err
	}
	return u.same(earlier)
}

// same returns the earlier batch if it has the content of this one.
func (u *upload) same(earlier *stored) (*Batch, error) {
	var digest []byte
	safe := vault{u.safe.dk, u.t.ID, earlier.ID}
	if err := safe.open(sealedDigest, 0, earlier.Digest, &digest); err != nil {
		return nil, err
	}
	if string(digest) != string(u.digest.Sum(nil)) {
		return nil, ErrKeyUsed
	}
	return &earlier.Batch, nil
}

const (
	discardSQL     = `delete from batch where batch_id = $1 and state = 'receiving'`
	discardTimeout = 30 * time.Second
)

// discard leaves nothing of a batch that did not come to be, even if whoever sent it is
// gone.
func (u *upload) discard(ctx context.Context) error {
	if u.earlier != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTimeout)
	defer cancel()
	err := u.s.c.DB.In(ctx, u.t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, discardSQL, u.safe.batch.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("discard batch: %w", err)
	}
	return nil
}
