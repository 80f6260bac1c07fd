package template

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/message"
)

// Why staff cannot do something with texts.
var (
	// ErrChanged means that somebody else has changed the text meanwhile.
	ErrChanged = errors.New("template was changed by somebody else")
	// ErrTests means that there were [TestsAnHour] test messages in the last hour.
	ErrTests = errors.New("too many test messages in an hour")
)

// TestsAnHour bounds the test messages of a tenant, so that nobody floods a phone with
// them.
const TestsAnHour = 10

// Entry is a text that messages use.
type Entry struct {
	Text
	// Own tells that the tenant has written it; others are there from the start.
	Own bool
	Measure
}

// Draft is a text that somebody writes, as phones would show it.
type Draft struct {
	Text
	Measure
	// Sample has made-up codes.
	Sample string
}

// StaffConfig is what [Staff] works with.
type StaffConfig struct {
	// DB is a handle under carillon_portal.
	DB       *tenant.DB
	Policies *authz.Policies
	// Sender delivers test messages.
	Sender message.Sender
	// RedirectDomain is the domain under which every region's links live; empty makes
	// links of the ens: scheme.
	RedirectDomain string
	Now            func() time.Time
}

// Staff is texts as the staff of tenants see them: each act is checked.
type Staff struct{ c StaffConfig }

// NewStaff returns them.
func NewStaff(c StaffConfig) *Staff { return &Staff{c} }

// Board lists the texts that messages use, by label and language, the main ones first:
// [authz.ErrForbidden] for whoever may not.
func (s *Staff) Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]Entry, error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.SettingsRead); err != nil {
		return nil, err
	}
	texts, err := List(ctx, s.c.DB, t.ID)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	own := strings.ToLower(t.Settings.Language)
	for _, label := range []string{MainLabel, UserReportLabel} {
		has := slices.ContainsFunc(texts, func(x Text) bool { return x.Label == label && x.Language == own })
		if has || label == UserReportLabel && !t.Settings.SelfReport {
			continue
		}
		body, err := builtIn(label, t.Settings)
		if err != nil {
			return nil, err
		}
		entries = append(entries, s.entry(t, Text{Label: label, Language: own, Body: body}, false))
	}
	for _, text := range texts {
		entries = append(entries, s.entry(t, text, true))
	}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(rank(a.Text, own)-rank(b.Text, own), cmp.Compare(a.Label, b.Label), cmp.Compare(a.Language, b.Language))
	})
	return entries, nil
}

func (s *Staff) entry(t *tenant.Tenant, text Text, own bool) Entry {
	return Entry{Text: text, Own: own, Measure: measure(t, text.Label, text.Body, s.c.RedirectDomain)}
}

// Draft brings a text into its normal form and measures it. Its errors are
// [authz.ErrForbidden] and [ErrRules]; with the latter the draft is there as well.
func (s *Staff) Draft(ctx context.Context, t *tenant.Tenant, by authz.Subject, text Text) (Draft, error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.SettingsWrite); err != nil {
		return Draft{}, err
	}
	text.Language = cmp.Or(text.Language, t.Settings.Language)
	unnamed := text.name()
	text.Body = Normalise(text.Body)
	m, err := Check(t, text.Label, text.Body, s.c.RedirectDomain)
	return Draft{Text: text, Measure: m, Sample: example(t, s.c.RedirectDomain).fill(text.Body)}, errors.Join(unnamed, err)
}

const bodySQL = `select coalesce((select body from message_template where label = $1 and language = $2 for update), '')`

// Set saves a text. seen is the body of the tenant's own text under this label and
// language, as the person was shown it; empty for none: [ErrChanged] if it is another. The
// other errors are [authz.ErrForbidden] and [ErrRules].
func (s *Staff) Set(ctx context.Context, t *tenant.Tenant, by authz.Subject, text Text, seen string) error {
	d, err := s.Draft(ctx, t, by, text)
	if err != nil {
		return err
	}
	return s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := unchanged(ctx, tx, d.Text, seen); err != nil {
			return err
		}
		_, err := Set(ctx, tx, t, by, d.Text, s.c.RedirectDomain, s.c.Now())
		return err
	})
}

// Remove deletes a text of the tenant's own: messages use the one that was there from the
// start, or one in another language. [ErrUnknown] if there is none, [ErrChanged] as for
// [Staff.Set].
func (s *Staff) Remove(ctx context.Context, t *tenant.Tenant, by authz.Subject, label, language, seen string) error {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.SettingsWrite); err != nil {
		return err
	}
	return s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := unchanged(ctx, tx, Text{Label: label, Language: language}, seen); err != nil {
			return err
		}
		return Remove(ctx, tx, t, by, label, language, s.c.Now())
	})
}

func unchanged(ctx context.Context, tx *tenant.Tx, text Text, seen string) error {
	var body string
	if err := tx.Get(ctx, &body, bodySQL, text.Label, text.Language); err != nil {
		return fmt.Errorf("read template: %w", err)
	}
	if body != seen {
		return ErrChanged
	}
	return nil
}

// testAction is how the audit log names a test message; it never has the number.
const testAction = "message-template:test"

const testsSQL = `select count(*) from audit_entry where action = 'message-template:test' and at > $1`

// Test sends a text with made-up codes to a telephone number, which is not kept. It is
// [authz.ErrForbidden], [ErrUnknown], [ErrTests], or an error of package message.
func (s *Staff) Test(ctx context.Context, t *tenant.Tenant, by authz.Subject, label, language, phone string) error {
	entries, err := s.Board(ctx, t, by)
	if err == nil {
		err = s.c.Policies.Check(ctx, t.ID.String(), by, authz.SettingsWrite)
	}
	if err != nil {
		return err
	}
	at := slices.IndexFunc(entries, func(e Entry) bool { return e.Label == label && e.Language == language })
	if at < 0 {
		return ErrUnknown
	}
	to, err := message.ParsePhone(phone, t.Settings.SMSCountry)
	if err != nil {
		return err
	}
	if err := s.noteTest(ctx, t, by, entries[at].Text); err != nil {
		return err
	}
	m := message.Message{To: to, Body: example(t, s.c.RedirectDomain).fill(entries[at].Body), Purpose: message.Report}
	if label == UserReportLabel {
		m.Purpose = message.UserReport
	}
	return s.c.Sender.Send(ctx, t, m)
}

// noteTest writes the entry before anything is sent, and counts afterwards: whoever writes
// one has to wait for the others.
func (s *Staff) noteTest(ctx context.Context, t *tenant.Tenant, by authz.Subject, text Text) error {
	now := s.c.Now()
	return s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := record(ctx, tx, by, testAction, text, now); err != nil {
			return err
		}
		var tests int
		if err := tx.Get(ctx, &tests, testsSQL, now.UTC().Add(-time.Hour)); err != nil {
			return fmt.Errorf("count test messages: %w", err)
		}
		if tests > TestsAnHour {
			return ErrTests
		}
		return nil
	})
}
