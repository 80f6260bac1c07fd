// Package rehearsal lets everybody on the staff of a sandbox play a whole case with two
// simulated phones: a code is issued, the first phone redeems it and publishes its keys,
// and the second one, which was near it, is notified.
//
// The phones go to the sandbox's own addresses, as real ones would, so that whatever the
// person sees there is what would happen: codes are in the statistics, keys in the files.
// What the phones remember is sealed, one row for each person, and deleted after a day.
// No other tenant can have such a row: a constraint of the database says so.
//
// Who plays the phones is for the deployment to say: the domain does not know HTTP. This
// package is another than selftest, whose rehearsals nobody sees and which leave nothing.
package rehearsal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"carillon/tenant"
)

// Stage is how far a rehearsal is.
type Stage string

// The stages, in their order.
const (
	Met       Stage = "met"       // the phones were near each other
	Issued    Stage = "issued"    // there is a code
	Redeemed  Stage = "redeemed"  // the first phone has swapped a code for a token
	Published Stage = "published" // its keys are published
	Notified  Stage = "notified"  // the second phone has found one of them
)

// Life is how long a rehearsal is kept.
const Life = 24 * time.Hour

var (
	// ErrNotSandbox means that the tenant is none: it has no rehearsals.
	ErrNotSandbox = errors.New("the tenant is no sandbox")
	// ErrOver means that what was asked for is not the next step: it has been taken, or
	// the rehearsal was begun again.
	ErrOver = errors.New("the rehearsal is at another step")
	// ErrBusy means that a step is being taken.
	ErrBusy = errors.New("a step of the rehearsal is being taken")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrNotSandbox, ErrOver, ErrBusy} }

// Reason is why a step was refused, as a word for which people are told what to do.
type Reason string

// The reasons.
const (
	CodeInvalid Reason = "code-invalid" // no such code, or it was used
	CodeExpired Reason = "code-expired"
	Negative    Reason = "negative"    // the code is of a test with which nobody shares keys
	Quota       Reason = "quota"       // no more codes today
	Closed      Reason = "closed"      // the tenant is in maintenance
	NoKey       Reason = "no-key"      // the API key of the phones' app is not good any more
	Unreachable Reason = "unreachable" // no connection, or no answer in time
	Untrusted   Reason = "untrusted"   // a file without a signature by the sandbox's key
	Failed      Reason = "failed"      // anything else
)

// Refusal is a step that did not succeed. The rehearsal is as it was before.
type Refusal struct {
	Reason Reason
	// Cause is for the log; nil if the reason says all.
	Cause error
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused: %s: %v", r.Reason, r.Cause) }

func (r *Refusal) Unwrap() error { return r.Cause }

// Place is where simulated phones belong.
type Place struct {
	Tenant *tenant.Tenant
	// APIKey is what their app presents.
	APIKey string
}

// Format hides the API key from every verb of package fmt.
func (p Place) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "[phones of "+string(p.Tenant.Slug)+"]")
}

// Memory is what two phones remember, in a form of their own.
type Memory = json.RawMessage

// Phones are simulated. Each method is given what the phones remember, and returns what
// they remember afterwards. Whatever a server does not grant is a [Refusal].
type Phones interface {
	// Meet makes two phones that were near each other the day before.
	Meet(ctx context.Context, at Place) (Memory, error)
	// Redeem has the first phone swap a code for a token.
	Redeem(ctx context.Context, at Place, m Memory, code string) (Memory, Diagnosis, error)
	// Publish has the first phone get a certificate and publish its keys.
	Publish(ctx context.Context, at Place, m Memory) (Memory, int, error)
	// Look has the second phone read the files that it has not read yet.
	Look(ctx context.Context, at Place, m Memory) (Memory, Sighting, error)
}

// Diagnosis is what the first phone was told about its code. Dates are as
// [time.DateOnly], empty if the code has none.
type Diagnosis struct {
	TestType, SymptomDate, TestDate string
}

// Sighting is what the second phone saw in the files that were new to it.
type Sighting struct {
	// Files and Keys are how many it read, keys that are padding among them.
	Files, Keys int
	// Found says that it was near a phone whose key is among them: on Day, of UTC, for
	// Minutes.
	Found   bool
	Day     time.Time
	Minutes int
}

// Case is what has happened so far. It prints as a fixed word.
type Case struct {
	// Code is the one that was issued here, until it expires; it may be empty.
	Code        string
	CodeExpires time.Time
	Diagnosis   Diagnosis
	// Keys is how many the first phone has published.
	Keys int
	// NextFile is when the next file is due, as of the last look.
	NextFile time.Time
	// Looks is how often the second phone has looked, Seen what it saw, all looks together.
	Looks int
	Seen  Sighting

	Phones Memory
}

// Format hides codes and keys from every verb of package fmt.
func (Case) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[rehearsal]") }

// Rehearsal is one person's.
type Rehearsal struct {
	Stage Stage
	// Step counts the steps; a form names it.
	Step int
	// Busy says that a step is being taken.
	Busy                 bool
	StartedAt, ExpiresAt time.Time

	Case
}
