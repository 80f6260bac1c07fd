package labfeed

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/labfeed/document"
	"carillon/tenant/message"
	"carillon/tenant/verification"
)

// Counts are how many results of a document met which fate.
type Counts struct {
	// Queued results will get a code.
	Queued int `json:"queued"`
	// Duplicates were known already.
	Duplicates int `json:"duplicates"`
	// Corrections are earlier results that do not hold any more and have no code.
	Corrections int `json:"corrections"`
	// Ignored results are of tests that do not count, or say nothing.
	Ignored int `json:"ignored"`
	// DeadLetters are for people to look at.
	DeadLetters int `json:"deadLetters" db:"dead_letters"`
}

func (c *Counts) add(f Fate) {
	switch f {
	case Queued:
		c.Queued++
	case Duplicate:
		c.Duplicates++
	case Ignored:
		c.Ignored++
	case Dead:
		c.DeadLetters++
	case TakenBack: // seen in Corrections
	}
}

// Receipt is what a laboratory gets for a document.
type Receipt struct {
	ID         uuid.UUID `db:"submission_id"`
	ReceivedAt time.Time `db:"received_at"`
	Counts
	// Repeated says that the same document came before; nothing has changed.
	Repeated bool
	// Messages are the headers of an HL7 document's messages. They are there also if
	// the document was refused, as far as they could be read.
	Messages []document.Header
}

// Line is what would become of one result.
type Line struct {
	// Number is the result's among those of tests that count, from 1.
	Number   int    `json:"number"`
	Fate     Fate   `json:"fate"`
	Reason   Reason `json:"reason,omitempty"`
	TestType string `json:"testType,omitempty"`
	TestDate string `json:"testDate,omitempty"`
}

// Submit takes in a document: rows, counts and a receipt in one transaction. The same
// document again changes nothing and has the same receipt. A document that cannot be
// read is a [document.Problem], and nothing of it is kept. In maintenance it is
// [verification.ErrMaintenance].
func (s *Service) Submit(ctx context.Context, t *tenant.Tenant, by authz.Subject, format document.Format, body []byte) (*Receipt, error) {
	in, err := s.receive(ctx, t, by, format, body, s.secrets.Get)
	if err != nil {
		return &Receipt{Messages: in.messages}, err
	}
	receipt := &Receipt{ID: in.id, ReceivedAt: s.clock(), Messages: in.messages}
	if t.ClosedForIssue() {
		return receipt, verification.ErrMaintenance
	}
	if err := s.step("read"); err != nil {
		return receipt, err
	}
	err = s.db.InExclusive(ctx, t.ID, submissionLock, func(tx *tenant.Tx) error {
		known, err := receipt.find(ctx, tx)
		if err != nil || known {
			return err
		}
		return in.store(ctx, tx, receipt)
	})
	if err != nil {
		return receipt, fmt.Errorf("take in results: %w", err)
	}
	s.nudge(t.ID)
	return receipt, s.step("stored")
}

// Rehearse tells what Submit would do, result by result, and keeps and issues nothing.
func (s *Service) Rehearse(ctx context.Context, t *tenant.Tenant, by authz.Subject, format document.Format, body []byte) ([]Line, Counts, error) {
	in, err := s.receive(ctx, t, by, format, body, s.peekSecrets)
	if err != nil {
		return nil, Counts{}, err
	}
	var p *plan
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		p, err = in.plan(ctx, tx, knownSQL)
		return err
	})
	if err != nil {
		return nil, Counts{}, fmt.Errorf("rehearse results: %w", err)
	}
	lines, counts := in.place(p)
	return lines, counts, nil
}

// submissionLock keeps two documents of a tenant from deciding about one accession at
// the same time.
const submissionLock tenant.Lock = "lab submission"

// intake is a document that was read and judged.
type intake struct {
	id       uuid.UUID
	by       authz.Subject
	format   document.Format
	version  int
	ignored  int
	messages []document.Header
	arrivals []arrival
	// dates are the days of collection, for rehearsals; beside the arrivals.
	dates []string
	// at finds arrivals by report and accession.
	at map[string]int
}

