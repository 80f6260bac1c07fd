// Package erasure is the certificate that a health authority's data was erased: what was
// destroyed, how much of it, when, and what remains by design.
//
// A certificate is a JSON Web Token under ES256, one line of text, so that whoever has it
// and the platform's public key can verify it without the platform. The key is the
// platform's own: the authority's keys are gone by then.
package erasure

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/signing/jws"
)

// Certificate says what became of an authority's data. Times are in whole seconds.
type Certificate struct {
	Tenant uuid.UUID `json:"tenant"`
	// Slug and HealthAuthorityID are never used again.
	Slug              string `json:"slug"`
	HealthAuthorityID string `json:"health_authority_id"`
	// Begun is when the authority began to leave, KeyDestroyed when its data key was
	// destroyed: from then on nothing that was sealed could be read. Scanned is when the
	// last scan found nothing left.
	Begun        time.Time `json:"leaving_since"`
	KeyDestroyed time.Time `json:"key_destroyed_at"`
	Scanned      time.Time `json:"scanned_at"`
	// Deleted counts the rows that were deleted from each table, Objects the files.
	Deleted map[string]int64 `json:"rows_deleted"`
	Objects int64            `json:"files_deleted"`
	// Tables are those that the scan looked through, without finding the authority.
	Tables []string `json:"tables_scanned"`
	// BackupKey is what became of the data key that was kept for backups: destroyed, or
	// none if the platform keeps no such keys.
	BackupKey string `json:"backup_key"`
	// Remains is what is still there by design, in words.
	Remains []string `json:"remains"`
}

// ErrCertificate means that a text is no certificate of erasure. The error's text says why
// not.
var ErrCertificate = errors.New("not a certificate of erasure")

// certificateType tells certificates from whatever else might be signed by a key.
const certificateType = "carillon erasure 1"

type claims struct {
	Type string `json:"type"`
	At   int64  `json:"iat"`
	Certificate
}

// Sign returns the signed statement, as of at. kid names the key to whoever verifies.
func (c Certificate) Sign(signer crypto.Signer, kid string, at time.Time) (string, error) {
	return jws.Sign(signer, kid, claims{Type: certificateType, At: at.Unix(), Certificate: c})
}

// Keys are the platform's public keys by their key IDs.
type Keys map[string]*ecdsa.PublicKey

// Open reads a statement and checks its signature: [ErrCertificate] if it is none, or by no
// key of these. It returns when it was signed, too.
func (k Keys) Open(statement string) (Certificate, time.Time, error) {
	refuse := func(why any) (Certificate, time.Time, error) {
		return Certificate{}, time.Time{}, fmt.Errorf("%w: %v", ErrCertificate, why)
	}
	token, err := jws.Parse(statement)
	if err != nil {
		return refuse(err)
	}
	public, known := k[token.KeyID()]
	if !known {
		return refuse("signed by an unknown key")
	}
	if err := token.Verify(public); err != nil {
		return refuse(err)
	}
	var c claims
	if err := json.Unmarshal(token.Payload(), &c); err != nil || c.Type != certificateType {
		return refuse("it says something else")
	}
	return c.Certificate, time.Unix(c.At, 0).UTC(), nil
}
