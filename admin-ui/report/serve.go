package report

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"carillon/tenant"
	"carillon/tenant/limit"
	"carillon/tenant/reportpage"
)

// visit is one request and what is known of it.
type visit struct {
	r *http.Request
	// tenant and branding are set when the tenant is known.
	tenant   *tenant.Tenant
	branding reportpage.Branding
	// language is the tag that the person has chosen on the page; empty if none.
	language string
}

// answer is what is sent: a page, and what becomes of the cookie.
type answer struct {
	status int
	page   string // the template
	data   any
	// problems mark the title, and are listed above the form.
	problems []problem
	// heading is the key of the page's h1.
	heading string
	// inLanguage is the path of the same page in another language, which is empty where
	// the page's form leads there; nil if there is none.
	inLanguage func(tag string) string
	// referrer is the page's policy, if it is not the usual one.
	referrer string
	// cookie is the visit to keep, nil to leave it as it is; forget ends it.
	cookie *string
	forget bool
	// retry is how many seconds the asker should wait, for the header.
	retry int
	err   error // for the log
}

const (
	cookieName  = "en-user-report"
	maxForm     = 16 << 10 // bytes
	workTimeout = 20 * time.Second
)

// serve guards a request, has it handled and sends the answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, rt route) {
	start, id := s.config.Now(), rand.Text()[:12]
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	w.Header().Set("X-Request-ID", id)
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	v := &visit{r: r}
	a := s.handle(ctx, v, rt)
	s.press.send(ctx, w, v, a)
	slug := ""
	if v.tenant != nil {
		slug = string(v.tenant.Slug)
	}
	if a.err != nil {
		s.config.Log.LogAttrs(ctx, slog.LevelError, "request failed", slog.String("request", id), slog.Any("error", a.err))
	}
	s.config.Log.LogAttrs(ctx, slog.LevelInfo, "request",
		slog.String("request", id), slog.String("method", rt.Method), slog.String("route", rt.Path),
		slog.String("tenant", slug), slog.Int("status", a.status), slog.Duration("took", s.config.Now().Sub(start)))
}

// handle asks what comes before every handler: the host, panics, the rate limit. What
// somebody panicked with may hold anything, so only its type is told.
func (s *Server) handle(ctx context.Context, v *visit, rt route) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = failed(fmt.Errorf("panic: %T", p))
		}
	}()
	if !slices.Contains(s.config.Hosts, hostName(v.r.Host)) {
		return closed(http.StatusUnauthorized, "closed.app")
	}
	if s.limiter != nil {
		if d := s.limiter.Allow(tenant.ID{}, limit.CallerOf(s.caller(v.r))); !d.Allowed {
			a := closed(http.StatusTooManyRequests, "closed.limited")
			a.retry = max(1, int(d.Reset.Sub(s.config.Now()).Seconds()+1))
			return a
		}
	}
	return rt.handle(ctx, v)
}

func (s *Server) caller(r *http.Request) netip.Addr {
	return s.config.Proxies.Caller(r.RemoteAddr, r.Header.Values("X-Forwarded-For"))
}

// hostName is a request's host as names are compared: without port, in small letters.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// enter finds the tenant and its look. It reports whether there is a page: a tenant
// that has none is as one that does not exist.
func (s *Server) enter(ctx context.Context, v *visit, id tenant.ID) (bool, error) {
	t, err := s.config.Directory.ByID(ctx, id)
	if err != nil {
		return false, err
	}
	if !t.Settings.SelfReport || !t.Settings.SelfReportPage {
		return false, nil
	}
	v.tenant = t
	v.branding, err = s.config.Pages.Branding(ctx, id)
	return true, err
}

// closed is a page that says why there is no form.
func closed(status int, key string) answer {
	return answer{status: status, page: "closed", heading: key, data: "closed.advice"}
}

func failed(err error) answer {
	a := closed(http.StatusInternalServerError, "closed.failed")
	a.err = err
	return a
}

// contentPolicy allows what is our own and in files of its own, and the tenant's
// picture.
func contentPolicy(l reportpage.Look) string {
	images := "'self'"
	if u, err := url.Parse(l.ImageURL); err == nil && u.Host != "" {
		images += " https://" + u.Host
	}
	return "default-src 'none'; style-src 'self'; script-src 'self'; font-src 'self'; img-src " + images +
		"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// setCookie keeps or ends the visit in the browser, if the answer wants it.
func setCookie(w http.ResponseWriter, a answer) {
	value, age := "", -1
	switch {
	case a.forget:
	case a.cookie != nil:
		value, age = *a.cookie, int(reportpage.VisitLife/time.Second)
	default:
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: openPath, MaxAge: age,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}
