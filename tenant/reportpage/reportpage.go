// Package reportpage holds what the hosted page for self-reports (verification
// protocol §5.2) knows of a tenant: how the page looks, what it says in the tenant's
// own words, and, sealed in a cookie, which phone has opened it.
//
// The page's state is in the browser alone: nothing about a visit is stored. Only the
// tenant's own key opens it, in every process that has the key, and only for an hour.
package reportpage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
)

// Look is what a tenant's page looks like. Empty means as Carillon has it.
type Look struct {
	// Color is the background behind the tenant's name, as #rrggbb.
	Color string
	// ImageURL is a picture beside the name, LearnMoreURL where readers find more; both
	// are https.
	ImageURL     string `db:"image_url"`
	LearnMoreURL string `db:"learn_more_url"`
}

// Text is what a page says in one language. Empty means as Carillon has it.
type Text struct {
	// Language is a BCP 47 tag whose language is in small letters.
	Language string
	// Agency is the tenant's name.
	Agency string
	// Intro, Date, Phone and Success are what stands above the form, at its two
	// fields, and on the page after it.
	Intro, Date, Phone, Success string
}

// Branding is both: the texts are in the order of their languages.
type Branding struct {
	Look  Look
	Texts []Text
}

// Service reads brandings, and seals and opens visits. It is safe for concurrent use.
type Service struct {
	db   *tenant.DB
	keys *key.Ring
}

// New returns a service. db is a handle under the role carillon_report, keys the
// tenants' keys as that sees them.
func New(db *tenant.DB, keys *key.Ring) *Service { return &Service{db: db, keys: keys} }

// ErrValue means that a look or text cannot be. The error says what is wrong.
var ErrValue = errors.New("cannot be on the page")

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrValue, ErrVisit} }

const (
	lookSQL = `select color, image_url, learn_more_url from report_page`

	textsSQL = `
  select language, agency, intro, date, phone, success
    from report_text
order by language`
)

// Branding reads a tenant's branding, which is empty if it has none.
func (s *Service) Branding(ctx context.Context, id tenant.ID) (Branding, error) {
	var b Branding
	err := s.db.In(ctx, id, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &b.Look, lookSQL); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return tx.Select(ctx, &b.Texts, textsSQL)
	})
	if err != nil {
		return Branding{}, fmt.Errorf("read report page: %w", err)
	}
	return b, nil
}

const setLookSQL = `
insert into report_page (tenant_id, color, image_url, learn_more_url)
values (current_tenant(), $1, $2, $3)
    on conflict (tenant_id) do update
   set color = excluded.color, image_url = excluded.image_url, learn_more_url = excluded.learn_more_url`

var colorForm = regexp.MustCompile(`^#[0-9a-f]{6}$`)

// SetLook changes the look of tx's tenant: [ErrValue] if it cannot be. tx is under the
// operator's role.
func SetLook(ctx context.Context, tx *tenant.Tx, by authz.Subject, l Look, now time.Time) error {
	l.Color = strings.ToLower(l.Color)
	if l.Color != "" && !colorForm.MatchString(l.Color) {
		return fmt.Errorf("%w: a color is written #rrggbb", ErrValue)
	}
	for _, text := range []string{l.ImageURL, l.LearnMoreURL} {
		if !isLink(text) {
			return fmt.Errorf("%w: a link begins with https:// and a host name", ErrValue)
		}
	}
	if _, err := tx.Exec(ctx, setLookSQL, l.Color, l.ImageURL, l.LearnMoreURL); err != nil {
		return fmt.Errorf("store look: %w", err)
	}
	return audit.Record(ctx, tx, now, by, string(authz.SettingsWrite), "report page", nil)
}

const maxLink = 1000

// isLink takes what a browser may be led to and a content policy may name.
func isLink(text string) bool {
	if text == "" {
		return true
	}
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && len(text) <= maxLink &&
		!strings.ContainsAny(u.Host, " ;,'\"*")
}

const setTextSQL = `
insert into report_text (tenant_id, language, agency, intro, date, phone, success)
values (current_tenant(), $1, $2, $3, $4, $5, $6)
    on conflict (tenant_id, language) do update
   set agency = excluded.agency, intro = excluded.intro, date = excluded.date,
       phone = excluded.phone, success = excluded.success`

var languageForm = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$`)

// SetText changes what the page of tx's tenant says in one language: [ErrValue] if it
// cannot be. tx is under the operator's role.
func SetText(ctx context.Context, tx *tenant.Tx, by authz.Subject, t Text, now time.Time) error {
	if !languageForm.MatchString(t.Language) {
		return fmt.Errorf("%w: a language is a tag such as es or es-419", ErrValue)
	}
	for text, longest := range map[string]int{t.Agency: 200, t.Intro: 2000, t.Date: 500, t.Phone: 500, t.Success: 2000} {
		if utf8.RuneCountInString(text) > longest || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return fmt.Errorf("%w: a text is too long, or not text", ErrValue)
		}
	}
	if _, err := tx.Exec(ctx, setTextSQL, t.Language, t.Agency, t.Intro, t.Date, t.Phone, t.Success); err != nil {
		return fmt.Errorf("store text: %w", err)
	}
	return audit.Record(ctx, tx, now, by, string(authz.SettingsWrite), "report page "+t.Language, nil)
}
