package adminui_test

import (
	"net/http"
	"net/url"
	"testing"
)

// Each browser is served in the language that it prefers, until the person chooses one.
func TestEverybodyReadsHerLanguage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := func(preferred, cookie, lang, heading string) {
		t.Helper()
		r := w.request(http.MethodGet, "/login", nil)
		r.Header.Set("Accept-Language", preferred)
		if cookie != "" {
			r.AddCookie(&http.Cookie{Name: "__Host-carillon-language", Value: cookie})
		}
		w.do(r).wants(200, heading).marks(`<html lang="` + lang + `">`)
	}
	in("", "", "en", "Sign in")
	in("es-US,es;q=0.9,en;q=0.8", "", "es", "Iniciar sesión")
	in("fr, es;q=0.5", "", "es", "Iniciar sesión")
	in("ja", "", "en", "Sign in")
	in("not a language;;;", "", "en", "Sign in")
	in("es", "en", "en", "Sign in")
	in("es", "tlh", "es", "Iniciar sesión")
}

func TestALanguageIsChosen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn("phone", "invalid")
	w.get(newPath).marks(`<button class="usa-button usa-button--unstyled" name="language" value="es" lang="es">Español</button>`)
	choose := func(lang, back string) *page {
		return w.post("/language", url.Values{"language": {lang}, "back": {back}})
	}
	if p := choose("es", newPath).wants(200, "Emitir un código de verificación"); p.url.Path != newPath {
		t.Errorf("led to %s", p.url)
	}
	// A page that holds what was typed is not left.
	w.post(newPath, form).wants(422, "Emitir un código de verificación").lacks(`action="/language"`)
	choose("en", newPath).wants(200, "Issue a verification code")
	choose("tlh", newPath).wants(400, "The form could not be read")
	for _, back := range []string{"", "//elsewhere.example/", "https://elsewhere.example/", `/\elsewhere.example`, "/\t/elsewhere.example"} {
		if p := choose("en", back); p.status != 200 || p.url.Host != w.get("/login").url.Host {
			t.Errorf("%q: led to %s", back, p.url)
		}
	}
}
