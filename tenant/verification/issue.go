package verification

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/template"
)

// Issued is a new code. It prints and logs as a fixed word.
type Issued struct {
	ID uuid.UUID
	// Code is the short code in the clear. Nobody can ask for it again.
	Code string
	// ExpiresAt and LongExpiresAt end the short code and the long one that a
	// message carries. They are equal if there is no message or the test type is
	// user-report.
	ExpiresAt, LongExpiresAt time.Time
	// GeneratedSMS and Phone are the message and its recipient in E.164 form, if
	// the text was asked for.
	GeneratedSMS, Phone string
	// SendError says why no message was sent for a code that was kept
	// nevertheless: [ErrSMSFailed], [ErrSMSQueueFull] or [ErrNoProvider].
	SendError error
}

// Issue makes a code for a diagnosis (verification protocol §4.1 to §4.3) and,
// if there is a telephone number, has a message sent. Whoever may not is
// [authz.ErrForbidden]; in maintenance it is [ErrMaintenance] (§0.4); a request that
// breaks a rule is a [Problem], the first in the protocol's order. A user report from
// a telephone number that has one already is [Repeated].
//
// The message goes out after the code is committed, so that a phone never holds a
// code that does not exist. If it fails, the code is withdrawn, unless the request
// keeps it; the same UUID may then be tried again. If the process dies in between,
// the code is one that nobody knows. What a person does is audited.
func (s *Service) Issue(ctx context.Context, t *tenant.Tenant, by authz.Subject, r IssueRequest) (*Issued, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.CodeIssue); err != nil {
		return nil, err
	}
	p, err := s.place(ctx, t, by, r)
	if err != nil {
		return nil, err
	}
	return s.deliver(ctx, p)
}

// placed is an order whose code is committed. Its message, if there is to be one,
// has not been sent.
type placed struct {
	*order
	issued *Issued
	text   string
}

// place does all of [Service.Issue] up to the commit, for a subject that may.
func (s *Service) place(ctx context.Context, t *tenant.Tenant, by authz.Subject, r IssueRequest) (*placed, error) {
	if t.ClosedForIssue() {
		return nil, inMaintenance()
	}
	o, err := s.newOrder(t, by, r)
	if err == nil {
		err = o.refuseRehearsal()
	}
	if err != nil {
		return nil, err
	}
	return s.commit(ctx, o)
}

// commit stores an order's code, and what must happen with it.
func (s *Service) commit(ctx context.Context, o *order) (*placed, error) {
	live, err := s.keys.Secrets(ctx, o.tenant.ID, signing.CodeMAC)
	if err != nil {
		return nil, fmt.Errorf("keys of codes: %w", err)
	}
	numbers, err := s.numberMACs(ctx, o)
	if err != nil {
		return nil, err
	}
	if o.digits, err = s.digits(ctx, o.tenant); err != nil {
		return nil, fmt.Errorf("length of codes: %w", err)
	}
	if err := s.refuseUnprovided(ctx, o); err != nil {
		return nil, err
	}
	book, err := s.book(ctx, o)
	if err != nil {
		return nil, err
	}
	release, err := s.budget(ctx, o)
	if err != nil {
		return nil, err
	}
	defer release()
	if o.lone() {
		codes, err := s.store(ctx, doing{s.db, o.tenant.ID}, o, live)
		if err != nil {
			return nil, err
		}
		return &placed{order: o, issued: o.issued(codes)}, nil
	}
	return s.storeWith(ctx, o, live, book, numbers)
}

// budget lets an order spend of the quota. Rehearsals count for none.
func (s *Service) budget(ctx context.Context, o *order) (release func(), err error) {
	if o.by.Rehearsal {
		o.spend = func() bool { return true }
		return func() {}, nil
	}
	if o.spend, release, err = s.quota(ctx, o.tenant); err != nil {
		return nil, fmt.Errorf("quota of codes: %w", err)
	}
	return release, nil
}

// lone reports whether the code is all that must be stored: then it is one statement.
func (o *order) lone() bool {
	return !o.idGiven && !o.messaged() && !o.own && o.also == nil && o.by.Kind != authz.Person
}