// receive reads and judges a document. What is not needed any more ends here.
func (s *Service) receive(
	ctx context.Context, t *tenant.Tenant, by authz.Subject, format document.Format, body []byte,
	secretsOf func(context.Context, tenant.ID) (secrets, error),
) (*intake, error) {
	in := &intake{by: by, format: format, at: map[string]int{}}
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.LabSubmit); err != nil {
		return in, err
	}
	var m Mapping
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		m, err = ReadMapping(ctx, tx)
		return err
	})
	if err != nil {
		return in, err
	}
	keys, err := secretsOf(ctx, t.ID)
	if err != nil {
		return in, err
	}
	r := m.rules()
	d, err := document.Read(format, body, r.fields())
	in.messages = d.Messages
	if err != nil {
		return in, err
	}
	in.version, in.ignored = m.Version, d.Ignored
	in.id = keys.id("submission", string(format), strconv.Itoa(m.Version), string(body))
	for _, result := range d.Results {
		if err := s.admit(in, t, r, keys, result); err != nil {
			return in, err
		}
	}
	return in, nil
}

// admit adds a result to the intake, unless a graver one of its accession is there
// from the same report.
func (s *Service) admit(in *intake, t *tenant.Tenant, r *rules, keys secrets, result document.Result) error {
	x := remains{
		Phone: result.Phone, Tests: result.Tests, Values: result.Values, Status: result.Status,
		Collected: result.Collected, Onset: result.Onset,
	}
	a := arrival{verdict: s.examine(t, in.by, r, x)}
	at := len(in.arrivals)
	if result.Accession != "" {
		a.Accession = keys.digest("accession", result.Assigner, result.Accession)
		examination := strconv.Itoa(result.Report) + " " + string(a.Accession)
		if earlier, there := in.at[examination]; there {
			at = earlier
		}
		in.at[examination] = at
	}
	if at < len(in.arrivals) && in.arrivals[at].verdict.weight() >= a.verdict.weight() {
		return nil
	}
	a.ID = keys.id("result", in.id.String(), strconv.Itoa(at))
	a.Essence = keys.essence(t, a.Accession, a.verdict, x)
	var err error
	if a.sealed, err = keys.seal(a.ID, x); err != nil {
		return err
	}
	if at < len(in.arrivals) {
		in.arrivals[at], in.dates[at] = a, x.Collected.Day
		return nil
	}
	in.arrivals, in.dates = append(in.arrivals, a), append(in.dates, x.Collected.Day)
	return nil
}

// essence is a digest of what a result says: two results of an accession with the same
// essence are one, in whatever format and spelling they came.
func (s secrets) essence(t *tenant.Tenant, accession []byte, v verdict, x remains) []byte {
	phone, err := message.ParsePhone(x.Phone, t.Settings.SMSCountry)
	if err != nil {
		phone = x.Phone
	}
	parts := []string{
		"essence", string(accession), strconv.Itoa(int(x.Status)), string(v.testType), x.Collected.Day, x.Onset.Day, phone,
	}
	if v.testType == "" { // what it says is what was not understood
		for _, c := range append(x.Tests[:len(x.Tests):len(x.Tests)], x.Values...) {
			parts = append(parts, c.String())
		}
	}
	return s.digest(parts...)
}

const (
	knownColumnsSQL = `
  select result_id, accession_digest, essence_digest, state, coalesce(test_type, '') as test_type, code_id
    from lab_result
   where accession_digest = any($1)
order by received_at, result_id`

	knownSQL = knownColumnsSQL

	// A worker that is issuing one of these at this moment finishes first.
	lockKnownSQL = knownColumnsSQL + `
     for update`
)

// plan reads what is known of the accessions.
func (in *intake) plan(ctx context.Context, tx *tenant.Tx, query string) (*plan, error) {
	var accessions [][]byte
	for _, a := range in.arrivals {
		if a.Accession != nil {
			accessions = append(accessions, a.Accession)
		}
	}
	var stored []row
	if len(accessions) > 0 {
		if err := tx.Select(ctx, &stored, query, pq.ByteaArray(accessions)); err != nil {
			return nil, err
		}
	}
	return newPlan(stored), nil
}

