package adminui

import (
	"fmt"
	"net/url"

	"carillon/authz/oidc"
)

// reasonLost says that what was typed into a form is gone with the session.
const reasonLost = "lost"

func (s *Server) root(*visit) (answer, error) { return redirect("/portal") }

// loginPage is what the sign-in page shows.
type loginPage struct {
	Start  string // where signing in begins
	Notice string
}

func (s *Server) showLogin(v *visit) (answer, error) {
	back := v.r.URL.Query().Get("return")
	if v.who != nil {
		return redirect(oidc.Flow{ReturnPath: back}.Return("/portal"))
	}
	p := loginPage{Start: startPath(back)}
	if v.r.URL.Query().Get("reason") == reasonLost {
		p.Notice = s.words.text("login.lost")
	}
	return answer{page: "login", heading: s.words.text("login.heading"), data: p}, nil
}

func startPath(back string) string {
	if back == "" {
		return "/login/start"
	}
	return "/login/start?" + url.Values{"return": {back}}.Encode()
}

func (s *Server) startLogin(v *visit) (answer, error) {
	ctx := v.r.Context()
	to, flow, err := s.config.Login.Begin(ctx)
	if err != nil {
		return answer{}, err
	}
	flow.ReturnPath = v.r.URL.Query().Get("return")
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
	if err := s.sessions.signIn(ctx, who); err != nil {
		return answer{}, err
	}
	return redirect(flow.Return("/portal"))
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
	provider, err := s.config.Login.EndSessionURL(v.r.Context(), s.config.BaseURL+"/login")
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
