package verification

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
	"carillon/tenant/mail"
	"carillon/tenant/message"
	"carillon/tenant/message/outbox"
	"carillon/tenant/message/template"
)

// ResendRequest asks for a code's message once more. It prints and logs as a fixed word.
type ResendRequest struct {
	UUID string
	// Phone is needed if the message is not kept any more; nobody remembers the number.
	Phone string
	// Email is the mail address to send to instead of a number; nobody remembers it either.
	Email string
	// SMSTemplateLabel and Language choose the text, if it has to be written again.
	SMSTemplateLabel, Language string
}

// Format hides the recipient.
func (ResendRequest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the recipient.
func (ResendRequest) LogValue() slog.Value { return slog.StringValue(hidden) }

// Resend has the message of an open code sent again through the outbox, without
// issuing a code or spending quota.
//
// Without a recipient, the message that failed is sent as it is, if it is still
// kept: [ErrMissingPhone] if not. With one, a message is written anew: the code gets
// fresh long digits with a fresh life under the same UUID, and those of the message
// before do not work any more. The short code stays, unless the text names it or its
// life; then it is drawn anew and returned, because nobody can ask for the old one.
//
// [ErrCodeNotFound], [ErrAlreadyClaimed] and [ErrCodeExpired] tell of codes that cannot
// have a message. A self-report is [ErrUnsupportedTestType]: its reporter asks anew.
// [ErrSMSQueueFull] if a message of the code is being sent at this moment. The act is
// audited, whoever acts.
func (s *Service) Resend(ctx context.Context, t *tenant.Tenant, by authz.Subject, r ResendRequest) (*Issued, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.CodeIssue); err != nil {
		return nil, err
	}
	if t.ClosedForIssue() {
		return nil, inMaintenance()
	}
	code, err := parseUUID(trimUUID(r.UUID))
	if err != nil {
		return nil, codeNotFound()
	}
	phone, err := s.orderPhone(t, IssueRequest{Phone: r.Phone})
	if err != nil {
		return nil, err
	}
	if err := refuseMail(t, r.Email); err != nil {
		return nil, err
	}
	a := &again{order: &order{
		tenant: t, by: by, at: s.clock(), id: code, phone: phone, mail: r.Email, templateLabel: r.SMSTemplateLabel, language: r.Language,
	}}
	if err := s.prepare(ctx, a); err != nil {
		return nil, err
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return s.resend(ctx, tx, a) })
	if errors.Is(err, outbox.ErrBusy) {
		return nil, refuse(ErrSMSQueueFull, "a message of this code is being sent at this moment")
	}
	if err != nil {
		return nil, err
	}
	return a.issued, nil
}

// refuseMail refuses what is no mail address, and any if the tenant wants none.
func refuseMail(t *tenant.Tenant, address string) error {
	switch {
	case address == "":
		return nil
	case !t.Settings.EmailEnabled:
		return refuse(ErrNoProvider, "codes are not sent by e-mail")
	case !mail.IsAddress(address):
		return refuse(ErrEmailInvalid, "invalid mail address")
	}
	return nil
}

// again is the order of a code that exists.
type again struct {
	*order
	live   []key.Secret
	body   string // of the template; empty if the kept message is sent
	digits int
	issued *Issued
}

// prepare fetches what must be there before the transaction begins.
func (s *Service) prepare(ctx context.Context, a *again) (err error) {
	if !a.messaged() {
		return nil
	}
	if err := s.refuseUnprovided(ctx, a.order); err != nil {
		return err
	}
	if a.live, err = s.keys.Secrets(ctx, a.tenant.ID, signing.CodeMAC); err != nil {
		return fmt.Errorf("keys of codes: %w", err)
	}
	if a.digits, err = s.digits(ctx, a.tenant); err != nil {
		return fmt.Errorf("length of codes: %w", err)
	}
	book, err := s.templates.Book(ctx, a.tenant)
	if err != nil {
		return err
	}
	if a.body, err = book.Find(a.templateLabel, a.language); err != nil {
		return refuse(ErrSMSFailed, "failed to build sms: %v", err)
	}
	return nil
}

const codeResent = "code:resent"

