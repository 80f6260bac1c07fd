package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
)

// A rehearsal has no API key. Its pass opens, for some minutes, the few URLs that it goes
// through, and whoever has it reaches no table of real codes, tokens or keys.
const passStart = beginning + "rehearsal_"

// PassLife is how long a pass is good.
const PassLife = 2 * time.Minute

const (
	admitSQL = `
insert into rehearsal_pass (tenant_id, run_id, digest, expires_at)
values (current_tenant(), $1, $2, $3)
    on conflict on constraint rehearsal_pass_pkey
    do update set run_id = excluded.run_id, digest = excluded.digest, expires_at = excluded.expires_at
 where rehearsal_pass.expires_at <= $4`

	endPassSQL = `delete from rehearsal_pass where run_id = $1`

	goodPassSQL = `
select exists (select
         from rehearsal_pass
        where digest = $1
          and expires_at > $2)`
)

// MakePass makes the pass of a rehearsal and returns its text; ok is false while another
// rehearsal of the tenant has one.
func MakePass(ctx context.Context, tx *tenant.Tx, run uuid.UUID, now time.Time) (pass string, ok bool, err error) {
	pass = passStart + rand.Text() + rand.Text()
	digest := text(pass).digest()
	rows, err := tx.Exec(ctx, admitSQL, run, digest[:], now.Add(PassLife).UTC(), now.UTC())
	if err != nil {
		return "", false, fmt.Errorf("make pass: %w", err)
	}
	return pass, rows > 0, nil
}

// EndPass ends the pass of a rehearsal.
func EndPass(ctx context.Context, tx *tenant.Tx, run uuid.UUID) error {
	if _, err := tx.Exec(ctx, endPassSQL, run); err != nil {
		return fmt.Errorf("end pass: %w", err)
	}
	return nil
}

// isPass reports whether a text has the form of a pass for keys of the kind.
func (k Kind) isPass(key string) bool {
	secret, ok := strings.CutPrefix(key, passStart)
	return ok && len(secret) == secretLength && (k == Device || k == Admin)
}

// rehearsal is the subject of a pass: [ErrUnknownKey] if it is not good. Nothing of it is
// remembered.
func (a *Authenticator) rehearsal(ctx context.Context, t *tenant.Tenant, kind Kind, pass string) (authz.Subject, error) {
	var good bool
	digest := text(pass).digest()
	err := a.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Get(ctx, &good, goodPassSQL, digest[:], a.now().UTC()) })
	if err != nil {
		return authz.Subject{}, fmt.Errorf("find pass: %w", err)
	}
	if !good {
		return authz.Subject{}, ErrUnknownKey
	}
	return authz.Subject{Kind: authz.APIKey, ID: "rehearsal", Name: "rehearsal", Roles: []authz.Role{kind.role()}, Rehearsal: true}, nil
}
