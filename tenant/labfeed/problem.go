package labfeed

import "errors"

var (
	// ErrMapping means that a mapping makes no sense; the error's text says where.
	ErrMapping = errors.New("lab feed mapping cannot be used")
	// ErrMappingChanged means that somebody else has changed the mapping since it was
	// read.
	ErrMappingChanged = errors.New("lab feed mapping was changed meanwhile")
	// ErrNotFound means that the tenant has no such submission or dead letter.
	ErrNotFound = errors.New("no such submission or dead letter")
	// ErrErased means that a dead letter's contents are erased: it can be discarded,
	// and the laboratory may send the result again.
	ErrErased = errors.New("dead letter is too old to be retried")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrMapping, ErrMappingChanged, ErrNotFound, ErrErased} }

// Reason says why a result became a dead letter. It never says anything of the
// person.
type Reason string

// The reasons.
const (
	AccessionMissing     Reason = "accession_missing"
	PhoneMissing         Reason = "phone_missing"
	PhoneInvalid         Reason = "phone_invalid"
	ResultUnknown        Reason = "result_unknown"
	TestUnknown          Reason = "test_unknown" // only on retry: the mapping does not want the test any more
	DateUnreadable       Reason = "date_unreadable"
	DateMissing          Reason = "date_missing"
	DateOutOfWindow      Reason = "date_out_of_window"
	TestTypeNotAllowed   Reason = "test_type_not_allowed"
	NoSMSProvider        Reason = "no_sms_provider"
	MessageFailed        Reason = "message_failed"
	CorrectedAfterIssue  Reason = "corrected_after_issue"
	WithdrawnAfterIssue  Reason = "withdrawn_after_issue"
	AlreadyIssued        Reason = "already_issued"
	SubmitterDisabled    Reason = "submitter_disabled"
	NotPermitted         Reason = "not_permitted"
	GaveUp               Reason = "gave_up"
	Unusable             Reason = "unusable" // refused by a rule that has no reason of its own here
	reasonOfNoDeadLetter Reason = ""
)
