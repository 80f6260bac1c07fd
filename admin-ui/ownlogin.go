package adminui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/idp"
	"carillon/tenant/member"
)

// fieldReturn is the hidden field with the way back.
const fieldReturn = "return"

// ownLogin is a provider of a health authority's own, on its sign-in page.
type ownLogin struct{ Name, Start string }

// ownPath is where the part of the health authority in the URL begins, if there is one.
func ownPath(v *visit) string { return "/portal/" + url.PathEscape(v.params.ByName("tenant")) }

// known is the active authority in the URL: [tenant.ErrUnknown] if there is none.
func (s *Server) known(v *visit) (*tenant.Tenant, error) {
	t, err := s.config.Directory.BySlug(v.r.Context(), v.params.ByName("tenant"))
	if err == nil && t.State != tenant.Active {
		return nil, tenant.ErrUnknown
	}
	return t, err
}

// showOwnLogin shows where staff of a health authority sign in. The page of one that
// does not exist is that of one without providers of its own.
func (s *Server) showOwnLogin(v *visit) (answer, error) {
	query := v.r.URL.Query()
	back := oidc.Flow{ReturnPath: query.Get("return")}.Return(ownPath(v) + "/")
	p := loginPage{Start: startPath(back, "")}
	t, err := s.known(v)
	if err == nil {
		p.Own, err = s.ownLogins(v.r.Context(), v, t, back)
	}
	if err != nil && !errors.Is(err, tenant.ErrUnknown) {
		return answer{}, err
	}
	return s.loginAnswer(p, query.Get("reason")), nil
}

