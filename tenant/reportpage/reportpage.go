// Package reportpage holds what patients' pages know of a tenant: how they look, what they
// say in the tenant's own words, whom people can ask, and, sealed in a cookie, which phone
// has opened the page for self-reports (verification protocol §5.2).
//
// That page's state is in the browser alone: nothing about a visit is stored. Only the
// tenant's own key opens it, in every process that has the key, and only for an hour.
package reportpage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"carillon/tenant"
	"carillon/tenant/cache"
	"carillon/tenant/key"
)

// Look is what a tenant's pages look like. Empty means as Carillon has it.
type Look struct {
	// Color is the background behind the tenant's name, as #rrggbb.
	Color string
	// ImageURL is a picture beside the name, LearnMoreURL where readers find more; both
	// are https.
	ImageURL     string `db:"image_url"`
	LearnMoreURL string `db:"learn_more_url"`
	// ContactPhone and ContactEmail are whom people can ask: a number as they would dial
	// it, and a mail address.
	ContactPhone string `db:"contact_phone"`
	ContactEmail string `db:"contact_email"`
}

// Dark reports whether white stands out from a color #rrggbb more than black does
// (relative luminance, WCAG 2.2).
func Dark(color string) bool {
	rgb, err := strconv.ParseUint(strings.TrimPrefix(color, "#"), 16, 32)
	if err != nil {
		return false
	}
	linear := func(channel uint64) float64 {
		c := float64(channel&0xff) / 0xff
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	luminance := 0.2126*linear(rgb>>16) + 0.7152*linear(rgb>>8) + 0.0722*linear(rgb)
	return (luminance+0.05)*(luminance+0.05) < 1.05*0.05
}

// Text is what the pages say in one language. Empty means as Carillon has it.
type Text struct {
	// Language is a BCP 47 tag whose language is in small letters.
	Language string
	// Agency is the tenant's name.
	Agency string
	// Intro, Date, Phone and Success are what stands above the form for self-reports, at
	// its two fields, and on the page after it; Link is what stands on the page of a link
	// that no app has opened.
	Intro, Date, Phone, Success, Link string
}

// Empty reports whether a text says nothing of its own.
func (t Text) Empty() bool { return t == Text{Language: t.Language} }

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

const (
	lookSQL = `select color, image_url, learn_more_url, contact_phone, contact_email from report_page`

	textsSQL = `
  select language, agency, intro, date, phone, success, link
    from report_text
order by language`
)

// Branding reads a tenant's branding, which is empty if it has none.
func (s *Service) Branding(ctx context.Context, id tenant.ID) (Branding, error) {
	return read(ctx, s.db, id)
}

func read(ctx context.Context, db *tenant.DB, id tenant.ID) (b Branding, err error) {
	err = db.In(ctx, id, func(tx *tenant.Tx) error {
		b, err = inside(ctx, tx)
		return err
	})
	if err != nil {
		return Branding{}, fmt.Errorf("read patients' pages: %w", err)
	}
	return b, nil
}

func inside(ctx context.Context, tx *tenant.Tx) (b Branding, err error) {
	if err := tx.Get(ctx, &b.Look, lookSQL); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return b, err
	}
	return b, tx.Select(ctx, &b.Texts, textsSQL)
}

// Age is how long a change may take to be seen on the pages of links.
const Age = 30 * time.Second

const bookSize = 10_000

// Book answers what brandings are, mostly from memory: links are followed by whoever
// likes to. It is safe for concurrent use.
type Book struct {
	byTenant *cache.Cache[tenant.ID, Branding]
}

// NewBook returns a book that reads through db, a handle under any role that sees reports,
// links or publishing.
func NewBook(db *tenant.DB) *Book {
	return &Book{cache.New(bookSize, Age, func(ctx context.Context, id tenant.ID) (Branding, error) { return read(ctx, db, id) })}
}

// Branding returns a tenant's branding. Nobody may change its texts.
func (b *Book) Branding(ctx context.Context, id tenant.ID) (Branding, error) {
	return b.byTenant.Get(ctx, id)
}
