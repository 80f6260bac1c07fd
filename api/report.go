package api

import (
	"github.com/gin-gonic/gin"

	"carillon/api/strictjson"
	"carillon/tenant/verification"
)

// userReportRequest is the body of /api/user-report (§5.1).
type userReportRequest struct {
	Nonce       string             `json:"nonce"`
	Phone       string             `json:"phone"`
	TestDate    string             `json:"testDate"`
	SymptomDate string             `json:"symptomDate"`
	TZOffset    float64            `json:"tzOffset"`
	Padding     strictjson.Ignored `json:"padding"`
}

// userReportResponse is its answer. It does not tell whether a code was made.
type userReportResponse struct {
	Padding            []byte `json:"padding"`
	ExpiresAt          string `json:"expiresAt"`
	ExpiresAtTimestamp int64  `json:"expiresAtTimestamp"`
}

func (s *Server) userReport(c *gin.Context) {
	var r userReportRequest
	if !s.decode(c, unparsable, &r) {
		return
	}
	v := of(c)
	expires, err := s.config.Reporter.Report(c.Request.Context(), v.tenant, v.subject, verification.ReportRequest{
		Nonce: r.Nonce, Phone: r.Phone, TestDate: r.TestDate, SymptomDate: r.SymptomDate, TZOffset: r.TZOffset,
	})
	if err != nil {
		s.refuse(c, err, nil)
		return
	}
	s.render(c, userReportResponse{
		Padding: padding(), ExpiresAt: rfc1123(expires), ExpiresAtTimestamp: expires.Unix(),
	})
}
