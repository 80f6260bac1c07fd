package verification

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/tenant"
)

// NonceSize is how many random bytes a phone sends with a self-report, and again
// when it verifies the code.
const NonceSize = 256

// ReportRequest is a person's own report of a diagnosis (verification protocol
// §5.1), its members as they were sent. It prints and logs as a fixed word.
type ReportRequest struct {
	// Nonce is [NonceSize] bytes in base64, which the phone keeps.
	Nonce string
	// Phone is where the code is sent.
	Phone                 string
	TestDate, SymptomDate string
	// TZOffset is the sender's distance from UTC in minutes, east positive.
	TZOffset float64
}

const hiddenReport = "[self-report]"

// Format hides the request from every verb of package fmt.
func (ReportRequest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenReport) }

// LogValue hides the request from package slog.
func (ReportRequest) LogValue() slog.Value { return slog.StringValue(hiddenReport) }

// Report sends a code of type user-report to somebody who asks for it herself, and
// returns when it ends (verification protocol §5.1). The subject needs
// [authz.DeviceReport]. In the protocol's order: [ErrMaintenance],
// [ErrUnsupportedTestType] if the tenant has no self-report, [ErrUnparsable] for a
// nonce that is not base64, [ErrMissingNonce] for one of the wrong length,
// [ErrMissingPhone], then the rules of [Service.Issue]. If the message fails, number and code are free again.
//
// Nobody learns whether a number has reported before: then no code is made and no
// message sent, but the answer is the same, after the same statements, and takes as
// long as a report of this tenant did lately.
func (s *Service) Report(ctx context.Context, t *tenant.Tenant, by authz.Subject, r ReportRequest) (expires time.Time, err error) {
	began := s.now()
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.DeviceReport); err != nil {
		return time.Time{}, err
	}
	o, err := s.newReport(t, by, r)
	if err != nil {
		return time.Time{}, err
	}
	p, err := s.commit(ctx, o)
	var again *Repeated
	switch {
	case errors.As(err, &again):
		return again.ExpiresAt, s.pace.imitate(ctx, t.ID, s.now().Sub(began))
	case err != nil:
		return time.Time{}, err
	}
	issued, err := s.deliver(ctx, p)
	if err != nil {
		return time.Time{}, err
	}
	s.pace.record(t.ID, s.now().Sub(began))
	return issued.ExpiresAt, nil
}

func (s *Service) newReport(t *tenant.Tenant, by authz.Subject, r ReportRequest) (*order, error) {
	if t.ClosedForIssue() {
		return nil, inMaintenance()
	}
	if !t.Settings.SelfReport {
		return nil, refuse(ErrUnsupportedTestType, "user initiated report is not enabled")
	}
	nonce, err := parseNonce(r.Nonce)
	switch {
	case err != nil:
		return nil, err
	case len(nonce) != NonceSize:
		return nil, refuse(ErrMissingNonce, "nonce must have %d bytes", NonceSize)
	case r.Phone == "":
		return nil, refuse(ErrMissingPhone, "phone number is required")
	}
	o, err := s.newOrder(t, by, IssueRequest{
		TestType: string(certificate.UserReport), Phone: r.Phone,
		TestDate: r.TestDate, SymptomDate: r.SymptomDate, TZOffset: r.TZOffset,
	})
	if err != nil {
		return nil, err
	}
	o.own, o.nonceDigest = true, nonceDigest(nonce)
	return o, nil
}

// parseNonce reads a nonce of any length: [ErrUnparsable] if it is not base64.
func parseNonce(text string) ([]byte, error) {
	nonce, err := certificate.ParseBase64(text)
	if err != nil {
		return nil, refuse(ErrUnparsable, "nonce is not a valid base64: %v", err)
	}
	return nonce, nil
}

// nonceDigest of random bytes needs no secret: there is nothing to guess.
func nonceDigest(nonce []byte) []byte {
	d := sha256.Sum256(nonce)
	return d[:]
}

// Repeated says that a telephone number has a self-report already, so that there is
// no code. It is an [ErrReportedBefore].
type Repeated struct {
	// ExpiresAt is when a code would have ended, for an answer that does not tell.
	ExpiresAt time.Time
}

func (*Repeated) Error() string { return ErrReportedBefore.Error() }

// Unwrap lets errors.Is find the kind.
func (*Repeated) Unwrap() error { return ErrReportedBefore }

// numberMACs are a telephone number as the database may know it, under the active
// key first; nil if the order is no user report.
func (s *Service) numberMACs(ctx context.Context, o *order) ([][]byte, error) {
	if o.testType != certificate.UserReport || o.phone == "" {
		return nil, nil
	}
	live, err := s.keys.Secrets(ctx, o.tenant.ID, signing.PhoneMAC)
	if err != nil {
		return nil, fmt.Errorf("keys of telephone numbers: %w", err)
	}
	return macs(live, o.phone), nil
}

// A row whose time is over, though nobody has deleted it yet, makes room. Of reports
// of one number at once, the unique index lets the first one in; the next waits for
// its end and finds its row. (As with codes, two processes that use different keys in
// the second of a rotation are not caught.)
const takeNumberSQL = `
insert into user_report as r (tenant_id, code_id, phone_mac, nonce_digest, created_at)
select current_tenant(), $1::uuid, $2::bytea, $3::bytea, $4::timestamptz
 where not exists (select
                     from user_report
                    where phone_mac = any($5)
                      and created_at > case when claimed_at is null then $6::timestamptz else $7::timestamptz end)
    on conflict (tenant_id, phone_mac) do update
   set code_id = excluded.code_id, nonce_digest = excluded.nonce_digest,
       created_at = excluded.created_at, claimed_at = null
 where r.created_at <= case when r.claimed_at is null then $6::timestamptz else $7::timestamptz end`

// takeNumber ties a user report's code to its telephone number: [Repeated] if the
// number has one (rule 16 of §4.2). It is the last statement of its transaction, so
// that those who are refused have done the same work.
func (o *order) takeNumber(ctx context.Context, tx *tenant.Tx, numbers [][]byte) error {
	if numbers == nil {
		return nil
	}
	unclaimed, claimed := reportsOver(o.tenant.Settings, o.at)
	rows, err := tx.Exec(ctx, takeNumberSQL,
		o.id.String(), numbers[0], o.nonceDigest, o.at, pq.ByteaArray(numbers), unclaimed, claimed)
	if err != nil {
		return fmt.Errorf("store report: %w", err)
	}
	if rows == 0 {
		expires, _ := o.expiries()
		return &Repeated{ExpiresAt: expires}
	}
	return nil
}

// reportsOver tells which reports no longer hold their number now: unclaimed and
// claimed ones made at these times or before. An unclaimed one holds it for as long
// as its code lives, at least.
func reportsOver(set tenant.Settings, now time.Time) (unclaimed, claimed time.Time) {
	return now.Add(-max(set.SelfReportFree, set.CodeLife)), now.Add(-set.SelfReportBlock)
}
