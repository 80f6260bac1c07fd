package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
)

const (
	contentJSON = "application/json"
	contentText = "text/plain; charset=utf-8"
	contentHTML = "text/html; charset=utf-8"
)

func securityHeaders(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Strict-Transport-Security", "max-age=315360000; includeSubDomains; preload")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
}

// send writes a whole answer, with its length: without, long answers would be sent in
// another encoding than short ones.
func send(c *gin.Context, status int, contentType string, body []byte) {
	c.Abort()
	h := c.Writer.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.Status(status)
	if len(body) == 0 {
		c.Writer.WriteHeaderNow()
		return
	}
	_, _ = c.Writer.Write(body) // a client that is gone needs no answer
}

// sendJSON writes a value that always encodes.
func (s *Server) sendJSON(c *gin.Context, status int, body any) (size int) {
	text, err := json.Marshal(body)
	if err != nil {
		s.fail(c, fmt.Errorf("encode answer: %w", err))
		return 0
	}
	send(c, status, contentJSON, text)
	return len(text)
}

// errorBody is every error of the verification half. error_code repeats errorCode
// for old clients (§0.2).
type errorBody struct {
	Error   string `json:"error"`
	Code    string `json:"errorCode"`
	OldCode string `json:"error_code"`
}

func newErrorBody(text, code string) errorBody {
	return errorBody{Error: text, Code: code, OldCode: code}
}

// render answers a success with its padding, and remembers how it looked if cover
// traffic is to look the same.
func (s *Server) render(c *gin.Context, body any) {
	size := s.sendJSON(c, http.StatusOK, body)
	v := of(c)
	if p := s.chaff[v.route.chaff]; p != nil && size > 0 {
		p.record(sample{size: size, took: s.spent(v)})
	}
}

// unauthorized answers a credential that is not known here.
func unauthorized(c *gin.Context) {
	negotiate(c, http.StatusUnauthorized, "Unauthorized", "")
}

// negotiate answers an error that no handler raised, in the form that the request's
// headers ask for (§0.2). JSON has the text in lower case for 401, as the reference.
func negotiate(c *gin.Context, status int, text, code string) {
	switch wanted(c.Request.Header) {
	case "text/html":
		page := fmt.Sprintf("<!doctype html>\n<html lang=\"en\">\n<title>%[1]s</title>\n<h1>%[1]s</h1>\n</html>\n", text)
		send(c, status, contentHTML, []byte(page))
	case contentJSON:
		if status == http.StatusUnauthorized {
			text = strings.ToLower(text)
		}
		body, err := json.Marshal(newErrorBody(text, code))
		if err != nil {
			panic(err) // three strings
		}
		send(c, status, contentJSON, body)
	default:
		send(c, status, contentText, []byte(text))
	}
}

// wanted is the first of HTML and JSON that an element of Accept or Content-Type
// begins with.
func wanted(h http.Header) string {
	elements := strings.Split(strings.Join(append(h.Values("Accept"), h.Values("Content-Type")...), ","), ",")
	for _, kind := range []string{"text/html", contentJSON} {
		for _, e := range elements {
			if strings.HasPrefix(strings.TrimSpace(e), kind) {
				return kind
			}
		}
	}
	return ""
}
