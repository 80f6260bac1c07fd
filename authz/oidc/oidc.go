// Package oidc signs people in through an OpenID provider: the relying party's
// side of the authorization code flow with PKCE (RFC 7636, S256), state and nonce.
//
// It promises that an [Identity] was asserted by exactly the issuer that was
// configured, to this client, in answer to this [Flow], by a signature of ES256 or
// RS256, and that the provider vouches for the e-mail address. It refuses
// everything else: other algorithms, redirects of its own requests, endpoints
// without TLS, answers without end.
//
// A provider may be the platform's own or a tenant's: a [Flow] is bound to whose and
// which it is, and an [Identity] says so, for what a tenant's provider asserts counts
// with that tenant alone.
//
// It keeps no sessions. The provider is asked for its endpoints when they are
// first needed, so a process starts without it, and one that was down is asked
// again by the next person.
//
// The rules are those of OpenID Connect Core 1.0 §3.1 and §5.3, Discovery 1.0,
// RP-Initiated Logout 1.0, Back-Channel Logout 1.0, and RFC 9207 against mix-ups. Errors carry nothing that
// the provider wrote.
package oidc

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
)

// What can be wrong with a sign-in.
var (
	// ErrState means that the answer belongs to no sign-in of this browser, or to
	// one that was begun too long ago.
	ErrState = errors.New("sign-in was not begun here, or took too long")
	// ErrDenied means that the provider, or the person, refused.
	ErrDenied = errors.New("sign-in was refused")
	// ErrProvider means that the provider cannot be reached, or does not work with
	// this client. Trying again may help.
	ErrProvider = errors.New("identity provider cannot be used")
	// ErrToken means that what the provider said does not hold: a code that it does
	// not take back, or a token that proves nothing here.
	ErrToken = errors.New("identity provider's answer proves nothing")
	// ErrStale means that the person was asked to sign in afresh and was not.
	ErrStale = errors.New("sign-in is not a fresh one")
	// ErrNoAuthTime means that the person was asked to sign in afresh, and the provider does
	// not say whether she did.
	ErrNoAuthTime = errors.New("identity provider does not say when the person signed in")
	// ErrEmail means that the provider gave no e-mail address that can be used.
	ErrEmail = errors.New("identity provider gave no usable e-mail address")
	// ErrEmailUnverified means that the provider does not vouch for the address.
	ErrEmailUnverified = errors.New("e-mail address is not verified")
	// ErrDomain means that the address is none of the domains that are allowed.
	ErrDomain = errors.New("e-mail address is of a domain that is not allowed")
	// ErrAssurance means that the provider does not say that the person signed in as
	// strongly as is required.
	ErrAssurance = errors.New("sign-in was not as strong as is required")
)

// Sentinels lists the errors of this package that callers tell apart.
func Sentinels() []error {
	return []error{ErrState, ErrDenied, ErrProvider, ErrToken, ErrStale, ErrNoAuthTime, ErrEmail, ErrEmailUnverified, ErrDomain, ErrAssurance}
}

// Config is what a [Provider] works with.
type Config struct {
	// Realm is whose provider this is, and ID which of theirs. Both are empty for the
	// platform's own.
	Realm, ID string
	// Issuer is the provider's name, to the letter: scheme, host, port, path and
	// trailing slash. It is an https URL; http is taken for a loopback host.
	Issuer string
	// ClientID and ClientSecret are what the provider registered. Without a secret
	// the client is a public one, which PKCE makes safe enough for development.
	ClientID     string
	ClientSecret string
	// Assert, if set, proves the client instead of a secret: it makes an assertion for a
	// token endpoint (private_key_jwt, Core 1.0 §9, RFC 7523).
	Assert func(tokenEndpoint string) (string, error)
	// RedirectURL is where the provider sends the browser back to, as registered.
	RedirectURL string
	// Scopes to ask for; nil is openid, email and profile. openid is always asked.
	Scopes []string
	// ACR are the classes of sign-in one of which is required, and AMR the methods all of
	// which are; nil is none.
	ACR, AMR []string
	// EmailDomains are the domains of the addresses that are taken, in lower case; nil is
	// all.
	EmailDomains []string
	// TrustEmail takes an address of EmailDomains for verified if the provider says
	// nothing about that.
	TrustEmail bool
	// TrustPrompt takes it for done that the person signed in anew when she was to, if the
	// provider does not say when she signed in (auth_time, which it must say when it is asked
	// so: Core 1.0 §3.1.2.1). Some providers say it never.
	TrustPrompt bool
	// RoleClaim names the claim that says what the person is at the provider: a text or a
	// list of them. A name that the token does not have is taken apart at its dots.
	RoleClaim string
	// Roles are what follows from a value of it.
	Roles map[string][]string
	// HTTPClient reaches the provider. Its time-out bounds each request, 0 is
	// 10 s; redirects are never followed and no cookie is kept. nil is a plain one.
	HTTPClient *http.Client
	// Now is the clock.
	Now func() time.Time
}

