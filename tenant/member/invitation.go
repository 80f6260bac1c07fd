package member

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/letter"
	"carillon/tenant/mail"
	"carillon/tenant/sweep"
)

var (
	// ErrName means that a name has no characters, more than 100, or invisible ones.
	ErrName = errors.New("name has 1 to 100 visible characters")
	// ErrEmail means that an address is none that a letter can be sent to.
	ErrEmail = errors.New("not an e-mail address")
	// ErrRoles means that no role was chosen.
	ErrRoles = errors.New("choose at least one role")
	// ErrFull means that there would be more than [MaxStaff] people.
	ErrFull = errors.New("the health authority has as many staff as it may")
	// ErrAlreadyMember means that the address belongs to a member.
	ErrAlreadyMember = errors.New("is a member already")
	// ErrAlreadyInvited means that an invitation to the address waits.
	ErrAlreadyInvited = errors.New("is invited already")
	// ErrNoInvitation means that the authority has no waiting invitation of that ID.
	ErrNoInvitation = errors.New("no such invitation")

	// ErrInvitationUnknown means that a link is none, or that a newer one was sent.
	ErrInvitationUnknown = errors.New("invitation is not known")
	// ErrInvitationExpired means that it was not followed in time.
	ErrInvitationExpired = errors.New("invitation has expired")
	// ErrInvitationRevoked means that the authority took it back.
	ErrInvitationRevoked = errors.New("invitation was revoked")
	// ErrInvitationUsed means that it was accepted before.
	ErrInvitationUsed = errors.New("invitation was used")
	// ErrInvitationOther means that another person has signed in than was invited, or at
	// the own identity provider of another authority.
	ErrInvitationOther = errors.New("invitation is for somebody else")
)

const (
	// InvitationLife is how long an invitation can be accepted.
	InvitationLife = 7 * 24 * time.Hour
	maxName        = 100
	maxEmail       = 250
	maxRoles       = 20
)

// Invitation is one that has been neither accepted nor revoked.
type Invitation struct {
	ID          uuid.UUID
	Name, Email string
	Roles       []authz.Role
	ExpiresAt   time.Time
	// Sent tells that a letter has gone out.
	Sent bool
}

// Invitee is who is to be invited.
type Invitee struct {
	Name, Email string
	Roles       []authz.Role
}

// clean checks what can be checked without asking anybody.
func (i Invitee) clean() (Invitee, error) {
	i.Name, i.Email = strings.TrimSpace(i.Name), strings.ToLower(strings.TrimSpace(i.Email))
	if !goodName(i.Name) {
		return i, ErrName
	}
	if !goodEmail(i.Email) {
		return i, ErrEmail
	}
	return i, nil
}

func goodName(name string) bool {
	n := utf8.RuneCountInString(name)
	return utf8.ValidString(name) && n >= 1 && n <= maxName &&
		!strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// goodEmail refuses what has letters beyond ASCII: they look like others, and few
// identity providers have them.
func goodEmail(address string) bool {
	return mail.IsAddress(address) && len(address) <= maxEmail &&
		!strings.ContainsFunc(address, func(r rune) bool { return r > unicode.MaxASCII })
}

// token is the secret in an invitation's link, which hides itself.
type token string

// Format hides the token from every verb of package fmt.
func (token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[invitation]")) }

func newToken() token { return token(rand.Text() + rand.Text()) }

// Digest is what is kept of the secret in an invitation's link. So many random bits need
// no secret of its own: there is nothing to guess.
func Digest(token string) []byte {
	d := sha256.Sum256([]byte(token))
	return d[:]
}

// invited is what an invited person is told.
type invited struct {
	invitation uuid.UUID
	to         string
	token      token
	expires    time.Time
}

func (s *Staff) letter(t *tenant.Tenant, l invited) (mail.Letter, error) {
	link := s.c.BaseURL + "/join/" + string(t.Slug) + "?token=" + string(l.token)
	return letter.Of(t).Write(l.to, letter.Invitation{Link: link, Expires: l.expires, Own: t.Settings.InviteLetter})
}

const sentSQL = `
update staff_invitation
   set sent_at = $3
 where invitation_id = $1
   and digest = $2`

// send hands a letter over and notes that it did. What it notes is for people to see: if
// it cannot be noted, the letter has gone out all the same.
func (s *Staff) send(ctx context.Context, t *tenant.Tenant, l invited) error {
	text, err := s.letter(t, l)
	if err != nil {
		return err
	}
	if err := s.c.Mail.Send(ctx, text); err != nil {
		return err
	}
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, sentSQL, l.invitation, Digest(string(l.token)), s.c.Now())
		return err
	})
	if err != nil {
		return fmt.Errorf("note letter: %w", err)
	}
	return nil
}

