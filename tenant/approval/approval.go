// Package approval keeps acts that take two people.
//
// One member asks for an act, with a reason; another, who may approve acts of that kind,
// approves or refuses it; and the act spends the approval in its own transaction. What is
// approved is a [Want] to the letter: what differs in anything has not been approved.
// Approvals are decided once, spent once, and expire [Life] after they were asked for.
//
// Two people are two members with two e-mail addresses, whichever sessions or identity
// providers they come by. Both must be active members when the approval is given and still
// when it is spent. API keys, support and jobs can neither ask nor approve. That requester
// and approver differ, that kinds are known and that nothing ended begins again is held by
// the database as well.
//
// Asking, deciding, withdrawing, spending and expiring are entered in the audit log.
package approval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/role"
)

var (
	// ErrSamePerson means that somebody would approve what she asked for herself.
	ErrSamePerson = errors.New("whoever asks cannot approve")
	// ErrExpired means that a request was not decided in time.
	ErrExpired = errors.New("the request has expired")
	// ErrDecided means that a request has been approved, refused, withdrawn or spent.
	ErrDecided = errors.New("the request has been decided")
	// ErrNoRequest means that the tenant has no request of that ID.
	ErrNoRequest = errors.New("no such request")
	// ErrNotApproved means that there is no approval of exactly this act which still counts.
	ErrNotApproved = errors.New("not approved by a second person")
	// ErrAsked means that a request for the same kind of act on the same target waits
	// already, or has been approved and not spent.
	ErrAsked = errors.New("has been asked for already")
	// ErrReason means that a reason is missing, or has more than 500 characters or
	// invisible ones.
	ErrReason = errors.New("a reason has 1 to 500 visible characters")
	// ErrRequesterGone means that whoever asked is no active member any more.
	ErrRequesterGone = errors.New("whoever asked does not work here now")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrSamePerson, ErrExpired, ErrDecided, ErrNoRequest, ErrNotApproved, ErrAsked, ErrReason, ErrRequesterGone}
}

const (
	// Life is how long after it was asked for an act can be approved and done.
	Life      = 72 * time.Hour
	maxReason = 500 // characters
)

// ID names a request.
type ID = uuid.UUID

// Want is an act, with all that matters of it.
type Want struct {
	Kind Kind
	// Target is what it is done to, in 1 to 250 characters: a member's ID, a key version.
	// One request for a kind and target waits at a time.
	Target string
	// Detail is what else makes it this act and no other: a JSON object of at most 10 000
	// characters. It is shown to people and audited: no secrets.
	Detail map[string]string
}

// State is how far a request has come.
type State string

// The states. An approval that has not been spent in time may be called Approved until a
// job notes that it is Expired; see [Request.Open].
const (
	Pending   State = "pending"
	Approved  State = "approved"
	Refused   State = "refused"
	Withdrawn State = "withdrawn"
	Expired   State = "expired"
	Spent     State = "spent"
)

// Request is an act that was asked for.
type Request struct {
	Want
	ID     ID
	Reason string
	State  State
	// RequestedBy is a member's ID and Requester her name, then; likewise DecidedBy, who is
	// nobody, and DecidedAt nil, while the request waits.
	RequestedBy   uuid.UUID
	Requester     string
	RequestedAt   time.Time
	ExpiresAt     time.Time
	DecidedBy     uuid.UUID
	Decider       string
	DecidedAt     *time.Time
	DecidedReason string
	// EndedAt is when it was withdrawn, spent or noted as expired, EndedBy in whose name.
	EndedAt *time.Time
	EndedBy string
}

// Open reports whether a request can still come to something: it waits for a decision, or
// for the act that spends it.
func (r Request) Open(now time.Time) bool {
	return (r.State == Pending || r.State == Approved) && now.Before(r.ExpiresAt)
}

// entitled returns by's member ID if she is a person whom the tenant's rules, as they stand
// in tx, allow a: [authz.ErrForbidden] if not. That she is a member the statements ask.
func entitled(ctx context.Context, tx *tenant.Tx, by authz.Subject, a authz.Action) (uuid.UUID, error) {
	id, err := uuid.Parse(by.ID)
	if err != nil || by.Kind != authz.Person {
		return uuid.Nil, authz.ErrForbidden
	}
	policy, err := role.PolicyIn(ctx, tx)
	if err != nil {
		return uuid.Nil, err
	}
	if !policy.Allow(by, a) {
		return uuid.Nil, authz.ErrForbidden
	}
	return id, nil
}

