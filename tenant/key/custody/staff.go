package custody

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/audit"
	"carillon/tenant/job"
	"carillon/tenant/key"
)

var (
	// ErrPurpose means that there is no key of that purpose.
	ErrPurpose = errors.New("no such key")
	// ErrNoRotation means that there is no such rotation.
	ErrNoRotation = errors.New("no such rotation")
	// ErrStep means that a rotation is not at the step that an act belongs to.
	ErrStep = errors.New("the rotation is at another step")
	// ErrPeriod means that a key cannot be used for so long, or for such a short time.
	ErrPeriod = errors.New("not a possible period")
	// ErrReason means that a reason is missing, or longer than 500 characters.
	ErrReason = errors.New("say why, in at most 500 visible characters")
	// ErrContact means that nobody is named who confirmed, or with too many words.
	ErrContact = errors.New("say who confirmed it, in at most 200 characters")
	// ErrUnready means that a check fails without which no key is put to use.
	ErrUnready = errors.New("the key cannot be put to use yet")
	// ErrNotRehearsed means that no sandbox of the person's has been through a rotation.
	ErrNotRehearsed = errors.New("no rotation was done in a sandbox of yours")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrPurpose, ErrNoRotation, ErrStep, ErrPeriod, ErrReason, ErrContact, ErrUnready, ErrNotRehearsed}
}

// Staff is what custodians do, each act after the authority's policy was asked:
// [authz.ErrForbidden] if it does not allow it. It is safe for concurrent use.
type Staff struct {
	db       *tenant.DB
	policies *authz.Policies
	post     *approval.Post
	now      func() time.Time
}

// NewStaff works through db, a handle under the role carillon_portal. post tells those who
// may agree to a key's activation.
func NewStaff(db *tenant.DB, policies *authz.Policies, post *approval.Post, now func() time.Time) *Staff {
	return &Staff{db: db, policies: policies, post: post, now: now}
}

// Book reads what is known of the tenant's keys. It asks for [authz.KeyRead].
func (s *Staff) Book(ctx context.Context, t *tenant.Tenant, by authz.Subject) (b *Book, err error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.KeyRead); err != nil {
		return nil, err
	}
	err = s.db.InKeyList(ctx, t.ID, func(tx *tenant.Tx) error {
		b, err = Read(ctx, tx)
		return err
	})
	return b, err
}

const requestSQL = `
insert into key_rotation (tenant_id, rotation_id, purpose, step, at_once, reason, requested_at, requested_by)
values (current_tenant(), $1, $2, 'requested', $3, $4, $5, $6)`

// Rotate asks for the next version of a key. One that the clock rotates is used after its
// purpose's lead, or at once after [key.HandLead]; one that is guided goes on by people.
// [ErrPurpose], [ErrReason], [key.ErrRotating]. It asks for [authz.KeyRequestRotation].
func (s *Staff) Rotate(ctx context.Context, t *tenant.Tenant, by authz.Subject, p signing.Purpose, atOnce bool, reason string) (uuid.UUID, error) {
	reason, err := Reason(reason)
	if err != nil {
		return uuid.Nil, err
	}
	if !slices.Contains(signing.Purposes(), p) {
		return uuid.Nil, ErrPurpose
	}
	id := uuid.New()
	err = s.act(ctx, t, by, authz.KeyRequestRotation, func(tx *tenant.Tx, now time.Time) error {
		_, err := tx.Exec(ctx, requestSQL, id, string(p), atOnce && !key.Rule(p).Guided, reason, now, short(by.Name))
		if tenant.Violates(err, "key_rotation_one_begun") {
			return key.ErrRotating
		}
		if err != nil {
			return err
		}
		if err := job.Hasten(ctx, tx, Job, now, now); err != nil {
			return err
		}
		return s.record(ctx, tx, by, authz.KeyRequestRotation, string(p), map[string]string{"reason": reason, "rotation": id.String()}, now)
	})
	return id, err
}

const (
	maxReason  = 500
	maxContact = 200
)

// Reason is a reason as it is kept: [ErrReason] if there is none, or too much of it.
func Reason(text string) (string, error) { return line(text, maxReason, ErrReason) }

// line is a text in one line, of 1 to most characters that people see: bad if it is none.
func line(text string, most int, bad error) (string, error) {
	hidden := func(c rune) bool { return !unicode.IsPrint(c) }
	if !utf8.ValidString(text) || strings.ContainsFunc(text, hidden) {
		return "", bad
	}
	text = strings.TrimSpace(text)
	if text == "" || utf8.RuneCountInString(text) > most {
		return "", bad
	}
	return text, nil
}

// short cuts a name to what a row takes.
func short(name string) string {
	runes := []rune(name)
	return string(runes[:min(len(runes), maxContact)])
}

const (
	periodSQL = `
insert into key_schedule (tenant_id, purpose, period_seconds, changed_at)
values (current_tenant(), $1, $2, $3)
    on conflict on constraint key_schedule_pkey do update
   set period_seconds = excluded.period_seconds, changed_at = excluded.changed_at`

	usualPeriodSQL = `
delete from key_schedule
 where purpose = $1`
)

// SetPeriod says how long versions of a key are used; 0 is the usual time. [ErrPurpose],
// [ErrPeriod] beyond the rule's bounds. It asks for [authz.SettingsWrite].
func (s *Staff) SetPeriod(ctx context.Context, t *tenant.Tenant, by authz.Subject, p signing.Purpose, period time.Duration) error {
	if !slices.Contains(signing.Purposes(), p) {
		return ErrPurpose
	}
	rule := key.Rule(p)
	if period != 0 && (period < rule.MinPeriod || period > rule.MaxPeriod) {
		return ErrPeriod
	}
	return s.act(ctx, t, by, authz.SettingsWrite, func(tx *tenant.Tx, now time.Time) (err error) {
		if period == 0 {
			_, err = tx.Exec(ctx, usualPeriodSQL, string(p))
		} else {
			_, err = tx.Exec(ctx, periodSQL, string(p), int(period/time.Second), now)
		}
		if err != nil {
			return err
		}
		if err := job.Hasten(ctx, tx, Job, now, now); err != nil {
			return err
		}
		return s.record(ctx, tx, by, authz.SettingsWrite, "period of "+string(p)+" key", map[string]string{"period": period.String()}, now)
	})
}

// act runs fn in a transaction of t if by may do a.
func (s *Staff) act(ctx context.Context, t *tenant.Tenant, by authz.Subject, a authz.Action, fn func(*tenant.Tx, time.Time) error) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, a); err != nil {
		return err
	}
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return fn(tx, s.now().UTC().Truncate(time.Microsecond)) })
}

func (s *Staff) record(ctx context.Context, tx *tenant.Tx, by authz.Subject, a authz.Action, target string, detail map[string]string, now time.Time) error {
	return audit.Record(ctx, tx, now, by, string(a), target, detail)
}

// change runs a conditional update of a rotation that returns its purpose, and enters it
// in the audit log: [ErrStep] if the rotation is not there, or elsewhere.
func (s *Staff) change(ctx context.Context, tx *tenant.Tx, by authz.Subject, a authz.Action, r uuid.UUID, what map[string]string, now time.Time, query string, args ...any) error {
	var purpose string
	err := tx.Get(ctx, &purpose, query, append([]any{r}, args...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrStep
	}
	if err != nil {
		return fmt.Errorf("change rotation: %w", err)
	}
	detail := map[string]string{"rotation": r.String()}
	for name, text := range what {
		detail[name] = text
	}
	return s.record(ctx, tx, by, a, purpose, detail, now)
}
