package api

import (
	"encoding/json"
	"time"

	"github.com/gin-gonic/gin"

	"carillon/tenant/verification"
)

// issueRequest is the body of /api/issue (§4.1).
type issueRequest struct {
	TestType         string          `json:"testType"`
	SymptomDate      string          `json:"symptomDate"`
	TestDate         string          `json:"testDate"`
	TZOffset         float64         `json:"tzOffset"`
	Phone            string          `json:"phone"`
	SMSTemplateLabel string          `json:"smsTemplateLabel"`
	UUID             string          `json:"uuid"`
	ExternalIssuerID string          `json:"externalIssuerID"`
	OnlyGenerateSMS  bool            `json:"onlyGenerateSMS"`
	Padding          json.RawMessage `json:"padding"`
}

// issueResponse is its answer (§4.3).
type issueResponse struct {
	Padding                string `json:"padding"`
	UUID                   string `json:"uuid"`
	Code                   string `json:"code"`
	ExpiresAt              string `json:"expiresAt"`
	ExpiresAtTimestamp     int64  `json:"expiresAtTimestamp"`
	LongExpiresAt          string `json:"longExpiresAt"`
	LongExpiresAtTimestamp int64  `json:"longExpiresAtTimestamp"`
	GeneratedSMS           string `json:"generatedSMS,omitempty"`
	Phone                  string `json:"phone,omitempty"`
}

func (s *Server) issue(c *gin.Context) {
	var r issueRequest
	if !s.decode(c, unparsable, &r) {
		return
	}
	i, err := s.config.Issuer.Issue(c, requestTenant(c), requestSubject(c), verification.IssueRequest{
		TestType: r.TestType, SymptomDate: r.SymptomDate, TestDate: r.TestDate, TZOffset: r.TZOffset,
		Phone: r.Phone, SMSTemplateLabel: r.SMSTemplateLabel, UUID: r.UUID,
		ExternalIssuerID: r.ExternalIssuerID, OnlyGenerateSMS: r.OnlyGenerateSMS,
	})
	if err != nil {
		s.refuse(c, err)
		return
	}
	s.render(c, "", issueResponse{
		Padding: padding(), UUID: i.ID.String(), Code: i.Code,
		ExpiresAt: i.ExpiresAt.UTC().Format(time.RFC1123), ExpiresAtTimestamp: i.ExpiresAt.Unix(),
		LongExpiresAt: i.LongExpiresAt.UTC().Format(time.RFC1123), LongExpiresAtTimestamp: i.LongExpiresAt.Unix(),
		GeneratedSMS: i.GeneratedSMS, Phone: i.Phone,
	})
}

// codeRequest is the body of /api/checkcodestatus and /api/expirecode (§4.5, §4.6).
type codeRequest struct {
	UUID    string          `json:"uuid"`
	Padding json.RawMessage `json:"padding"`
}

type statusResponse struct {
	Padding                string `json:"padding"`
	Claimed                bool   `json:"claimed"`
	ExpiresAtTimestamp     int64  `json:"expiresAtTimestamp"`
	LongExpiresAtTimestamp int64  `json:"longExpiresAtTimestamp"`
}

func (s *Server) checkCodeStatus(c *gin.Context) {
	var r codeRequest
	if !s.decode(c, "", &r) {
		return
	}
	status, err := s.config.Issuer.Status(c, requestTenant(c), requestSubject(c), r.UUID)
	if err != nil {
		s.refuse(c, err)
		return
	}
	s.render(c, "", statusResponse{
		Padding: padding(), Claimed: status.Claimed,
		ExpiresAtTimestamp: status.ExpiresAt.Unix(), LongExpiresAtTimestamp: status.LongExpiresAt.Unix(),
	})
}

type expireResponse struct {
	Padding                string `json:"padding"`
	UUID                   string `json:"uuid"`
	ExpiresAtTimestamp     int64  `json:"expiresAtTimestamp"`
	LongExpiresAtTimestamp int64  `json:"longExpiresAtTimestamp"`
}

func (s *Server) expireCode(c *gin.Context) {
	var r codeRequest
	if !s.decode(c, "", &r) {
		return
	}
	status, err := s.config.Issuer.Expire(c, requestTenant(c), requestSubject(c), r.UUID)
	if err != nil {
		s.refuse(c, err)
		return
	}
	s.render(c, "", expireResponse{
		Padding: padding(), UUID: status.ID.String(),
		ExpiresAtTimestamp: status.ExpiresAt.Unix(), LongExpiresAtTimestamp: status.LongExpiresAt.Unix(),
	})
}
