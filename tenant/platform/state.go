package platform

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

var (
	// ErrReason means that an act needs a reason and has none, or one that is too long.
	ErrReason = errors.New("a reason has 1 to 500 visible characters")
	// ErrState means that a tenant is not in the state from which it could go to another:
	// somebody else may have been faster.
	ErrState = errors.New("the health authority is not in that state")
)

const maxReason = 500

// reason takes the blanks off a reason, and refuses what is none, or has characters that
// nobody sees or that turn text around.
func reason(text string) (string, error) {
	text = strings.TrimSpace(text)
	hidden := func(c rune) bool { return !unicode.IsPrint(c) }
	if text == "" || utf8.RuneCountInString(text) > maxReason || !utf8.ValidString(text) || strings.ContainsFunc(text, hidden) {
		return "", ErrReason
	}
	return text, nil
}

// Suspend has a tenant only read from, until it is resumed: phones and programs are told
// of maintenance, published files stay, staff see the reason. [ErrState] if it is not
// active. Every process follows as soon as it hears, at the latest within
// [tenant.DirectoryAge]. db is a handle under the role carillon_operator.
func Suspend(ctx context.Context, db *tenant.DB, by authz.Subject, t *tenant.Tenant, why string, at time.Time) error {
	return change(ctx, db, by, t, move{from: tenant.Active, to: tenant.Suspended, action: "tenant:suspend"}, why, at)
}

// Resume ends a suspension: [ErrState] if there is none.
func Resume(ctx context.Context, db *tenant.DB, by authz.Subject, t *tenant.Tenant, why string, at time.Time) error {
	return change(ctx, db, by, t, move{from: tenant.Suspended, to: tenant.Active, action: "tenant:resume"}, why, at)
}

// move is a change of state.
type move struct {
	from, to tenant.State
	action   string
}

const moveSQL = `
   update tenant_directory
      set state = $3, state_reason = $4, state_since = $5
    where tenant = $1
      and state = $2
returning slug`

// change moves a tenant, and enters it in its log and the platform's.
func change(ctx context.Context, db *tenant.DB, by authz.Subject, t *tenant.Tenant, m move, why string, at time.Time) error {
	why, err := reason(why)
	if err != nil {
		return err
	}
	at = at.UTC().Truncate(time.Second)
	err = db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var slug string
		if err := tx.Get(ctx, &slug, moveSQL, t.ID, string(m.from), string(m.to), why, at); err != nil {
			return err
		}
		detail := map[string]string{"reason": why}
		if err := Record(ctx, tx, by, Entry{At: at, Action: m.action, Target: slug, Detail: detail}); err != nil {
			return err
		}
		return audit.Record(ctx, tx, at, by, m.action, slug, detail)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return ErrState
	}
	if err != nil {
		return fmt.Errorf("change state: %w", err)
	}
	return nil
}
