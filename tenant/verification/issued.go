package verification

import (
	"context"
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

const (
	liveOfKeySQL = `
select count(*)
  from verification_code
 where long_expires_at > $2
   and issuer_kind = 'api-key'
   and issuer_id = $1
   and claimed_at is null`

	expireOfKeySQL = `
update verification_code
   set expires_at = least(expires_at, $2), long_expires_at = $2
 where long_expires_at > $2
   and issuer_kind = 'api-key'
   and issuer_id = $1
   and claimed_at is null`
)

// LiveOfKey returns how many codes that an API key issued can still be claimed. It asks
// for [authz.CodeRead].
func (s *Service) LiveOfKey(ctx context.Context, t *tenant.Tenant, by authz.Subject, key uuid.UUID) (live int, err error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.APIKeyRead); err != nil {
		return 0, err
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Get(ctx, &live, liveOfKeySQL, key.String(), s.clock()) })
	if err != nil {
		return 0, fmt.Errorf("count codes of API key: %w", err)
	}
	return live, nil
}

// ExpireOfKey ends all codes that an API key issued and that can still be claimed, for
// the day on which it got into wrong hands, and writes one audit entry. It returns how
// many there were. It asks for [authz.CodeExpire]. Revoke the key before, or it issues
// more.
func (s *Service) ExpireOfKey(ctx context.Context, t *tenant.Tenant, by authz.Subject, key uuid.UUID) (ended int, err error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.CodeExpire); err != nil {
		return 0, err
	}
	now := s.clock()
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		n, err := tx.Exec(ctx, expireOfKeySQL, key.String(), now)
		if err != nil {
			return err
		}
		ended = int(n)
		return audit.Record(ctx, tx, now, by, "code:expire-of-key", key.String(), map[string]string{"codes": strconv.Itoa(ended)})
	})
	if err != nil {
		return 0, fmt.Errorf("expire codes of API key: %w", err)
	}
	return ended, nil
}
