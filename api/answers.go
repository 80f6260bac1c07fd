package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"carillon/api/strictjson"
	"carillon/authz"
	"carillon/tenant/exposure"
	"carillon/tenant/verification"
)

const contentJSON = "application/json"

// errorBody is every error of the verification half. error_code repeats errorCode
// for old clients (§0.2).
type errorBody struct {
	Error   string `json:"error"`
	Code    string `json:"errorCode"`
	OldCode string `json:"error_code"`
}

// answer is how an error of the domain looks on the wire. Text is used if the error
// brings no words of its own.
type answer struct {
	status int
	code   string
	text   string
}

// answers is the one table from the verification domain's errors to the wire (§0.3).
// Code is empty where the protocol has it so.
var answers = map[error]answer{
	authz.ErrForbidden:                  {http.StatusUnauthorized, "", "unauthorized"},
	verification.ErrUnparsable:          {http.StatusBadRequest, "unparsable_request", "unparsable request"},
	verification.ErrMissingDate:         {http.StatusBadRequest, "missing_date", "missing either test or symptom date"},
	verification.ErrInvalidDate:         {http.StatusBadRequest, "invalid_date", "invalid date"},
	verification.ErrPhoneInvalid:        {http.StatusBadRequest, "phone_number_invalid", "invalid phone number"},
	verification.ErrMissingPhone:        {http.StatusBadRequest, "missing_phone", "missing phone number"},
	verification.ErrNothingToGenerate:   {http.StatusBadRequest, "", "generated sms requested, but no phone number was provided"},
	verification.ErrNoProvider:          {http.StatusBadRequest, "", "phone provided, but no sms provider is configured"},
	verification.ErrUUIDExists:          {http.StatusConflict, "uuid_already_exists", "uuid already exists"},
	verification.ErrInvalidTestType:     {http.StatusBadRequest, "invalid_test_type", "invalid test type"},
	verification.ErrUnsupportedTestType: {http.StatusBadRequest, "unsupported_test_type", "unsupported test type"},
	verification.ErrQuota:               {http.StatusTooManyRequests, "quota_exceeded", "exceeded daily realm quota"},
	verification.ErrNoFreeCode:          {http.StatusInternalServerError, "internal_server_error", "failed to generate otp code, please try again"},
	verification.ErrSMSFailed:           {http.StatusBadRequest, "sms_failure", "failed to send sms"},
	verification.ErrSMSQueueFull:        {http.StatusBadRequest, "sms_queue_full", "sms queue is full"},
	verification.ErrTemplate:            {http.StatusInternalServerError, "sms_failure", "failed to build sms"},
	verification.ErrCodeInvalid:         {http.StatusBadRequest, "code_invalid", "verification code invalid"},
	verification.ErrCodeExpired:         {http.StatusBadRequest, "code_expired", "verification code expired"},
	verification.ErrCodeNotFound:        {http.StatusNotFound, "code_not_found", "code not found, it may have expired and been removed"},
	verification.ErrAlreadyClaimed:      {http.StatusBadRequest, "", "bad request"},
	verification.ErrTokenInvalid:        {http.StatusBadRequest, "token_invalid", "invalid verification token"},
	verification.ErrTokenExpired:        {http.StatusBadRequest, "token_expired", "verification token expired"},
	verification.ErrHMACInvalid:         {http.StatusBadRequest, "hmac_invalid", "exposure key HMAC is not valid"},
}

// verifyAnswers differ at one endpoint: there an unsupported test type is 412 (§1.2).
var verifyAnswers = map[error]answer{
	verification.ErrUnsupportedTestType: {http.StatusPreconditionFailed, "unsupported_test_type", "verification code has unsupported test type"},
}

// publishAnswers is the table of the key server half (key server protocol §1.7).
var publishAnswers = map[error]answer{
	exposure.ErrUnknownHealthAuthority: {http.StatusUnauthorized, "unknown_health_authority_id", "unauthorized health authority"},
	exposure.ErrCertificate:            {http.StatusUnauthorized, "health_authority_verification_certificate_invalid", "unable to validate diagnosis verification"},
	exposure.ErrBadKeys:                {http.StatusBadRequest, "bad_request", "invalid exposure keys"},
	exposure.ErrMissingRevisionToken:   {http.StatusBadRequest, "missing_revision_token", "no revision token, but sent existing keys"},
	exposure.ErrInvalidRevisionToken:   {http.StatusBadRequest, "invalid_revision_token", "revision token is invalid"},
	exposure.ErrAlreadyRevised:         {http.StatusBadRequest, "key_already_revised", "key was already revised"},
	exposure.ErrTransition:             {http.StatusBadRequest, "invalid_report_type_transition", "invalid report type transition"},
}

// find looks an error up in tables, in their order.
func find(err error, tables ...map[error]answer) (answer, bool) {
	for _, table := range tables {
		for sentinel, a := range table {
			if errors.Is(err, sentinel) {
				return a.withWords(err), true
			}
		}
	}
	return answer{}, false
}

// withWords prefers the words that the domain chose for this request.
func (a answer) withWords(err error) answer {
	var v *verification.Problem
	var e *exposure.Problem
	switch {
	case errors.As(err, &v) && v.Text != "":
		a.text = v.Text
	case errors.As(err, &e) && e.Text != "":
		a.text = e.Text
	}
	return a
}

// refuse answers an error of the verification half.
func (s *Server) refuse(c *gin.Context, err error, tables ...map[error]answer) {
	a, known := find(err, append(tables, answers)...)
	if !known {
		s.fail(c, err)
		return
	}
	c.AbortWithStatusJSON(a.status, errorBody{Error: a.text, Code: a.code, OldCode: a.code})
}

// decode reads the body of an endpoint of the verification half. A body that cannot
// be read is answered with code, and decode reports false.
func (s *Server) decode(c *gin.Context, code string, dst any) bool {
	text := "content-type is not application/json"
	if strings.HasPrefix(c.GetHeader("Content-Type"), contentJSON) {
		body, err := strictjson.Read(c.Request.Body)
		if err == nil {
			err = strictjson.Decode(body, dst)
		}
		if err == nil {
			c.Set(startKey, s.config.Now()) // what a slow body takes is not ours to imitate
			return true
		}
		if text = bodyText(err); text == "" {
			c.Abort() // the client is gone
			return false
		}
	}
	c.AbortWithStatusJSON(http.StatusBadRequest, errorBody{Error: text, Code: code, OldCode: code})
	return false
}

// bodyText is what a client is told of a body that could not be read or decoded.
func bodyText(err error) string {
	var bad *strictjson.Error
	if errors.As(err, &bad) {
		return bad.Error()
	}
	return "malformed json"
}

// render answers a success with padding, and remembers how it looked if cover
// traffic should look the same.
func (s *Server) render(c *gin.Context, class string, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		s.fail(c, err)
		return
	}
	c.Data(http.StatusOK, contentJSON, text)
	if class != "" {
		s.chaff[class].record(sample{size: len(text), took: s.elapsed(c)})
	}
}