func (s *Service) resend(ctx context.Context, tx *tenant.Tx, a *again) error {
	if err := a.find(ctx, tx); err != nil {
		return err
	}
	if err := s.requeue(ctx, tx, a); err != nil {
		return err
	}
	return audit.Record(ctx, tx, a.at, a.by, codeResent, a.id.String(), nil)
}

// The row is locked, so that a phone that claims the code meanwhile comes before or
// after.
const openSQL = `
select test_type, claimed_at is not null as claimed, expires_at, long_expires_at
  from verification_code
 where code_id = $1
   for update`

func (a *again) find(ctx context.Context, tx *tenant.Tx) error {
	var row struct {
		TestType      certificate.ReportType `db:"test_type"`
		Claimed       bool
		ExpiresAt     time.Time `db:"expires_at"`
		LongExpiresAt time.Time `db:"long_expires_at"`
	}
	err := tx.Get(ctx, &row, openSQL, a.id.String())
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return codeNotFound()
	case err != nil:
		return fmt.Errorf("read code: %w", err)
	case row.Claimed:
		return refuse(ErrAlreadyClaimed, "bad request")
	case !row.LongExpiresAt.After(a.at):
		return refuse(ErrCodeExpired, "verification code expired")
	case a.messaged() && row.TestType == certificate.UserReport:
		return refuse(ErrUnsupportedTestType, "unsupported test type: %s", row.TestType)
	}
	a.testType = row.TestType
	a.issued = &Issued{ID: a.id, ExpiresAt: row.ExpiresAt.UTC(), LongExpiresAt: row.LongExpiresAt.UTC()}
	return nil
}

func (s *Service) requeue(ctx context.Context, tx *tenant.Tx, a *again) error {
	if !a.messaged() {
		err := outbox.Again(ctx, tx, a.id, a.at)
		if errors.Is(err, outbox.ErrNotKept) {
			return refuse(ErrMissingPhone, "the message is not kept any more: phone is required")
		}
		return err
	}
	codes, err := s.redraw(ctx, tx, a)
	if err != nil {
		return err
	}
	text, err := template.Render(a.body, template.Vars{
		Code: codes.short, LongCode: codes.long,
		Life: a.issued.ExpiresAt.Sub(a.at), LongLife: a.issued.LongExpiresAt.Sub(a.at),
		Region: a.tenant.Region, RedirectDomain: s.redirectDomain,
	})
	if err != nil {
		return refuse(ErrSMSFailed, "failed to build sms: %v", err)
	}
	return s.outbox.Enqueue(ctx, tx, a.tenant, message.Queued{
		CodeID: a.id, Message: a.message(text, a.issued), ExpiresAt: a.issued.LongExpiresAt,
	})
}

const redrawSQL = `
   update verification_code
      set short_mac = coalesce($2, short_mac), long_mac = $3, expires_at = $4, long_expires_at = $5
    where code_id = $1
      and not exists (select
                        from verification_code
                       where short_mac = any($6) or long_mac = any($7))
returning code_id`

// redraw gives the code fresh long digits, and short ones if the text speaks of them.
func (s *Service) redraw(ctx context.Context, tx *tenant.Tx, a *again) (pair, error) {
	short := strings.Contains(a.body, "[code]") || strings.Contains(a.body, "[expires]")
	if short {
		a.issued.ExpiresAt = a.at.Add(a.tenant.Settings.CodeLife)
	}
	a.issued.LongExpiresAt = a.at.Add(max(a.tenant.Settings.CodeLife, a.tenant.Settings.LongCodeLife))
	for range 1 + maxRedraws {
		codes, err := s.drawPair(a.digits, a.tenant.Settings.LongCodeLength)
		if err != nil {
			return pair{}, err
		}
		longs, shorts := macs(a.live, codes.long), [][]byte{}
		var shortMAC []byte
		if short {
			shorts = macs(a.live, codes.short)
			shortMAC = shorts[0]
			a.issued.Code = codes.short
		}
		var id uuid.UUID
		err = tx.Get(ctx, &id, redrawSQL, a.id.String(), shortMAC, longs[0], a.issued.ExpiresAt, a.issued.LongExpiresAt,
			pq.ByteaArray(shorts), pq.ByteaArray(longs))
		if err == nil {
			return codes, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return pair{}, fmt.Errorf("redraw code: %w", err)
		}
	}
	return pair{}, refuse(ErrNoFreeCode, "failed to generate otp code, please try again")
}