// Format prints issuer and client, whatever the verb, so that no verb shows the
// secret.
func (c Config) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "client %s of %s", c.ClientID, c.Issuer)
}

// LogValue gives what Format gives.
func (c Config) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

func (c Config) validate() error {
	if err := checkURL(c.Issuer, true); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if u, _ := url.Parse(c.Issuer); u.RawQuery != "" || u.ForceQuery {
		return errors.New("issuer: must not have a query")
	}
	if err := checkURL(c.RedirectURL, true); err != nil {
		return fmt.Errorf("redirect URL: %w", err)
	}
	if c.ClientID == "" {
		return errors.New("client ID is missing")
	}
	if (c.Realm == "") != (c.ID == "") {
		return errors.New("realm and ID go together")
	}
	if c.TrustEmail && len(c.EmailDomains) == 0 {
		return errors.New("addresses can be trusted of named domains only")
	}
	if c.Now == nil {
		return errors.New("clock is missing")
	}
	return nil
}

func (c Config) scopes() []string {
	switch {
	case c.Scopes == nil:
		return []string{goidc.ScopeOpenID, "email", "profile"}
	case slices.Contains(c.Scopes, goidc.ScopeOpenID):
		return c.Scopes
	}
	return append([]string{goidc.ScopeOpenID}, c.Scopes...)
}

// checkURL refuses what is not an absolute URL with TLS. Where the loopback is
// allowed, so is http to it.
func checkURL(text string, loopback bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("must be an absolute URL without user and fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("must begin with https")
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

const (
	// defaultTimeout bounds a request to the provider, body included.
	defaultTimeout = 10 * time.Second
	// maxBody bounds what the provider can make us read at once, in bytes.
	maxBody = 1 << 20
)

// newClient makes a client that does what [Config] promises out of the given one.
func newClient(given *http.Client) *http.Client {
	var c http.Client
	if given != nil {
		c = *given
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	c.Transport = boundedTransport{c.Transport}
	// A redirect would carry the code and the client's secret to another place.
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Jar = nil
	return &c
}

// boundedTransport ends bodies that are longer than maxBody with an error.
type boundedTransport struct{ next http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxBody)
	return resp, nil
}

// Flow is a sign-in under way. The caller keeps it where the browser cannot read
// it, in the server-side session, and takes it out before calling
// [Provider.Finish], so that it serves once. It can be stored as JSON or gob.
type Flow struct {
	// Issuer is who was asked; Realm and Provider are as in [Config].
	Issuer   string `json:"issuer"`
	Realm    string `json:"realm,omitempty"`
	Provider string `json:"provider,omitempty"`
	// State, Nonce and Verifier tie the answer to this browser, the token to this
	// question and the code to this client.
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	// Started is when; an answer is taken for an hour.
	Started time.Time `json:"started"`
	// Fresh says that the person had to sign in anew.
	Fresh bool `json:"fresh,omitempty"`
	// ReturnPath is the caller's own: where to go afterwards. See [Flow.Return]. So is
	// Trial: that somebody tries a provider out, and Link: at which tenant somebody who has
	// signed in wants to do so with this account instead.
	ReturnPath string `json:"return_path,omitempty"`
	Trial      bool   `json:"trial,omitempty"`
	Link       string `json:"link,omitempty"`
}

// Return gives ReturnPath if it is a path on this site, and fallback if not, so
// that a prepared link cannot lead away.
func (f Flow) Return(fallback string) string {
	u, err := url.Parse(f.ReturnPath)
	if err != nil || u.IsAbs() || u.Host != "" || u.Fragment != "" || !localPath(f.ReturnPath) {
		return fallback
	}
	return f.ReturnPath
}

// localPath reports whether browsers take s for a path: they read a backslash as
// a slash, and two slashes as the beginning of a host.
func localPath(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return len(s) > 0 && s[0] == '/' && (len(s) == 1 || s[1] != '/')
}

// Format prints the issuer only, whatever the verb.
func (f Flow) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "sign-in at "+f.Issuer) }

// LogValue gives what Format gives.
func (f Flow) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(f)) }

// Identity is who signed in. Issuer and Subject together name the person for
// ever; an e-mail address may change hands.
type Identity struct {
	Issuer  string
	Subject string
	// Email is verified and in lower case: printable ASCII, at most 250 characters.
	Email string
	// Name is for people; it may be empty.
	Name string
	// AuthTime is when the person last proved who they are, zero if the provider
	// does not say.
	AuthTime time.Time
	// ACR and AMR say how, in the provider's own words; often empty.
	ACR string
	AMR []string
	// Realm and Provider are whose word this is, as in [Config]. The word of a realm's
	// provider counts in that realm alone.
	Realm, Provider string
	// Roles are those that follow from what the person is at the provider.
	Roles []string
	// SID names the provider's session, and IDToken is what was signed; both are for
	// signing out.
	SID, IDToken string
}

// Format prints the issuer only, whatever the verb.
func (i Identity) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "identity at "+i.Issuer) }

// LogValue gives what Format gives.
func (i Identity) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(i)) }
