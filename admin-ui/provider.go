package adminui

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant/idp"
)

// providersPage lists an authority's own providers.
type providersPage struct {
	Providers    []providerView
	New, Domains string // paths; empty for who may not change anything
	Login        string // where staff sign in
}

// providerView is a provider in words.
type providerView struct {
	Name, Issuer, ClientID, Path string
	State                        string
	Changed                      moment
	// What the provider has to be told.
	Callback, BackChannel, Keys string
	Facts                       []fact
	// Paths to what she may do about it.
	Change, Try, Activate, Off, Back string
}

type fact struct{ Name, Value string }

func (s *Server) showProviders(v *visit) (answer, error) {
	list, err := s.config.SignIn.List(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	p := providersPage{Login: s.config.BaseURL + v.path("/login")}
	if v.may(authz.SettingsWrite) {
		p.New, p.Domains = v.path("/sign-in/new"), v.path("/sign-in/domains")
	}
	for _, one := range list {
		p.Providers = append(p.Providers, s.providerView(v, one))
	}
	return answer{page: "providers", heading: s.words.text("provider.heading"), data: p}, nil
}

func (s *Server) providerView(v *visit, p idp.Provider) providerView {
	path := v.path("/sign-in/" + p.ID.String())
	w := providerView{
		Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, Path: path, Back: v.path("/sign-in"),
		State: s.words.providerState(p.State), Changed: s.words.moment(p.ChangedAt, s.now(v)),
		Callback:    s.config.BaseURL + "/login/callback/" + p.ID.String(),
		BackChannel: s.config.BaseURL + v.path("/login/back-channel-logout/"+p.ID.String()),
		Facts:       s.providerFacts(p),
	}
	if p.PublicKey != nil {
		w.Keys = s.config.BaseURL + v.path("/login/keys/"+p.ID.String())
	}
	if !v.may(authz.SettingsWrite) {
		return w
	}
	w.Change, w.Try = path+"/change", path+"/try"
	if p.State == idp.Tested {
		w.Activate = path + "/activate"
	}
	if p.State == idp.Active {
		w.Off = path + "/off"
	}
	return w
}

// providerFacts are the settings that are not empty.
func (s *Server) providerFacts(p idp.Provider) []fact {
	var facts []fact
	add := func(key string, values ...string) {
		if text := strings.Join(values, ", "); text != "" {
			facts = append(facts, fact{s.words.text(key), text})
		}
	}
	add("provider.proof", s.words.text(proofKey(p.Proof)))
	add("provider.scopes", p.Scopes...)
	add("provider.domains", p.EmailDomains...)
	if p.TrustEmail {
		add("provider.trust", s.words.text("provider.trust.yes"))
	}
	if p.TrustPrompt {
		add("provider.prompt", s.words.text("provider.prompt.yes"))
	}
	add("provider.claim", p.RoleClaim)
	for _, g := range p.Roles {
		add("provider.role_map", s.words.text("provider.role_map.one", "value", g.Value, "role", s.words.role(g.Role)))
	}
	add("provider.acr", p.ACR...)
	add("provider.amr", p.AMR...)
	return facts
}

func proofKey(p idp.Proof) string {
	switch p {
	case idp.BySecret:
		return "provider.proof.secret"
	case idp.ByKey:
		return "provider.proof.key"
	case idp.ByNothing:
	}
	return "provider.proof.none"
}

// find is the provider in the URL.
func (s *Server) findProvider(v *visit) (idp.Provider, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return idp.Provider{}, idp.ErrMissing
	}
	return s.config.SignIn.Find(v.r.Context(), v.tenant, v.by, id)
}

func (s *Server) showProvider(v *visit) (answer, error) {
	p, err := s.findProvider(v)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "provider", heading: p.Name, data: s.providerView(v, p)}, nil
}

// The IDs of the form's fields.
const (
	fieldProviderName = "name"
	fieldIssuer       = "issuer"
	fieldClientID     = "client_id"
	fieldProof        = "proof"
	fieldSecret       = "client_secret"
	fieldScopes       = "scopes"
	fieldDomains      = "email_domains"
	fieldTrust        = "trust_email"
	fieldPrompt       = "trust_prompt"
	fieldClaim        = "role_claim"
	fieldRoleMap      = "role_map"
	fieldACR          = "acr"
	fieldAMR          = "amr"
	fieldDomain       = "domain"
)

