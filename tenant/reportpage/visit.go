package reportpage

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
)

// VisitLife is how long a page that was opened can be sent.
const VisitLife = time.Hour

// Visit is a phone's visit of the page. It prints and logs as a fixed word.
type Visit struct {
	Tenant tenant.ID
	// Nonce is the phone's, as bytes.
	Nonce []byte
	// Expires is when the visit ends, in whole seconds.
	Expires time.Time
}

const hidden = "[visit]"

// Format hides the visit from every verb of package fmt.
func (Visit) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the visit from package slog.
func (Visit) LogValue() slog.Value { return slog.StringValue(hidden) }

// ErrVisit means that a text is no visit: it was changed, has ended, or its tenant
// does not exist.
var ErrVisit = errors.New("not a visit that goes on")

// A sealed visit, in base64, is
//
//	tenant (16 bytes) | AES-GCM nonce (12 bytes) | sealed: expiry (8 bytes), the phone's nonce
//
// with the tenant as associated data. The sealing key comes from each of the tenant's
// keys for telephone numbers, by HKDF.
const (
	tenantSize = 16
	gcmNonce   = 12
	expirySize = 8
	maxSealed  = 4096 // characters; browsers keep no longer cookies
	purpose    = "carillon hosted report page"
	sealingKey = 32
)

// Seal makes the text that the browser keeps.
func (s *Service) Seal(ctx context.Context, v Visit) (string, error) {
	live, err := s.keys.Secrets(ctx, v.Tenant, signing.PhoneMAC)
	if err != nil {
		return "", fmt.Errorf("keys of visits: %w", err)
	}
	aead, err := sealer(live[0].Bytes)
	if err != nil {
		return "", err
	}
	sealed := make([]byte, tenantSize+gcmNonce, tenantSize+gcmNonce+expirySize+len(v.Nonce)+aead.Overhead())
	copy(sealed, v.Tenant[:])
	rand.Read(sealed[tenantSize:])
	plain := binary.BigEndian.AppendUint64(nil, uint64(v.Expires.Unix()))
	sealed = aead.Seal(sealed, sealed[tenantSize:], append(plain, v.Nonce...), v.Tenant[:])
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Open reads what [Service.Seal] has made: [ErrVisit] if it is anything else, or has ended.
func (s *Service) Open(ctx context.Context, text string, now time.Time) (Visit, error) {
	id, nonce, box, err := parse(text)
	if err != nil {
		return Visit{}, err
	}
	live, err := s.keys.Secrets(ctx, id, signing.PhoneMAC)
	if errors.Is(err, key.ErrNoKey) {
		return Visit{}, ErrVisit
	}
	if err != nil {
		return Visit{}, fmt.Errorf("keys of visits: %w", err)
	}
	for _, k := range live {
		aead, err := sealer(k.Bytes)
		if err != nil {
			return Visit{}, err
		}
		plain, err := aead.Open(nil, nonce, box, id[:])
		if err != nil || len(plain) < expirySize {
			continue // sealed under another key, or by nobody
		}
		v := Visit{Tenant: id, Nonce: plain[expirySize:], Expires: time.Unix(int64(binary.BigEndian.Uint64(plain)), 0).UTC()}
		if !now.Before(v.Expires) {
			return Visit{}, ErrVisit
		}
		return v, nil
	}
	return Visit{}, ErrVisit
}

// parse takes a sealed visit apart.
func parse(text string) (id tenant.ID, nonce, box []byte, err error) {
	if len(text) > maxSealed || strings.ContainsAny(text, "\r\n") { // the decoder would skip line breaks
		return tenant.ID{}, nil, nil, ErrVisit
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(sealed) < tenantSize+gcmNonce {
		return tenant.ID{}, nil, nil, ErrVisit
	}
	return tenant.ID(sealed[:tenantSize]), sealed[tenantSize : tenantSize+gcmNonce], sealed[tenantSize+gcmNonce:], nil
}

func sealer(secret []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, secret, nil, purpose, sealingKey)
	if err != nil {
		return nil, fmt.Errorf("key of visits: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, fmt.Errorf("key of visits: %w", err)
	}
	return cipher.NewGCM(block)
}
