package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"path"

	"github.com/gin-gonic/gin"

	"carillon/signing"
	"carillon/signing/jws"
	"carillon/tenant/export"
)

// exportFile serves the index and the files of a tenant (key server protocol §5.5):
// files never change and may be kept for a day, the index must be asked for anew.
func (s *Server) exportFile(c *gin.Context) {
	name := c.Param("file")
	o, err := s.open(c, name)
	if errors.Is(err, export.ErrNotFound) || errors.Is(err, export.ErrName) {
		c.String(http.StatusNotFound, "404 page not found\n")
		return
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	defer o.Close()
	h := c.Writer.Header()
	if name == export.IndexName {
		tag, err := contentTag(o)
		if err != nil {
			s.fail(c, err)
			return
		}
		h.Set("ETag", tag)
		h.Set("Content-Type", "text/plain")
		h.Set("Cache-Control", "no-cache, max-age=0")
	} else {
		h.Set("ETag", `"`+name+`"`) // a name never gets other content
		h.Set("Content-Type", "application/zip")
		h.Set("Cache-Control", "public, max-age=86400")
	}
	http.ServeContent(c.Writer, c.Request, "", o.Modified(), o)
}

func (s *Server) open(c *gin.Context, name string) (export.Object, error) {
	if name != export.IndexName && path.Ext(name) != ".zip" {
		return nil, export.ErrNotFound
	}
	return s.config.Files.Open(c, export.Prefix(requestTenant(c))+name)
}

func contentTag(o export.Object) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, o); err != nil {
		return "", err
	}
	_, err := o.Seek(0, io.SeekStart)
	return `"` + hex.EncodeToString(h.Sum(nil)[:16]) + `"`, err
}

// jwks lists the tenant's certificate keys as a bare array, which is what the
// reference's key server reads (verification protocol §9).
func (s *Server) jwks(c *gin.Context) {
	if keys, ok := s.publicKeys(c); ok {
		c.JSON(http.StatusOK, keys)
	}
}

// jwksSet lists the same keys as RFC 7517 has it.
func (s *Server) jwksSet(c *gin.Context) {
	if keys, ok := s.publicKeys(c); ok {
		c.JSON(http.StatusOK, gin.H{"keys": keys})
	}
}

// publicKeys fails rather than listing only some: readers revoke what is not listed.
func (s *Server) publicKeys(c *gin.Context) ([]jws.JWK, bool) {
	public, err := s.config.PublicKeys.Public(c, requestTenant(c).ID, signing.Certificate)
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
