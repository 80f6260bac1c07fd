package api

import (
	"github.com/gin-gonic/gin"

	"carillon/api/strictjson"
	"carillon/tenant/verification"
)

// resendRequest is the body of /api/codes/resend, which the protocol does not have.
type resendRequest struct {
	UUID             string             `json:"uuid"`
	Phone            string             `json:"phone"`
	SMSTemplateLabel string             `json:"smsTemplateLabel"`
	Language         string             `json:"language"`
	Padding          strictjson.Ignored `json:"padding"`
}

// resendResponse has a code only if the short one was drawn anew.
type resendResponse struct {
	Padding                []byte `json:"padding"`
	UUID                   string `json:"uuid"`
	Code                   string `json:"code,omitempty"`
	ExpiresAt              string `json:"expiresAt"`
	ExpiresAtTimestamp     int64  `json:"expiresAtTimestamp"`
	LongExpiresAt          string `json:"longExpiresAt"`
	LongExpiresAtTimestamp int64  `json:"longExpiresAtTimestamp"`
}

// resend has a code's message sent again.
func (s *Server) resend(c *gin.Context) {
	var r resendRequest
	if !s.decode(c, unparsable, &r) {
		return
	}
	v := of(c)
	i, err := s.config.Issuer.Resend(c.Request.Context(), v.tenant, v.subject, verification.ResendRequest{
		UUID: r.UUID, Phone: r.Phone, SMSTemplateLabel: r.SMSTemplateLabel, Language: r.Language,
	})
	if err != nil {
		s.refuse(c, err, nil)
		return
	}
	s.render(c, resendResponse{
		Padding: padding(), UUID: i.ID.String(), Code: i.Code,
		ExpiresAt: rfc1123(i.ExpiresAt), ExpiresAtTimestamp: i.ExpiresAt.Unix(),
		LongExpiresAt: rfc1123(i.LongExpiresAt), LongExpiresAtTimestamp: i.LongExpiresAt.Unix(),
	})
}

// deliveryResponse tells what became of a code's message; the protocol does not have it.
type deliveryResponse struct {
	Padding   []byte `json:"padding"`
	State     string `json:"state"`
	Class     string `json:"class,omitempty"`
	Advice    string `json:"advice,omitempty"`
	Provider  string `json:"provider,omitempty"`
	QueuedAt  int64  `json:"queuedAtTimestamp"`
	ChangedAt int64  `json:"changedAtTimestamp"`
}

func (s *Server) delivery(c *gin.Context) {
	var r codeRequest
	if !s.decode(c, codeUnparsable, &r) {
		return
	}
	v := of(c)
	d, err := s.config.Issuer.Delivery(c.Request.Context(), v.tenant, v.subject, r.UUID)
	if err != nil {
		s.refuse(c, err, nil)
		return
	}
	s.render(c, deliveryResponse{
		Padding: padding(), State: string(d.State), Class: string(d.Class), Advice: d.Class.Advice(), Provider: d.Provider,
		QueuedAt: d.QueuedAt.Unix(), ChangedAt: d.ChangedAt.Unix(),
	})
}
