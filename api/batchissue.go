package api

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"

	"carillon/api/strictjson"
	"carillon/tenant/verification"
)

// batchIssueRequest is the body of /api/batch-issue (§4.4).
type batchIssueRequest struct {
	Codes   []issueRequest     `json:"codes"`
	Padding strictjson.Ignored `json:"padding"`
}

// batchIssueResponse is its answer, whatever the status. The errors are absent if
// every code was issued.
type batchIssueResponse struct {
	Padding []byte              `json:"padding"`
	Codes   []batchIssueElement `json:"codes,omitempty"`
	Error   string              `json:"error,omitempty"`
	Code    string              `json:"errorCode,omitempty"`
	OldCode string              `json:"error_code,omitempty"`
}

// batchIssueElement has a code or an error. Its padding is empty.
type batchIssueElement struct {
	issueResponse
	Error     string `json:"error,omitempty"`
	ErrorCode string `json:"errorCode,omitempty"`
}

// batchIssue refuses a tenant without batches before it reads the body (§4.4).
func (s *Server) batchIssue(c *gin.Context) {
	v, ctx := of(c), c.Request.Context()
	if err := s.config.Issuer.CheckBatch(ctx, v.tenant, v.subject); err != nil {
		s.refuse(c, err, nil)
		return
	}
	var r batchIssueRequest
	if !s.decode(c, unparsable, &r) {
		return
	}
	orders := make([]verification.IssueRequest, len(r.Codes))
	for i, code := range r.Codes {
		orders[i] = code.order()
	}
	results, err := s.config.Issuer.IssueBatch(ctx, v.tenant, v.subject, orders)
	if err != nil {
		s.refuse(c, err, nil)
		return
	}
	status, response := s.answerBatch(c, results)
	s.sendJSON(c, status, response)
}

// answerBatch takes status and error code from the first element that failed.
func (s *Server) answerBatch(c *gin.Context, results []verification.Result) (int, batchIssueResponse) {
	status, failed := http.StatusOK, 0
	response := batchIssueResponse{Padding: padding(), Codes: make([]batchIssueElement, len(results))}
	for i, r := range results {
		if r.Err == nil {
			response.Codes[i].issueResponse = newIssueResponse(r.Issued)
			continue
		}
		a := s.answerElement(c, r.Err)
		response.Codes[i] = batchIssueElement{issueResponse: issueResponse{Padding: []byte{}}, Error: a.text, ErrorCode: a.code}
		if failed++; failed == 1 {
			status, response.Code, response.OldCode = a.status, a.code, a.code
		}
	}
	if failed > 0 {
		response.Error = batchSummary(failed, len(results)-failed)
	}
	return status, response
}

// answerElement is the answer to one element's error. What is in no table stays
// with the element, and in the log.
func (s *Server) answerElement(c *gin.Context, err error) answer {
	if a, known := verificationAnswers().find(err); known {
		return a
	}
	v := of(c)
	s.config.Log.ErrorContext(c.Request.Context(), "code of a batch failed",
		slog.String("request", v.id), slog.String("tenant", v.slug()), slog.Any("error", err))
	return answer{err: err, status: http.StatusInternalServerError, code: "internal_server_error", text: internalError}
}

// batchSummary is the reference's text, missing blank included (§4.4).
func batchSummary(failed, issued int) string {
	text := fmt.Sprintf("Failed to issue %d codes.", failed)
	if issued > 0 {
		text += fmt.Sprintf(" Issued %d codes successfully.", issued)
	}
	return text + "See each error status in the codes array."
}
