package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"carillon/api/strictjson"
	"carillon/tenant"
	"carillon/tenant/exposure"
)

const (
	versionHeader = "x-api-version"
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
	Padding              string       `json:"padding"`
	// Vaccinated is sent by experimental clients, and ignored (§1.1).
	Vaccinated bool `json:"vaccinated"`
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
	Padding       string   `json:"padding"`
}

func (s *Server) publish(c *gin.Context) {
	upload, ok := s.decodeUpload(c)
	if !ok {
		return
	}
	receipt, err := s.config.Publisher.Publish(c, requestTenant(c), upload)
	if err != nil {
		s.refusePublish(c, err)
		return
	}
	answer := publishResponse{RevisionToken: receipt.RevisionToken, Inserted: receipt.Inserted, Warnings: receipt.Warnings}
	if receipt.Failure != "" {
		answer.Error, answer.Code = receipt.Failure, "partial_failure"
	}
	s.answerPublish(c, http.StatusOK, answer)
}

func (s *Server) decodeUpload(c *gin.Context) (exposure.Upload, bool) {
	bad := func(status int, detail string) (exposure.Upload, bool) {
		text := "error unmarshalling API call, code: " + http.StatusText(status) + ": " + detail
		s.answerPublish(c, status, publishResponse{Error: text, Code: "bad_request"})
		return exposure.Upload{}, false
	}
	if !strings.HasPrefix(c.GetHeader("Content-Type"), contentJSON) {
		return bad(http.StatusUnsupportedMediaType, "content-type is not application/json")
	}
	body, err := strictjson.Read(c.Request.Body)
	if errors.Is(err, strictjson.ErrTooLarge) {
		return bad(http.StatusRequestEntityTooLarge, err.Error())
	}
	var r publishRequest
	if err == nil {
		err = strictjson.Decode(body, &r)
	}
	if err != nil {
		return bad(http.StatusBadRequest, bodyText(err))
	}
	c.Set(startKey, s.config.Now())
	return r.upload(), true
}

func (r publishRequest) upload() exposure.Upload {
	u := exposure.Upload{
		HealthAuthorityID: r.HealthAuthorityID, VerificationPayload: r.VerificationPayload,
		HMACKey: r.HMACKey, SymptomOnsetInterval: r.SymptomOnsetInterval,
		Traveler: r.Traveler, RevisionToken: r.RevisionToken,
	}
	for _, k := range r.Keys {
		u.Keys = append(u.Keys, exposure.UploadKey(k))
	}
	return u
}

func (s *Server) refusePublish(c *gin.Context, err error) {
	a, known := find(err, publishAnswers)
	if !known {
		s.logFailure(c, err)
		a = answer{http.StatusInternalServerError, "internal_error", "Internal Server Error"}
	}
	if errors.Is(err, exposure.ErrBadKeys) {
		a.text = "unable to read request data: " + a.text
	}
	s.answerPublish(c, a.status, publishResponse{Error: a.text, Code: a.code})
}

// refuseUnknownPublish answers at a URL of no tenant as any tenant would to an upload
// for another.
func (s *Server) refuseUnknownPublish(c *gin.Context) {
	if c.GetHeader("X-Chaff") != "" {
		s.sendChaff(c, classPublish, tenant.ID{})
		return
	}
	upload, ok := s.decodeUpload(c)
	if !ok {
		return
	}
	s.refusePublish(c, exposure.UnknownHealthAuthority(upload.HealthAuthorityID))
}

// answerPublish pads every answer, and remembers real successes for cover traffic.
func (s *Server) answerPublish(c *gin.Context, status int, body publishResponse) {
	body.AppleCode, body.Padding = body.Code, padding()
	text, err := json.Marshal(body)
	if err != nil {
		s.fail(c, err)
		return
	}
	c.Header(versionHeader, version)
	c.Data(status, contentJSON, text)
	c.Abort()
	if status == http.StatusOK {
		s.chaff[classPublish].record(sample{size: len(text), took: s.elapsed(c)})
	}
}
