package member

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/authz/oidc"
	"carillon/tenant"
)

// ErrSpent means that a logout token was taken before.
var ErrSpent = errors.New("logout token was taken before")

// Owner is whose a session is, so that it can be ended from elsewhere.
type Owner struct {
	// Provider is the ID of a tenant's own provider; empty for the platform's.
	Provider string `json:"provider,omitempty"`
	// Subject is the person at that provider, SID the session there; it may be empty.
	Subject string `json:"subject,omitempty"`
	SID     string `json:"sid,omitempty"`
}

// OwnerOf is the owner of the session of somebody who has signed in.
func OwnerOf(who oidc.Identity) Owner {
	return Owner{Provider: who.Provider, Subject: who.Subject, SID: who.SID}
}

// Pack puts a session's owner before its data, where [Sessions] looks for it.
func Pack(o Owner, data []byte) ([]byte, error) {
	head, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("session's owner: %w", err)
	}
	return append(append(head, '\n'), data...), nil
}

// Unpack returns the data that [Pack] was given, or nil if it was given none.
func Unpack(packed []byte) []byte {
	_, data, _ := bytes.Cut(packed, []byte{'\n'})
	return data
}

// ownerOf reads the owner; data without one is nobody's.
func ownerOf(data []byte) Owner {
	head, _, _ := bytes.Cut(data, []byte{'\n'})
	var o Owner
	if json.Unmarshal(head, &o) != nil {
		return Owner{}
	}
	return o
}

// person and session are what sessions are found by, which tells nobody who it is; nil
// for what is not known.
func (o Owner) person() []byte  { return ownDigest(o.Provider, "person", o.Subject) }
func (o Owner) session() []byte { return ownDigest(o.Provider, "session", o.SID) }

// ownDigest digests texts, each with its length; nil if the last one is empty.
func ownDigest(provider, kind, name string) []byte {
	if name == "" {
		return nil
	}
	var text []byte
	for _, part := range []string{provider, kind, name} {
		text = binary.BigEndian.AppendUint32(text, uint32(len(part)))
		text = append(text, part...)
	}
	digest := sha256.Sum256(text)
	return digest[:]
}

const (
	spendSQL = `
insert into spent_logout (token_digest, expires_at)
values ($1, $2)
    on conflict do nothing`

	endSessionsSQL = `
update login_session
   set ended_at = $3
 where ended_at is null
   and ($1::bytea is null or person = $1)
   and ($2::bytea is null or session = $2 or person = $1 and session is null)
   and ($1::bytea is not null or $2::bytea is not null)`

	endAtProviderSQL = `
update login_session
   set ended_at = $2
 where ended_at is null
   and provider_id = $1`
)

// End ends the sessions that a provider says are over, in every process of its role at once:
// [ErrSpent] if that was said before by the same token. provider is as in [Owner]. A
// session whose name at the provider is not known ends with any other of its person.
func (s *Sessions) End(ctx context.Context, provider string, l oidc.Logout) error {
	o := Owner{Provider: provider, Subject: l.Subject, SID: l.SID}
	err := s.db.Platform(ctx, func(tx *tenant.Tx) error {
		n, err := tx.Exec(ctx, spendSQL, ownDigest(provider, "token", l.ID), l.Expires.UTC())
		if err == nil && n == 0 {
			return ErrSpent
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, endSessionsSQL, o.person(), o.session(), s.now().UTC())
		return err
	})
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	return nil
}

// EndAt ends, in tx, all sessions of those who signed in at a tenant's own provider.
func EndAt(ctx context.Context, tx *tenant.Tx, provider uuid.UUID, now time.Time) error {
	if _, err := tx.Exec(ctx, endAtProviderSQL, provider, now.UTC()); err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	return nil
}
