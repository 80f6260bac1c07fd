package verification

import (
	"cmp"
	"context"
	"errors"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/message/template"
)

// IssueRequest asks for a code. Its members are those of the verification
// protocol §4.1 as they were sent; an empty one means absent.
type IssueRequest struct {
	TestType    string
	SymptomDate string
	TestDate    string
	// TZOffset is the sender's distance from UTC in minutes, east positive. It
	// only widens the window of dates.
	TZOffset         float64
	Phone            string
	SMSTemplateLabel string
	// Language is the one of the message, a BCP 47 tag; without it, and where the tenant
	// has no text in it, the tenant's own.
	Language         string
	UUID             string
	ExternalIssuerID string
	// OnlyGenerateSMS returns the message's text instead of having it sent.
	OnlyGenerateSMS bool
	// KeepWhenUnsent keeps a code whose message failed: somebody can read it out.
	KeepWhenUnsent bool
	// Deferred puts the message into the outbox, in the code's own transaction,
	// instead of sending it at once: nobody waits for it.
	Deferred bool
	// Recorded: the audit log has an entry for many codes, of which this is one, and needs
	// none of its own.
	Recorded bool
	// Also runs in the code's own transaction, when the code is stored: both happen or
	// neither. It may be nil; nothing slow or remote belongs into it.
	Also func(context.Context, *tenant.Tx, *Issued) error
}

// order is a request that may be stored: its values parsed and in the form in
// which they are compared and kept.
type order struct {
	tenant        *tenant.Tenant
	by            authz.Subject
	at            time.Time
	id            uuid.UUID
	idGiven       bool                   // id came from the caller, who may repeat itself
	testType      certificate.ReportType // lower case, not yet checked
	testTypeSent  string
	symptomDate   date
	testDate      date
	phone         string // E.164; empty if no text message is sent
	mail          string // the address that the message goes to instead; empty for none
	templateLabel string
	language      string
	externalID    string
	generate      bool        // return the message's text
	keep          bool        // keep the code even if the message fails
	later         bool        // leave the message to the outbox
	recorded      bool        // an entry for many codes stands for this one's
	own           bool        // a self-report, which the tenant's list of test types does not rule
	nonceDigest   []byte      // of the nonce that the phone must repeat; nil if it need not
	digits        int         // of the short code
	spend         func() bool // takes the code from the day's budget
	also          func(context.Context, *tenant.Tx, *Issued) error
}

// messaged reports whether a message carries the codes.
func (o *order) messaged() bool { return o.phone != "" || o.mail != "" }

// deferred reports whether the message is left to the outbox.
func (o *order) deferred() bool { return o.later && o.messaged() && !o.generate }

// message is what goes to the person.
func (o *order) message(text string, i *Issued) message.Message {
	purpose := message.Report
	if o.testType == certificate.UserReport {
		purpose = message.UserReport
	}
	return message.Message{To: cmp.Or(o.phone, o.mail), Body: text, Purpose: purpose, Code: message.Code{
		ID: o.id, Short: i.Code, ExpiresAt: i.ExpiresAt, LongExpiresAt: i.LongExpiresAt,
	}}
}

const maxExternalID = 255 // bytes

// newOrder applies the rules of §4.2 up to the one that needs the database: 2
// (values of the wrong form) to 9.
func (s *Service) newOrder(t *tenant.Tenant, by authz.Subject, r IssueRequest) (*order, error) {
	o := &order{
		tenant: t, by: by, at: s.clock(), testTypeSent: r.TestType, testType: certificate.ReportType(strings.ToLower(r.TestType)),
		templateLabel: r.SMSTemplateLabel, language: r.Language, externalID: r.ExternalIssuerID,
		generate: r.OnlyGenerateSMS, keep: r.KeepWhenUnsent, later: r.Deferred, recorded: r.Recorded, also: r.Also,
	}
	if o.templateLabel == "" && o.testType == certificate.UserReport {
		o.templateLabel = template.UserReportLabel
	}
	var err error
	if o.id, o.idGiven, err = s.orderID(r.UUID); err != nil {
		return nil, err
	}
	if !storable(r.ExternalIssuerID) {
		return nil, refuse(ErrUnparsable, "externalIssuerID must be at most %d bytes of text", maxExternalID)
	}
	if o.symptomDate, o.testDate, err = orderDates(t.Settings, r, o.at); err != nil {
		return nil, err
	}
	if o.phone, err = s.orderPhone(t, r); err != nil {
		return nil, err
	}
	return o, nil
}

func storable(externalID string) bool {
	return len(externalID) <= maxExternalID && utf8.ValidString(externalID) && !strings.ContainsRune(externalID, 0)
}

// orderID reads the caller's UUID, or makes a random one.
func (s *Service) orderID(text string) (id uuid.UUID, given bool, err error) {
	text = trimUUID(text)
	if text == "" {
		id, err = uuid.NewRandomFromReader(s.rand)
		return id, false, err
	}
	id, err = parseUUID(text)
	if err != nil {
		return id, true, refuse(ErrUnparsable, "uuid is not a valid UUID")
	}
	return id, true, nil
}

