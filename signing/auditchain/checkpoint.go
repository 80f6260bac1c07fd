package auditchain

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/signing/jws"
)

// Checkpoint says how many entries a tenant's log had at an instant.
type Checkpoint struct {
	Tenant uuid.UUID
	// At is in whole seconds.
	At time.Time
	// Entries is the number of the newest entry, at least 1, and Digest its digest.
	Entries int64
	Digest  Digest
}

// ErrCheckpoint means that a text is no checkpoint. The error's text says why not.
var ErrCheckpoint = errors.New("not a checkpoint")

// checkpointType tells checkpoints from whatever else might be signed by a key.
const checkpointType = "carillon audit checkpoint 1"

type checkpointClaims struct {
	Type    string    `json:"type"`
	Tenant  uuid.UUID `json:"tenant"`
	At      int64     `json:"iat"`
	Entries int64     `json:"entries"`
	Digest  string    `json:"digest"`
}

var digestText = base64.RawURLEncoding.Strict()

// Sign returns the signed statement: a JSON Web Token under ES256, as one line of
// text. kid names the key to whoever verifies.
func (c Checkpoint) Sign(signer crypto.Signer, kid string) (string, error) {
	return jws.Sign(signer, kid, checkpointClaims{
		Type: checkpointType, Tenant: c.Tenant, At: c.At.Unix(),
		Entries: c.Entries, Digest: digestText.EncodeToString(c.Digest[:]),
	})
}

// Keys are public keys of audit logs by their key IDs.
type Keys map[string]*ecdsa.PublicKey

// OpenCheckpoint reads a statement and checks its signature: [ErrCheckpoint] if it is
// none, or by no key of these.
func (k Keys) OpenCheckpoint(statement string) (Checkpoint, error) {
	token, err := jws.Parse(statement)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	public, known := k[token.KeyID()]
	if !known {
		return Checkpoint{}, fmt.Errorf("%w: signed by an unknown key", ErrCheckpoint)
	}
	if err := token.Verify(public); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	claims, err := readClaims(token)
	if err != nil {
		return Checkpoint{}, err
	}
	digest, err := digestText.DecodeString(claims.Digest)
	if err != nil || len(digest) != len(Digest{}) {
		return Checkpoint{}, fmt.Errorf("%w: it has no digest", ErrCheckpoint)
	}
	return Checkpoint{
		Tenant: claims.Tenant, At: time.Unix(claims.At, 0).UTC(), Entries: claims.Entries, Digest: Digest(digest),
	}, nil
}

func readClaims(token *jws.Unverified) (checkpointClaims, error) {
	var claims checkpointClaims
	if err := json.Unmarshal(token.Payload(), &claims); err != nil || claims.Type != checkpointType || claims.Entries < 1 {
		return checkpointClaims{}, fmt.Errorf("%w: it says something else", ErrCheckpoint)
	}
	return claims, nil
}

// ofAnother reports that a statement is a checkpoint of some other tenant's log, going
// by what it says itself.
func ofAnother(statement string, tenant uuid.UUID) bool {
	token, err := jws.Parse(statement)
	if err != nil {
		return false
	}
	claims, err := readClaims(token)
	return err == nil && claims.Tenant != tenant
}
