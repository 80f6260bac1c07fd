package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"carillon/api/strictjson"
	"carillon/authz"
	"carillon/tenant/stats"
)

// keyStatsRoutes is the key server's own statistics, for the verification server of
// the same authority.
func (s *Server) keyStatsRoutes() []route {
	return []route{{
		Route: authz.Route{
			Method: http.MethodPost, Path: tenantPath + "/v1/stats",
			Audience: authz.AudienceBackend, Credential: authz.CredentialBearer,
			Limit: perCaller, Padding: authz.PaddingResponse, TenantFrom: authz.TenantFromURL,
		},
		handle: s.keyStats,
	}}
}

// keyStatsRequest is the body of /v1/stats (key server protocol §9).
type keyStatsRequest struct {
	Padding strictjson.Ignored `json:"padding"`
}

type keyStatsResponse struct {
	Days    []uploadDay `json:"days,omitempty"`
	Error   string      `json:"error,omitempty"`
	Code    string      `json:"code,omitempty"`
	Padding []byte      `json:"padding"`
}

func (s *Server) keyStats(c *gin.Context) {
	v, ctx := of(c), c.Request.Context()
	err := stats.Authorize(ctx, s.config.PublicKeys, v.tenant, c.GetHeader("Authorization"), s.config.Now())
	if err != nil {
		s.refuseKeyStats(c, err)
		return
	}
	if status, text := s.readKeyStats(c); status != 0 {
		s.answerKeyStats(c, status, keyStatsResponse{Error: text, Code: "bad_request"})
		return
	}
	days, err := s.config.Shared.Shared(ctx, v.tenant)
	if err != nil {
		s.refuseKeyStats(c, err)
		return
	}
	s.answerKeyStats(c, http.StatusOK, keyStatsResponse{Days: newUploadDays(days)})
}

// readKeyStats reads the body, which says nothing. It returns the status and the words
// for one that is wrong, or zero.
func (s *Server) readKeyStats(c *gin.Context) (status int, text string) {
	status, detail := http.StatusUnsupportedMediaType, notJSON
	if isJSON(c) {
		var r keyStatsRequest
		err := s.readBody(c, &r, strictjson.Decode)
		if err == nil {
			return 0, ""
		}
		status, detail = http.StatusBadRequest, bodyText(err)
		if errors.Is(err, strictjson.ErrTooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
	}
	return status, fmt.Sprintf("error unmarshalling API call, code: %d: %s", status, detail)
}

func (s *Server) refuseKeyStats(c *gin.Context, err error) {
	a, known := keyStatsAnswers().find(err)
	if !known {
		s.logFailure(c, err)
		a = answer{status: http.StatusInternalServerError, code: "internal_error", text: "error reading stats"}
	}
	s.answerKeyStats(c, a.status, keyStatsResponse{Error: a.text, Code: a.code})
}

func (s *Server) answerKeyStats(c *gin.Context, status int, body keyStatsResponse) {
	const least = 2048
	body.Padding = paddingOf(least)
	c.Header(versionHeader, version)
	s.sendJSON(c, status, body)
}
