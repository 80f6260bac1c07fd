package approval

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"golang.org/x/sync/errgroup"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/letter"
	"carillon/tenant/mail"
	"carillon/tenant/role"
)

// Post tells those by e-mail who may decide a request. It is safe for concurrent use. A nil
// one tells nobody.
type Post struct {
	db      *tenant.DB
	mail    mail.Sender
	baseURL string
}

// NewPost works through db, a handle under the role carillon_portal. baseURL is where
// browsers reach the portal, without a trailing slash.
func NewPost(db *tenant.DB, sender mail.Sender, baseURL string) *Post {
	return &Post{db: db, mail: sender, baseURL: baseURL}
}

// colleague is an active member with all her roles but those that her own identity provider
// would give her when she signs in.
type colleague struct {
	ID    uuid.UUID `db:"member_id"`
	Email string
	Roles pq.StringArray
}

// maxStaff bounds what is read to say who may decide.
const maxStaff = 4000

const staffSQL = `
  select m.member_id, m.email,
         m.roles || array(select g.role
                            from staff_group_member i
                            join staff_group g using (tenant_id, group_id)
                           where i.tenant_id = m.tenant_id
                             and i.member_id = m.member_id
                             and g.role is not null) as roles
    from member m
   where m.state = 'active'
order by m.email, m.member_id
   limit $1`

// deciders lists the addresses of those who may decide an act of a kind that a member asks
// for: once for each person.
func deciders(ctx context.Context, tx *tenant.Tx, kind Kind, requester uuid.UUID) ([]string, error) {
	policy, err := role.PolicyIn(ctx, tx)
	if err != nil {
		return nil, err
	}
	var staff []colleague
	if err := tx.Select(ctx, &staff, staffSQL, maxStaff); err != nil {
		return nil, fmt.Errorf("list who may decide: %w", err)
	}
	own := ""
	for _, c := range staff {
		if c.ID == requester {
			own = c.Email
		}
	}
	var list []string
	for _, c := range staff {
		again := len(list) > 0 && list[len(list)-1] == c.Email
		if c.Email != own && !again && policy.Allow(c.subject(), kind.Rule().Approve) {
			list = append(list, c.Email)
		}
	}
	return list, nil
}

func (c colleague) subject() authz.Subject {
	s := authz.Subject{Kind: authz.Person, ID: c.ID.String()}
	for _, r := range c.Roles {
		s.Roles = append(s.Roles, authz.Role(r))
	}
	return s
}

const (
	maxLetters    = 50
	lettersAtOnce = 8
	lettersTime   = 15 * time.Second
)

// Tell sends a letter to those who may decide r, after the transaction in which it was
// asked for. Letters do not say what it is about. A letter that does not go out is missed
// by nobody: the portal shows the same.
func (p *Post) Tell(ctx context.Context, t *tenant.Tenant, r Request) {
	if p == nil {
		return
	}
	var to []string
	err := p.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		to, err = deciders(ctx, tx, r.Kind, r.RequestedBy)
		return err
	})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lettersTime)
	defer cancel()
	contents := letter.Decision{Page: p.baseURL + "/portal/" + string(t.Slug) + "/approvals", Until: r.ExpiresAt}
	var group errgroup.Group
	group.SetLimit(lettersAtOnce)
	for _, address := range to[:min(len(to), maxLetters)] {
		group.Go(func() error {
			if l, err := letter.Of(t).Write(address, contents); err == nil {
				_ = p.mail.Send(ctx, l)
			}
			return nil // the others are to go all the same
		})
	}
	_ = group.Wait()
}
