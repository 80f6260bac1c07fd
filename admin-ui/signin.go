package adminui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"carillon/authz/oidc"
	"carillon/tenant/idp"
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

// signInFirst leads to the login page, and from there back to a page. A form that was sent
// is kept on a page of its own; what cannot be kept is lost, and the way back is to where it
// can be filled in again.
func (s *Server) signInFirst(v *visit) (answer, error) {
	page, q := "/login", url.Values{"return": {s.wayBack(v)}}
	if v.params.ByName("tenant") != "" {
		page = ownPath(v) + "/login"
	}
	if a, kept := s.keep(v, page+"?"+q.Encode(), "kept.heading"); kept {
		return a, nil
	}
	if v.r.Method != http.MethodGet {
		q.Set("reason", reasonLost)
	}
	return redirect(page + "?" + q.Encode())
}

// signInAgain leads by the login page to a fresh sign-in, and back, or keeps the form as
// [Server.signInFirst] does. Not straight to the provider: the browser may be sending a form,
// for which no redirect leads there.
func (s *Server) signInAgain(v *visit) (answer, error) {
	login := "/login?" + url.Values{"return": {s.wayBack(v)}, "reason": {reasonFresh}}.Encode()
	if a, kept := s.keep(v, login, "kept.fresh"); kept {
		return a, nil
	}
	return redirect(login)
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
	Start  string // where signing in at the platform's own provider begins
	Notice string
	// Own are the providers of a health authority's own.
	Own []ownLogin
	// Find is the form that leads to a health authority's sign-in page; nil if it is not
	// offered. Return is where it is to lead in the end; it may be empty.
	Find   *field
	Return string
	// Found are those to which an address leads.
	Found []authority
}

func (s *Server) showLogin(v *visit) (answer, error) {
	back, reason := v.r.URL.Query().Get("return"), v.r.URL.Query().Get("reason")
	if v.who != nil && reason != reasonFresh {
		return redirect(oidc.Flow{ReturnPath: back}.Return(s.start()))
	}
	p := loginPage{Start: startPath(back, reason), Return: back}
	if reason != reasonFresh && s.config.Providers != nil {
		p.Find = s.addressField()
	}
	return s.loginAnswer(p, reason), nil
}

func (s *Server) loginAnswer(p loginPage, reason string) answer {
	heading := "login.heading"
	switch reason {
	case reasonLost:
		p.Notice = s.words.text("login.lost")
	case reasonFresh:
		p.Notice, heading = s.words.text("login.fresh"), "login.again"
	}
	return answer{page: "login", heading: s.words.text(heading), data: p}
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
	query := v.r.URL.Query()
	again := query.Get("reason") == reasonFresh
	login := s.config.Login
	if again && v.who != nil {
		var err error
		if login, err = s.loginAt(v.r.Context(), v.who.Realm, v.who.Provider); err != nil {
			return answer{}, err
		}
	}
	return s.begin(v, login, again, func(f *oidc.Flow) { f.ReturnPath = query.Get("return") })
}

// loginAt is where somebody signs in: at the platform's own provider, or at one of a
// health authority.
func (s *Server) loginAt(ctx context.Context, realm, provider string) (Login, error) {
	if realm == "" {
		return s.config.Login, nil
	}
	if s.config.Providers == nil {
		return nil, idp.ErrMissing
	}
	return s.config.Providers.Provider(ctx, realm, provider)
}

// begin sends the browser to a provider.
func (s *Server) begin(v *visit, login Login, again bool, mark func(*oidc.Flow)) (answer, error) {
	ctx, start := v.r.Context(), login.Begin
	if again {
		start = login.BeginFresh
	}
	to, flow, err := start(ctx)
	if err != nil {
		return answer{}, err
	}
	mark(&flow)
	if err := s.sessions.begin(ctx, flow); err != nil {
		return answer{}, err
	}
	return redirect(to)
}

// finishLogin takes the answer of the provider whose own callback this is.
func (s *Server) finishLogin(v *visit) (answer, error) {
	ctx, query := v.r.Context(), v.r.URL.Query()
	flow, err := s.sessions.take(ctx, query.Get("state"))
	if err != nil {
		return answer{}, err
	}
	if flow.State == "" || flow.Provider != v.params.ByName("provider") {
		return answer{}, oidc.ErrState
	}
	if flow.Realm != "" || flow.Link != "" {
		v.again = flow.Return(s.start())
	}
	if flow.Trial {
		return s.finishTrial(v, flow)
	}
	who, err := s.finishAt(v, flow)
	if err != nil {
		return answer{}, err
	}
	if flow.Link != "" {
		return s.finishLink(v, flow, who)
	}
	if err := s.sessions.signIn(ctx, who); err != nil {
		return answer{}, err
	}
	return redirect(flow.Return(s.start()))
}

// finishAt tells who came back from the provider of a flow.
func (s *Server) finishAt(v *visit, flow oidc.Flow) (oidc.Identity, error) {
	ctx := v.r.Context()
	login, err := s.loginAt(ctx, flow.Realm, flow.Provider)
	if errors.Is(err, idp.ErrMissing) {
		return oidc.Identity{}, oidc.ErrState // it was switched off meanwhile
	}
	if err != nil {
		return oidc.Identity{}, err
	}
	who, err := login.Finish(ctx, flow, v.r.URL.Query())
	if err != nil {
		return oidc.Identity{}, err
	}
	who.AuthTime = s.signedInAt(flow, who)
	return who, nil
}

// signedInAt is when somebody who comes from a provider proved who she is: as it says, and
// never later than now. If it says nothing, that is now for the platform's own provider, and for
// another one if she was to sign in anew, which it is trusted to have seen to; else it is
// not known, and she can do nothing that asks for it.
func (s *Server) signedInAt(flow oidc.Flow, who oidc.Identity) time.Time {
	now := s.config.Now()
	if who.AuthTime.After(now) || who.AuthTime.IsZero() && (flow.Realm == "" || flow.Fresh) {
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
	return answer{page: "logout", heading: s.words.text("logout.done"), data: logoutPage{}}, nil
}

// logout answers at once, without another page: only now is it known where the person's
// session at her provider can be ended.
func (s *Server) logout(v *visit) (answer, error) {
	ctx, who := v.r.Context(), v.who
	if err := s.sessions.Destroy(ctx); err != nil {
		return answer{}, fmt.Errorf("end session: %w", err)
	}
	v.who = nil
	p := logoutPage{}
	if who != nil {
		p.Provider = s.endSessionURL(ctx, *who)
	}
	return answer{page: "logout", heading: s.words.text("logout.done"), data: p}, nil
}

// endSessionURL is where the session at the provider ends; empty if that is not known. She
// is out here: that the provider is down need not trouble her.
func (s *Server) endSessionURL(ctx context.Context, who oidc.Identity) string {
	login, err := s.loginAt(ctx, who.Realm, who.Provider)
	var to string
	if err == nil {
		to, err = login.EndSessionURL(ctx, s.config.BaseURL+"/login", who.IDToken)
	}
	if err != nil {
		s.config.Log.WarnContext(ctx, "no way to the identity provider's sign-out", "error", err)
	}
	return to
}

// keepSession answers a page whose reader is still there: to ask is to use the session.
func (s *Server) keepSession(*visit) (answer, error) { return answer{json: "{}"}, nil }
