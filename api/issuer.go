package api

import (
	"errors"

	"github.com/gin-gonic/gin"

	"carillon/api/strictjson"
	"carillon/tenant/verification"
)

// issueRequest is the body of /api/issue (§4.1).
type issueRequest struct {
	TestType         string             `json:"testType"`
	SymptomDate      string             `json:"symptomDate"`
	TestDate         string             `json:"testDate"`
	TZOffset         float64            `json:"tzOffset"`
	Phone            string             `json:"phone"`
	SMSTemplateLabel string             `json:"smsTemplateLabel"`
	Language         string             `json:"language"` // ours; the reference has one language
	UUID             string             `json:"uuid"`
	ExternalIssuerID string             `json:"externalIssuerID"`
	OnlyGenerateSMS  bool               `json:"onlyGenerateSMS"`
	Padding          strictjson.Ignored `json:"padding"`
}

// issueResponse is its answer (§4.3).
type issueResponse struct {
	Padding                []byte `json:"padding"`
	UUID                   string `json:"uuid"`
	Code                   string `json:"code"`
	ExpiresAt              string `json:"expiresAt"`
	ExpiresAtTimestamp     int64  `json:"expiresAtTimestamp"`
	LongExpiresAt          string `json:"longExpiresAt,omitempty"`
	LongExpiresAtTimestamp int64  `json:"longExpiresAtTimestamp,omitempty"`
	GeneratedSMS           string `json:"generatedSMS,omitempty"`
	Phone                  string `json:"phone,omitempty"`
}

func (r issueRequest) order() verification.IssueRequest {
	return verification.IssueRequest{
		TestType: r.TestType, SymptomDate: r.SymptomDate, TestDate: r.TestDate, TZOffset: r.TZOffset,
		Phone: r.Phone, SMSTemplateLabel: r.SMSTemplateLabel, Language: r.Language, UUID: r.UUID,
		ExternalIssuerID: r.ExternalIssuerID, OnlyGenerateSMS: r.OnlyGenerateSMS,
	}
}

// newIssueResponse leaves the padding empty.
func newIssueResponse(i *verification.Issued) issueResponse {
	return issueResponse{
		Padding: []byte{}, UUID: i.ID.String(), Code: i.Code,
		ExpiresAt: rfc1123(i.ExpiresAt), ExpiresAtTimestamp: i.ExpiresAt.Unix(),
		LongExpiresAt: rfc1123(i.LongExpiresAt), LongExpiresAtTimestamp: i.LongExpiresAt.Unix(),
		GeneratedSMS: i.GeneratedSMS, Phone: i.Phone,
	}
}

func (s *Server) issue(c *gin.Context) {
	var r issueRequest
	if !s.decode(c, unparsable, &r) {
		return
	}
	v := of(c)
	i, err := s.config.Issuer.Issue(c.Request.Context(), v.tenant, v.subject, r.order())
	var again *verification.Repeated
	if errors.As(err, &again) {
		s.render(c, maskedIssue(again))
		return
	}
	if err != nil {
		s.refuse(c, err, nil)
		return
	}
	response := newIssueResponse(i)
	response.Padding = padding()
	s.render(c, response)
}

// maskedIssue answers a single issue for a telephone number that has reported
// already: a success without a code, because there is none (§4.3).
func maskedIssue(again *verification.Repeated) issueResponse {
	text, unix := rfc1123(again.ExpiresAt), again.ExpiresAt.Unix()
	return issueResponse{
		Padding:   padding(),
		ExpiresAt: text, ExpiresAtTimestamp: unix, LongExpiresAt: text, LongExpiresAtTimestamp: unix,
	}
}

// codeRequest is the body of /api/checkcodestatus and /api/expirecode (§4.5, §4.6).
type codeRequest struct {
	UUID    string             `json:"uuid"`
	Padding strictjson.Ignored `json:"padding"`
}

// codeUnparsable is the code for bodies of these two that cannot be read: none (§0.2).
const codeUnparsable = ""

type statusResponse struct {
	Padding                []byte `json:"padding"`
	Claimed                bool   `json:"claimed"`
	ExpiresAtTimestamp     int64  `json:"expiresAtTimestamp"`
	LongExpiresAtTimestamp int64  `json:"longExpiresAtTimestamp"`
}

func (s *Server) checkCodeStatus(c *gin.Context) {
	var r codeRequest
	if !s.decode(c, codeUnparsable, &r) {
		return
	}
	v := of(c)
	status, err := s.config.Issuer.Status(c.Request.Context(), v.tenant, v.subject, r.UUID)
	if err != nil {
		s.refuse(c, err, nil)
		return
	}
	s.render(c, statusResponse{
		Padding: padding(), Claimed: status.Claimed,
		ExpiresAtTimestamp: status.ExpiresAt.Unix(), LongExpiresAtTimestamp: status.LongExpiresAt.Unix(),
	})
}

type expireResponse struct {
	Padding                []byte `json:"padding"`
	UUID                   string `json:"uuid"`
	ExpiresAtTimestamp     int64  `json:"expiresAtTimestamp"`
	LongExpiresAtTimestamp int64  `json:"longExpiresAtTimestamp"`
}

func (s *Server) expireCode(c *gin.Context) {
	var r codeRequest
	if !s.decode(c, codeUnparsable, &r) {
		return
	}
	v := of(c)
	status, err := s.config.Issuer.Expire(c.Request.Context(), v.tenant, v.subject, r.UUID)
	if err != nil {
		s.refuse(c, err, nil)
		return
	}
	s.render(c, expireResponse{
		Padding: padding(), UUID: status.ID.String(),
		ExpiresAtTimestamp: status.ExpiresAt.Unix(), LongExpiresAtTimestamp: status.LongExpiresAt.Unix(),
	})
}
