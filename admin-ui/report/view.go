package report

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"

	"carillon/admin-ui/assets"
)

//go:embed *.html
var templateFiles embed.FS

// pages are the parsed templates, one set for each page.
type pages struct{ byName map[string]*template.Template }

func loadPages(files *assets.Set) (*pages, error) {
	p := &pages{byName: map[string]*template.Template{}}
	// What t says depends on the reader; it is replaced for each.
	functions := template.FuncMap{"asset": files.Path, "t": func(string) string { return "" }}
	for _, name := range []string{"form", "sent", "closed"} {
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
	LearnMore                    string
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
	Data      any
}

func (s *Server) shell(v *visit, a answer) shell {
	number := s.words.language(v)
	messages := s.words.messages[number]
	sh := shell{
		Lang: languages[number].tag, Dir: languages[number].direction,
		Heading: messages[a.heading], Problems: a.problems, Data: a.data,
	}
	sh.Title = sh.Heading
	if v.tenant != nil {
		sh.Agency = v.own(number).Agency
		if sh.Agency == "" {
			sh.Agency = v.tenant.Name
		}
		sh.Title += " – " + sh.Agency
		sh.Color, sh.Image = v.branding.Look.Color, v.branding.Look.ImageURL
		sh.Dark = dark(sh.Color)
	}
	if len(a.problems) > 0 {
		sh.Title = messages["title.error"] + " " + sh.Title
	}
	return sh
}

// dark reports whether white stands out from a color #rrggbb more than black does
// (relative luminance, WCAG 2.2).
func dark(color string) bool {
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

// send renders into memory first: a page that fails halfway is no page.
func (s *Server) send(ctx context.Context, w http.ResponseWriter, v *visit, a answer) {
	sh := s.shell(v, a)
	messages := s.words.messages[s.words.language(v)]
	var body bytes.Buffer
	set, err := s.pages.byName[a.page].Clone()
	if err == nil {
		err = set.Funcs(template.FuncMap{"t": func(key string) string { return messages[key] }}).Execute(&body, sh)
	}
	if err != nil {
		s.config.Log.LogAttrs(ctx, slog.LevelError, "page not rendered", slog.Any("error", err))
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", sh.Lang)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", contentPolicy(v.branding.Look))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Strict-Transport-Security", "max-age=315360000; includeSubDomains")
	if a.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(a.retry))
	}
	setCookie(w, a)
	w.WriteHeader(a.status)
	_, _ = body.WriteTo(w) // the browser may have gone
}
