package member

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/audit"
	"carillon/tenant/platform"
)

// What a change of owners is called in the detail of its request.
const (
	OwnerGrant  = "grant"
	OwnerTake   = "take"
	OwnerInvite = "invite"
)

// owners is the lock under which it is decided who is an owner.
const owners tenant.Lock = "owners"

// An owner who is suspended counts, and an invitation that waits, too: otherwise one could
// put the others out, or invite many at once, and be alone in it.
const soleOwnerSQL = `
select (select count(*) from member where 'owner' = any (roles)) = 1
   and (select count(*) from member where 'owner' = any (roles) and member_id::text = $1) = 1
   and not exists (select from staff_invitation where state = 'waiting' and 'owner' = any (roles))`

// ownerWant is the act of making p an owner, or of taking the role from her.
func ownerWant(p Person, owner bool) approval.Want {
	change := OwnerTake
	if owner {
		change = OwnerGrant
	}
	return approval.Want{Kind: approval.OwnerChange, Target: p.ID.String(), Detail: map[string]string{
		"change": change, "name": p.Name, "email": p.Email, "roles": joined(p.Roles),
	}}
}

func inviteWant(who Invitee) approval.Want {
	return approval.Want{Kind: approval.OwnerChange, Target: who.Email, Detail: map[string]string{
		"change": OwnerInvite, "name": who.Name, "email": who.Email, "roles": joined(who.Roles),
	}}
}

// askOwner asks for a change of owners in a transaction in which nobody else can: then it
// waits for a second person. If by is the authority's only owner and would have a second
// one (first), there is none to ask, and alone is called instead.
func (s *Staff) askOwner(ctx context.Context, t *tenant.Tenant, by authz.Subject, reason string, first bool,
	want func(*tenant.Tx) (approval.Want, error), alone func(*tenant.Tx) error,
) (asked bool, err error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.OwnerRequest); err != nil {
		return false, err
	}
	var r approval.Request
	err = owned(s.c.DB.InExclusive(ctx, t.ID, owners, func(tx *tenant.Tx) error {
		w, err := want(tx)
		if err != nil {
			return err
		}
		var sole bool
		if err := tx.Get(ctx, &sole, soleOwnerSQL, by.ID); err != nil {
			return fmt.Errorf("count owners: %w", err)
		}
		if sole && first {
			return alone(tx)
		}
		asked = true
		r, err = approval.Ask(ctx, tx, by, w, reason, s.c.Now())
		return err
	}))
	if err == nil && asked {
		s.post.Tell(ctx, t, r)
	}
	return asked, err
}

// findPerson locks a member.
func findPerson(ctx context.Context, tx *tenant.Tx, id uuid.UUID) (Person, error) {
	var rows []personRow
	if err := tx.Select(ctx, &rows, personSQL, id); err != nil {
		return Person{}, fmt.Errorf("find member: %w", err)
	}
	if len(rows) == 0 {
		return Person{}, ErrNoSuchMember
	}
	return rows[0].person(), nil
}

// changeable is the member with an ID, if she can become an owner, or cease to be one.
func changeable(ctx context.Context, tx *tenant.Tx, id uuid.UUID, owner bool) (Person, error) {
	p, err := findPerson(ctx, tx, id)
	switch {
	case err != nil:
		return Person{}, err
	case p.owner() == owner:
		return Person{}, ErrOwnerAlready
	case owner && p.State != Active:
		return Person{}, ErrOwnerInactive
	}
	return p, nil
}

// ChangeOwner asks for a member to become an owner, or to be one no longer, with a reason
// for whoever approves it. It takes [authz.OwnerRequest]. The only owner makes the first
// second one alone, as the audit log then says: asked is false, and it is done.
//
// Errors are [ErrNoSuchMember], [ErrOwnerAlready], [ErrOwnerInactive], and those of
// [approval.Ask].
func (s *Staff) ChangeOwner(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, owner bool, reason string) (asked bool, err error) {
	var p Person
	want := func(tx *tenant.Tx) (approval.Want, error) {
		var err error
		p, err = changeable(ctx, tx, id, owner)
		return ownerWant(p, owner), err
	}
	return s.askOwner(ctx, t, by, reason, owner, want, func(tx *tenant.Tx) error {
		return s.setOwner(ctx, tx, by, p, owner, alone)
	})
}

// alone is what the audit log says of the first second owner.
const alone = "none: there was one owner"

// ownerKeptSQL has the database look now, and not at the end, whether an owner is left.
const ownerKeptSQL = `set constraints member_owner_kept, member_outside_owner_kept immediate`

// setOwner carries a change out. second says who the second person was.
func (s *Staff) setOwner(ctx context.Context, tx *tenant.Tx, by authz.Subject, p Person, owner bool, second string) error {
	to := slices.DeleteFunc(slices.Clone(p.Roles), func(r authz.Role) bool { return r == authz.Owner })
	if owner {
		to = append(to, authz.Owner)
	}
	if len(to) == 0 && !p.Provisioned {
		to = append(to, authz.Analyst) // members have a role, and this is the least
	}
	if _, err := tx.Exec(ctx, changeRolesSQL, p.ID, roleTexts(to), s.c.Now()); err != nil {
		return fmt.Errorf("change owner: %w", err)
	}
	if _, err := tx.Exec(ctx, ownerKeptSQL); err != nil {
		return owned(err)
	}
	return audit.Record(ctx, tx, s.c.Now(), by, "member:roles", p.ID.String(), map[string]string{
		"name": p.Name, "before": joined(p.Roles), "roles": joined(to), "second-person": second,
	})
}