func cleanReason(text string) (string, error) {
	text = strings.TrimSpace(text)
	invisible := strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
	if n := utf8.RuneCountInString(text); n == 0 || n > maxReason || !utf8.ValidString(text) || invisible {
		return "", ErrReason
	}
	return text, nil
}

const (
	activeSQL = `select count(*) from member where member_id = $1 and state = 'active'`

	askSQL = `
insert into approval (tenant_id, approval_id, kind, target, detail, reason, requested_by, requester, requested_at, expires_at)
values (current_tenant(), $1, $2, $3, $4::jsonb, $5, $6, $7, $8, $9)
    on conflict (tenant_id, kind, target) where state in ('pending', 'approved') do nothing`
)

// Ask records in tx that by wants an act, and why. She needs the kind's requesting action:
// [authz.ErrForbidden] if she lacks it or is no active member. [ErrAsked] if a request for
// the target is open; [ErrReason].
func Ask(ctx context.Context, tx *tenant.Tx, by authz.Subject, w Want, reason string, now time.Time) (Request, error) {
	who, err := entitled(ctx, tx, by, w.Kind.Rule().Request)
	if err != nil {
		return Request{}, err
	}
	if reason, err = cleanReason(reason); err != nil {
		return Request{}, err
	}
	now = now.UTC().Truncate(time.Second)
	if err := expire(ctx, tx, now); err != nil {
		return Request{}, err
	}
	if err := isActive(ctx, tx, who); err != nil {
		return Request{}, err
	}
	r := Request{
		Want: w, ID: uuid.New(), Reason: reason, State: Pending,
		RequestedBy: who, Requester: by.Name, RequestedAt: now, ExpiresAt: now.Add(Life),
	}
	detail, err := w.detail()
	if err != nil {
		return Request{}, err
	}
	rows, err := tx.Exec(ctx, askSQL, r.ID, string(w.Kind), w.Target, detail, reason, who, by.Name, now, r.ExpiresAt)
	if err != nil {
		return Request{}, fmt.Errorf("ask for approval: %w", err)
	}
	if rows == 0 {
		return Request{}, ErrAsked
	}
	return r, record(ctx, tx, now, by, "ask", r, map[string]string{"reason": reason})
}

func isActive(ctx context.Context, tx *tenant.Tx, who uuid.UUID) error {
	var active int
	if err := tx.Get(ctx, &active, activeSQL, who); err != nil {
		return fmt.Errorf("find member: %w", err)
	}
	if active == 0 {
		return authz.ErrForbidden
	}
	return nil
}

// detail is what the database compares.
func (w Want) detail() (string, error) {
	if w.Detail == nil {
		return "{}", nil
	}
	text, err := json.Marshal(w.Detail)
	if err != nil {
		return "", fmt.Errorf("detail of an act: %w", err)
	}
	return string(text), nil
}

// record enters something that became of a request, with the act that it is about.
func record(ctx context.Context, tx *tenant.Tx, now time.Time, by authz.Subject, what string, r Request, more map[string]string) error {
	detail := maps.Clone(r.Detail)
	if detail == nil {
		detail = map[string]string{}
	}
	maps.Copy(detail, more)
	detail["request"], detail["kind"] = r.ID.String(), string(r.Kind)
	return audit.Record(ctx, tx, now, by, "approval:"+what, r.Target, detail)
}

// Approve lets the act of a request be done, once. by needs the kind's approving action and
// is an active member: [authz.ErrForbidden] if not. [ErrSamePerson] if she asked for it
// herself, under whichever of her memberships; [ErrRequesterGone], [ErrExpired],
// [ErrDecided], [ErrNoRequest].
func Approve(ctx context.Context, tx *tenant.Tx, by authz.Subject, id ID, now time.Time) (Request, error) {
	return decide(ctx, tx, by, id, Approved, "", now)
}

// Refuse ends a request that waits. Errors are those of [Approve], and [ErrReason].
func Refuse(ctx context.Context, tx *tenant.Tx, by authz.Subject, id ID, reason string, now time.Time) (Request, error) {
	reason, err := cleanReason(reason)
	if err != nil {
		return Request{}, err
	}
	return decide(ctx, tx, by, id, Refused, reason, now)
}

const (
	decideSQL = `
update approval
   set state = $2, decided_by = $3, decider = $4, decided_at = $5, decided_reason = $6
 where approval_id = $1`

	// Two memberships with one address are one person's, who comes by two providers.
	peopleSQL = `
select coalesce(bool_or(m.member_id = $1), false) as requester,
       coalesce(bool_or(m.member_id = $2), false) as decider,
       count(distinct m.email) < count(*) as same
  from member m
 where m.member_id in ($1, $2)
   and m.state = 'active'`
)