// providerForm is the form for a provider's settings. A change makes it a draft again.
type providerForm struct {
	Action, Back string
	Version      int
	Warning      bool // it is in use

	Name, Issuer, ClientID, Secret, Scopes, Domains, Claim, ACR, AMR field

	Proof, Trust, Prompt radios
	RoleMap              field // of several lines
	Roles                string
}

func (s *Server) newProvider(v *visit) (answer, error) {
	p := idp.Provider{Settings: idp.Settings{Proof: idp.BySecret}}
	return s.providerFormAnswer(v, p, v.path("/sign-in/new"), "", nil), nil
}

func (s *Server) editProvider(v *visit) (answer, error) {
	p, err := s.findProvider(v)
	if err != nil {
		return answer{}, err
	}
	return s.providerFormAnswer(v, p, v.path("/sign-in/"+p.ID.String()+"/change"), "", nil), nil
}

func (s *Server) addProvider(v *visit) (answer, error) {
	settings, err := s.typedSettings(v)
	if err != nil {
		return answer{}, err
	}
	id, err := s.config.SignIn.Add(v.r.Context(), v.tenant, v.by, settings)
	if fieldProblem(err) {
		p := idp.Provider{Settings: settings}
		return s.providerFormAnswer(v, p, v.path("/sign-in/new"), v.r.PostForm.Get(fieldRoleMap), err), nil
	}
	if err != nil {
		return answer{}, err
	}
	return s.providerDone(v, id, "provider.added")
}

func (s *Server) changeProvider(v *visit) (answer, error) {
	old, err := s.findProvider(v)
	if err != nil {
		return answer{}, err
	}
	settings, err := s.typedSettings(v)
	if err != nil {
		return answer{}, err
	}
	version, err := strconv.Atoi(v.r.PostForm.Get(fieldVersion))
	if err != nil {
		return answer{}, fmt.Errorf("%w: version", errForm)
	}
	err = s.config.SignIn.Change(v.r.Context(), v.tenant, v.by, old.ID, version, settings)
	if fieldProblem(err) {
		p := idp.Provider{ID: old.ID, Settings: settings, Version: version, State: old.State}
		return s.providerFormAnswer(v, p, v.path("/sign-in/"+old.ID.String()+"/change"), v.r.PostForm.Get(fieldRoleMap), err), nil
	}
	if err != nil {
		return answer{}, err
	}
	return s.providerDone(v, old.ID, "provider.changed")
}

// typedSettings reads the form. What makes no sense is left as it is, for the domain to
// say so.
func (s *Server) typedSettings(v *visit) (idp.Settings, error) {
	if err := v.r.ParseForm(); err != nil {
		return idp.Settings{}, fmt.Errorf("%w: %w", errForm, err)
	}
	form := v.r.PostForm
	list := func(name string) []string {
		return strings.FieldsFunc(form.Get(name), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
	}
	return idp.Settings{
		Name: form.Get(fieldProviderName), Issuer: strings.TrimSpace(form.Get(fieldIssuer)), ClientID: strings.TrimSpace(form.Get(fieldClientID)),
		Proof: idp.Proof(form.Get(fieldProof)), Secret: strings.TrimSpace(form.Get(fieldSecret)),
		Scopes: list(fieldScopes), EmailDomains: list(fieldDomains), TrustEmail: form.Get(fieldTrust) == "yes", TrustPrompt: form.Get(fieldPrompt) == "yes",
		RoleClaim: strings.TrimSpace(form.Get(fieldClaim)), Roles: parseRoleMap(form.Get(fieldRoleMap)),
		ACR: list(fieldACR), AMR: list(fieldAMR),
	}, nil
}

// parseRoleMap reads lines such as "tracers = caseworker". A value may have an equals
// sign, a role has none.
func parseRoleMap(text string) []idp.Grant {
	var grants []idp.Grant
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		at := max(0, strings.LastIndex(line, "="))
		grants = append(grants, idp.Grant{
			Value: strings.TrimSpace(line[:at]), Role: authz.Role(strings.TrimSpace(strings.TrimPrefix(line[at:], "="))),
		})
	}
	return grants
}

