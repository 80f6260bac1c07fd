package labfeed

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/labfeed/document"
)

// secrets are what a tenant's results are digested and sealed with.
type secrets struct {
	tenant tenant.ID
	mac    []byte
	data   *signing.DataKey
}

// Format hides the keys.
func (secrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[lab feed keys]") }

// LogValue hides the keys.
func (secrets) LogValue() slog.Value { return slog.StringValue("[lab feed keys]") }

const (
	macKeySize = 32

	createSecretSQL = `
insert into lab_secret (tenant_id, sealed)
values (current_tenant(), $1)
    on conflict do nothing`

	readSecretSQL = `select sealed from lab_secret`
)

// The purposes that what is sealed here is bound to.
const (
	macPurpose    signing.Purpose = "lab-mac"
	resultPurpose signing.Purpose = "lab-result"
)

// loadSecrets opens a tenant's keys; the first asker makes the digests' key.
func (s *Service) loadSecrets(ctx context.Context, id tenant.ID) (secrets, error) {
	k, sealed, err := s.freshSecrets(ctx, id)
	if err != nil {
		return secrets{}, err
	}
	err = s.db.In(ctx, id, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, createSecretSQL, sealed); err != nil {
			return err
		}
		return tx.Get(ctx, &sealed, readSecretSQL)
	})
	if err != nil {
		return secrets{}, fmt.Errorf("key of accessions: %w", err)
	}
	return k.with(sealed)
}

// peekSecrets opens a tenant's keys without making any. A tenant that has none has no
// results either, and any key will do to compare with nothing.
func (s *Service) peekSecrets(ctx context.Context, id tenant.ID) (secrets, error) {
	k, sealed, err := s.freshSecrets(ctx, id)
	if err != nil {
		return secrets{}, err
	}
	err = s.db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Get(ctx, &sealed, readSecretSQL) })
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return secrets{}, fmt.Errorf("key of accessions: %w", err)
	}
	return k.with(sealed)
}

func macBinding(id tenant.ID) signing.Binding {
	return signing.Binding{Tenant: id.String(), Purpose: macPurpose, KeyID: "1"}
}

// freshSecrets are keys that nobody else has, and the sealed form to store.
func (s *Service) freshSecrets(ctx context.Context, id tenant.ID) (secrets, []byte, error) {
	data, err := s.keys.DataKey(ctx, id)
	if err != nil {
		return secrets{}, nil, err
	}
	mac := make([]byte, macKeySize)
	rand.Read(mac)
	sealed, err := data.Seal(macBinding(id), mac)
	return secrets{tenant: id, data: data}, sealed, err
}

// with opens the sealed key of digests.
func (s secrets) with(sealed []byte) (secrets, error) {
	var err error
	if s.mac, err = s.data.Open(macBinding(s.tenant), sealed); err != nil {
		return secrets{}, fmt.Errorf("key of accessions: %w", err)
	}
	return s, nil
}

// digest is a keyed digest of texts, each with its length, so that no two lists of
// texts are the same bytes.
func (s secrets) digest(parts ...string) []byte {
	h := hmac.New(sha256.New, s.mac)
	for _, p := range parts {
		_ = binary.Write(h, binary.BigEndian, uint32(len(p))) // a hash takes everything
		_, _ = io.WriteString(h, p)
	}
	return h.Sum(nil)
}

// id makes a UUID of a digest: version 8, whose bits are the maker's own (RFC 9562).
func (s secrets) id(parts ...string) uuid.UUID {
	var id uuid.UUID
	copy(id[:], s.digest(parts...))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// remains are what is left of a result: enough to issue a code, and to judge it
// again under another mapping. They exist sealed, and in memory.
type remains struct {
	Phone     string          `json:"phone,omitempty"`
	Tests     []document.Code `json:"tests,omitempty"`
	Values    []document.Code `json:"values,omitempty"`
	Status    document.Status `json:"status"`
	Collected document.Date   `json:"collected"`
	Onset     document.Date   `json:"onset"`
}

// Format hides the telephone number.
func (remains) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[laboratory result]") }

// LogValue hides the telephone number.
func (remains) LogValue() slog.Value { return slog.StringValue("[laboratory result]") }

func (s secrets) binding(row uuid.UUID) signing.Binding {
	return signing.Binding{Tenant: s.tenant.String(), Purpose: resultPurpose, KeyID: row.String()}
}

// seal binds remains to their row.
func (s secrets) seal(row uuid.UUID, r remains) ([]byte, error) {
	plain, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return s.data.Seal(s.binding(row), plain)
}

// open is the reverse of seal.
func (s secrets) open(row uuid.UUID, sealed []byte) (remains, error) {
	plain, err := s.data.Open(s.binding(row), sealed)
	if err != nil {
		return remains{}, err
	}
	var r remains
	if err := json.Unmarshal(plain, &r); err != nil {
		return remains{}, signing.ErrSealed // the library's words would show the contents
	}
	return r, nil
}