type people struct{ Requester, Decider, Same bool }

func decide(ctx context.Context, tx *tenant.Tx, by authz.Subject, id ID, to State, reason string, now time.Time) (Request, error) {
	r, err := find(ctx, tx, id)
	if err != nil {
		return Request{}, err
	}
	who, err := entitled(ctx, tx, by, r.Kind.Rule().Approve)
	if err != nil {
		return Request{}, err
	}
	var p people
	if err := tx.Get(ctx, &p, peopleSQL, r.RequestedBy, who); err != nil {
		return Request{}, fmt.Errorf("find members: %w", err)
	}
	now = now.UTC().Truncate(time.Second)
	switch {
	case !p.Decider:
		return Request{}, authz.ErrForbidden
	case r.State == Expired, r.State == Pending && !r.Open(now):
		return Request{}, ErrExpired
	case r.State != Pending:
		return Request{}, ErrDecided
	case who == r.RequestedBy || p.Same:
		return Request{}, ErrSamePerson
	case to == Approved && !p.Requester:
		return Request{}, ErrRequesterGone
	}
	if _, err := tx.Exec(ctx, decideSQL, id, string(to), who, by.Name, now, reason); err != nil {
		return Request{}, fmt.Errorf("decide request: %w", err)
	}
	r.State, r.DecidedBy, r.Decider, r.DecidedAt, r.DecidedReason = to, who, by.Name, &now, reason
	what, more := "approve", map[string]string{"requester": r.RequestedBy.String()}
	if to == Refused {
		what, more["reason"] = "refuse", reason
	}
	return r, record(ctx, tx, now, by, what, r, more)
}

const withdrawSQL = `
update approval
   set state = 'withdrawn', ended_at = $2, ended_by = $3
 where approval_id = $1`

// Withdraw ends a request that waits, or an approval that was not spent: for whoever asked,
// and for everybody else who might have. Errors are [authz.ErrForbidden], [ErrExpired],
// [ErrDecided] and [ErrNoRequest].
func Withdraw(ctx context.Context, tx *tenant.Tx, by authz.Subject, id ID, now time.Time) (Request, error) {
	r, err := find(ctx, tx, id)
	if err != nil {
		return Request{}, err
	}
	who, err := entitled(ctx, tx, by, r.Kind.Rule().Request)
	if err != nil {
		return Request{}, err
	}
	if err := isActive(ctx, tx, who); err != nil {
		return Request{}, err
	}
	now = now.UTC().Truncate(time.Second)
	switch {
	case r.State != Pending && r.State != Approved:
		return Request{}, ErrDecided
	case !r.Open(now):
		return Request{}, ErrExpired
	}
	if _, err := tx.Exec(ctx, withdrawSQL, id, now, by.Name); err != nil {
		return Request{}, fmt.Errorf("withdraw request: %w", err)
	}
	r.State, r.EndedAt, r.EndedBy = Withdrawn, &now, by.Name
	return r, record(ctx, tx, now, by, "withdraw", r, nil)
}

const spendSQL = `
   update approval a
      set state = 'spent', ended_at = $4, ended_by = $5
    where a.kind = $1
      and a.target = $2
      and a.detail = $3::jsonb
      and a.state = 'approved'
      and a.expires_at > $4
      and (select count(distinct m.email)
             from member m
            where m.member_id in (a.requested_by, a.decided_by)
              and m.state = 'active') = 2
returning ` + columns

// Use spends the approval of exactly this act: [ErrNotApproved] if there is none that
// counts. tx is the act's own transaction, and by is in whose name it is done, whom the
// caller has let do it; roles carillon_portal and carillon_jobs may.
func Use(ctx context.Context, tx *tenant.Tx, by authz.Subject, w Want, now time.Time) (Request, error) {
	detail, err := w.detail()
	if err != nil {
		return Request{}, err
	}
	now = now.UTC().Truncate(time.Second)
	name := by.Name
	if name == "" {
		name = by.ID
	}
	var rows []row
	if err := tx.Select(ctx, &rows, spendSQL, string(w.Kind), w.Target, detail, now, name); err != nil {
		return Request{}, fmt.Errorf("spend approval: %w", err)
	}
	if len(rows) == 0 {
		return Request{}, ErrNotApproved
	}
	r, err := rows[0].request()
	if err != nil {
		return Request{}, err
	}
	return r, record(ctx, tx, now, by, "use", r, map[string]string{
		"requester": r.RequestedBy.String(), "approver": r.DecidedBy.String(),
	})
}
