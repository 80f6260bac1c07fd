// Package signing keeps key material: a root key that wraps data keys, data keys
// that seal everything a tenant owns, and the P-256 keys and secrets sealed by
// them.
//
// It knows no tenants and no SQL: a tenant is a text that is bound to what is
// sealed for it. A sealed blob moved to another tenant, purpose or key ID does not
// open. Formats that are signed or sealed for the world have packages of their
// own below this one.
//
// Layers:
//
//	root key   in a file, or a key service; wraps
//	data key   one per tenant, stored wrapped; destroying it erases the tenant; seals
//	keys       P-256 private keys (PKCS #8) and secrets, stored sealed
package signing

import (
	"context"
	"errors"
)

// Purpose says what a key is for. It is bound to the sealed key.
type Purpose string

// The purposes.
const (
	// Certificate keys sign diagnosis certificates (verification protocol §2.4).
	Certificate Purpose = "certificate"
	// Export keys sign export files (key server protocol §6).
	Export Purpose = "export"
	// SMS keys sign text messages (verification protocol §7.3).
	SMS Purpose = "sms"
	// Token keys seal long-term tokens.
	Token Purpose = "token"
	// Revision keys seal revision tokens (key server protocol §3).
	Revision Purpose = "revision"
	// CodeMAC keys make the digests of verification codes (verification protocol §6.3).
	CodeMAC Purpose = "code-mac"
	// PhoneMAC keys make the digests of telephone numbers (verification protocol §5.1).
	PhoneMAC Purpose = "phone-mac"
	// Audit keys sign checkpoints of the audit log (package auditchain).
	Audit Purpose = "audit"
)

// What the data key seals directly, without a key of its own.
const (
	// Message is a text message that waits to be sent; the key ID is its code's.
	Message Purpose = "message"
	// Provider is a password at whoever delivers messages; the key ID is its place.
	Provider Purpose = "provider"
	// Archive is a part of an archive of the tenant's data; the key ID is the archive's and
	// the part's number.
	Archive Purpose = "archive"
	// Batch is a row of a batch of codes; the key ID is what it is and where.
	Batch Purpose = "batch"
	// Rehearsal is what simulated phones of a sandbox have; the key ID is whose they are.
	Rehearsal Purpose = "rehearsal"
)

// Erasure keys sign certificates of erasure (package erasure). They are the platform's, which
// stands for their tenant.
const Erasure Purpose = "erasure"

// Platform stands for the tenant in bindings of what belongs to none.
const Platform = "platform"

// Purposes are all those with keys of their own.
func Purposes() []Purpose {
	return []Purpose{Certificate, Export, SMS, Token, Revision, CodeMAC, PhoneMAC, Audit}
}

// Binding is what a sealed blob belongs to.
type Binding struct {
	Tenant  string
	Purpose Purpose
	KeyID   string
}

// ErrSealed means that a blob does not open: it was changed, belongs to another
// tenant, purpose or key ID, or was sealed under another key.
var ErrSealed = errors.New("sealed data does not open")

// Root wraps and unwraps data keys with a key that this program may never see.
type Root interface {
	// Wrap encrypts a data key. The same aad is needed to unwrap it.
	Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error)
	// Unwrap is the reverse of Wrap: [ErrSealed] if the blob or aad is not the one.
	Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error)
}
