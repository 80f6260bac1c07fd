package api

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/exposure"
)

// crossings notices when a credential of one tenant is tried at another. The database
// cannot tell: a tenant's transaction sees no other's keys. So each process remembers
// which keys it has let in, and where, by a digest whose own key dies with the
// process. A key that this process never let in counts as unknown.
type crossings struct {
	key  []byte
	seen *lru.Cache[[sha256.Size]byte, tenant.ID]
}

const crossingsSize = 50_000

func newCrossings() *crossings {
	key := make([]byte, sha256.Size)
	rand.Read(key)
	seen, err := lru.New[[sha256.Size]byte, tenant.ID](crossingsSize)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &crossings{key: key, seen: seen}
}

func (x *crossings) digest(credential string) [sha256.Size]byte {
	secret := x.key[:len(x.key):len(x.key)]
	return sha256.Sum256(append(secret, strings.TrimSpace(credential)...))
}

// admitted remembers a credential that was good.
func (x *crossings) admitted(id tenant.ID, credential string) {
	x.seen.Add(x.digest(credential), id)
}

// crossed reports whether a credential that was refused at one tenant is another's.
func (x *crossings) crossed(id tenant.ID, credential string) bool {
	home, known := x.seen.Get(x.digest(credential))
	return known && home != id
}

// noteCrossing counts what disagrees with the tenant of the URL.
func (s *Server) noteCrossing(credential authz.Credential) {
	s.metrics.crossings.WithLabelValues(string(credential)).Inc()
}

// noteUpload counts an upload that was refused because it names a health authority or
// brings a certificate that is not the URL's tenant's.
func (s *Server) noteUpload(t *tenant.Tenant, u exposure.Upload, err error) {
	switch {
	case errors.Is(err, exposure.ErrUnknownHealthAuthority):
		if u.HealthAuthorityID == "" {
			return
		}
	case errors.Is(err, exposure.ErrCertificate) && t != nil:
		c, err := certificate.Parse(u.VerificationPayload)
		if err != nil || c.Issuer() == t.Settings.Issuer {
			return
		}
	default:
		return
	}
	s.noteCrossing(authz.CredentialCertificate)
}
