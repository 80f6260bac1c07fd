// Package batch issues codes by the ten thousand, in the background.
//
// Whoever orders a batch names it with an idempotency key: the same key with the same
// content is the same batch, however often and from how many sides it comes. A [Worker]
// takes the rows one by one. A row's code, its message in the outbox and its result are
// one transaction, so that a worker which dies anywhere leaves each code issued once or
// not at all, and another goes on. Once a pause or a cancellation has been answered,
// nothing more is issued.
//
// What a row orders is sealed under the tenant's data key until the row is worked on,
// and then forgotten, or if it failed a day later; telephone numbers are never in the clear.
// A code that no message carries can be read, until it expires, by the person who ordered
// it, and those of programs by programs.
package batch

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/verification"
)

const (
	// MaxRows is how many codes a batch may have.
	MaxRows = 50_000
	// MaxUnfinished is how many batches of a tenant may wait for their end.
	MaxUnfinished = 20
	// MaxKey is the longest idempotency key, in characters.
	MaxKey = 200
	// MaxPage is how many rows are read at once.
	MaxPage = 1000
	// Keep is how long a batch is kept.
	Keep = 14 * 24 * time.Hour
	// KeepFailed is how long a row that failed can be tried again; then what it ordered is
	// forgotten.
	KeepFailed = 24 * time.Hour
)

// State says where a batch or a row stands.
type State string

// The states. Of rows, pending, issued, failed, duplicate and cancelled; of batches,
// running, paused, done and cancelled.
const (
	Running State = "running"
	Paused  State = "paused"
	Done    State = "done"

	Pending State = "pending"
	Issued  State = "issued"
	Failed  State = "failed"
	// Duplicate is a row that has the telephone number of an earlier one of the batch.
	// No code is issued for it.
	Duplicate State = "duplicate"

	Cancelled State = "cancelled"
)

// Hold is why a running batch waits.
type Hold string

// The reasons.
const (
	QuietHours  Hold = "quiet-hours" // messages must not go out now
	Messages    Hold = "messages"    // many messages wait to be sent already
	Quota       Hold = "quota"       // the tenant's budget of codes is spent
	Forbidden   Hold = "forbidden"   // who ordered it may not any more; the batch is paused
	Maintenance Hold = "maintenance" // no codes are issued for now
	Fault       Hold = "fault"       // something of ours failed; the log says what
)

var (
	// ErrKey means that the idempotency key is missing or cannot be one.
	ErrKey = errors.New("idempotency key must be 1 to 200 printable ASCII characters")
	// ErrKeyUsed means that the key belongs to a batch with other content.
	ErrKeyUsed = errors.New("idempotency key belongs to a batch with other content")
	// ErrEmpty means that there are no rows.
	ErrEmpty = errors.New("no rows")
	// ErrTooLarge means that there are more than [MaxRows].
	ErrTooLarge = errors.New("too many rows")
	// ErrRow means that a row's uuid cannot be read; a [RowError] says which row's.
	ErrRow = errors.New("malformed row")
	// ErrTooMany means that [MaxUnfinished] batches wait for their end.
	ErrTooMany = errors.New("too many unfinished batches")
	// ErrNotFound means that the tenant has no such batch.
	ErrNotFound = errors.New("not found")
	// ErrFinished means that the batch is done or cancelled.
	ErrFinished = errors.New("already finished")
	// ErrNothingFailed means that no row of the batch can be tried again.
	ErrNothingFailed = errors.New("no row can be tried again")
	// ErrOthers means that somebody else ordered the batch, whose codes are hers to see.
	ErrOthers = errors.New("somebody else ordered the batch")
	// ErrUnworkable is the result of a row that failed for a fault of ours, again and
	// again.
	ErrUnworkable = errors.New("row could not be worked on")
)

// Sentinels lists the errors that callers may tell apart, besides those of package
// verification.
func Sentinels() []error {
	return []error{ErrKey, ErrKeyUsed, ErrEmpty, ErrTooLarge, ErrRow, ErrTooMany, ErrNotFound, ErrFinished, ErrNothingFailed, ErrOthers, ErrUnworkable}
}

// RowError is an [ErrRow] with the row's number, from 1.
type RowError struct {
	Row  int
	Text string
}

func (e *RowError) Error() string { return fmt.Sprintf("row %d: %s", e.Row, e.Text) }

// Unwrap makes it an [ErrRow].
func (e *RowError) Unwrap() error { return ErrRow }

// Order is what one row asks for, in the words of the verification protocol §4.1. It
// prints and logs as a fixed word.
type Order struct {
	TestType         string  `json:"testType,omitempty"`
	SymptomDate      string  `json:"symptomDate,omitempty"`
	TestDate         string  `json:"testDate,omitempty"`
	TZOffset         float64 `json:"tzOffset,omitempty"`
	Phone            string  `json:"phone,omitempty"`
	SMSTemplateLabel string  `json:"smsTemplateLabel,omitempty"`
	// UUID is the code's; without one it follows from the batch and the row's number.
	UUID             string `json:"uuid,omitempty"`
	ExternalIssuerID string `json:"externalIssuerID,omitempty"`
}

// Format hides the telephone number.
func (Order) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the telephone number.
func (Order) LogValue() slog.Value { return slog.StringValue(hidden) }

const hidden = "[batch row]"

// Config is what a [Service] works with.
type Config struct {
	// DB is a handle under the role carillon_issuer.
	DB *tenant.DB
	// Keys hold the data keys that seal rows.
	Keys *key.Ring
	// Policies decide who may order batches, see and stop them.
	Policies *authz.Policies
	// Codes decides whether a tenant has batches at all.
	Codes *verification.Service
	// Wake, if set, is told of new work; it must not wait.
	Wake func()
	// Now is the clock.
	Now func() time.Time
}

// Service takes in batches and tells how they stand. It is safe for concurrent use.
type Service struct {
	c Config
}

// New returns a service.
func New(c Config) *Service {
	if c.Wake == nil {
		c.Wake = func() {}
	}
	return &Service{c: c}
}

// clock is the current time in whole seconds, which is all that is stored.
func clock(now func() time.Time) time.Time { return now().UTC().Truncate(time.Second) }

// Batch is how an order for many codes stands.
type Batch struct {
	ID uuid.UUID `db:"batch_id"`
	// Key is the idempotency key.
	Key   string `db:"idempotency_key"`
	State State
	Rows  int `db:"row_count"`
	// CreatedAt and FinishedAt bound the work; the latter is nil until there is an end.
	CreatedAt  time.Time  `db:"created_at"`
	FinishedAt *time.Time `db:"finished_at"`
	// HeldUntil is when a running batch goes on that waits, and HeldBecause why it does.
	HeldUntil   *time.Time `db:"held_until"`
	HeldBecause Hold       `db:"held_because"`
	// IssuerKind, IssuerID and IssuerName are who ordered it.
	IssuerKind authz.Kind `db:"issuer_kind"`
	IssuerID   string     `db:"issuer_id"`
	IssuerName string     `db:"issuer_name"`
}

// OrderedBy reports whether it was this very subject.
func (b Batch) OrderedBy(by authz.Subject) bool {
	return b.IssuerKind == by.Kind && b.IssuerID == by.ID
}

const batchColumns = `batch_id, idempotency_key, state, row_count, created_at, finished_at, held_until, held_because,
       issuer_kind, issuer_id, issuer_name`

// Format hides the code.
func (Row) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the code.
func (Row) LogValue() slog.Value { return slog.StringValue(hidden) }
