//go:build !release

package devidp

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Paths below the issuer.
const (
	loginPath     = "/login"
	stylePath     = "/login.css"
	signedOutPath = "/signed-out"
)

// maxForm bounds a sign-in's form, in bytes.
const maxForm = 4 << 10

//go:embed login.html
var loginHTML string

//go:embed login.css
var loginCSS []byte

var loginPage = template.Must(template.New("login").Parse(loginHTML))

// login shows the people and lets one of them in.
type login struct {
	storage  *storage
	name     string
	earlier  bool
	people   []Person
	prefix   string // the issuer's path
	callback string // where the protocol goes on; lacks the request's ID at its end
	policy   string
}

// page is what the template shows. Without an ID there is nothing to choose, only
// the text.
type page struct {
	Title, Text   string
	Action, Style string
	ID            string
	People        []Person
	Login         string // in the text field
	Unknown       bool   // nobody has that login
	Earlier       bool   // she may have signed in earlier
}

func (l login) show(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("id")
	asked, err := l.storage.asked(id)
	if err != nil {
		l.expired(w)
		return
	}
	l.choose(w, http.StatusOK, page{ID: id, Login: asked.LoginHint, Earlier: l.earlier && !asked.anew()})
}

func (l login) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	id, name := r.PostFormValue("id"), strings.TrimSpace(r.PostFormValue("login"))
	known, err := l.storage.signIn(id, name, l.earlier && r.PostFormValue("earlier") != "")
	switch {
	case err != nil:
		l.expired(w)
	case !known:
		l.choose(w, http.StatusUnprocessableEntity, page{ID: id, Login: name, Unknown: true})
	default:
		http.Redirect(w, r, l.callback+url.QueryEscape(id), http.StatusSeeOther)
	}
}

func (l login) choose(w http.ResponseWriter, status int, p page) {
	p.Title, p.People = "Sign in", l.people
	p.Text = l.name + " is for development. It asks for no password: choose who you want to be."
	l.render(w, status, p)
}

func (l login) expired(w http.ResponseWriter) {
	l.render(w, http.StatusBadRequest, page{
		Title: "Sign-in has ended",
		Text:  "This sign-in is finished, or took too long. Go back to where you came from, and start again.",
	})
}

func (l login) signedOut(w http.ResponseWriter, _ *http.Request) {
	l.render(w, http.StatusOK, page{Title: "Signed out", Text: "You have signed out. You can close this page."})
}

func (l login) render(w http.ResponseWriter, status int, p page) {
	p.Action, p.Style = l.prefix+loginPath, l.prefix+stylePath
	var body bytes.Buffer
	if err := loginPage.Execute(&body, p); err != nil {
		http.Error(w, "the page could not be rendered", http.StatusInternalServerError)
		return
	}
	send(w, status, l.policy, &body)
}

// send sends a page under a content policy.
func send(w http.ResponseWriter, status int, policy string, body *bytes.Buffer) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // the browser may have gone
}

func serveStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(loginCSS)
}

// contentPolicy allows the stylesheet, and forms whose way ends at a client: some
// browsers hold form-action against redirects too.
func contentPolicy(clients []Client) string {
	forms := "'self'"
	for _, c := range clients {
		for _, uri := range slices.Concat(c.RedirectURIs, c.RedirectPatterns) {
			if u, err := url.Parse(uri); err == nil && !strings.Contains(forms, u.Scheme+"://"+u.Host) {
				forms += " " + u.Scheme + "://" + u.Host
			}
		}
	}
	return "default-src 'none'; style-src 'self'; form-action " + forms + "; base-uri 'none'; frame-ancestors 'none'"
}
