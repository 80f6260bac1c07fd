package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"carillon/signing"
	"carillon/signing/jws"
)

// jwks lists the tenant's certificate keys as a bare array, which is what the
// reference's key server reads (verification protocol §9).
func (s *Server) jwks(c *gin.Context) {
	if keys, ok := s.publicKeys(c); ok {
		s.sendJSON(c, http.StatusOK, keys)
	}
}

// jwksSet lists the same keys as RFC 7517 has it.
func (s *Server) jwksSet(c *gin.Context) {
	if keys, ok := s.publicKeys(c); ok {
		s.sendJSON(c, http.StatusOK, struct {
			Keys []jws.JWK `json:"keys"`
		}{keys})
	}
}

// publicKeys fails rather than listing only some: readers revoke what is not listed.
func (s *Server) publicKeys(c *gin.Context) ([]jws.JWK, bool) {
	public, err := s.config.PublicKeys.Public(c.Request.Context(), of(c).tenant.ID, signing.Certificate)
	if err != nil {
		s.fail(c, err)
		return nil, false
	}
	keys := make([]jws.JWK, 0, len(public))
	for _, p := range public {
		k, err := jws.NewJWK(p.KeyID, p.Key)
		if err != nil {
			s.fail(c, err)
			return nil, false
		}
		keys = append(keys, k)
	}
	c.Header("Cache-Control", "public, max-age=60")
	return keys, true
}