func writeRoleMap(grants []idp.Grant) string {
	var text strings.Builder
	for _, g := range grants {
		text.WriteString(g.Value + " = " + string(g.Role) + "\n")
	}
	return text.String()
}

// fieldProblem reports whether err is about fields of the form only.
func fieldProblem(err error) bool {
	k, found := lookUp(err)
	return found && k.field != "" && !errors.Is(err, idp.ErrFull)
}

// providerFormAnswer shows the form, with what was entered and all that is wrong with it.
// A secret is not sent back.
func (s *Server) providerFormAnswer(v *visit, p idp.Provider, action, roleMap string, err error) answer {
	text := func(id, key, hint, value string) field {
		return field{
			ID: id, Label: s.words.text(key), Hint: s.words.text(hint), Type: "text",
			Value: value, Autocomplete: "off", Wide: true,
		}
	}
	optional := func(id, key, hint string, values ...string) field {
		f := text(id, key, hint, strings.Join(values, " "))
		f.Optional = s.words.text("form.optional")
		return f
	}
	if roleMap == "" {
		roleMap = writeRoleMap(p.Roles)
	}
	form := providerForm{
		Action: action, Back: v.path("/sign-in"), Version: p.Version, Warning: p.State == idp.Active,
		Name:     text(fieldProviderName, "provider.name", "provider.name.hint", p.Name),
		Issuer:   text(fieldIssuer, "provider.issuer", "provider.issuer.hint", p.Issuer),
		ClientID: text(fieldClientID, "provider.client_id", "provider.client_id.hint", p.ClientID),
		Secret:   text(fieldSecret, "provider.secret", "provider.secret.hint", ""),
		Scopes:   optional(fieldScopes, "provider.scopes", "provider.scopes.hint", p.Scopes...),
		Domains:  optional(fieldDomains, "provider.domains", "provider.domains.hint", p.EmailDomains...),
		Claim:    optional(fieldClaim, "provider.claim", "provider.claim.hint", p.RoleClaim),
		RoleMap:  optional(fieldRoleMap, "provider.role_map", "provider.role_map.hint", roleMap),
		ACR:      optional(fieldACR, "provider.acr", "provider.acr.hint", p.ACR...),
		AMR:      optional(fieldAMR, "provider.amr", "provider.amr.hint", p.AMR...),
		Proof: radios{ID: fieldProof + "_group", Name: fieldProof, Label: s.words.text("provider.proof"), Choices: []choice{
			{ID: fieldProof, Value: string(idp.BySecret), Label: s.words.text("provider.proof.secret"), Hint: s.words.text("provider.proof.secret.hint"), Chosen: p.Proof == idp.BySecret},
			{ID: fieldProof + "_key", Value: string(idp.ByKey), Label: s.words.text("provider.proof.key"), Hint: s.words.text("provider.proof.key.hint"), Chosen: p.Proof == idp.ByKey},
			{ID: fieldProof + "_none", Value: string(idp.ByNothing), Label: s.words.text("provider.proof.none"), Hint: s.words.text("provider.proof.none.hint"), Chosen: p.Proof == idp.ByNothing},
		}},
		Trust: radios{ID: fieldTrust + "_group", Name: fieldTrust, Label: s.words.text("provider.trust"), Choices: []choice{
			{ID: fieldTrust, Value: "no", Label: s.words.text("provider.trust.no"), Hint: s.words.text("provider.trust.no.hint"), Chosen: !p.TrustEmail},
			{ID: fieldTrust + "_yes", Value: "yes", Label: s.words.text("provider.trust.yes"), Hint: s.words.text("provider.trust.yes.hint"), Chosen: p.TrustEmail},
		}},
		Prompt: radios{ID: fieldPrompt + "_group", Name: fieldPrompt, Label: s.words.text("provider.prompt"), Choices: []choice{
			{ID: fieldPrompt, Value: "no", Label: s.words.text("provider.prompt.no"), Hint: s.words.text("provider.prompt.no.hint"), Chosen: !p.TrustPrompt},
			{ID: fieldPrompt + "_yes", Value: "yes", Label: s.words.text("provider.prompt.yes"), Hint: s.words.text("provider.prompt.yes.hint"), Chosen: p.TrustPrompt},
		}},
		Roles: s.grantable(v),
	}
	form.Secret.Type, form.Secret.Autocomplete = "password", "new-password"
	heading := "provider.new"
	if p.ID != uuid.Nil {
		heading = "provider.change"
	}
	a := answer{page: "provider_form", heading: s.words.text(heading)}
	a.problems = s.markProblems(&form, err)
	if len(a.problems) > 0 {
		a.status = http.StatusUnprocessableEntity
	}
	a.data = &form
	return a
}