// storeWith stores the code together with what belongs to it.
func (s *Service) storeWith(ctx context.Context, o *order, live []key.Secret, book *template.Book, numbers [][]byte) (*placed, error) {
	p := &placed{order: o}
	err := s.db.In(ctx, o.tenant.ID, func(tx *tenant.Tx) error {
		if err := o.refuseKnownID(ctx, tx); err != nil {
			return err
		}
		codes, err := s.store(ctx, within{tx}, o, live)
		if err != nil {
			return err
		}
		if err := o.record(ctx, tx, string(authz.CodeIssue)); err != nil {
			return err
		}
		if p.text, err = s.write(o, book, codes); err != nil {
			return err
		}
		p.issued = o.issued(codes)
		if err := s.finish(ctx, tx, p); err != nil {
			return err
		}
		return o.takeNumber(ctx, tx, numbers)
	})
	if tenant.Violates(err, "verification_code_pkey") {
		return nil, uuidExists(o.id)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// refuseUnprovided applies rule 9 of §4.2 where it takes a look at the tenant's
// providers.
func (s *Service) refuseUnprovided(ctx context.Context, o *order) error {
	if o.phone == "" || o.generate {
		return nil
	}
	provided, err := s.provided(ctx, o.tenant)
	if err != nil {
		return fmt.Errorf("message providers: %w", err)
	}
	if !provided {
		return refuse(ErrNoProvider, "phone provided, but no sms provider is configured")
	}
	return nil
}

// book are the texts of which the order's message may be made; nil if there is to be none.
func (s *Service) book(ctx context.Context, o *order) (*template.Book, error) {
	if !o.messaged() {
		return nil, nil //nolint:nilnil // write needs none then
	}
	return s.templates.Book(ctx, o.tenant)
}

func (o *order) issued(codes pair) *Issued {
	i := &Issued{ID: o.id, Code: codes.short}
	i.ExpiresAt, i.LongExpiresAt = o.expiries()
	return i
}

// finish does what must happen with the code or not at all.
func (s *Service) finish(ctx context.Context, tx *tenant.Tx, p *placed) error {
	if p.deferred() {
		err := s.outbox.Enqueue(ctx, tx, p.tenant, message.Queued{
			CodeID: p.id, Message: p.message(p.text, p.issued), ExpiresAt: p.issued.LongExpiresAt,
		})
		if err != nil {
			return fmt.Errorf("queue message: %w", err)
		}
	}
	if p.also != nil {
		return p.also(ctx, tx, p.issued)
	}
	return nil
}

func uuidExists(id uuid.UUID) error { return refuse(ErrUUIDExists, "code for %s already exists", id) }

// asker gets a statement's answer of one truth value: in a transaction with others, or
// in its own.
type asker interface {
	ask(ctx context.Context, query string, args ...any) (bool, error)
}

type within struct{ tx *tenant.Tx }

func (w within) ask(ctx context.Context, query string, args ...any) (answer bool, err error) {
	err = w.tx.Get(ctx, &answer, query, args...)
	return answer, err
}

type doing struct {
	db *tenant.DB
	id tenant.ID
}

func (d doing) ask(ctx context.Context, query string, args ...any) (answer bool, err error) {
	err = d.db.Do(ctx, d.id, tenant.Statement{SQL: query, Args: args}, func(r tenant.Row) error { return r.Scan(&answer) })
	return answer, err
}

// store applies rules 11 to 15 and 17 of §4.2.
func (s *Service) store(ctx context.Context, db asker, o *order, live []key.Secret) (pair, error) {
	if err := o.refuseType(); err != nil {
		return pair{}, err
	}
	if !o.spend() {
		return pair{}, refuse(ErrQuota, "daily quota of codes exceeded")
	}
	if err := o.refuseUnaddressed(); err != nil {
		return pair{}, err
	}
	return s.insert(ctx, db, o, live)
}

// record audits what people do. Programs issue too many codes for that.
func (o *order) record(ctx context.Context, tx *tenant.Tx, action string) error {
	if o.by.Kind != authz.Person || o.recorded {
		return nil
	}
	return audit.Record(ctx, tx, o.at, o.by, action, o.id.String(), nil)
}

const knownSQL = `select exists (select from verification_code where code_id = $1)`

func (o *order) refuseKnownID(ctx context.Context, tx *tenant.Tx) error {
	if !o.idGiven {
		return nil
	}
	var known bool
	if err := tx.Get(ctx, &known, knownSQL, o.id.String()); err != nil {
		return fmt.Errorf("look for UUID: %w", err)
	}
	if known {
		return uuidExists(o.id)
	}
	return nil
}

const maxRedraws = 6

// The same digits under two MAC keys are two different values, so while there are two a
// new code is compared with stored ones under every live key; under the active one, the
// indexes do that. As in verifySQL, MACs are looked up one by one. (Two processes that
// draw the same code at the same moment under different keys are not caught; that takes a
// rotation, a second and a chance of one in the number of codes.)
const (
	storeSQL = `
with stored as (` + insertSQL + `
   where not exists (select from verification_code where long_mac = $3::bytea)` + storedSQL

	compareSQL = `
with collision as (
  select
    from unnest((select $13::bytea[])) as m (mac)
   cross join lateral (select from verification_code where short_mac = m.mac offset 0) c
union all
  select
    from unnest((select $14::bytea[])) as m (mac)
   cross join lateral (select from verification_code where long_mac = m.mac offset 0) c
), stored as (` + insertSQL + `
   where not exists (select from collision)` + storedSQL

	insertSQL = `
  insert into verification_code
         (tenant_id, code_id, short_mac, long_mac, test_type, symptom_date, test_date,
          issued_at, expires_at, long_expires_at, issuer_kind, issuer_id, external_issuer_id)
  select current_tenant(), $1::uuid, $2::bytea, $3::bytea, $4, nullif($5, '')::date, nullif($6, '')::date,
         $7::timestamptz, $8::timestamptz, $9::timestamptz, $10, $11, $12`

	storedSQL = `
      on conflict (tenant_id, short_mac) do nothing
  returning code_id
)
select exists (select from stored)`
)

// insert draws codes until a pair is unused and stores their digests.
func (s *Service) insert(ctx context.Context, db asker, o *order, live []key.Secret) (pair, error) {
	expires, longExpires := o.expiries()
	for range 1 + maxRedraws {
		codes, err := s.drawPair(o.digits, o.tenant.Settings.LongCodeLength)
		if err != nil {
			return pair{}, err
		}
		short, long := macs(live, codes.short), macs(live, codes.long)
		query, args := in(o.by.Rehearsal, storeSQL, rehearsedStoreSQL), []any{
			o.id.String(), short[0], long[0],
			string(o.testType), string(o.symptomDate), string(o.testDate), o.at, expires, longExpires,
			string(o.by.Kind), o.by.ID, o.externalID,
		}
		if len(live) > 1 {
			query, args = in(o.by.Rehearsal, compareSQL, rehearsedCompareSQL), append(args, pq.ByteaArray(short[1:]), pq.ByteaArray(long))
		}
		stored, err := db.ask(ctx, query, args...)
		if err != nil {
			return pair{}, fmt.Errorf("store code: %w", err)
		}
		if stored {
			return codes, nil
		}
	}
	return pair{}, refuse(ErrNoFreeCode, "failed to generate otp code, please try again")
}

// write makes the message, if there is to be one. It runs before the commit:
// without a text there is no code.
func (s *Service) write(o *order, book *template.Book, codes pair) (string, error) {
	if !o.messaged() {
		return "", nil
	}
	failed := ErrSMSFailed
	if o.generate {
		failed = ErrTemplate
	}
	body, err := book.Find(o.templateLabel, o.language)
	if err != nil {
		return "", refuse(failed, "failed to build sms: %v", err)
	}
	expires, longExpires := o.expiries()
	text, err := template.Render(body, template.Vars{
		Code: codes.short, LongCode: codes.long,
		Life: expires.Sub(o.at), LongLife: longExpires.Sub(o.at),
		Region: o.tenant.Region, RedirectDomain: s.redirectDomain,
	})
	if err != nil {
		return "", refuse(failed, "failed to build sms: %v", err)
	}
	return text, nil
}

// deliver does what rule 18 of §4.2 leaves to do after the commit.
func (s *Service) deliver(ctx context.Context, p *placed) (*Issued, error) {
	switch {
	case !p.messaged(), p.deferred():
		return p.issued, nil
	}
	unsent := s.handOver(ctx, p)
	switch {
	case unsent == nil:
		return p.issued, nil
	case p.keep:
		p.issued.SendError = unsent
		return p.issued, nil
	}
	withdrawn, err := s.withdraw(ctx, p.order)
	switch {
	case err != nil:
		return nil, errors.Join(unsent, err)
	case !withdrawn:
		return p.issued, nil // the phone has claimed it, so the message did arrive
	}
	return nil, unsent
}

// handOver gives the message to the asker, signed, or has it sent.
func (s *Service) handOver(ctx context.Context, p *placed) error {
	m := p.message(p.text, p.issued)
	if !p.generate {
		return s.send(ctx, p.tenant, m)
	}
	signed, err := s.sign(ctx, p.tenant, m)
	if err != nil {
		return refuse(ErrTemplate, "failed to sign sms")
	}
	p.issued.GeneratedSMS, p.issued.Phone = signed.Body, p.phone
	return nil
}

// sendTimeout leaves time for a second provider; each has its own limit.
const sendTimeout = 15 * time.Second

// send keeps the provider's own words to itself: they may hold the number.
func (s *Service) send(ctx context.Context, t *tenant.Tenant, m message.Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := s.sender.Send(ctx, t, m)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, message.ErrQueueFull):
		return refuse(ErrSMSQueueFull, "failed to send sms: queue is full")
	case errors.Is(err, message.ErrNoProvider):
		return refuse(ErrNoProvider, "phone provided, but no sms provider is configured")
	default:
		return refuse(ErrSMSFailed, "failed to send sms")
	}
}

const (
	withdrawSQL = `
with withdrawn as (
  delete from verification_code
   where code_id = $1
     and claimed_at is null
  returning code_id
), freed as (
  delete from user_report r
   using withdrawn w
   where r.code_id = w.code_id
)
select exists (select from withdrawn)`

	withdrawTimeout = 5 * time.Second
)

// withdraw removes an unclaimed code whose message failed, and frees the telephone
// number that has reported with it, even if the asker is gone by now. It reports whether there was one to remove.
func (s *Service) withdraw(ctx context.Context, o *order) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
	defer cancel()
	var withdrawn bool
	err := s.db.In(ctx, o.tenant.ID, func(tx *tenant.Tx) error {
		err := tx.Get(ctx, &withdrawn, withdrawSQL, o.id.String())
		if err != nil || !withdrawn {
			return err
		}
		return o.record(ctx, tx, codeWithdrawn)
	})
	if err != nil {
		return false, fmt.Errorf("withdraw code: %w", err)
	}
	return withdrawn, nil
}

// codeWithdrawn is the audit log's word for a code that went because its message
// failed. Nobody needs a permission for that.
const codeWithdrawn = "code:withdrawn"
