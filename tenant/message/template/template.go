// Package template keeps the texts of messages: for each label one in each language,
// checked when it is saved (verification protocol §7.1).
//
// Every tenant has two labels without having written anything: the main one, for which
// the text in its settings is used, and the one of self-reports. A text of its own takes
// their place. An issuer names a label and a language; what is not there in that
// language is taken in the tenant's own.
package template

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/cache"
	"carillon/tenant/message"
)

// The labels that every tenant has. An empty label means [MainLabel].
const (
	MainLabel       = "Default SMS template"
	UserReportLabel = "User Report"
)

// Texts that are used where a tenant has written none. A self-report's names the short
// code's life, because its long code lives no longer.
const (
	mainENX       = "Your exposure notification link: [enslink] It expires in [longexpires] hours."
	userReport    = "Your exposure notification code: [code]. It expires in [expires] minutes."
	userReportENX = "Your exposure notification link: [enslink] It expires in [expires] minutes."
)

// Text is a template of a tenant.
type Text struct {
	Label string
	// Language is a BCP 47 tag in lower case.
	Language  string
	Body      string
	ChangedAt time.Time `db:"changed_at"`
}

// Book is all templates of a tenant.
type Book struct {
	settings tenant.Settings
	texts    []Text // by label and language
}

// Find returns the body of the template with this label: in the language, in a broader
// one (es for es-MX), in the tenant's own, or else in the first one there is. A label
// that the tenant does not have is [message.ErrTemplate].
func (b *Book) Find(label, language string) (string, error) {
	label = cmp.Or(label, MainLabel)
	first := slices.IndexFunc(b.texts, func(t Text) bool { return t.Label == label })
	for _, wanted := range append(broader(language), broader(b.settings.Language)...) {
		for _, t := range b.texts {
			if t.Label == label && t.Language == wanted {
				return t.Body, nil
			}
		}
	}
	if first >= 0 {
		return b.texts[first].Body, nil
	}
	return builtIn(label, b.settings)
}

// maxLanguage is longer than any tag that a text may have.
const maxLanguage = 35

// broader lists a language and what it belongs to: es-mx, es.
func broader(language string) []string {
	var list []string
	if len(language) > maxLanguage {
		return nil
	}
	for tag := strings.ToLower(language); tag != ""; {
		list = append(list, tag)
		cut := max(0, strings.LastIndexByte(tag, '-'))
		tag = tag[:cut]
	}
	return list
}

func builtIn(label string, s tenant.Settings) (string, error) {
	switch {
	case label == MainLabel && s.ENX && !strings.Contains(s.SMSTemplate, "[enslink]"):
		return mainENX, nil
	case label == MainLabel:
		return s.SMSTemplate, nil
	case label == UserReportLabel && s.ENX:
		return userReportENX, nil
	case label == UserReportLabel:
		return userReport, nil
	default:
		return "", fmt.Errorf("%w: unknown label", message.ErrTemplate)
	}
}

// Library reads the tenants' templates. It is safe for concurrent use.
type Library struct {
	db    *tenant.DB
	texts *cache.Cache[tenant.ID, []Text]
}

// Age is how long a change to a template may take to be seen everywhere.
const Age = 5 * time.Second

const (
	tenantsKept = 10_000
	// maxTexts bounds the templates of a tenant.
	maxTexts = 500
)

// NewLibrary returns a library that reads through db.
func NewLibrary(db *tenant.DB) *Library {
	l := &Library{db: db}
	l.texts = cache.New(tenantsKept, Age, func(ctx context.Context, id tenant.ID) ([]Text, error) { return List(ctx, db, id) })
	return l
}

// Book returns a tenant's templates.
func (l *Library) Book(ctx context.Context, t *tenant.Tenant) (*Book, error) {
	texts, err := l.texts.Get(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	return &Book{settings: t.Settings, texts: texts}, nil
}

const listSQL = `
  select label, language, body, changed_at
    from message_template
order by label, language
   limit $1`

// List returns a tenant's own templates, by label and language.
func List(ctx context.Context, db *tenant.DB, id tenant.ID) ([]Text, error) {
	var texts []Text
	err := db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Select(ctx, &texts, listSQL, maxTexts) })
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	return texts, nil
}

var (
	// ErrRules means that a template breaks a rule. The error's text says which, and is
	// for the person who wrote it.
	ErrRules = errors.New("template cannot be used")
	// ErrUnknown means that a tenant has not written such a template.
	ErrUnknown = errors.New("no such template")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrRules, ErrUnknown, ErrChanged, ErrTests} }

const maxLabel = 100 // characters

var languageForm = regexp.MustCompile(`^[a-z]{2,3}(-[a-z0-9]{2,8})*$`)

// unseen characters have no place in a label: it goes into lists and the audit log.
func unseen(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// name checks and completes what a text is filed under.
func (t *Text) name() error {
	t.Label = cmp.Or(strings.TrimSpace(t.Label), MainLabel)
	t.Language = strings.ToLower(strings.TrimSpace(t.Language))
	switch {
	case len([]rune(t.Label)) > maxLabel || !utf8.ValidString(t.Label) || strings.ContainsFunc(t.Label, unseen):
		return broken(LabelForm, "a label has up to %d characters", maxLabel)
	case !languageForm.MatchString(t.Language):
		return broken(LanguageForm, "language: want a tag such as es or es-MX")
	}
	return nil
}

const setSQL = `
insert into message_template (tenant_id, label, language, body, changed_at)
select current_tenant(), $1, $2, $3, $4
 where (select count(*) from message_template) < $5
    on conflict (tenant_id, label, language) do update
   set body = excluded.body, changed_at = excluded.changed_at`

// Set saves a template, in its normal form, under its label and language; empty ones
// mean [MainLabel] and the tenant's own. [ErrRules] if it breaks a rule. tx is one of
// carillon_operator or carillon_portal. The act is audited.
func Set(ctx context.Context, tx *tenant.Tx, of *tenant.Tenant, by authz.Subject, t Text, redirectDomain string, now time.Time) (Measure, error) {
	t.Language = cmp.Or(t.Language, of.Settings.Language)
	if err := t.name(); err != nil {
		return Measure{}, err
	}
	t.Body = Normalise(t.Body)
	m, err := Check(of, t.Label, t.Body, redirectDomain)
	if err != nil {
		return m, err
	}
	rows, err := tx.Exec(ctx, setSQL, t.Label, t.Language, t.Body, now.UTC(), maxTexts)
	if err != nil {
		return m, fmt.Errorf("save template: %w", err)
	}
	if rows == 0 {
		return m, broken(Number, "there are %d already", maxTexts)
	}
	return m, record(ctx, tx, by, "message-template:set", t, now)
}

const removeSQL = `delete from message_template where label = $1 and language = $2`

// Remove deletes a template: [ErrUnknown] if there is none. The act is audited.
func Remove(ctx context.Context, tx *tenant.Tx, of *tenant.Tenant, by authz.Subject, label, language string, now time.Time) error {
	t := Text{Label: label, Language: cmp.Or(language, of.Settings.Language)}
	if err := t.name(); err != nil {
		return err
	}
	rows, err := tx.Exec(ctx, removeSQL, t.Label, t.Language)
	if err != nil {
		return fmt.Errorf("remove template: %w", err)
	}
	if rows == 0 {
		return ErrUnknown
	}
	return record(ctx, tx, by, "message-template:remove", t, now)
}

func record(ctx context.Context, tx *tenant.Tx, by authz.Subject, action string, t Text, now time.Time) error {
	return audit.Record(ctx, tx, now, by, action, t.Label, map[string]string{"language": t.Language})
}