// place gives every result its fate.
func (in *intake) place(p *plan) ([]Line, Counts) {
	counts := Counts{Ignored: in.ignored}
	lines := make([]Line, 0, len(in.arrivals))
	for i, a := range in.arrivals {
		fate, reason := p.place(a)
		counts.add(fate)
		lines = append(lines, Line{
			Number: i + 1, Fate: fate, Reason: reason, TestType: string(a.verdict.testType), TestDate: in.dates[i],
		})
	}
	counts.Corrections = p.replaced
	return lines, counts
}

const (
	findSubmissionSQL = `
select submission_id, received_at, queued, duplicates, corrections, ignored, dead_letters
  from lab_submission
 where submission_id = $1`

	insertSubmissionSQL = `
insert into lab_submission
       (tenant_id, submission_id, api_key_id, format, mapping_version, received_at,
        queued, duplicates, corrections, ignored, dead_letters)
values (current_tenant(), $1, $2::uuid, $3, $4, $5, $6, $7, $8, $9, $10)`

	insertResultsSQL = `
insert into lab_result
       (tenant_id, result_id, submission_id, accession_digest, essence_digest,
        test_type, state, reason, sealed, code_id, due_at, received_at, settled_at)
select current_tenant(), r.id, $1::uuid, nullif(r.accession, ''), r.essence,
       nullif(r.test_type, ''), r.state, r.reason, nullif(r.sealed, ''), nullif(r.code, '')::uuid, $2, $2,
       case when r.state = 'waiting' then null::timestamptz else $2 end
  from unnest($3::uuid[], $4::bytea[], $5::bytea[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::text[])
    as r (id, accession, essence, test_type, state, reason, sealed, code)`

	supersedeSQL = `
update lab_result
   set state        = 'superseded',
       reason       = '',
       sealed       = null,
       leased_until = null,
       settled_at   = $2
 where result_id = any($1::uuid[])
   and state in ('waiting', 'dead')`
)

// find fills in the receipt of a document that came before.
func (r *Receipt) find(ctx context.Context, tx *tenant.Tx) (bool, error) {
	err := tx.Get(ctx, r, findSubmissionSQL, r.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	r.Repeated = err == nil
	return r.Repeated, err
}

// store writes the document's rows and completes the receipt.
func (in *intake) store(ctx context.Context, tx *tenant.Tx, receipt *Receipt) error {
	p, err := in.plan(ctx, tx, lockKnownSQL)
	if err != nil {
		return err
	}
	_, receipt.Counts = in.place(p)
	c := receipt.Counts
	_, err = tx.Exec(ctx, insertSubmissionSQL, in.id, in.by.ID, string(in.format), in.version, receipt.ReceivedAt,
		c.Queued, c.Duplicates, c.Corrections, c.Ignored, c.DeadLetters)
	if err != nil {
		return err
	}
	if ids := p.changedIDs(); len(ids) > 0 {
		if _, err := tx.Exec(ctx, supersedeSQL, pq.StringArray(ids), receipt.ReceivedAt); err != nil {
			return err
		}
	}
	return insertResults(ctx, tx, in.id, receipt.ReceivedAt, p.order)
}

func insertResults(ctx context.Context, tx *tenant.Tx, submission uuid.UUID, at time.Time, rows []*row) error {
	if len(rows) == 0 {
		return nil
	}
	var ids, types, states, reasons, codes pq.StringArray
	var accessions, essences, sealed pq.ByteaArray
	for _, r := range rows {
		ids, types, states = append(ids, r.ID.String()), append(types, string(r.TestType)), append(states, string(r.State))
		reasons, codes = append(reasons, string(r.reason)), append(codes, textOf(r.Code))
		accessions, essences, sealed = append(accessions, r.Accession), append(essences, r.Essence), append(sealed, r.sealed)
	}
	_, err := tx.Exec(ctx, insertResultsSQL, submission, at, ids, accessions, essences, types, states, reasons, sealed, codes)
	return err
}

func textOf(id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	return id.String()
}
