package report

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"carillon/admin-ui/assets"
	"carillon/tenant/reportpage"
)

//go:embed *.html
var templateFiles embed.FS

// press makes the pages, in the reader's language and the tenant's look.
type press struct {
	words *words
	// byName are the parsed templates, one set for each page.
	byName map[string]*template.Template
	log    *slog.Logger
}

func newPress(log *slog.Logger) (*press, error) {
	p := &press{byName: map[string]*template.Template{}, log: log}
	files, err := assets.Load(filesPath)
	if err != nil {
		return nil, err
	}
	if p.words, err = loadWords(); err != nil {
		return nil, err
	}
	// What t says depends on the reader; it is replaced for each.
	functions := template.FuncMap{"asset": files.Path, "t": func(string) string { return "" }}
	for _, name := range []string{"form", "sent", "closed", "link"} {
		set, err := template.New("layout.html").Funcs(functions).ParseFS(templateFiles, "layout.html", name+".html")
		if err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		p.byName[name] = set
	}
	return p, nil
}

// formPage, sentPage and shell are what the templates show.
type formPage struct {
	Action string
	In     input
	// Intro, DateLabel and PhoneLabel are the tenant's own words, if there are any.
	Intro, DateLabel, PhoneLabel string
	Min, Max                     string
	DateRequired                 bool
	// Lang is the language that the person has chosen, if she has.
	Lang string
	// Errors are the keys of what is wrong, by field.
	Errors map[string]string
}

type sentPage struct {
	Text  string // the tenant's own words, if there are any
	Close bool   // the phone's sheet should close
}

// shell is what stands around every page.
type shell struct {
	Lang, Dir string
	Title     string
	Heading   string
	Problems  []problem
	Agency    string // empty while the tenant is unknown
	Color     string // #rrggbb, or empty
	Dark      bool   // the color is a dark one
	Image     string
	Contact   *contact // nil if there is nobody to ask
	Others    []otherLanguage
	Data      any
}

// contact is whom the reader can ask.
type contact struct {
	Phone, Email string
	Dial         template.URL // the number, for telephones
	More         string       // a page of the authority's
}

// otherLanguage is one in which the page can be read, too. It leads there by its path, or
// by its value in the page's form.
type otherLanguage struct{ Tag, Name, Dir, Path string }

func (p *press) shell(v *visit, a answer) shell {
	e := p.words.of(v)
	sh := shell{Lang: e.tag, Dir: e.direction(), Heading: e.messages[a.heading], Problems: a.problems, Data: a.data}
	sh.Title = sh.Heading
	if v.tenant != nil {
		sh.Agency = v.own(e).Agency
		if sh.Agency == "" {
			sh.Agency = v.tenant.Name
		}
		sh.Title += " – " + sh.Agency
		sh.Color, sh.Image = v.branding.Look.Color, v.branding.Look.ImageURL
		sh.Dark = reportpage.Dark(sh.Color)
		sh.Contact = contactOf(v.branding.Look)
	}
	for _, other := range p.words.editions {
		if other.tag != e.tag && a.inLanguage != nil {
			sh.Others = append(sh.Others, otherLanguage{other.tag, other.name(), other.direction(), a.inLanguage(other.tag)})
		}
	}
	if len(a.problems) > 0 {
		sh.Title = e.messages["title.error"] + " " + sh.Title
	}
	return sh
}

func contactOf(l reportpage.Look) *contact {
	if l.ContactPhone == "" && l.ContactEmail == "" && l.LearnMoreURL == "" {
		return nil
	}
	c := &contact{Phone: l.ContactPhone, Email: l.ContactEmail, More: l.LearnMoreURL}
	c.Dial = template.URL("tel:" + strings.Map(func(r rune) rune { //nolint:gosec // digits and a plus sign only
		if r == '+' || '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, l.ContactPhone))
	return c
}

// send renders into memory first: a page that fails halfway is no page.
func (p *press) send(ctx context.Context, w http.ResponseWriter, v *visit, a answer) {
	sh := p.shell(v, a)
	messages := p.words.of(v).messages
	var body bytes.Buffer
	set, err := p.byName[a.page].Clone()
	if err == nil {
		err = set.Funcs(template.FuncMap{"t": func(key string) string { return messages[key] }}).Execute(&body, sh)
	}
	if err != nil {
		p.log.LogAttrs(ctx, slog.LevelError, "page not rendered", slog.Any("error", err))
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", sh.Lang)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", contentPolicy(v.branding.Look))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", cmp.Or(a.referrer, "same-origin"))
	h.Set("Strict-Transport-Security", "max-age=315360000; includeSubDomains")
	if a.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(a.retry))
	}
	setCookie(w, a)
	w.WriteHeader(a.status)
	_, _ = body.WriteTo(w) // the browser may have gone
}
