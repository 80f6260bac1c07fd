//go:build !release

// Package devidp is an OpenID provider for development: it lets anybody who
// reaches it sign in as any of the people it was given, without a password.
//
// So it exists in no release, and takes an issuer on the loopback only. For those
// who rely on it, it behaves as a strict provider does: registered redirects to the
// letter or by a pattern, PKCE with S256 or nothing, codes that serve once, the e-mail
// address from userinfo and, unless it is asked to, not in the ID token. Everybody signs in
// anew each time, or says so, which is what prompt=login and max_age ask for; prompt=none
// is refused.
//
// It remembers who has signed in, and a desk, if it has one, ends
// their sessions by telling the addresses that were registered there (Back-Channel Logout 1.0).
//
// The protocol is that of github.com/zitadel/oidc; this package adds people, a
// page to choose one of them, and memory.
package devidp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"

	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/text/language"
)

// Config is what the provider serves.
type Config struct {
	// Issuer is the provider's URL, http or https on a loopback host, without a
	// trailing slash, such as http://127.0.0.1:8080/dev/idp. Everything is served
	// below it.
	Issuer string
	// Name is what the pages call it.
	Name    string
	Clients []Client
	People  []Person
	// ACR and AMR are what tokens say about how people signed in; empty is nothing.
	ACR string
	AMR []string
	// FullTokens puts address, name and groups into ID tokens, too, and the session's ID.
	FullTokens bool
	// Desk adds a page on which addresses for back-channel logout are registered, and
	// sessions ended.
	Desk bool
	// Earlier lets people be signed in already, for an hour, unless they are to do so anew.
	Earlier bool
}

// Client is a program that may send people here.
type Client struct {
	ID string
	// Secret is presented at the token endpoint; empty makes a public client.
	Secret string
	// RedirectURIs and PostLogoutRedirectURIs are compared to the letter.
	RedirectURIs           []string
	PostLogoutRedirectURIs []string
	// RedirectPatterns are as [path.Match] has them.
	RedirectPatterns []string
}

// Person is somebody who can sign in.
type Person struct {
	// Login is what is typed to sign in. It is the subject in tokens too, so that a
	// person stays the same when the provider starts again.
	Login string
	Name  string
	Email string
	// Unverified tells that the provider does not vouch for the address.
	Unverified bool
	// Groups are in the claim of that name; nil leaves it out.
	Groups []string
}

func (c Config) validate() error {
	u, err := url.Parse(c.Issuer)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("issuer must be a plain URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("issuer must be an http URL")
	}
	if u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback() {
		return errors.New("issuer must be on the loopback: whoever reaches it can be anybody")
	}
	if len(u.Path) > 0 && u.Path[len(u.Path)-1] == '/' {
		return errors.New("issuer must not end in a slash")
	}
	for i, client := range c.Clients {
		if client.ID == "" || len(client.RedirectURIs)+len(client.RedirectPatterns) == 0 {
			return fmt.Errorf("client %d: ID or redirect URI is missing", i)
		}
		if slices.ContainsFunc(c.Clients[:i], func(other Client) bool { return other.ID == client.ID }) {
			return fmt.Errorf("client %s occurs twice", client.ID)
		}
	}
	for i, person := range c.People {
		if person.Login == "" || person.Name == "" || person.Email == "" {
			return fmt.Errorf("person %d: login, name or e-mail address is missing", i)
		}
		if slices.ContainsFunc(c.People[:i], func(other Person) bool { return other.Login == person.Login }) {
			return fmt.Errorf("person %s occurs twice", person.Login)
		}
	}
	return nil
}

// New returns the provider. Its handler wants whole paths: mount it on the main
// listener at the issuer's path, without stripping that prefix.
func New(c Config) (http.Handler, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		return nil, err
	}
	s, err := newStorage(c, issuer.Path)
	if err != nil {
		return nil, err
	}
	provider, err := newProvider(c, s)
	if err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	l := login{
		storage: s, name: c.Name, earlier: c.Earlier, people: c.People, prefix: issuer.Path,
		callback: c.Issuer + provider.AuthorizationEndpoint().Relative() + "/callback?id=",
		policy:   contentPolicy(c.Clients),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+loginPath, l.show)
	mux.HandleFunc("POST "+loginPath, l.signIn)
	mux.HandleFunc("GET "+stylePath, serveStyle)
	mux.HandleFunc("GET "+signedOutPath, l.signedOut)
	if c.Desk {
		d := desk{storage: s, issuer: c.Issuer, name: c.Name, prefix: issuer.Path}
		mux.HandleFunc("GET "+deskPath, d.show)
		mux.HandleFunc("POST "+deskPath, d.register)
		mux.HandleFunc("POST "+deskPath+"/end", d.end)
	}
	mux.Handle("/", provider)
	return http.StripPrefix(issuer.Path, mux), nil
}

func newProvider(c Config, s *storage) (*op.Provider, error) {
	config := &op.Config{
		DefaultLogoutRedirectURI: c.Issuer + signedOutPath,
		CodeMethodS256:           true,
		AuthMethodPost:           true,
		SupportedUILocales:       []language.Tag{language.English},
		SupportedScopes:          []string{"openid", "email", "profile"},
		SupportedClaims:          []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "azp", "name", "preferred_username", "email", "email_verified"},

		BackChannelLogoutSupported:        c.Desk,
		BackChannelLogoutSessionSupported: c.Desk,
	}
	_, _ = rand.Read(config.CryptoKey[:]) // never fails
	return op.NewProvider(config, s, op.StaticIssuer(c.Issuer),
		op.WithAllowInsecure(),
		op.WithCORSOptions(nil),
		op.WithIDTokenHintVerifierOpts(op.WithSupportedIDTokenHintSigningAlgorithms(string(algorithm))),
	)
}
