package api

import (
	"errors"

	"github.com/gin-gonic/gin"

	"carillon/api/strictjson"
	"carillon/tenant/guess"
	"carillon/tenant/verification"
)

// verifyRequest is the body of /api/verify (§1.1).
type verifyRequest struct {
	Code    string             `json:"code"`
	Accept  []string           `json:"accept"`
	Nonce   string             `json:"nonce"`
	Padding strictjson.Ignored `json:"padding"`
}

// verifyResponse is its answer (§1.3). testtype is all lower case.
type verifyResponse struct {
	Padding     []byte `json:"padding"`
	TestType    string `json:"testtype"`
	SymptomDate string `json:"symptomDate,omitempty"`
	TestDate    string `json:"testDate,omitempty"`
	Token       string `json:"token"`
}

func (s *Server) verify(c *gin.Context) {
	var r verifyRequest
	if !s.decode(c, unparsable, &r) {
		return
	}
	try, admitted := s.config.Guesses.Try(of(c).tenant.ID, of(c).address)
	if !admitted {
		s.tooMany(c, try.Reset)
		return
	}
	v, err := s.config.Device.Verify(c.Request.Context(), of(c).tenant, verification.VerifyRequest{
		Code: r.Code, Accept: r.Accept, Nonce: r.Nonce, Rehearsal: of(c).subject.Rehearsal,
	})
	try.Done(outcome(err))
	if errors.Is(err, verification.ErrCodeInvalid) {
		s.metrics.wrongCodes.Inc()
	}
	s.countVerify(c, err)
	if err != nil {
		s.refuse(c, err, verifyAnswers())
		return
	}
	s.render(c, verifyResponse{
		Padding: padding(), TestType: v.TestType, SymptomDate: v.SymptomDate, TestDate: v.TestDate, Token: v.Token,
	})
}

// outcome is what an attempt at a code tells about guessing. A code that is refused for
// its test type is still there, so it buys nothing: it could be shown again and again.
func outcome(err error) guess.Outcome {
	switch {
	case err == nil:
		return guess.Right
	case errors.Is(err, verification.ErrCodeInvalid):
		return guess.Wrong
	}
	return guess.Neither
}

// certificateRequest is the body of /api/certificate (§2.1).
type certificateRequest struct {
	Token    string             `json:"token"`
	EKeyHMAC string             `json:"ekeyhmac"`
	Padding  strictjson.Ignored `json:"padding"`
}

type certificateResponse struct {
	Padding     []byte `json:"padding"`
	Certificate string `json:"certificate"`
}

func (s *Server) certificate(c *gin.Context) {
	var r certificateRequest
	if !s.decode(c, unparsable, &r) {
		return
	}
	certificate, err := s.config.Device.Certificate(c.Request.Context(), of(c).tenant, verification.CertificateRequest{
		Token: r.Token, EKeyHMAC: r.EKeyHMAC, Rehearsal: of(c).subject.Rehearsal,
	})
	s.countCertificate(c, err)
	if err != nil {
		s.refuse(c, err, nil)
		return
	}
	s.render(c, certificateResponse{Padding: padding(), Certificate: certificate})
}
