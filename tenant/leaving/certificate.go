package leaving

import (
	"context"
	"crypto"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/signing"
	"carillon/signing/erasure"
	"carillon/tenant"
	"carillon/tenant/mail"
)

const (
	summarySQL = `
select e.deleted, e.objects, d.health_authority_id
  from erasure e
  join tenant_directory d using (tenant)
 where e.tenant = $1`

	certifiedSQL = `
update erasure
   set cleared_at = $2, statement = $3, certified_at = $2
 where tenant = $1
   and certified_at is null`
)

// certify signs what was done.
func (s *Service) certify(ctx context.Context, e departure, scanned []string, now time.Time) error {
	var sum struct {
		Deleted           []byte
		Objects           int64
		HealthAuthorityID string `db:"health_authority_id"`
	}
	if err := s.DB.Platform(ctx, func(tx *tenant.Tx) error { return tx.Get(ctx, &sum, summarySQL, e.Tenant) }); err != nil {
		return fmt.Errorf("sum up erasure: %w", err)
	}
	c := erasure.Certificate{
		Tenant: uuid.UUID(e.Tenant), Slug: string(e.Slug), HealthAuthorityID: sum.HealthAuthorityID,
		Begun: e.Begun.UTC(), KeyDestroyed: e.Destroyed.UTC(), Scanned: now,
		Objects: sum.Objects, Tables: scanned, BackupKey: e.BackupKey, Remains: remains,
	}
	if err := json.Unmarshal(sum.Deleted, &c.Deleted); err != nil {
		return fmt.Errorf("counts of rows: %w", err)
	}
	signer, kid, err := s.platformKey(ctx, now)
	if err != nil {
		return err
	}
	statement, err := c.Sign(signer, kid, now)
	if err != nil {
		return fmt.Errorf("sign certificate: %w", err)
	}
	err = s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, certifiedSQL, e.Tenant, now, statement)
		return err
	})
	if err != nil {
		return fmt.Errorf("store certificate: %w", err)
	}
	s.Log.InfoContext(ctx, "health authority erased", slog.String("tenant", string(e.Slug)), slog.String("certificate", statement))
	return s.step("certified")
}

const (
	newestKeySQL = `
  select key_id, wrapped, sealed
    from platform_key
order by created_at desc, key_id
   limit 1`

	addKeySQL = `
insert into platform_key (key_id, wrapped, sealed, public_der, created_at)
values ($1, $2, $3, $4, $5)`
)

// platformKey is the newest key that opens. The first one is made when it is needed, and
// another if the root key that wrapped it is gone; public halves are kept.
func (s *Service) platformKey(ctx context.Context, now time.Time) (crypto.Signer, string, error) {
	var stored struct {
		KeyID           string `db:"key_id"`
		Wrapped, Sealed []byte
	}
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) error { return tx.Get(ctx, &stored, newestKeySQL) })
	if err == nil {
		signer, opening := s.openPlatformKey(ctx, stored.KeyID, stored.Wrapped, stored.Sealed)
		if !errors.Is(opening, signing.ErrSealed) {
			return signer, stored.KeyID, opening
		}
		s.Log.WarnContext(ctx, "the key of certificates of erasure does not open under this root key: another one is made", slog.String("key", stored.KeyID))
	} else if !errors.Is(err, sql.ErrNoRows) {
		return nil, "", fmt.Errorf("read key of certificates: %w", err)
	}
	kid := "erasure-" + now.Format("20060102t150405z")
	dk, wrapped, err := signing.NewDataKey(ctx, s.Custody, signing.Platform)
	if err != nil {
		return nil, "", err
	}
	sealed, public, err := signing.NewP256(dk, platformBinding(kid))
	if err != nil {
		return nil, "", err
	}
	err = s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, addKeySQL, kid, wrapped, sealed, public, now)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("store key of certificates: %w", err)
	}
	signer, err := signing.OpenP256(dk, platformBinding(kid), sealed)
	return signer, kid, err
}

