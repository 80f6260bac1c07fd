package adminui

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"carillon/authz/oidc"
)

// Why the sign-in page is shown to somebody who did not ask for it.
const (
	// reasonLost says that what was typed into a form is gone with the session.
	reasonLost = "lost"
	// reasonFresh says that what she wants to do needs a fresh sign-in.
	reasonFresh = "fresh"
)

// freshLife is how long after a sign-in sensitive acts are open.
const freshLife = 10 * time.Minute

// fresh reports whether somebody has proved lately who she is.
func (s *Server) fresh(who *oidc.Identity) bool {
	return s.config.Now().Sub(who.AuthTime) < freshLife
}

// signInFirst leads to the login page, and from there back to a page: a form that
// was sent is lost, so the way back is to where it can be filled in again.
func (s *Server) signInFirst(v *visit) (answer, error) {
	q := url.Values{"return": {s.wayBack(v)}}
	if v.r.Method != http.MethodGet {
		q.Set("reason", reasonLost)
	}
	return redirect("/login?" + q.Encode())
}

// signInAgain leads by the login page to a fresh sign-in, and back. Not straight to
// the provider: the browser may be sending a form, for which no redirect leads there.
func (s *Server) signInAgain(v *visit) (answer, error) {
	return redirect("/login?" + url.Values{"return": {s.wayBack(v)}, "reason": {reasonFresh}}.Encode())
}

// wayBack is the page that was asked for; for a form that was sent the page with the
// form, which has the same path, or the nearest page above it.
func (s *Server) wayBack(v *visit) string {
	if v.r.Method == http.MethodGet {
		return v.r.URL.RequestURI()
	}
	pattern, path := v.route.Path, v.r.URL.Path // which the router matched, segment by segment
	for pattern != "" {
		if s.hasPage(pattern) {
			return (&url.URL{Path: path}).EscapedPath()
		}
		pattern, path = pattern[:strings.LastIndex(pattern, "/")], path[:strings.LastIndex(path, "/")]
	}
	return s.start()
}

func (s *Server) hasPage(pattern string) bool {
	return slices.ContainsFunc(s.routes(), func(r route) bool { return r.Method == http.MethodGet && r.Path == pattern })
}

func (s *Server) root(*visit) (answer, error) { return redirect(s.start()) }

// start is where people go who have said nothing else.
func (s *Server) start() string {
	if s.config.Staff == nil {
		return "/operator"
	}
	return "/portal"
}

// loginPage is what the sign-in page shows.
type loginPage struct {
	Start  string // where signing in begins
	Notice string
}

func (s *Server) showLogin(v *visit) (answer, error) {
	back, reason := v.r.URL.Query().Get("return"), v.r.URL.Query().Get("reason")
	if v.who != nil && reason != reasonFresh {
		return redirect(oidc.Flow{ReturnPath: back}.Return(s.start()))
	}
	p := loginPage{Start: startPath(back, reason)}
	heading := "login.heading"
	switch reason {
	case reasonLost:
		p.Notice = s.words.text("login.lost")
	case reasonFresh:
		p.Notice, heading = s.words.text("login.fresh"), "login.again"
	}
	return answer{page: "login", heading: s.words.text(heading), data: p}, nil
}

func startPath(back, reason string) string {
	q := url.Values{}
	if back != "" {
		q.Set("return", back)
	}
	if reason == reasonFresh {
		q.Set("reason", reason)
	}
	if len(q) == 0 {
		return "/login/start"
	}
	return "/login/start?" + q.Encode()
}

func (s *Server) startLogin(v *visit) (answer, error) {
	ctx, query := v.r.Context(), v.r.URL.Query()
	begin := s.config.Login.Begin
	if query.Get("reason") == reasonFresh {
		begin = s.config.Login.BeginFresh
	}
	to, flow, err := begin(ctx)
	if err != nil {
		return answer{}, err
	}
	flow.ReturnPath = query.Get("return")
	if err := s.sessions.begin(ctx, flow); err != nil {
		return answer{}, err
	}
	return redirect(to)
}

func (s *Server) finishLogin(v *visit) (answer, error) {
	ctx, query := v.r.Context(), v.r.URL.Query()
	flow, err := s.sessions.take(ctx, query.Get("state"))
	if err != nil {
		return answer{}, err
	}
	if flow.State == "" {
		return answer{}, oidc.ErrState
	}
	who, err := s.config.Login.Finish(ctx, flow, query)
	if err != nil {
		return answer{}, err
	}
	who.AuthTime = s.signedInAt(who)
	if err := s.sessions.signIn(ctx, who); err != nil {
		return answer{}, err
	}
	return redirect(flow.Return(s.start()))
}

// signedInAt is when somebody who comes from the provider proved who she is: as it says,
// or now if it says nothing, and never later than now.
func (s *Server) signedInAt(who oidc.Identity) time.Time {
	now := s.config.Now()
	if who.AuthTime.IsZero() || who.AuthTime.After(now) {
		return now
	}
	return who.AuthTime
}

// logoutPage is what the sign-out page shows: a question while somebody is signed
// in, and afterwards where the identity provider's own session ends.
type logoutPage struct {
	SignedIn bool
	Provider string
}

func (s *Server) showLogout(v *visit) (answer, error) {
	if v.who != nil {
		return answer{page: "logout", heading: s.words.text("logout.question"), data: logoutPage{SignedIn: true}}, nil
	}
	provider, err := s.config.Login.EndSessionURL(v.r.Context(), s.config.BaseURL+"/login", "")
	if err != nil { // the person is out; that the provider is down need not trouble her
		s.config.Log.WarnContext(v.r.Context(), "no way to the identity provider's sign-out", "error", err)
	}
	return answer{page: "logout", heading: s.words.text("logout.done"), data: logoutPage{Provider: provider}}, nil
}

func (s *Server) logout(v *visit) (answer, error) {
	if err := s.sessions.Destroy(v.r.Context()); err != nil {
		return answer{}, fmt.Errorf("end session: %w", err)
	}
	return redirect("/logout")
}