// grantable names the roles that she may give.
func (s *Server) grantable(v *visit) string {
	var names []string
	for _, r := range v.policy.Roles() {
		if r != authz.Owner && v.policy.MayGrant(v.by, r) {
			names = append(names, string(r))
		}
	}
	return strings.Join(names, ", ")
}

// markProblems puts every error of the form at its field, in the form's order.
func (s *Server) markProblems(form *providerForm, err error) []problem {
	var problems []problem
	for _, f := range []*field{
		&form.Name, &form.Issuer, &form.ClientID, &form.Secret, &form.Scopes, &form.Domains,
		&form.Claim, &form.RoleMap, &form.ACR,
	} {
		for _, k := range knownErrors() {
			if k.field == f.ID && slices.Contains(idp.Sentinels(), k.cause) && errors.Is(err, k.cause) {
				f.Error = s.words.text(k.message)
				problems = append(problems, problem{Field: f.ID, Text: f.Error})
			}
		}
	}
	return problems
}

// providerDone leads to the provider's page, with what was done.
func (s *Server) providerDone(v *visit, id uuid.UUID, notice string) (answer, error) {
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text(notice))
	return redirect(v.path("/sign-in/" + id.String()))
}

// tryProvider sends the administrator through the provider as it stands.
func (s *Server) tryProvider(v *visit) (answer, error) {
	p, err := s.findProvider(v)
	if err != nil {
		return answer{}, err
	}
	login, _, err := s.config.Providers.Trial(v.r.Context(), v.tenant.ID.String(), p.ID.String())
	if err != nil {
		return answer{}, err
	}
	path := v.path("/sign-in/" + p.ID.String())
	a, err := s.begin(v, login, false, func(f *oidc.Flow) { f.ReturnPath, f.Trial = path, true })
	if k, found := lookUp(err); found && k.ofLogin() {
		err = s.sessions.put(v.r.Context(), trialKey, trial{Provider: p.ID.String(), Failure: k.message})
		return answer{redirect: path + "/tried"}, err
	}
	return a, err
}

// trialPage shows what a provider said.
type trialPage struct {
	Name, Issuer, Email, Failure string
	Claims, Roles                []string
	Says                         string // whether the provider says when somebody signed in
	// Answered reports whether the provider got as far as saying anything.
	Answered              bool
	Activate, Again, Back string
}

func (s *Server) showTrial(v *visit) (answer, error) {
	p, err := s.findProvider(v)
	if err != nil {
		return answer{}, err
	}
	path := v.path("/sign-in/" + p.ID.String())
	t := s.tried(v.r.Context(), p.ID.String())
	if t == nil {
		return redirect(path)
	}
	page := trialPage{
		Name: p.Name, Issuer: t.Issuer, Email: t.Email, Claims: t.Claims, Says: s.words.text(saysKey(t.Says, p.TrustPrompt)),
		Answered: t.Issuer != "", Again: path + "/try", Back: path,
	}
	for _, r := range t.Roles {
		page.Roles = append(page.Roles, s.words.role(authz.Role(r)))
	}
	heading := "provider.tried"
	if t.Failure != "" {
		page.Failure, heading = s.words.text(t.Failure), "provider.failed"
	} else if p.State == idp.Tested {
		page.Activate = path + "/activate"
	}
	return answer{page: "provider_trial", heading: s.words.text(heading), data: page}, nil
}

// saysKey is what follows from whether a provider says when somebody signed in.
func saysKey(says, trusted bool) string {
	switch {
	case says:
		return "provider.trial.says.yes"
	case trusted:
		return "provider.trial.says.trusted"
	}
	return "provider.trial.says.closed"
}

// providerStep asks before something is done that staff will notice.
type providerStep struct {
	Name, Issuer         string
	Effects              []string
	Action, Button, Back string
	Grave                bool
}

