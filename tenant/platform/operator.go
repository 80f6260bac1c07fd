// Package platform keeps those who run Carillon, and the log of what they do.
//
// An operator is named by identity provider and e-mail address until she first signs
// in; then the provider's subject is bound to the row and must match ever after. Who
// she is is read with each request: whoever is removed is out at once. She belongs to
// no health authority, so that nothing here opens a tenant's rows.
package platform

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
)

var (
	// ErrNotOperator means that a person does not run the platform.
	ErrNotOperator = errors.New("not an operator of the platform")
	// ErrOperator means that an operator cannot be made of what was given.
	ErrOperator = errors.New("an operator has the issuer of an identity provider, an e-mail address, a name of 1 to 100 characters, and one of the roles operator and support")
)

// Operator is one person who runs the platform.
type Operator struct {
	// Issuer is the identity provider that vouches for her, Email the address it
	// knows, in any case.
	Issuer, Email string
	// Name is for people; 1 to 100 characters.
	Name string
	// Role is [authz.Operator] or [authz.Support].
	Role authz.Role
	// Bound tells whether she has signed in, Disabled since when she may not; nil if
	// she may.
	Bound    bool
	Disabled *time.Time `db:"disabled_at"`
}

const addSQL = `
insert into platform_operator (operator_id, issuer, email, name, role)
values ($1, $2, $3, $4, $5)
    on conflict on constraint platform_operator_login_key
    do update set name = excluded.name, role = excluded.role, subject = null, disabled_at = null`

// Add makes an operator. One who is there already gets the name and the role, may sign
// in again if she was removed, and is bound anew when she does. db is a handle under the
// role carillon_operator. [ErrOperator] if o makes no sense.
func Add(ctx context.Context, db *tenant.DB, by authz.Subject, o Operator, at time.Time) error {
	err := db.Platform(ctx, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, addSQL, uuid.New(), o.Issuer, strings.ToLower(o.Email), o.Name, string(o.Role))
		if err != nil {
			return err
		}
		return Record(ctx, tx, by, Entry{At: at, Action: "operator:add", Target: strings.ToLower(o.Email), Detail: map[string]string{"role": string(o.Role)}})
	})
	if o.Issuer == "" || malformed(err) {
		return ErrOperator
	}
	if err != nil {
		return fmt.Errorf("add operator: %w", err)
	}
	return nil
}

func malformed(err error) bool {
	return tenant.Violates(err, "platform_operator_email_form") || tenant.Violates(err, "platform_operator_name_length") ||
		tenant.Violates(err, "platform_operator_role_known")
}

const removeSQL = `
update platform_operator
   set disabled_at = $3
 where issuer = $1
   and email = $2
   and disabled_at is null`

// Remove shuts an operator out, at once: [ErrNotOperator] if there is none. The row stays,
// for what the log says of her.
func Remove(ctx context.Context, db *tenant.DB, by authz.Subject, issuer, email string, at time.Time) error {
	err := db.Platform(ctx, func(tx *tenant.Tx) error {
		n, err := tx.Exec(ctx, removeSQL, issuer, strings.ToLower(email), at.UTC().Truncate(time.Second))
		if err == nil && n == 0 {
			return ErrNotOperator
		}
		if err != nil {
			return err
		}
		return Record(ctx, tx, by, Entry{At: at, Action: "operator:remove", Target: strings.ToLower(email)})
	})
	if err != nil {
		return fmt.Errorf("remove operator: %w", err)
	}
	return nil
}

const operatorsSQL = `
  select issuer, email, name, role, subject is not null as bound, disabled_at
    from platform_operator
order by disabled_at is not null, email, issuer
   limit 1000`

// Operators lists all of them, those who may sign in first.
func Operators(ctx context.Context, db *tenant.DB) (list []Operator, err error) {
	err = db.Platform(ctx, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, operatorsSQL) })
	if err != nil {
		return nil, fmt.Errorf("list operators: %w", err)
	}
	return list, nil
}

const (
	recognizeSQL = `
select operator_id, name, role
  from platform_operator
 where issuer = $1
   and email = $2
   and subject = $3
   and disabled_at is null`

	bindSQL = `
   update platform_operator
      set subject = $3
    where issuer = $1
      and email = $2
      and $3 <> ''
      and (subject is null or subject = $3)
      and disabled_at is null
returning operator_id, name, role`
)

// Authenticate returns a person who has signed in as a subject whose only role is hers
// on the platform: [ErrNotOperator] if she has none, and for whomever a tenant's own
// provider speaks. A first sign-in binds her.
// The word of a tenant's own provider counts at that tenant, and not here.
func Authenticate(ctx context.Context, db *tenant.DB, who oidc.Identity) (authz.Subject, error) {
	if who.Realm != "" {
		return authz.Subject{}, ErrNotOperator
	}
	if who.Realm != "" {
		return authz.Subject{}, ErrNotOperator
	}
	var found struct {
		ID   uuid.UUID `db:"operator_id"`
		Name string
		Role authz.Role
	}
	err := db.Platform(ctx, func(tx *tenant.Tx) error {
		args := []any{who.Issuer, strings.ToLower(who.Email), who.Subject}
		err := tx.Get(ctx, &found, recognizeSQL, args...)
		if errors.Is(err, sql.ErrNoRows) {
			err = tx.Get(ctx, &found, bindSQL, args...)
		}
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return authz.Subject{}, ErrNotOperator
	}
	if err != nil {
		return authz.Subject{}, fmt.Errorf("find operator: %w", err)
	}
	return authz.Subject{Kind: authz.Person, ID: found.ID.String(), Name: found.Name, Roles: []authz.Role{found.Role}}, nil
}

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrNotOperator, ErrOperator, ErrReason, ErrState} }