// InviteOwner asks for somebody to be invited as an owner, as [Staff.ChangeOwner] does for
// a member. No letter is sent before it is approved. Errors are those of [Staff.Invite] as
// well.
func (s *Staff) InviteOwner(ctx context.Context, t *tenant.Tenant, by authz.Subject, who Invitee, reason string) (asked bool, err error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.MemberWrite); err != nil {
		return false, err
	}
	if who, err = who.clean(); err != nil {
		return false, err
	}
	if err := s.checkRoles(ctx, t, by, nil, who.Roles); err != nil {
		return false, err
	}
	if !slices.Contains(who.Roles, authz.Owner) {
		return false, ErrOwnerAlready
	}
	want := func(tx *tenant.Tx) (approval.Want, error) {
		return inviteWant(who), s.invitable(ctx, tx, who)
	}
	var l invited
	asked, err = s.askOwner(ctx, t, by, reason, true, want, func(tx *tenant.Tx) (err error) {
		l, err = s.invite(ctx, tx, by, who)
		return err
	})
	if err != nil || asked {
		return asked, err
	}
	return false, s.send(ctx, t, l)
}

const isInvitedSQL = `select count(*) from staff_invitation where email = $1 and state = 'waiting'`

// invitable checks all that the invitation would.
func (s *Staff) invitable(ctx context.Context, tx *tenant.Tx, who Invitee) error {
	if err := s.admissible(ctx, tx, who); err != nil {
		return err
	}
	var invited int
	if err := tx.Get(ctx, &invited, isInvitedSQL, who.Email); err != nil {
		return fmt.Errorf("find invitation: %w", err)
	}
	if invited > 0 {
		return ErrAlreadyInvited
	}
	return nil
}

// CarryOutOwner does what a request for a change of owners says, in the transaction in
// which by approves it: [approval.ErrNotApproved] if anything about the person has changed
// since it was asked for. It is an [approval.Act].
func (s *Staff) CarryOutOwner(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, r approval.Request) (after func(context.Context) error, err error) {
	if r.Detail["change"] == OwnerInvite {
		return s.carryOutInvitation(ctx, tx, t, by, r)
	}
	id, err := uuid.Parse(r.Target)
	if err != nil {
		return nil, ErrNoSuchMember
	}
	owner := r.Detail["change"] == OwnerGrant
	p, err := changeable(ctx, tx, id, owner)
	if err != nil {
		return nil, err
	}
	// Not what was asked for counts, but the change as it would be now.
	if _, err := approval.Use(ctx, tx, by, ownerWant(p, owner), s.c.Now()); err != nil {
		return nil, err
	}
	return nil, s.setOwner(ctx, tx, by, p, owner, r.Requester+" asked, "+by.Name+" approved")
}

func (s *Staff) carryOutInvitation(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, r approval.Request) (after func(context.Context) error, err error) {
	who := Invitee{Name: r.Detail["name"], Email: r.Detail["email"], Roles: split(r.Detail["roles"])}
	if err := s.invitable(ctx, tx, who); err != nil {
		return nil, err
	}
	if _, err := approval.Use(ctx, tx, by, inviteWant(who), s.c.Now()); err != nil {
		return nil, err
	}
	l, err := s.invite(ctx, tx, by, who)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return s.send(ctx, t, l) }, nil
}

const makeOwnerSQL = `
   update member
      set roles = array_append(array_remove(roles, 'owner'), 'owner'), state = 'active', changed_at = $3
    where issuer = $1
      and email = $2
returning member_id, name`

// MakeOwner makes a member an owner, and lets her in, for an authority that has too few
// owners left to do so: those who run the platform break the glass by it, and both logs
// tell. tx is of the role carillon_operator; [ErrNoSuchMember] if nobody signs in through
// issuer with the address.
func MakeOwner(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, issuer, email, reason string, now time.Time) error {
	var found []struct {
		ID   uuid.UUID `db:"member_id"`
		Name string
	}
	if err := tx.Select(ctx, &found, makeOwnerSQL, issuer, strings.ToLower(email), now); err != nil {
		return fmt.Errorf("make owner: %w", err)
	}
	if len(found) == 0 {
		return ErrNoSuchMember
	}
	detail := map[string]string{"name": found[0].Name, "reason": reason, "second-person": "none: by the platform"}
	e := platform.Entry{At: now, Action: "member:make-owner", Target: string(t.Slug), Detail: detail}
	if err := platform.Record(ctx, tx, by, e); err != nil {
		return err
	}
	return audit.Record(ctx, tx, now, by, "member:make-owner", found[0].ID.String(), detail)
}
