package api

import (
	"errors"

	"github.com/gin-gonic/gin"

	"carillon/tenant/exposure"
	"carillon/tenant/stats"
	"carillon/tenant/verification"
)

// caller is who sent a device request, as far as statistics know.
func caller(c *gin.Context) stats.Caller {
	return stats.Caller{APIKey: of(c).subject.ID, Platform: stats.DevicePlatform(c.Request.UserAgent())}
}

// countVerify tells statistics how a verify request ended (§8.2). One whose body was
// not understood, or that we could not answer, is neither a good code nor a bad one.
func (s *Server) countVerify(c *gin.Context, err error) {
	id := of(c).tenant.ID
	var p *verification.Problem
	switch {
	case of(c).subject.Rehearsal:
	case err == nil:
		s.config.Counter.CodeClaimed(id, caller(c))
	case !errors.As(err, &p) || p.Spent:
	case errors.Is(err, verification.ErrCodeInvalid), errors.Is(err, verification.ErrCodeExpired),
		errors.Is(err, verification.ErrUnsupportedTestType):
		s.config.Counter.CodeInvalid(id, caller(c), p.Nonce)
	}
}

// countCertificate does the same for a certificate request.
func (s *Server) countCertificate(c *gin.Context, err error) {
	id := of(c).tenant.ID
	var p *verification.Problem
	switch {
	case of(c).subject.Rehearsal:
	case err == nil:
		s.config.Counter.TokenClaimed(id, caller(c))
	case !errors.As(err, &p) || p.Spent:
	case errors.Is(err, verification.ErrTokenInvalid), errors.Is(err, verification.ErrTokenExpired):
		s.config.Counter.TokenInvalid(id, caller(c))
	}
}

// countUpload tells statistics of an upload that stored or changed something.
func (s *Server) countUpload(c *gin.Context, r *exposure.Receipt) {
	if r.Facts == nil {
		return
	}
	s.config.Counter.Uploaded(of(c).tenant.ID, stats.Upload{
		Platform: stats.UploadPlatform(c.Request.UserAgent()), Certified: r.Facts.Certified,
		Inserted: r.Inserted, Revised: r.Revised,
		OldestDays: r.Facts.OldestDays, OnsetDays: r.Facts.OnsetDays, MissingOnset: r.Facts.MissingOnset,
	})
}
