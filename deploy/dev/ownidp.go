//go:build !release

package dev

import (
	"fmt"
	"net/http"

	"carillon/deploy/devidp"
)

// What River Valley's own identity provider has, at which its staff have accounts. It serves
// any authority's trial just as well: nobody asks whose people they are until they come.
const (
	ownProviderPath = "/dev/own-idp"
	ownProviderName = "River Valley staff account"
	ownClient       = "carillon-at-work"
	ownSecret       = "river-valley-secret"
)

// ownProvider is a second issuer with keys and people of its own. Tenants' providers have a
// callback each, so the client's redirects are a pattern.
func (s stack) ownProvider() (http.Handler, error) {
	provider, err := devidp.New(devidp.Config{
		Issuer: s.base + ownProviderPath,
		Name:   ownProviderName,
		Clients: []devidp.Client{{
			ID: ownClient, Secret: ownSecret,
			RedirectPatterns:       []string{s.base + callbackPath + "/*"},
			PostLogoutRedirectURIs: []string{s.base + "/login"},
		}},
		People: ownPeople(),
		ACR:    "urn:example:two-factors", AMR: []string{"pwd", "mfa"},
		FullTokens: true, Desk: true, Earlier: true,
	})
	if err != nil {
		return nil, fmt.Errorf("own identity provider: %w", err)
	}
	return provider, nil
}

// ownPeople are River Valley's staff with their accounts at work, somebody who is new there,
// and two who should get nowhere.
func ownPeople() []devidp.Person {
	groups := map[string][]string{"caseworker": {"tracers"}, "analyst": {"epidemiology"}}
	var all []devidp.Person
	for _, p := range departments[1].staff() {
		all = append(all, devidp.Person{Login: p.Login, Name: p.Name, Email: p.Email, Groups: append([]string{}, groups[p.Roles[0]]...)})
	}
	return append(
		all,
		devidp.Person{Login: "nele", Name: "Nele Newhire", Email: "nele@river-valley.example", Groups: []string{"tracers"}},
		devidp.Person{Login: "unverified", Name: "Uma Unverified", Email: "uma@river-valley.example", Unverified: true},
		devidp.Person{Login: "elsewhere", Name: "Elif Elsewhere", Email: "elif@elsewhere.example"},
	)
}
