package report

import (
	"context"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"

	"carillon/tenant"
	"carillon/tenant/app"
	"carillon/tenant/reportpage"
)

// Brandings tells what a tenant's pages look like. The promises are those of
// [reportpage.Book].
type Brandings interface {
	Branding(ctx context.Context, id tenant.ID) (reportpage.Branding, error)
}

// Landing is the page behind a link of a text message that no app has opened: it says what
// to do on this device, and shows the code, so that it can be typed. It has no script, and
// sends the code to nobody: not as a referrer, and in no log. It is safe for concurrent use.
type Landing struct {
	press     *press
	brandings Brandings
}

// NewLanding returns the page.
func NewLanding(b Brandings, log *slog.Logger) (*Landing, error) {
	p, err := newPress(log)
	if err != nil {
		return nil, err
	}
	return &Landing{press: p, brandings: b}, nil
}

// linkPage is what the page of a link shows.
type linkPage struct {
	app.Ways
	// Groups are the code in groups of four characters.
	Groups []string
	// Target is where the button leads.
	Target template.URL
	// Text is the tenant's own words, if there are any.
	Text string
}

// ServeLink answers a link with the page. t is whose link it is; nil if it is nobody's. Where
// the protocol has a 404 (§7.5), the page has that status.
func (l *Landing) ServeLink(w http.ResponseWriter, r *http.Request, t *tenant.Tenant, s app.Site) {
	query := r.URL.Query()
	v := &visit{r: r, tenant: t, language: query.Get(fieldLanguage)}
	w.Header().Add("Vary", "Accept-Language")
	if t == nil {
		l.press.send(r.Context(), w, v, answer{status: http.StatusNotFound, page: "closed", heading: "link.nowhere", data: "link.nowhere.advice", referrer: noReferrer})
		return
	}
	var err error
	if v.branding, err = l.brandings.Branding(r.Context(), t.ID); err != nil { // the code matters more than the looks
		l.press.log.LogAttrs(r.Context(), slog.LevelError, "look of a page not read", slog.Any("error", err))
	}
	query.Del(fieldLanguage)
	link := app.Link{Path: r.URL.EscapedPath(), Query: query.Encode(), UserAgent: r.UserAgent()}
	ways, status := app.WaysOf(s, link), http.StatusOK
	if _, found := app.Redirect(s, link); !found {
		status = http.StatusNotFound
	}
	l.press.send(r.Context(), w, v, answer{
		status: status, page: "link", heading: headingOf(ways), referrer: noReferrer,
		data: linkPage{
			Ways: ways, Groups: inGroups(ways.Code), Text: v.own(l.press.words.of(v)).Link,
			Target: template.URL(ways.Location), //nolint:gosec // made by this service, of what the authority's app is
		},
		inLanguage: func(tag string) string {
			again := url.Values{fieldLanguage: {tag}}
			if ways.Code != "" {
				again.Set("c", ways.Code)
			}
			return r.URL.EscapedPath() + "?" + again.Encode()
		},
	})
}

const noReferrer = "no-referrer"

func headingOf(w app.Ways) string {
	switch {
	case w.Device == "":
		return "link.elsewhere"
	case w.Way == app.Nowhere:
		return "link.unable"
	default:
		return "link.heading"
	}
}

// groupSize is how many characters people read at once.
const groupSize = 4

func inGroups(code string) []string {
	var groups []string
	for len(code) > groupSize {
		groups, code = append(groups, code[:groupSize]), code[groupSize:]
	}
	if code != "" {
		groups = append(groups, code)
	}
	return groups
}