// trimUUID drops surrounding blanks and unprintable characters.
func trimUUID(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

var errUUID = errors.New("not a UUID")

// parseUUID reads a UUID with or without dashes, or in braces, in either case.
func parseUUID(text string) (uuid.UUID, error) {
	if inner, ok := strings.CutPrefix(text, "{"); ok {
		if text, ok = strings.CutSuffix(inner, "}"); !ok {
			return uuid.UUID{}, errUUID
		}
	}
	if len(text) != 36 && len(text) != 32 { // the library would take URNs, too
		return uuid.UUID{}, errUUID
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.UUID{}, errUUID
	}
	return id, nil
}

func orderDates(set tenant.Settings, r IssueRequest, at time.Time) (symptom, test date, err error) {
	if set.RequireDate && r.SymptomDate == "" && r.TestDate == "" {
		return "", "", refuse(ErrMissingDate, "missing either test or symptom date")
	}
	if symptom, err = parseDate(r.SymptomDate); err != nil {
		return "", "", refuse(ErrUnparsable, "failed to process symptom onset date: %v", err)
	}
	if test, err = parseDate(r.TestDate); err != nil {
		return "", "", refuse(ErrUnparsable, "failed to process test date: %v", err)
	}
	w := newWindow(at, r.TZOffset)
	if err := w.refuse("symptom onset date", symptom); err != nil {
		return "", "", err
	}
	if err := w.refuse("test date", test); err != nil {
		return "", "", err
	}
	return symptom, test, nil
}

func (s *Service) orderPhone(t *tenant.Tenant, r IssueRequest) (string, error) {
	var phone string
	if r.Phone != "" {
		var err error
		if phone, err = message.ParsePhone(r.Phone, t.Settings.SMSCountry); err != nil {
			return "", refuse(ErrPhoneInvalid, "invalid phone number: %v", err)
		}
	}
	switch {
	case r.OnlyGenerateSMS && !t.Settings.GenerateSMS:
		return "", refuse(ErrUnparsable, "realm is not permitted to use onlyGenerateSMS")
	case r.OnlyGenerateSMS && phone == "":
		return "", refuse(ErrNothingToGenerate, "generated sms requested, but no phone number was provided")
	case phone != "" && !r.OnlyGenerateSMS && !s.sends(t):
		return "", refuse(ErrNoProvider, "phone provided, but no sms provider is configured")
	}
	return phone, nil
}

// refuseType applies the rules of §4.2 about the test type: 11 to 13.
func (o *order) refuseType() error {
	_, unknown := certificate.ParseReportType(string(o.testType))
	unsupported := refuse(ErrUnsupportedTestType, "unsupported test type: %s", o.testTypeSent)
	switch {
	case o.own:
		return nil
	case o.testType == certificate.UserReport && o.by.Kind == authz.APIKey && !o.tenant.Settings.IssueUserReport:
		return unsupported
	case unknown != nil:
		return refuse(ErrInvalidTestType, "invalid test type")
	case !o.tenant.Settings.Allows(string(o.testType)):
		return unsupported
	}
	return nil
}

// refuseUnaddressed applies rule 15 of §4.2.
func (o *order) refuseUnaddressed() error {
	if o.testType == certificate.UserReport && o.phone == "" {
		return refuse(ErrMissingPhone, "phone number is required for test type %s", certificate.UserReport)
	}
	return nil
}

// expiries are when the short and the long code of an order end. The long code
// lives longer only if a message carries it, and never for a user report (§4.3).
func (o *order) expiries() (short, long time.Time) {
	set := o.tenant.Settings
	short = o.at.Add(set.CodeLife)
	if o.messaged() && o.testType != certificate.UserReport {
		return short, o.at.Add(max(set.CodeLife, set.LongCodeLife))
	}
	return short, short
}

// date is a calendar day as YYYY-MM-DD, or empty. Such texts order as the days do.
type date string

func parseDate(text string) (date, error) {
	if text == "" {
		return "", nil
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return "", err
	}
	return dateOf(day), nil
}

// midnight is when the day begins in UTC; the zero time for no day.
func (d date) midnight() (time.Time, error) {
	if d == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.DateOnly, string(d))
}

func dateOf(t time.Time) date { return date(t.Format(time.DateOnly)) }

// window is the days that a date may be. The printed bounds are the ones of UTC,
// even where the sender's time zone widens the window (§4.2).
type window struct {
	first, last               date
	printedFirst, printedLast date
}

const (
	pastDays      = 28
	eastMostHours = 14 // Line Islands
)

func newWindow(at time.Time, offsetMinutes float64) window {
	first, last := dateOf(at.AddDate(0, 0, -pastDays)), dateOf(at)
	w := window{first: first, last: last, printedFirst: first, printedLast: last}
	offset := math.Trunc(offsetMinutes)
	switch {
	case offset < 0:
		w.first = dateOf(at.AddDate(0, 0, -pastDays-1))
	case offset > 0:
		w.last = dateOf(at.Add(time.Duration(min(offset, eastMostHours*60)) * time.Minute))
	}
	return w
}

func (w window) refuse(what string, d date) error {
	if d == "" || w.first <= d && d <= w.last {
		return nil
	}
	return refuse(ErrInvalidDate, "%s must be on/after %s and on/before %s. Received %s",
		what, w.printedFirst, w.printedLast, d)
}
