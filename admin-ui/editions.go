package adminui

import (
	"fmt"
	"net/http"
	"strings"

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
	files, err := assets.Load(assetsPath)
	if err != nil {
		return nil, err
	}
	shared := Server{config: c, sessions: newSessions(c.Sessions, c.Now), limits: newLimits(c.NoLimits, c.Now), downloads: &downloads{}}
	p := &Portal{}
	var tags []language.Tag
	for _, l := range spokenHere {
		edition := shared
		if err := edition.speak(l.tag, files); err != nil {
			return nil, fmt.Errorf("edition %s: %w", l.tag, err)
		}
		p.editions = append(p.editions, &edition)
		tags = append(tags, language.MustParse(l.tag))
	}
	p.matcher = language.NewMatcher(tags)
	return p, authz.ValidateRoutes(p.Routes())
}

// speak gives an edition its words, and what is made with them.
func (s *Server) speak(lang string, files *assets.Set) (err error) {
	if s.words, err = loadCatalogue(lang); err != nil {
		return err
	}
	if s.pages, err = loadPages(s.words, files); err != nil {
		return err
	}
	s.handler = s.protect(s.engine())
	return nil
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
