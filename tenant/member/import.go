package member

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/authz"
	"carillon/tenant"
)

const (
	emailsSQL        = `select email from member limit $1`
	waitingEmailsSQL = `select email from staff_invitation where state = 'waiting' limit $1`
)

// Examine says of each row of a file what would become of it, and changes nothing. The
// subject needs [authz.MemberWrite].
func (s *Staff) Examine(ctx context.Context, t *tenant.Tenant, by authz.Subject, file []byte) (Roster, error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.MemberWrite); err != nil {
		return Roster{}, err
	}
	list, err := ReadRoster(file)
	if err != nil {
		return Roster{}, err
	}
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error { return s.compare(ctx, tx, t, by, &list) })
	return list, err
}

// compare holds rows against who is there and what the subject may give.
func (s *Staff) compare(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, list *Roster) error {
	policy, err := s.c.Policies.Policy(ctx, t.ID.String())
	if err != nil {
		return err
	}
	var members, invited []string
	if err := tx.Select(ctx, &members, emailsSQL, 2*MaxStaff); err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	if err := tx.Select(ctx, &invited, waitingEmailsSQL, MaxStaff); err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	domains := map[string]bool{}
	for _, address := range members {
		domains[domainOf(address)] = true
	}
	known, may := policy.Roles(), Assignable(policy, by)
	for i := range list.Rows {
		row := &list.Rows[i]
		switch {
		case slices.Contains(members, row.Email):
			row.Known = ErrAlreadyMember
		case slices.Contains(invited, row.Email):
			row.Known = ErrAlreadyInvited
		}
		if looksLikeOther(domainOf(row.Email), domains) {
			row.Doubts = append(row.Doubts, DoubtDomain)
		}
		row.judgeRoles(known, may)
	}
	return nil
}

func (row *RosterRow) judgeRoles(known, may []authz.Role) {
	for _, r := range row.Roles {
		switch {
		case !slices.Contains(known, r):
			row.Problems = append(row.Problems, ProblemRole)
			return
		case !slices.Contains(may, r):
			row.Problems = append(row.Problems, ProblemGrant)
			return
		}
	}
}

const (
	lettersAtOnce = 8
	// lettersTime is how long somebody waits for the letters of a file.
	lettersTime = 25 * time.Second
)

// Import invites everybody in a file who is neither a member nor invited: all of them or,
// if any row cannot be used ([ErrRoster]), nobody. How many letters were sent it says
// beside; the others wait to be sent again.
func (s *Staff) Import(ctx context.Context, t *tenant.Tenant, by authz.Subject, file []byte) (list Roster, sent int, err error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.MemberWrite); err != nil {
		return Roster{}, 0, err
	}
	if list, err = ReadRoster(file); err != nil {
		return Roster{}, 0, err
	}
	var letters []invited
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := s.compare(ctx, tx, t, by, &list); err != nil {
			return err
		}
		if list.Bad() {
			return ErrRoster
		}
		if err := s.room(ctx, tx, list.New()); err != nil {
			return err
		}
		for i := range list.Rows {
			row := &list.Rows[i]
			if row.Known != nil {
				continue
			}
			l, err := s.invite(ctx, tx, by, row.Invitee)
			if err == ErrAlreadyInvited { //nolint:errorlint // never wrapped; by another import a moment ago
				row.Known = err
				continue
			}
			if err != nil {
				return err
			}
			letters = append(letters, l)
		}
		return nil
	})
	if err != nil {
		return list, 0, err
	}
	return list, s.sendAll(ctx, t, letters), nil
}

// SendUnsent sends the letters that have not gone out, as far as the subject might have
// invited whom they are for, and says how many went and how many are left.
func (s *Staff) SendUnsent(ctx context.Context, t *tenant.Tenant, by authz.Subject) (sent, left int, err error) {
	board, err := s.Board(ctx, t, by)
	if err != nil {
		return 0, 0, err
	}
	policy, err := s.c.Policies.Policy(ctx, t.ID.String())
	if err != nil {
		return 0, 0, err
	}
	if !policy.Allow(by, authz.MemberWrite) {
		return 0, 0, authz.ErrForbidden
	}
	var letters []invited
	for _, i := range board.Invitations {
		if i.Sent || !mayTouch(policy, by, i.Roles) {
			continue
		}
		l, err := s.renew(ctx, t, by, i.ID)
		if err != nil {
			return 0, 0, err
		}
		letters = append(letters, l)
	}
	sent = s.sendAll(ctx, t, letters)
	return sent, len(letters) - sent, nil
}

// sendAll sends letters a few at a time, as long as somebody may be kept waiting.
func (s *Staff) sendAll(ctx context.Context, t *tenant.Tenant, letters []invited) int {
	ctx, cancel := context.WithTimeout(ctx, lettersTime)
	defer cancel()
	var sent atomic.Int32
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lettersAtOnce)
	for _, l := range letters {
		group.Go(func() error {
			if ctx.Err() == nil && s.send(ctx, t, l) == nil {
				sent.Add(1)
			}
			return nil // the others are to go all the same
		})
	}
	_ = group.Wait()
	return int(sent.Load())
}
