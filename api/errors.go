package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"carillon/api/strictjson"
	"carillon/authz"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/stats"
	"carillon/tenant/verification"
)

// answer is how an error of the domain looks on the wire. Text is used if the error
// brings no words of its own; an empty code is how the protocol has it.
type answer struct {
	err    error
	status int
	code   string
	text   string
}

// table turns errors into answers. Its order decides if an error is several.
type table []answer

// verificationAnswers is the table of the verification half (§0.3).
func verificationAnswers() table {
	const bad, failed = http.StatusBadRequest, http.StatusInternalServerError
	return table{
		{authz.ErrForbidden, http.StatusUnauthorized, "", "unauthorized"},
		{verification.ErrMaintenance, http.StatusTooManyRequests, "maintenance_mode", "server is read-only for maintenance"},
		{verification.ErrUnparsable, bad, unparsable, "unparsable request"},
		{verification.ErrMissingDate, bad, "missing_date", "missing either test or symptom date"},
		{verification.ErrInvalidDate, bad, "invalid_date", "invalid date"},
		{verification.ErrPhoneInvalid, bad, "phone_number_invalid", "invalid phone number"},
		{verification.ErrMissingPhone, bad, "missing_phone", "missing phone number"},
		{verification.ErrMissingNonce, bad, "missing_nonce", "missing nonce"},
		{verification.ErrReportedBefore, http.StatusConflict, "user_report_try_later", "user report already exists for phone number"},
		{verification.ErrNothingToGenerate, bad, "", "generated sms requested, but no phone number was provided"},
		{verification.ErrNoProvider, bad, "", "phone provided, but no sms provider is configured"},
		{verification.ErrUUIDExists, http.StatusConflict, "uuid_already_exists", "uuid already exists"},
		{verification.ErrInvalidTestType, bad, "invalid_test_type", "invalid test type"},
		{verification.ErrUnsupportedTestType, bad, "unsupported_test_type", "unsupported test type"},
		{verification.ErrQuota, http.StatusTooManyRequests, "quota_exceeded", "daily quota of codes exceeded"},
		{verification.ErrBatchDisabled, bad, "", "bulk issuing is not enabled on this realm"},
		{verification.ErrBatchSize, bad, "", "batch size limit exceeded"},
		{verification.ErrNoFreeCode, failed, "internal_server_error", "failed to generate otp code, please try again"},
		{verification.ErrSMSFailed, bad, "sms_failure", "failed to send sms"},
		{verification.ErrSMSQueueFull, bad, "sms_queue_full", "sms queue is full"},
		{verification.ErrTemplate, failed, "sms_failure", "failed to build sms"},
		{verification.ErrCodeInvalid, bad, "code_invalid", "verification code invalid"},
		{verification.ErrCodeExpired, bad, "code_expired", "verification code expired"},
		{verification.ErrCodeNotFound, http.StatusNotFound, "code_not_found", "code not found, it may have expired and been removed"},
		{verification.ErrAlreadyClaimed, bad, "", "bad request"},
		{verification.ErrTokenInvalid, bad, "token_invalid", "invalid verification token"},
		{verification.ErrTokenExpired, bad, "token_expired", "verification token expired"},
		{verification.ErrHMACInvalid, bad, "hmac_invalid", "exposure key HMAC is not valid"},
	}
}

// verifyAnswers go before the others at one endpoint: there an unsupported test type
// is 412 (§1.2).
func verifyAnswers() table {
	return table{{
		verification.ErrUnsupportedTestType, http.StatusPreconditionFailed,
		"unsupported_test_type", "verification code has unsupported test type",
	}}
}

// publishAnswers is the table of the key server half (key server protocol §1.7).
func publishAnswers() table {
	const bad, unknown = http.StatusBadRequest, http.StatusUnauthorized
	return table{
		{exposure.ErrUnknownHealthAuthority, unknown, "unknown_health_authority_id", "unauthorized health authority"},
		{exposure.ErrCertificate, unknown, "health_authority_verification_certificate_invalid", "unable to validate diagnosis verification"},
		{exposure.ErrBadKeys, bad, "bad_request", "invalid exposure keys"},
		{exposure.ErrMissingRevisionToken, bad, "missing_revision_token", "no revision token, but sent existing keys"},
		{exposure.ErrInvalidRevisionToken, bad, "invalid_revision_token", "revision token is invalid"},
		{exposure.ErrAlreadyRevised, bad, "key_already_revised", "key was already revised"},
		{exposure.ErrTransition, bad, "invalid_report_type_transition", "invalid report type transition"},
	}
}