const (
	isMemberSQL = `select count(*) from member where email = $1`
	staffSQL    = `select (select count(*) from member) + (select count(*) from staff_invitation where state = 'waiting')`

	inviteSQL = `
insert into staff_invitation (tenant_id, invitation_id, digest, email, name, roles, invited_by, invited_at, expires_at)
values (current_tenant(), $1, $2, $3, $4, $5, $6, $7, $8)
    on conflict (tenant_id, email) where state = 'waiting' do nothing`
)

// Invite invites somebody and sends her a letter. Errors are those of a field ([ErrName],
// [ErrEmail], [ErrRoles], [ErrAlreadyMember], [ErrAlreadyInvited]), [ErrFull], or
// [ErrOwnerChange] for an owner, which is [Staff.InviteOwner]'s; those of package mail mean that she is invited, and the letter can be sent again.
func (s *Staff) Invite(ctx context.Context, t *tenant.Tenant, by authz.Subject, who Invitee) error {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.MemberWrite); err != nil {
		return err
	}
	who, err := who.clean()
	if err != nil {
		return err
	}
	if err := s.checkRoles(ctx, t, by, nil, who.Roles); err != nil {
		return err
	}
	if slices.Contains(who.Roles, authz.Owner) {
		return ErrOwnerChange
	}
	var l invited
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := s.admissible(ctx, tx, who); err != nil {
			return err
		}
		l, err = s.invite(ctx, tx, by, who)
		return err
	})
	if err != nil {
		return err
	}
	return s.send(ctx, t, l)
}

// admissible checks that somebody can be invited who is not yet a member.
func (s *Staff) admissible(ctx context.Context, tx *tenant.Tx, who Invitee) error {
	if err := s.room(ctx, tx, 1); err != nil {
		return err
	}
	var members int
	if err := tx.Get(ctx, &members, isMemberSQL, who.Email); err != nil {
		return fmt.Errorf("find member: %w", err)
	}
	if members > 0 {
		return ErrAlreadyMember
	}
	return nil
}

// room checks that there may be more staff.
func (s *Staff) room(ctx context.Context, tx *tenant.Tx, more int) error {
	var staff int
	if err := tx.Get(ctx, &staff, staffSQL); err != nil {
		return fmt.Errorf("count staff: %w", err)
	}
	if staff+more > MaxStaff {
		return ErrFull
	}
	return nil
}

func (s *Staff) invite(ctx context.Context, tx *tenant.Tx, by authz.Subject, who Invitee) (invited, error) {
	now := s.c.Now()
	l := invited{invitation: uuid.New(), to: who.Email, token: newToken(), expires: now.Add(InvitationLife)}
	rows, err := tx.Exec(ctx, inviteSQL, l.invitation, Digest(string(l.token)), who.Email, who.Name, roleTexts(who.Roles), by.ID, now, l.expires)
	if err != nil {
		return invited{}, fmt.Errorf("invite: %w", err)
	}
	if rows == 0 {
		return invited{}, ErrAlreadyInvited
	}
	return l, audit.Record(ctx, tx, now, by, "member:invite", l.invitation.String(), map[string]string{
		"name": who.Name, "roles": joined(who.Roles),
	})
}

