package reportpage

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/mail"
)

// ErrValue means that a look or text cannot be. Such an error is a [FieldError], or several.
var ErrValue = errors.New("cannot be on the page")

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrValue, ErrChanged, ErrVisit} }

// Field names a part of a look or of a text.
type Field string

// The fields.
const (
	Color        Field = "color"
	Image        Field = "image"
	LearnMore    Field = "learn_more"
	ContactPhone Field = "contact_phone"
	ContactEmail Field = "contact_email"
	Language     Field = "language"
	Agency       Field = "agency"
	Intro        Field = "intro"
	Date         Field = "date"
	Phone        Field = "phone"
	Success      Field = "success"
	LinkText     Field = "link"
)

// FieldError is an [ErrValue] about one field.
type FieldError struct {
	Field Field
	// Bounds says what the field may be.
	Bounds string
}

func (e *FieldError) Error() string { return fmt.Sprintf("%s %v: %s", e.Field, ErrValue, e.Bounds) }

// Unwrap makes it an [ErrValue].
func (*FieldError) Unwrap() error { return ErrValue }

// Faults lists the fields that an error is about, in the order of the form.
func Faults(err error) []Field {
	switch e := err.(type) { //nolint:errorlint // it looks into every branch of a tree
	case nil:
		return nil
	case *FieldError:
		return []Field{e.Field}
	case interface{ Unwrap() []error }:
		var list []Field
		for _, one := range e.Unwrap() {
			list = append(list, Faults(one)...)
		}
		return list
	}
	return Faults(errors.Unwrap(err))
}

// named is a field's value.
type named struct {
	field Field
	value string
}

func (l Look) fields() []named {
	return []named{
		{Color, l.Color},
		{Image, l.ImageURL},
		{LearnMore, l.LearnMoreURL},
		{ContactPhone, l.ContactPhone},
		{ContactEmail, l.ContactEmail},
	}
}

func (t Text) fields() []named {
	return []named{{Agency, t.Agency}, {Intro, t.Intro}, {Date, t.Date}, {Phone, t.Phone}, {Success, t.Success}, {LinkText, t.Link}}
}

// differences are what an audit entry says of a change.
func differences(before, after []named) map[string]string {
	detail := map[string]string{}
	for i, was := range before {
		if is := after[i]; was.value != is.value {
			detail["-"+string(was.field)], detail["+"+string(is.field)] = was.value, is.value
		}
	}
	return detail
}

var (
	colorForm    = regexp.MustCompile(`^#[0-9a-f]{6}$`)
	phoneForm    = regexp.MustCompile(`^[+0-9(][0-9 ().+/-]{2,39}$`)
	languageForm = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$`)
)

func (l Look) check() error {
	var faults []error
	fault := func(found bool, of Field, bounds string) {
		if found {
			faults = append(faults, &FieldError{of, bounds})
		}
	}
	const link = "a link begins with https:// and a host name"
	fault(l.Color != "" && !colorForm.MatchString(l.Color), Color, "a color is written #rrggbb")
	fault(!isLink(l.ImageURL), Image, link)
	fault(!isLink(l.LearnMoreURL), LearnMore, link)
	fault(l.ContactPhone != "" && !phoneForm.MatchString(l.ContactPhone), ContactPhone, "a telephone number has 3 to 40 digits and signs between them")
	fault(l.ContactEmail != "" && !mail.IsAddress(l.ContactEmail), ContactEmail, "one mail address")
	return errors.Join(faults...)
}

// Longest is how many characters a field of a text may have.
func Longest(f Field) int {
	switch f { //nolint:exhaustive // the others are not of a text
	case Agency:
		return 200
	case Date, Phone:
		return 500
	}
	return 2000
}

func (t Text) check() error {
	var faults []error
	if !languageForm.MatchString(t.Language) {
		faults = append(faults, &FieldError{Language, "a language is a tag such as es or es-419"})
	}
	for _, f := range t.fields() {
		if utf8.RuneCountInString(f.value) > Longest(f.field) || !utf8.ValidString(f.value) || strings.ContainsFunc(f.value, unseen) {
			faults = append(faults, &FieldError{f.field, fmt.Sprintf("text of at most %d characters, all of them visible", Longest(f.field))})
		}
	}
	return errors.Join(faults...)
}

// unseen tells characters that do not show, or turn other text around.
func unseen(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }

const maxLink = 1000

// isLink takes what a browser may be led to and a content policy may name.
func isLink(text string) bool {
	if text == "" {
		return true
	}
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && len(text) <= maxLink &&
		!strings.ContainsFunc(text, unicode.IsSpace) && !strings.ContainsFunc(text, unseen) && !strings.ContainsAny(u.Host, " ;,'\"*")
}

const setLookSQL = `
insert into report_page (tenant_id, color, image_url, learn_more_url, contact_phone, contact_email)
values (current_tenant(), $1, $2, $3, $4, $5)
    on conflict (tenant_id) do update
   set color = excluded.color, image_url = excluded.image_url, learn_more_url = excluded.learn_more_url,
       contact_phone = excluded.contact_phone, contact_email = excluded.contact_email`

// SetLook changes the look of tx's tenant: [ErrValue] if it cannot be. tx is under the
// role of operators or of the portal.
func SetLook(ctx context.Context, tx *tenant.Tx, by authz.Subject, l Look, now time.Time) error {
	l.Color = strings.ToLower(l.Color)
	if err := l.check(); err != nil {
		return err
	}
	before, err := inside(ctx, tx)
	if err != nil {
		return fmt.Errorf("read look: %w", err)
	}
	if _, err := tx.Exec(ctx, setLookSQL, l.Color, l.ImageURL, l.LearnMoreURL, l.ContactPhone, l.ContactEmail); err != nil {
		return fmt.Errorf("store look: %w", err)
	}
	return audit.Record(ctx, tx, now, by, string(authz.SettingsWrite), "patient pages", differences(before.Look.fields(), l.fields()))
}

const (
	setTextSQL = `
insert into report_text (tenant_id, language, agency, intro, date, phone, success, link)
values (current_tenant(), $1, $2, $3, $4, $5, $6, $7)
    on conflict (tenant_id, language) do update
   set agency = excluded.agency, intro = excluded.intro, date = excluded.date,
       phone = excluded.phone, success = excluded.success, link = excluded.link`

	removeTextSQL = `delete from report_text where language = $1`
)

// SetText changes what the pages of tx's tenant say in one language: [ErrValue] if it
// cannot be. An empty text leaves it to Carillon. tx is under the role of operators or of
// the portal.
func SetText(ctx context.Context, tx *tenant.Tx, by authz.Subject, t Text, now time.Time) error {
	if err := t.check(); err != nil {
		return err
	}
	before, err := inside(ctx, tx)
	if err != nil {
		return fmt.Errorf("read text: %w", err)
	}
	if t.Empty() {
		_, err = tx.Exec(ctx, removeTextSQL, t.Language)
	} else {
		_, err = tx.Exec(ctx, setTextSQL, t.Language, t.Agency, t.Intro, t.Date, t.Phone, t.Success, t.Link)
	}
	if err != nil {
		return fmt.Errorf("store text: %w", err)
	}
	return audit.Record(ctx, tx, now, by, string(authz.SettingsWrite), "patient pages "+t.Language,
		differences(before.Text(t.Language).fields(), t.fields()))
}

// Text is what the pages say in a language of exactly this tag; empty if nothing.
func (b Branding) Text(tag string) Text {
	for _, t := range b.Texts {
		if t.Language == tag {
			return t
		}
	}
	return Text{Language: tag}
}
