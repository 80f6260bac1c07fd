package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"carillon/api/strictjson"
	"carillon/tenant/exposure"
)

const (
	versionHeader = "X-Api-Version"
	version       = "v1"
)

// publishRequest is the body of /v1/publish (key server protocol §1.2).
type publishRequest struct {
	Keys                 []publishKey `json:"temporaryExposureKeys"`
	HealthAuthorityID    string       `json:"healthAuthorityID"`
	VerificationPayload  string       `json:"verificationPayload"`
	HMACKey              string       `json:"hmacKey"`
	SymptomOnsetInterval int32        `json:"symptomOnsetInterval"`
	Traveler             bool         `json:"traveler"`
	RevisionToken        string       `json:"revisionToken"`
	// Padding is ignored, as is every member that is not here: experimental clients
	// send some (§1.1), and newer ones may.
	Padding strictjson.Ignored `json:"padding"`
}

type publishKey struct {
	Key              string `json:"key"`
	RollingStart     int32  `json:"rollingStartNumber"`
	RollingPeriod    int32  `json:"rollingPeriod"`
	TransmissionRisk int32  `json:"transmissionRisk"`
}

// publishResponse is every answer, good or bad (§1.6). Apple calls the code
// errorCode, Google code.
type publishResponse struct {
	RevisionToken string   `json:"revisionToken,omitempty"`
	Inserted      int      `json:"insertedExposures,omitempty"`
	Error         string   `json:"error,omitempty"`
	Code          string   `json:"code,omitempty"`
	AppleCode     string   `json:"errorCode,omitempty"`
	Warnings      []string `json:"warnings,omitempty"`
	Padding       []byte   `json:"padding"`
}

// publishClosed is the answer under maintenance, which has no code and no padding
// (§1.1).
type publishClosed struct {
	Error string `json:"error"`
}

// publish takes in an upload. At a URL of no tenant every upload is one for an
// unknown health authority.
func (s *Server) publish(c *gin.Context) {
	if t := of(c).tenant; t != nil && t.ClosedForPublish() {
		c.Header(versionHeader, version)
		s.sendJSON(c, http.StatusTooManyRequests, publishClosed{"please try again later"})
		return
	}
	upload, ok := s.decodeUpload(c)
	if !ok {
		return
	}
	t := of(c).tenant
	if t == nil {
		s.refuseUpload(c, upload, exposure.UnknownHealthAuthority(upload.HealthAuthorityID))
		return
	}
	receipt, err := s.config.Publisher.Publish(c.Request.Context(), t, upload)
	if err != nil {
		s.refuseUpload(c, upload, err)
		return
	}
	s.countUpload(c, receipt)
	answer := publishResponse{RevisionToken: receipt.RevisionToken, Inserted: receipt.Inserted, Warnings: receipt.Warnings}
	if receipt.Failure != "" {
		answer.Error, answer.Code = receipt.Failure, "partial_failure"
	}
	s.answerPublish(c, http.StatusOK, answer)
}

// decodeUpload reads the body; if it cannot, it has answered and reports false.
func (s *Server) decodeUpload(c *gin.Context) (exposure.Upload, bool) {
	if !isJSON(c) {
		s.refuseBody(c, http.StatusUnsupportedMediaType, "bad_request", notJSON)
		return exposure.Upload{}, false
	}
	var r publishRequest
	err := s.readBody(c, &r, strictjson.DecodeTolerant)
	var bad *strictjson.Error
	switch {
	case err == nil:
		return r.upload(), true
	case errors.Is(err, strictjson.ErrTooLarge):
		s.refuseBody(c, http.StatusRequestEntityTooLarge, "bad_request", err.Error())
	case errors.As(err, &bad):
		s.refuseBody(c, http.StatusBadRequest, "bad_request", bad.Error())
	default: // it did not arrive
		s.refuseBody(c, http.StatusInternalServerError, "internal_error", "failed to decode json")
	}
	return exposure.Upload{}, false
}

func (s *Server) refuseBody(c *gin.Context, status int, code, detail string) {
	text := fmt.Sprintf("error unmarshalling API call, code: %d: %s", status, detail)
	s.answerPublish(c, status, publishResponse{Error: text, Code: code})
}

func (r publishRequest) upload() exposure.Upload {
	u := exposure.Upload{
		HealthAuthorityID: r.HealthAuthorityID, VerificationPayload: r.VerificationPayload,
		HMACKey: r.HMACKey, SymptomOnsetInterval: r.SymptomOnsetInterval,
		Traveler: r.Traveler, RevisionToken: r.RevisionToken,
		Keys: make([]exposure.UploadKey, len(r.Keys)),
	}
	for i, k := range r.Keys {
		u.Keys[i] = exposure.UploadKey(k)
	}
	return u
}

func (s *Server) refuseUpload(c *gin.Context, u exposure.Upload, err error) {
	s.noteUpload(of(c).tenant, u, err)
	a, known := publishAnswers().find(err)
	if !known {
		s.fail(c, err)
		return
	}
	if errors.Is(err, exposure.ErrBadKeys) {
		a.text = "unable to read request data: " + a.text
	}
	answer := publishResponse{Error: a.text, Code: a.code}
	var p *exposure.Problem
	if errors.As(err, &p) {
		answer.Warnings = p.Warnings
	}
	s.answerPublish(c, a.status, answer)
}

// answerPublish pads every answer, and remembers real successes for cover traffic.
func (s *Server) answerPublish(c *gin.Context, status int, body publishResponse) {
	body.AppleCode, body.Padding = body.Code, padding()
	c.Header(versionHeader, version)
	size := s.sendJSON(c, status, body)
	if status == http.StatusOK && body.Error == "" {
		s.chaff[classPublish].record(sample{size: size, took: s.spent(of(c))})
	}
}
