package adminui

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/idp"
	"carillon/tenant/member"
)

// accountPage shows somebody with which account she signs in, and which others she could.
type accountPage struct {
	Name, Email, SignsIn string
	Roles                []string
	Choices              []accountChoice
}

// accountChoice is an account that she could sign in with instead.
type accountChoice struct{ Text, Path string }

// platformChoice stands for the platform's own provider where IDs stand for others.
const platformChoice = "carillon"

func (s *Server) showAccount(v *visit) (answer, error) {
	own, err := s.config.Providers.Active(v.r.Context(), v.tenant.ID)
	if err != nil {
		return answer{}, err
	}
	p := accountPage{Name: v.by.Name, Email: v.who.Email, SignsIn: s.accountName(own, *v.who), Roles: s.words.roles(v.by.Roles)}
	offer := func(id, name string) {
		if id == v.who.Provider || id == platformChoice && v.who.Provider == "" {
			return
		}
		p.Choices = append(p.Choices, accountChoice{
			Text: s.words.text("account.choose", "account", name),
			Path: v.path("/account/link?" + url.Values{"provider": {id}}.Encode()),
		})
	}
	for _, c := range own {
		offer(c.ID.String(), c.Name)
	}
	offer(platformChoice, s.words.text("account.platform"))
	return answer{page: "account", heading: s.words.text("account.heading"), data: p}, nil
}

// accountName is what an account is called: as its button on the sign-in page.
func (s *Server) accountName(own []idp.Choice, who oidc.Identity) string {
	for _, c := range own {
		if c.ID.String() == who.Provider {
			return c.Name
		}
	}
	return s.words.text("account.platform")
}

// startLink sends somebody to the provider at which she wants to sign in from now on.
func (s *Server) startLink(v *visit) (answer, error) {
	realm, provider := v.tenant.ID.String(), v.r.URL.Query().Get("provider")
	if provider == platformChoice {
		realm, provider = "", ""
	}
	login, err := s.loginAt(v.r.Context(), realm, provider)
	if err != nil {
		return answer{}, err
	}
	v.again = v.path("/account")
	return s.begin(v, login, false, func(f *oidc.Flow) { f.ReturnPath, f.Link = v.path("/account"), v.tenant.ID.String() })
}

// pendingLink is an account that somebody has just proved to be hers, and has not confirmed.
type pendingLink struct {
	Tenant tenant.ID
	// Member is who she was when she proved it.
	Member string
	At     time.Time
	To     oidc.Identity
}

// finishLink keeps what a provider said until she confirms it. She is still signed in as
// before.
func (s *Server) finishLink(v *visit, flow oidc.Flow, to oidc.Identity) (answer, error) {
	ctx := v.r.Context()
	id, err := uuid.Parse(flow.Link)
	if err != nil || v.who == nil {
		return answer{}, oidc.ErrState
	}
	t, err := s.config.Directory.ByID(ctx, tenant.ID(id))
	if err != nil {
		return answer{}, err
	}
	if err := s.enterAt(ctx, v, t); err != nil {
		return answer{}, err
	}
	pending := pendingLink{Tenant: t.ID, Member: v.by.ID, At: s.config.Now(), To: bounded(to)}
	if err := s.sessions.put(ctx, linkKey, pending); err != nil {
		return answer{}, err
	}
	return redirect(v.path("/account/confirm"))
}

// pending is the account that waits to be confirmed; nil if there is none, or it is too old
// or somebody else's.
func (s *Server) pending(v *visit) *pendingLink {
	var p pendingLink
	if json.Unmarshal(s.sessions.GetBytes(v.r.Context(), linkKey), &p) != nil || p.Tenant != v.tenant.ID ||
		p.Member != v.by.ID || s.config.Now().Sub(p.At) > freshLife {
		return nil
	}
	return &p
}

// accountStep asks whether she wants to sign in otherwise from now on.
type accountStep struct {
	Before, After, Email, Other string
	Effects                     []string
	Action, Button, Back        string
}

func (s *Server) askLink(v *visit) (answer, error) {
	pending := s.pending(v)
	if pending == nil {
		return redirect(v.path("/account"))
	}
	own, err := s.config.Providers.Active(v.r.Context(), v.tenant.ID)
	if err != nil {
		return answer{}, err
	}
	p := accountStep{
		Before: s.accountName(own, *v.who), After: s.accountName(own, pending.To), Email: v.who.Email,
		Action: v.path("/account/confirm"), Back: v.path("/account"),
	}
	if pending.To.Email != v.who.Email {
		p.Other = pending.To.Email
		return answer{status: http.StatusForbidden, page: "account_link", heading: s.words.text("account.error.other"), data: p}, nil
	}
	p.Button = s.words.text("account.confirm.button", "account", p.After)
	p.Effects = []string{s.words.text("account.effect.keeps"), s.words.text("account.effect.before", "account", p.Before)}
	if pending.To.Realm != "" {
		p.Effects = append(p.Effects, s.words.text("account.effect.provider"), s.words.text("account.effect.back"))
		if slices.Contains(v.by.Roles, authz.Owner) {
			p.Effects = append(p.Effects, s.words.text("account.effect.owner"))
		}
	}
	return answer{page: "account_link", heading: s.words.text("account.confirm", "account", p.After), data: p}, nil
}

// link takes the account that waits, once, and signs her in with it.
func (s *Server) link(v *visit) (answer, error) {
	ctx := v.r.Context()
	pending := s.pending(v)
	s.sessions.Remove(ctx, linkKey)
	if pending == nil {
		return redirect(v.path("/account"))
	}
	if err := s.config.Members.Link(ctx, v.tenant, *v.who, pending.To, v.id); err != nil {
		return answer{}, err
	}
	if err := s.sessions.signIn(ctx, pending.To); err != nil {
		return answer{}, err
	}
	s.sessions.Put(ctx, noticeKey, s.words.text("account.done"))
	return redirect(v.path("/account"))
}

// unlinked tells somebody who came by the authority's own provider, and whom its list of
// staff does not know so, what to do. It is the authority's own provider that says who she is,
// and nothing is said about anybody else.
func (s *Server) unlinked(w http.ResponseWriter, v *visit, k known) answer {
	a := s.errorAnswer(w, v, k)
	back := ownPath(v) + "/account"
	a.data = errorPage{
		Advice: s.words.text(k.advice, "email", v.who.Email), RequestID: requestID(w),
		Link: startPath(back, ""), LinkText: s.words.text("account.unlinked.link"),
	}
	return a
}

// signsIn is where a member signs in, in words.
func (s *Server) signsIn(m member.Person) string {
	if m.Own {
		return s.words.text("account.own", "issuer", m.Issuer)
	}
	return s.words.text("account.platform")
}