func (s *Server) askProvider(v *visit, heading string, step providerStep, states ...idp.State) (answer, error) {
	p, err := s.findProvider(v)
	if err != nil {
		return answer{}, err
	}
	if !slices.Contains(states, p.State) {
		return redirect(v.path("/sign-in/" + p.ID.String()))
	}
	step.Name, step.Issuer, step.Action = p.Name, p.Issuer, v.r.URL.Path
	step.Back = v.path("/sign-in/" + p.ID.String())
	return answer{page: "provider_step", heading: s.words.text(heading, "name", p.Name), data: step}, nil
}

func (s *Server) askActivation(v *visit) (answer, error) {
	return s.askProvider(v, "provider.activate.heading", providerStep{
		Effects: []string{
			s.words.text("provider.activate.effect.page"), s.words.text("provider.activate.effect.staff"),
			s.words.text("provider.activate.effect.owners"),
		},
		Button: s.words.text("provider.activate.button"),
	}, idp.Tested)
}

func (s *Server) askOff(v *visit) (answer, error) {
	return s.askProvider(v, "provider.off.heading", providerStep{
		Effects: []string{s.words.text("provider.off.effect.now"), s.words.text("provider.off.effect.staff"), s.words.text("provider.off.effect.back")},
		Button:  s.words.text("provider.off.button"), Grave: true,
	}, idp.Active)
}

func (s *Server) activateProvider(v *visit) (answer, error) {
	p, err := s.findProvider(v)
	if err == nil {
		err = s.config.SignIn.Activate(v.r.Context(), v.tenant, v.by, p.ID)
	}
	if err != nil {
		return answer{}, err
	}
	return s.providerDone(v, p.ID, "provider.activated")
}

func (s *Server) switchOffProvider(v *visit) (answer, error) {
	p, err := s.findProvider(v)
	if err == nil {
		err = s.config.SignIn.SwitchOff(v.r.Context(), v.tenant, v.by, p.ID)
	}
	if err != nil {
		return answer{}, err
	}
	return s.providerDone(v, p.ID, "provider.switched_off")
}

// domainsPage lists the domains whose people are led to the authority's sign-in page.
type domainsPage struct {
	Action, Back string
	Domains      []domainView
	Domain       field
}

type domainView struct {
	Domain, Record, Text string
	Proved               bool
}

func (s *Server) showDomains(v *visit) (answer, error) { return s.domainsAnswer(v, "", nil) }

func (s *Server) domainsAnswer(v *visit, typed string, err error) (answer, error) {
	list, failed := s.config.SignIn.Domains(v.r.Context(), v.tenant, v.by)
	if failed != nil {
		return answer{}, failed
	}
	p := domainsPage{Action: v.path("/sign-in/domains"), Back: v.path("/sign-in"), Domain: field{
		ID: fieldDomain, Label: s.words.text("provider.domain"), Hint: s.words.text("provider.domain.hint"),
		Type: "text", Value: typed, Autocomplete: "off", Wide: true,
	}}
	for _, d := range list {
		p.Domains = append(p.Domains, domainView{Domain: d.Domain, Record: d.RecordName(), Text: d.RecordText(), Proved: d.Proved != nil})
	}
	a := answer{page: "sign_in_domains", heading: s.words.text("provider.domains.heading")}
	if k, found := lookUp(err); found {
		p.Domain.Error = s.words.text(k.message)
		a.status, a.problems = k.status, []problem{{Field: fieldDomain, Text: p.Domain.Error}}
	}
	a.data = p
	return a, nil
}

func (s *Server) changeDomains(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	typed := strings.TrimSpace(v.r.PostForm.Get(fieldDomain))
	act := s.config.SignIn.AddDomain
	notice := "provider.domain.added"
	switch v.r.PostForm.Get("act") {
	case "prove":
		act, notice = s.config.SignIn.ProveDomain, "provider.domain.proved"
	case "drop":
		act, notice = s.config.SignIn.DropDomain, "provider.domain.dropped"
	}
	err := act(v.r.Context(), v.tenant, v.by, typed)
	if fieldProblem(err) {
		return s.domainsAnswer(v, typed, err)
	}
	if err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text(notice))
	return redirect(v.path("/sign-in/domains"))
}