func (s *Server) ownLogins(ctx context.Context, v *visit, t *tenant.Tenant, back string) ([]ownLogin, error) {
	choices, err := s.config.Providers.Active(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	var list []ownLogin
	for _, c := range choices {
		q := url.Values{"provider": {c.ID.String()}, "return": {back}}
		list = append(list, ownLogin{Name: c.Name, Start: ownPath(v) + "/login/start?" + q.Encode()})
	}
	return list, nil
}

func (s *Server) startOwnLogin(v *visit) (answer, error) {
	t, err := s.known(v)
	if err != nil {
		return answer{}, err
	}
	query := v.r.URL.Query()
	v.again = ownPath(v) + "/login"
	login, err := s.loginAt(v.r.Context(), t.ID.String(), query.Get("provider"))
	if err != nil {
		return answer{}, err
	}
	back := oidc.Flow{ReturnPath: query.Get("return")}.Return(ownPath(v) + "/")
	return s.begin(v, login, false, func(f *oidc.Flow) { f.ReturnPath = back })
}

func (s *Server) addressField() *field {
	return &field{
		ID: fieldEmail, Label: s.words.text("login.find"), Hint: s.words.text("login.find.hint"),
		Type: "email", Autocomplete: "email", Wide: true,
	}
}

// findLogin leads from an e-mail address to where its domain's people sign in. Only the
// domain is looked at, so the answer tells of no address whether there is such a person.
func (s *Server) findLogin(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	typed := strings.TrimSpace(v.r.PostForm.Get(fieldEmail))
	back := v.r.PostForm.Get(fieldReturn)
	p := loginPage{Start: startPath(back, ""), Find: s.addressField(), Return: back}
	p.Find.Value = typed
	_, domain, ok := strings.Cut(typed, "@")
	if !ok || domain == "" {
		p.Find.Error = s.words.text("login.find.error")
		a := s.loginAnswer(p, "")
		a.status, a.problems = http.StatusUnprocessableEntity, []problem{{Field: fieldEmail, Text: p.Find.Error}}
		return a, nil
	}
	list, err := s.config.Providers.ByDomain(v.r.Context(), domain)
	if err != nil {
		return answer{}, err
	}
	for _, a := range list {
		p.Found = append(p.Found, authority{Name: a.Name, Path: foundPath(a.Slug, back)})
	}
	if len(list) == 1 {
		return redirect(p.Found[0].Path)
	}
	if len(list) == 0 {
		p.Notice = s.words.text("login.find.none")
	}
	return s.loginAnswer(p, ""), nil
}

// foundPath is the sign-in page of an authority that was found. The way back is kept if it
// is one of that authority's own pages.
func foundPath(slug tenant.Slug, back string) string {
	path := "/portal/" + string(slug)
	if !strings.HasPrefix(back, path+"/") {
		return path + "/login"
	}
	return path + "/login?" + url.Values{"return": {back}}.Encode()
}

// showClientKeys publishes the key with which a health authority's client signs.
func (s *Server) showClientKeys(v *visit) (answer, error) {
	t, err := s.known(v)
	if err != nil {
		return answer{}, err
	}
	id, err := uuid.Parse(v.params.ByName("provider"))
	if err != nil {
		return answer{}, idp.ErrMissing
	}
	var text strings.Builder
	if err := s.config.Providers.WriteKeys(v.r.Context(), t.ID, id, &text); err != nil {
		return answer{}, err
	}
	return answer{json: text.String()}, nil
}

// endSessions takes a provider's word that sessions are over (Back-Channel Logout 1.0
// §2.5 to §2.8). Whatever is wrong with it, the answer is the same.
func (s *Server) endSessions(v *visit) (answer, error) {
	err := s.endSignedOut(v)
	switch {
	case err == nil:
		return answer{json: "{}"}, nil
	case errors.Is(err, oidc.ErrToken), errors.Is(err, member.ErrSpent), errors.Is(err, idp.ErrMissing),
		errors.Is(err, tenant.ErrUnknown), errors.Is(err, errForm):
		s.config.Log.WarnContext(v.r.Context(), "back-channel logout refused", "request", v.id, "error", err)
		return answer{status: http.StatusBadRequest, json: `{"error":"invalid_request"}`}, nil
	case errors.Is(err, oidc.ErrProvider):
		s.config.Log.WarnContext(v.r.Context(), "back-channel logout could not be checked", "request", v.id, "error", err)
		return answer{status: http.StatusServiceUnavailable, json: `{"error":"temporarily_unavailable"}`}, nil
	}
	return answer{}, err
}

func (s *Server) endSignedOut(v *visit) error {
	ctx := v.r.Context()
	if err := v.r.ParseForm(); err != nil || len(v.r.PostForm["logout_token"]) != 1 {
		return errForm
	}
	realm, provider := "", v.params.ByName("provider")
	if v.route.TenantFrom == authz.TenantFromURL {
		t, err := s.known(v)
		if err != nil {
			return err
		}
		realm = t.ID.String()
	}
	login, err := s.loginAt(ctx, realm, provider)
	if err != nil {
		return err
	}
	said, err := login.VerifyLogout(ctx, v.r.PostForm.Get("logout_token"))
	if err != nil {
		return err
	}
	return s.config.Sessions.End(ctx, provider, said)
}

// trial is what came of trying a provider out, as the session keeps it for one page.
type trial struct {
	Provider string
	// Failure is the key of what was wrong; empty if all was well.
	Failure string
	Issuer  string
	Email   string
	Claims  []string
	Roles   []string
	// Says reports whether the provider said when she signed in.
	Says bool
}

// finishTrial ends a trial. The person is still signed in as before: what the provider
// says is only shown, and that it can be used is noted for her.
func (s *Server) finishTrial(v *visit, flow oidc.Flow) (answer, error) {
	ctx := v.r.Context()
	if v.who == nil {
		return answer{}, oidc.ErrState
	}
	id, err := uuid.Parse(flow.Realm)
	if err != nil {
		return answer{}, oidc.ErrState
	}
	t, err := s.config.Directory.ByID(ctx, tenant.ID(id))
	if err != nil {
		return answer{}, err
	}
	if err := s.enterAt(ctx, v, t); err != nil {
		return answer{}, err
	}
	v.route.Action = authz.SettingsWrite
	if err := v.decide(); err != nil {
		return answer{}, err
	}
	if err := s.judgeTrial(v, flow); err != nil {
		return answer{}, err
	}
	return redirect(v.path("/sign-in/" + flow.Provider + "/tried"))
}

// judgeTrial notes a trial that passed, and keeps what is to be shown of any.
func (s *Server) judgeTrial(v *visit, flow oidc.Flow) error {
	ctx := v.r.Context()
	login, version, err := s.config.Providers.Trial(ctx, flow.Realm, flow.Provider)
	if err != nil {
		return err
	}
	report, err := login.Examine(ctx, flow, v.r.URL.Query())
	k, found := lookUp(err)
	if err != nil && (!found || !k.ofLogin()) {
		return err
	}
	if err == nil {
		provider, err := uuid.Parse(flow.Provider)
		if err == nil {
			err = s.config.SignIn.Passed(ctx, v.tenant, v.by, provider, version)
		}
		if err != nil {
			return err
		}
	}
	who := report.Identity
	return s.sessions.put(ctx, trialKey, trial{
		Provider: flow.Provider, Failure: k.message, Issuer: who.Issuer, Email: who.Email,
		Claims: report.Claims, Roles: who.Roles, Says: !who.AuthTime.IsZero(),
	})
}

// tried is the trial of a provider that has just been made; nil if there was none.
func (s *Server) tried(ctx context.Context, provider string) *trial {
	var t trial
	if json.Unmarshal(s.sessions.PopBytes(ctx, trialKey), &t) != nil || t.Provider != provider {
		return nil
	}
	return &t
}
