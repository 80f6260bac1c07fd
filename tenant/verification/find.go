package verification

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// codeFound is the audit log's word for a code that was found by its digits. The entry
// names the code's ID.
const codeFound = "code:found"

// maxSpoken is the longest code that links carry, in bytes.
const maxSpoken = 128

const findSQL = `
select c.code_id
  from unnest((select $1::bytea[])) as m (mac)
 cross join lateral (
         select code_id from verification_code where short_mac = m.mac
      union all
         select code_id from verification_code where long_mac = m.mac
         offset 0) c
 limit 1`

// Find returns the ID of the code that somebody reads out: the short one or the long one,
// with or without blanks and dashes between its groups. It neither claims the code nor
// tells what it is for. [ErrCodeNotFound] if the tenant has none, also when it was
// forgotten some time after its end. What is found is audited.
func (s *Service) Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, code string) (uuid.UUID, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.CodeRead); err != nil {
		return uuid.UUID{}, err
	}
	code = spoken(code)
	if code == "" || len(code) > maxSpoken {
		return uuid.UUID{}, codeNotFound()
	}
	live, err := s.keys.Secrets(ctx, t.ID, signing.CodeMAC)
	if err != nil {
		return uuid.UUID{}, fmt.Errorf("keys of codes: %w", err)
	}
	var id uuid.UUID
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &id, findSQL, pq.ByteaArray(macs(live, code))); err != nil {
			return err
		}
		return audit.Record(ctx, tx, s.clock(), by, codeFound, id.String(), nil)
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return uuid.UUID{}, codeNotFound()
	case err != nil:
		return uuid.UUID{}, fmt.Errorf("find code: %w", err)
	}
	return id, nil
}

// spoken is a code without what people put between its groups.
func spoken(code string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsPunct(r) {
			return -1
		}
		return r
	}, code))
}