const waitingSQL = `
  select invitation_id, name, email, roles, expires_at, sent_at is not null as sent
    from staff_invitation
   where state = 'waiting'
order by lower(name), email
   limit $1`

func (s *Staff) waiting(ctx context.Context, tx *tenant.Tx) ([]Invitation, error) {
	var rows []invitationRow
	if err := tx.Select(ctx, &rows, waitingSQL, MaxStaff); err != nil {
		return nil, err
	}
	list := make([]Invitation, len(rows))
	for i, r := range rows {
		list[i] = Invitation{ID: r.ID, Name: r.Name, Email: r.Email, Roles: roles(r.Roles), ExpiresAt: r.ExpiresAt, Sent: r.Sent}
	}
	return list, nil
}

type invitationRow struct {
	ID        uuid.UUID `db:"invitation_id"`
	Name      string
	Email     string
	Roles     pq.StringArray
	State     string
	InvitedBy string    `db:"invited_by"`
	ExpiresAt time.Time `db:"expires_at"`
	Sent      bool
}

const findWaitingSQL = `
select invitation_id, name, email, roles, expires_at
  from staff_invitation
 where invitation_id = $1
   and state = 'waiting'
   for update`

// actOn changes a waiting invitation: as with a member, only who could have given all
// that it gives.
func (s *Staff) actOn(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, fn func(*tenant.Tx, invitationRow) error) error {
	policy, err := s.c.Policies.Policy(ctx, t.ID.String())
	if err != nil {
		return err
	}
	if !policy.Allow(by, authz.MemberWrite) {
		return authz.ErrForbidden
	}
	return s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var found []invitationRow
		if err := tx.Select(ctx, &found, findWaitingSQL, id); err != nil {
			return fmt.Errorf("find invitation: %w", err)
		}
		if len(found) == 0 {
			return ErrNoInvitation
		}
		if !mayTouch(policy, by, roles(found[0].Roles)) {
			return authz.ErrForbidden
		}
		return fn(tx, found[0])
	})
}

const (
	renewSQL = `
update staff_invitation
   set digest = $2, expires_at = $3, sent_at = null
 where invitation_id = $1`

	revokeSQL   = `update staff_invitation set state = 'revoked' where invitation_id = $1`
	revokeOfSQL = `update staff_invitation set state = 'revoked' where invited_by = $1 and state = 'waiting'`
)

// Resend sends a waiting invitation once more, with another link and for as long again;
// the link before it is dead. Errors are as those of [Staff.Invite].
func (s *Staff) Resend(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	l, err := s.renew(ctx, t, by, id)
	if err != nil {
		return err
	}
	return s.send(ctx, t, l)
}