func platformBinding(kid string) signing.Binding {
	return signing.Binding{Tenant: signing.Platform, Purpose: signing.Erasure, KeyID: kid}
}

func (s *Service) openPlatformKey(ctx context.Context, kid string, wrapped, sealed []byte) (crypto.Signer, error) {
	dk, err := signing.OpenDataKey(ctx, s.Custody, signing.Platform, wrapped)
	if err != nil {
		return nil, err
	}
	return signing.OpenP256(dk, platformBinding(kid), sealed)
}

const (
	addressesSQL = `
select statement, addresses, certified_at
  from erasure
 where tenant = $1
   and sent_at is null`

	sentSQL = `
update erasure
   set addresses = array_remove(addresses, $2),
       sent_at = case when cardinality(array_remove(addresses, $2)) = 0 then $3::timestamptz end
 where tenant = $1
   and sent_at is null`

	forgetSQL = `
update erasure
   set addresses = '{}', sent_at = $2
 where tenant = $1
   and sent_at is null`

	// sendFor is how long letters are tried that nobody takes.
	sendFor = 30 * 24 * time.Hour
)

// send sends the certificate to those who were owners, and forgets each address after
// that. An address that takes no letters is forgotten as well, and all are in the end.
func (s *Service) send(ctx context.Context, e departure) error {
	var due struct {
		Statement   string
		Addresses   pq.StringArray
		CertifiedAt time.Time `db:"certified_at"`
	}
	if err := s.DB.Platform(ctx, func(tx *tenant.Tx) error { return tx.Get(ctx, &due, addressesSQL, e.Tenant) }); err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	now := s.Now().UTC().Truncate(time.Second)
	for _, to := range due.Addresses {
		text, err := certificateLetter(to, string(e.Slug), due.Statement)
		if err != nil {
			return err
		}
		err = s.Mail.Send(ctx, text)
		if err != nil && !errors.Is(err, mail.ErrRecipient) {
			if now.Before(due.CertifiedAt.Add(sendFor)) {
				return fmt.Errorf("letter with certificate: %w", err)
			}
			break
		}
		if err := s.note(ctx, sentSQL, e.Tenant, to, now); err != nil {
			return err
		}
	}
	return s.note(ctx, forgetSQL, e.Tenant, now)
}

func (s *Service) note(ctx context.Context, query string, args ...any) error {
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("note letter: %w", err)
	}
	return nil
}

const publicKeysSQL = `
  select key_id, public_der
    from platform_key
order by created_at, key_id`

// PublicKeys are the platform's, for verifying certificates. db is a handle under the
// operators' role.
func PublicKeys(ctx context.Context, db *tenant.DB) (erasure.Keys, error) {
	var list []struct {
		KeyID string `db:"key_id"`
		DER   []byte `db:"public_der"`
	}
	if err := db.Platform(ctx, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, publicKeysSQL) }); err != nil {
		return nil, fmt.Errorf("read keys of certificates: %w", err)
	}
	keys := erasure.Keys{}
	for _, k := range list {
		public, err := signing.ParsePublicDER(k.DER)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.KeyID, err)
		}
		keys[k.KeyID] = public
	}
	return keys, nil
}

const statementSQL = `
select statement
  from erasure
 where slug = $1
   and certified_at is not null`

// Statement is the certificate of an authority that was erased, by the name in URLs that it
// had: [tenant.ErrUnknown] if none was, or not wholly yet. db is a handle under the operators'
// role.
func Statement(ctx context.Context, db *tenant.DB, slug string) (statement string, err error) {
	err = db.Platform(ctx, func(tx *tenant.Tx) error { return tx.Get(ctx, &statement, statementSQL, slug) })
	if errors.Is(err, sql.ErrNoRows) {
		return "", tenant.ErrUnknown
	}
	return statement, err
}
