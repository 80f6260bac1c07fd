package adminui

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/text/language"

	"carillon/admin-ui/assets"
	"carillon/authz"
)

// spokenHere are the languages of the portal. A browser that asks for none of them gets
// the first.
var spokenHere = []struct{ tag, name string }{{"en", "English"}, {"es", "Español"}}

// languageCookie remembers, in her browser, which language somebody chose.
const (
	languageCookie = "__Host-carillon-language"
	languageLife   = 365 * 24 * 60 * 60 // seconds
)

// Portal is the portal in every language that it speaks. It is safe for concurrent use.
type Portal struct {
	editions []*Server // in the order of spokenHere
	matcher  language.Matcher
}

// New returns a portal. An error means that the configuration makes no sense, or
// that a part of the program is inconsistent.
func New(c Config) (*Portal, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	texts, err := texts()
	if err != nil {
		return nil, err
	}
	shared := Server{config: c, sessions: newSessions(c.Sessions, c.Now), limits: newLimits(c.NoLimits, c.Now), downloads: &downloads{}}
	p := &Portal{}
	var tags []language.Tag
	for i, l := range spokenHere {
		edition := shared
		edition.words, edition.pages = texts[i].words, texts[i].pages
		edition.handler = edition.protect(edition.engine())
		p.editions = append(p.editions, &edition)
		tags = append(tags, language.MustParse(l.tag))
	}
	p.matcher = language.NewMatcher(tags)
	return p, authz.ValidateRoutes(p.Routes())
}

// text is what an edition says, and its pages: some ten megabytes that no configuration
// changes.
type text struct {
	words *catalogue
	pages *pages
}

// texts are those of spokenHere. All portals of a process share them.
var texts = sync.OnceValues(loadTexts)

func loadTexts() (all []text, err error) {
	files, err := assets.Load(assetsPath)
	if err != nil {
		return nil, err
	}
	for _, l := range spokenHere {
		var t text
		if t.words, err = loadCatalogue(l.tag); err == nil {
			t.pages, err = loadPages(t.words, files)
		}
		if err != nil {
			return nil, fmt.Errorf("edition %s: %w", l.tag, err)
		}
		all = append(all, t)
	}
	return all, nil
}

// Routes declares every URL of the portal and its guard.
func (p *Portal) Routes() []authz.Route { return p.editions[0].Routes() }

// Handler serves each browser the edition in its language.
func (p *Portal) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.edition(r).handler.ServeHTTP(w, r)
	})
}

// edition is in the language that the person chose, or else that her browser prefers.
func (p *Portal) edition(r *http.Request) *Server {
	if chosen, err := r.Cookie(languageCookie); err == nil {
		for i, l := range spokenHere {
			if l.tag == chosen.Value {
				return p.editions[i]
			}
		}
	}
	preferred, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	if err != nil || len(preferred) == 0 {
		return p.editions[0]
	}
	_, i, confidence := p.matcher.Match(preferred...)
	if confidence == language.No {
		return p.editions[0]
	}
	return p.editions[i]
}

// otherLanguage offers to read a page in another language.
type otherLanguage struct {
	Tag, Name string
	// Back is the page's own URL, without the host.
	Back string
}

// otherLanguages are offered on pages that can be asked for again: nothing that was
// typed is lost.
func (s *Server) otherLanguages(v *visit, a answer) []otherLanguage {
	if v.route.Method != http.MethodGet || a.code() != http.StatusOK {
		return nil
	}
	var others []otherLanguage
	for _, l := range spokenHere {
		if l.tag != s.words.lang {
			others = append(others, otherLanguage{l.tag, l.name, v.r.URL.RequestURI()})
		}
	}
	return others
}

// chooseLanguage remembers a language and leads back to the page.
func (s *Server) chooseLanguage(v *visit) (answer, error) {
	if err := readForm(v.r); err != nil {
		return answer{}, err
	}
	a := answer{redirect: pathBack(v.r.PostForm.Get("back"))}
	for _, l := range spokenHere {
		if l.tag == v.r.PostForm.Get("language") {
			a.cookie = &http.Cookie{
				Name: languageCookie, Value: l.tag, Path: "/", MaxAge: languageLife,
				Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
			}
			return a, nil
		}
	}
	return answer{}, fmt.Errorf("%w: no such language", errForm)
}

// pathBack is a URL of the portal without its host, as it came with a form: whatever a
// browser could take for another host's leads to the first page.
func pathBack(back string) string {
	other := strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n\t")
	if !strings.HasPrefix(back, "/") || other {
		return "/portal"
	}
	return back
}