func (s *Staff) renew(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (l invited, err error) {
	err = s.actOn(ctx, t, by, id, func(tx *tenant.Tx, i invitationRow) error {
		now := s.c.Now()
		l = invited{invitation: id, to: i.Email, token: newToken(), expires: now.Add(InvitationLife)}
		if _, err := tx.Exec(ctx, renewSQL, id, Digest(string(l.token)), l.expires); err != nil {
			return fmt.Errorf("renew invitation: %w", err)
		}
		return audit.Record(ctx, tx, now, by, "member:invite-again", id.String(), map[string]string{"name": i.Name})
	})
	return l, err
}

// Revoke takes a waiting invitation back.
func (s *Staff) Revoke(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	return s.actOn(ctx, t, by, id, func(tx *tenant.Tx, i invitationRow) error {
		if _, err := tx.Exec(ctx, revokeSQL, id); err != nil {
			return fmt.Errorf("revoke invitation: %w", err)
		}
		return audit.Record(ctx, tx, s.c.Now(), by, "member:uninvite", id.String(), map[string]string{"name": i.Name})
	})
}

const (
	findLinkSQL = `
select invitation_id, name, email, roles, state, invited_by, expires_at
  from staff_invitation
 where digest = $1
   for update`

	acceptSQL = `update staff_invitation set state = 'accepted' where invitation_id = $1`

	joinSQL = `
insert into member (tenant_id, member_id, issuer, email, subject, name, roles)
values (current_tenant(), $1, $2, $3, $4, $5, $6)
    on conflict on constraint member_login_key do nothing`
)

// Offered tells somebody who has signed in what an invitation would make her. Errors are
// those of invitations.
func (s *Staff) Offered(ctx context.Context, t *tenant.Tenant, who oidc.Identity, digest []byte) (Invitation, error) {
	var i invitationRow
	err := s.followed(ctx, t, who, digest, func(_ *tenant.Tx, found invitationRow) error {
		i = found
		return nil
	})
	return Invitation{ID: i.ID, Name: i.Name, Email: i.Email, Roles: roles(i.Roles), ExpiresAt: i.ExpiresAt, Sent: true}, err
}

// Accept makes somebody who has signed in a member, bound to the provider's subject. An
// invitation is accepted once, also by many at once. Errors are those of invitations,
// and [ErrAlreadyMember].
func (s *Staff) Accept(ctx context.Context, t *tenant.Tenant, who oidc.Identity, digest []byte, request string) error {
	return s.followed(ctx, t, who, digest, func(tx *tenant.Tx, i invitationRow) error {
		if _, err := tx.Exec(ctx, acceptSQL, i.ID); err != nil {
			return fmt.Errorf("accept invitation: %w", err)
		}
		id := uuid.New()
		rows, err := tx.Exec(ctx, joinSQL, id, who.Issuer, i.Email, who.Subject, i.Name, i.Roles)
		if err != nil {
			return fmt.Errorf("join: %w", err)
		}
		if rows == 0 {
			return ErrAlreadyMember
		}
		by := authz.Subject{Kind: authz.Person, ID: id.String(), Name: i.Name, Request: request}
		return audit.Record(ctx, tx, s.c.Now(), by, "member:join", id.String(), map[string]string{
			"invitation": i.ID.String(), "invited-by": i.InvitedBy, "roles": joined(roles(i.Roles)),
		})
	})
}

// followed finds the invitation of a link for the person whom it is for, and locks it.
func (s *Staff) followed(ctx context.Context, t *tenant.Tenant, who oidc.Identity, digest []byte, fn func(*tenant.Tx, invitationRow) error) error {
	return s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var found []invitationRow
		if err := tx.Select(ctx, &found, findLinkSQL, digest); err != nil {
			return fmt.Errorf("find invitation: %w", err)
		}
		switch {
		case len(found) == 0:
			return ErrInvitationUnknown
		case who.Realm != "" && who.Realm != t.ID.String() || found[0].Email != strings.ToLower(who.Email):
			return ErrInvitationOther
		case found[0].State == "revoked":
			return ErrInvitationRevoked
		case found[0].State != "waiting":
			return ErrInvitationUsed
		case !s.c.Now().Before(found[0].ExpiresAt):
			return ErrInvitationExpired
		}
		return fn(tx, found[0])
	})
}

// KeepInvitations is how long an invitation is kept after it expired, so that its link
// can still be told why it does not work.
const KeepInvitations = 30 * 24 * time.Hour

const cleanupSQL = `
delete from staff_invitation
 where tenant_id = current_tenant()
   and invitation_id in (select old.invitation_id
                           from staff_invitation old
                          where old.expires_at <= $1
                          limit $2)`

// Cleanup deletes old invitations. db is a handle under the jobs role.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	if err := sweep.Run(ctx, db, id, cleanupSQL, now.Add(-KeepInvitations)); err != nil {
		return fmt.Errorf("delete old invitations: %w", err)
	}
	return nil
}

// joined lists roles for the audit log.
// split is what [joined] joined.
func split(text string) []authz.Role { return roles(strings.Fields(text)) }

func joined(list []authz.Role) string { return strings.Join(roleTexts(list), " ") }