// downloadAnswers are those of files: a name that cannot be one is not found.
func downloadAnswers() table {
	return table{
		{export.ErrNotFound, http.StatusNotFound, "", ""},
		{export.ErrName, http.StatusNotFound, "", ""},
	}
}

// statsAnswers are those of reports about somebody: who is not there is answered as a
// key that is not (§8.1).
func statsAnswers() table {
	return table{{stats.ErrUnknown, http.StatusUnauthorized, "", ""}}
}

// keyStatsAnswers are those of the key server's statistics (key server protocol §9).
func keyStatsAnswers() table {
	return table{{stats.ErrUnauthorized, http.StatusUnauthorized, "unauthorized", "unauthorized"}}
}

// accessAnswers are those of credentials.
func accessAnswers() table {
	return table{
		{client.ErrUnknownKey, http.StatusUnauthorized, "", ""},
		{authz.ErrForbidden, http.StatusUnauthorized, "", ""},
	}
}

// find returns the answer to an error, with the words that the domain chose for this
// request if there are any.
func (t table) find(err error) (answer, bool) {
	for _, a := range t {
		if errors.Is(err, a.err) {
			return a.withWords(err), true
		}
	}
	return answer{}, false
}

func (a answer) withWords(err error) answer {
	var v *verification.Problem
	var e *exposure.Problem
	var r *stats.Refusal
	switch {
	case errors.As(err, &r):
		a.text = r.Text
	case errors.As(err, &v) && v.Text != "":
		a.text = v.Text
	case errors.As(err, &e) && e.Text != "":
		a.text = e.Text
	case labFeedWords(err) != "":
		a.text = labFeedWords(err)
	}
	return a
}

// refuse answers an error of the verification half; first goes before the common
// table.
func (s *Server) refuse(c *gin.Context, err error, first table) {
	a, known := append(first, verificationAnswers()...).find(err)
	if !known {
		s.fail(c, err)
		return
	}
	s.sendJSON(c, a.status, newErrorBody(a.text, a.code))
}

const (
	unparsable    = "unparsable_request"
	notJSON       = "content-type is not application/json"
	unreadableRaw = "malformed json"
)

// decode reads the body of an endpoint of the verification half. A body that cannot
// be read is answered with code, and decode reports false.
func (s *Server) decode(c *gin.Context, code string, dst any) bool {
	text := notJSON
	if isJSON(c) {
		err := s.readBody(c, dst, strictjson.Decode)
		if err == nil {
			return true
		}
		text = bodyText(err)
	}
	s.sendJSON(c, http.StatusBadRequest, newErrorBody(text, code))
	return false
}

// isJSON compares as the protocols do: exactly, and with any suffix.
func isJSON(c *gin.Context) bool {
	return strings.HasPrefix(c.GetHeader("Content-Type"), contentJSON)
}

// readBody decodes the body into dst. An error that is no [strictjson.Error] means
// that it did not arrive.
func (s *Server) readBody(c *gin.Context, dst any, decode func([]byte, any) error) error {
	body, err := s.takeBody(c)
	if err != nil {
		return err
	}
	return decode(body, dst)
}

// takeBody reads the body and notes how long it took to arrive.
func (s *Server) takeBody(c *gin.Context) ([]byte, error) {
	began := s.config.Now()
	defer func() { of(c).body += max(0, s.config.Now().Sub(began)) }()
	return strictjson.Read(c.Request.Body)
}

// replayed is a body that has been read, with the error that reading it met.
func replayed(body []byte, err error) io.ReadCloser {
	if err == nil {
		err = io.EOF
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(body), failedReader{err}))
}

type failedReader struct{ err error }

func (r failedReader) Read([]byte) (int, error) { return 0, r.err }

// bodyText is what a client is told of a body that could not be decoded, or was cut
// off on its way.
func bodyText(err error) string {
	var bad *strictjson.Error
	if errors.As(err, &bad) {
		return bad.Error()
	}
	return unreadableRaw
}

// rfc1123 is the form of times in answers of §4.3, which end in UTC.
func rfc1123(t time.Time) string { return t.UTC().Format(time.RFC1123) }
