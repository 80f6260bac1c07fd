package verification

import (
	"errors"
	"fmt"
)

// What can be wrong with a request. A surface turns each into its answer; the
// error codes are those of the verification protocol §0.3.
var (
	// ErrMaintenance: the platform or the tenant is read-only (maintenance_mode).
	ErrMaintenance = errors.New("in maintenance")
	// ErrUnparsable: a member has a value that cannot be read (unparsable_request).
	ErrUnparsable = errors.New("unparsable value in request")
	// ErrMissingDate: the tenant wants a date and there is none (missing_date).
	ErrMissingDate = errors.New("date missing")
	// ErrInvalidDate: a date lies outside the window (invalid_date).
	ErrInvalidDate = errors.New("date outside window")
	// ErrPhoneInvalid: the telephone number cannot be read (phone_number_invalid).
	ErrPhoneInvalid = errors.New("telephone number invalid")
	// ErrEmailInvalid: not one mail address (no code of the protocol's: staff alone send so).
	ErrEmailInvalid = errors.New("mail address invalid")
	// ErrMissingPhone: a user report needs a number (missing_phone).
	ErrMissingPhone = errors.New("telephone number missing")
	// ErrMissingNonce: a self-report needs a nonce of [NonceSize] bytes (missing_nonce).
	ErrMissingNonce = errors.New("nonce missing")
	// ErrReportedBefore: a user report from this number is known. Phones and single
	// issues are answered as if it had succeeded (user_report_try_later).
	ErrReportedBefore = errors.New("telephone number has reported before")
	// ErrNothingToGenerate: a message's text is wanted, but there is no number
	// (400, empty code).
	ErrNothingToGenerate = errors.New("no telephone number to generate a message for")
	// ErrNoProvider: there is a number but nobody to send to it (400, empty code).
	ErrNoProvider = errors.New("no message provider configured")
	// ErrUUIDExists: the tenant has a code with this UUID (uuid_already_exists).
	ErrUUIDExists = errors.New("UUID already used")
	// ErrInvalidTestType: no such test type (invalid_test_type).
	ErrInvalidTestType = errors.New("test type invalid")
	// ErrUnsupportedTestType: not a test type for this tenant, or for this phone
	// (unsupported_test_type).
	ErrUnsupportedTestType = errors.New("test type unsupported")
	// ErrQuota: the tenant's daily budget of codes is spent (quota_exceeded).
	ErrQuota = errors.New("quota of codes exceeded")
	// ErrBatchDisabled: the tenant has not turned batches on (400, empty code).
	ErrBatchDisabled = errors.New("batches not enabled")
	// ErrBatchSize: more codes than one request may ask for (400, empty code).
	ErrBatchSize = errors.New("batch too large")
	// ErrNoFreeCode: every code drawn was already in use (internal_server_error).
	ErrNoFreeCode = errors.New("no unused code found")
	// ErrSMSFailed: the message was not sent or could not be written; the code is
	// withdrawn (sms_failure, 400).
	ErrSMSFailed = errors.New("message failed")
	// ErrSMSQueueFull: the provider takes no messages for now; the code is
	// withdrawn (sms_queue_full).
	ErrSMSQueueFull = errors.New("message queue full")
	// ErrTemplate: the text that was asked for cannot be written (sms_failure, 500).
	ErrTemplate = errors.New("message template unusable")
	// ErrCodeInvalid: unknown or already claimed (code_invalid).
	ErrCodeInvalid = errors.New("code invalid")
	// ErrCodeExpired: too late (code_expired).
	ErrCodeExpired = errors.New("code expired")
	// ErrCodeNotFound: no code has this UUID (code_not_found).
	ErrCodeNotFound = errors.New("code not found")
	// ErrAlreadyClaimed: a claimed code cannot be expired (400, empty code).
	ErrAlreadyClaimed = errors.New("code already claimed")
	// ErrTokenInvalid: not a token of this tenant, or a spent one (token_invalid).
	ErrTokenInvalid = errors.New("token invalid")
	// ErrTokenExpired: too late (token_expired).
	ErrTokenExpired = errors.New("token expired")
	// ErrHMACInvalid: not 32 bytes in base64 (hmac_invalid).
	ErrHMACInvalid = errors.New("HMAC of exposure keys invalid")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{
		ErrMaintenance, ErrUnparsable, ErrMissingDate, ErrInvalidDate, ErrPhoneInvalid, ErrEmailInvalid, ErrMissingPhone,
		ErrMissingNonce, ErrReportedBefore,
		ErrNothingToGenerate, ErrNoProvider, ErrUUIDExists, ErrInvalidTestType,
		ErrUnsupportedTestType, ErrQuota, ErrBatchDisabled, ErrBatchSize, ErrNoFreeCode, ErrSMSFailed, ErrSMSQueueFull,
		ErrTemplate, ErrCodeInvalid, ErrCodeExpired, ErrCodeNotFound, ErrAlreadyClaimed,
		ErrTokenInvalid, ErrTokenExpired, ErrHMACInvalid,
	}
}

// Problem is a refusal with the words that its asker should read.
type Problem struct { //nolint:errname // it is a refusal in words for people; api and portal speak of problems
	// Kind is one of [Sentinels].
	Kind error
	// Text is the protocol's English for the answer. It may repeat what was sent,
	// so it does not belong in a log.
	Text string
	// Spent: the code or token was good once. Answers do not tell it from one that
	// never was; statistics do (§8.2).
	Spent bool
	// Nonce: a self-report's code came with another nonce than it was asked for
	// with. Answers do not tell that either.
	Nonce bool
}

// Error tells the kind alone, so that a log learns nothing about the request.
func (p *Problem) Error() string { return p.Kind.Error() }

// Unwrap lets errors.Is find the kind.
func (p *Problem) Unwrap() error { return p.Kind }

func inMaintenance() error {
	return refuse(ErrMaintenance, "server is read-only for maintenance")
}

func refuse(kind error, format string, args ...any) error {
	return &Problem{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// refuseSpent is the refusal of what was used before, in the words for what never was.
func refuseSpent(kind error, text string) error {
	return &Problem{Kind: kind, Text: text, Spent: true}
}
