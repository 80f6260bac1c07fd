package adminui_test

import (
	"errors"
	"testing"
	"time"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant/idp"
)

const accountPath = "/portal/north-shore/account"

// atWork gives the authority an active provider, at which everybody has an account.
func (w *staffWorld) atWork() idp.Provider {
	w.t.Helper()
	w.signIns.Realm = w.at.ID
	p := w.withProvider(idp.Active)
	_, err := w.db.Database.Super().ExecContext(w.t.Context(),
		`insert into identity_provider (tenant_id, provider_id, name, issuer, client_id, proof, scopes, email_domains, trust_email,
		                                role_claim, roles, acr, amr, state, changed_at)
		 values ($1, $2, 'Staff account', $3, 'c', 'none', '{}', '{}', false, '', '[]', '{}', '{}', 'active', now())`, w.at.ID, p.ID, p.Issuer)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// workIdentity is somebody as the authority's own provider names her.
func (w *staffWorld) workIdentity(email string, p idp.Provider) oidc.Identity {
	who := identity(email)
	who.Issuer, who.Subject, who.AuthTime = p.Issuer, "work account of "+email, w.clock()
	return who
}

func TestSomebodyGoesOverToTheAuthoritysProvider(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.hire(sam, "Sam", authz.Caseworker)
	p := w.atWork()

	// By the new account alone she is nobody, and is told what to do.
	w.login.As = w.workIdentity(sam, p)
	start := "/portal/north-shore/login/start?provider=" + p.ID.String()
	page := w.get(start).wants(403, "Nobody on the staff signs in with this account").contains(sam)
	w.login.As = identity(sam)
	page = w.get(page.link("Continue with a Carillon account")).wants(200, "Your account").contains("Carillon account")

	other := w.another()
	other.signIn(sam)
	w.login.As = w.workIdentity(sam, p)
	page = w.get(page.link("Use your "+p.Name+" from now on")).wants(200, "Sign in with your "+p.Name+" from now on?")
	page.contains("You keep your roles").lacks("You are an owner")
	other.get("/portal/north-shore/codes").wants(200, "Look up a code") // nothing has changed yet
	w.post(accountPath+"/confirm", nil).wants(200, "Your account").contains("You sign in with this account from now on").contains(p.Name)
	w.post(accountPath+"/confirm", nil).wants(200, "Your account").lacks("from now on.") // it is spent
	w.get("/portal/north-shore/codes").wants(200, "Look up a code")
	other.get("/portal/north-shore/codes").wants(404, "Page not found")

	olgas := w.another()
	olgas.signIn(olga)
	page = olgas.get(staffPath).wants(200, "Staff").contains("An account at " + p.Issuer)
	page = olgas.get(page.link("Change Sam")).wants(200, "Sam")
	page = olgas.get(page.link("Bring back to the Carillon account of before")).wants(200, "Bring Sam back to the Carillon account?")
	olgas.post(page.url.Path, nil).wants(200, "Staff").contains("The person signs in with the Carillon account again")
	w.get("/portal/north-shore/codes").wants(403, "Nobody on the staff signs in with this account")
	other.get("/portal/north-shore/codes").wants(200, "Look up a code") // the session of before
}

// What was proved is for her alone, at one authority, for ten minutes, with her own address.
func TestWhatIsProvedIsNotAnotherWay(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.hire(sam, "Sam", authz.Caseworker)
	p := w.atWork()
	link := accountPath + "/link?provider=" + p.ID.String()
	prove := func(as string) *page {
		w.signIn(sam)
		w.login.As = w.workIdentity(as, p)
		return w.get(link)
	}
	prove(alex).wants(403, "This account cannot become yours").contains(alex)
	w.post(accountPath+"/confirm", nil).wants(403, "This account cannot become yours")

	prove(sam).wants(200, "Sign in with your "+p.Name+" from now on?")
	w.pass(11 * time.Minute)
	w.login.As = identity(sam)
	w.login.Now = w.clock
	w.get("/login/start?reason=fresh")
	w.post(accountPath+"/confirm", nil).wants(200, "Your account").lacks("from now on.") // too late
	w.login.Now = nil

	prove(sam)
	w.signIn(alex) // at the same computer
	w.post(accountPath+"/confirm", nil).wants(200, "Your account").lacks("from now on.")

	for text, failure := range map[string]error{
		"has not been verified": oidc.ErrEmailUnverified, "of a domain that": oidc.ErrDomain, "could not be verified": oidc.ErrToken,
	} {
		w.login.FailFinish = nil
		w.signIn(sam)
		w.login.FailFinish = failure
		got := w.get(link)
		if got.wants(got.status, "Sign in").contains(text); got.link("Continue to sign in") != accountPath {
			t.Errorf("%v: again at %s", failure, got.link("Continue to sign in"))
		}
	}
	w.login.FailFinish = nil
	w.signIn(sam)
	w.login.As = w.workIdentity(sam, p)
	to := w.noFollow(link)
	w.post("/logout", nil)
	w.get(to.RequestURI()).wants(400, "Sign in") // who has signed out links nothing
	w.signIn(sam)
	for _, bad := range []string{"", "?provider=canary", "?provider=00000000-0000-0000-0000-000000000000"} {
		w.get(accountPath+"/link"+bad).wants(404, "Page not found")
	}
	w.get("/portal/river-valley/account/link?provider="+p.ID.String()).wants(404, "Page not found")
	w.get("/portal/north-shore/codes").wants(200, "Look up a code")

	w.signIn(olga)
	w.login.As = w.workIdentity(olga, p)
	w.get(link).wants(200, "Sign in with your "+p.Name+" from now on?").contains("You are an owner")
	w.post(accountPath+"/confirm", nil).wants(409, "You are the last owner with a Carillon account")
	w.login.FailBegin = errors.Join(oidc.ErrProvider)
	w.get(link).wants(503, "Sign in").contains("cannot be reached")
}
