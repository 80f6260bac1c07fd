package oidc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

// Provider signs people in at one issuer. It is safe for concurrent use.
type Provider struct {
	config  Config
	current atomic.Pointer[metadata]
	flights singleflight.Group
}

// New returns a provider without asking the issuer anything. An error means that
// the configuration makes no sense.
func New(c Config) (*Provider, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Scopes = slices.Clone(c.scopes())
	c.HTTPClient = newClient(c.HTTPClient)
	return &Provider{config: c}, nil
}

// Format prints as [Config.Format] does, so that no verb shows the secret.
func (p *Provider) Format(f fmt.State, verb rune) { p.config.Format(f, verb) }

// Begin starts a sign-in: send the browser to redirectURL, and keep f for
// [Provider.Finish]. [ErrProvider] if the issuer cannot be asked for its endpoints.
func (p *Provider) Begin(ctx context.Context) (redirectURL string, f Flow, err error) {
	return p.begin(ctx, false)
}

// BeginFresh is Begin for an act that needs recent authentication: the provider is
// told to ask the person anew, whatever session it has with them, and Finish
// insists that it did.
func (p *Provider) BeginFresh(ctx context.Context) (redirectURL string, f Flow, err error) {
	return p.begin(ctx, true)
}

func (p *Provider) begin(ctx context.Context, fresh bool) (string, Flow, error) {
	m, err := p.metadata(ctx)
	if err != nil {
		return "", Flow{}, err
	}
	f := Flow{
		Issuer:   p.config.Issuer,
		Realm:    p.config.Realm,
		Provider: p.config.ID,
		State:    rand.Text(),
		Nonce:    rand.Text(),
		Verifier: oauth2.GenerateVerifier(),
		Started:  p.config.Now().UTC(),
		Fresh:    fresh,
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(f.Verifier), goidc.Nonce(f.Nonce)}
	if fresh {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	if len(p.config.ACR) > 0 {
		options = append(options, oauth2.SetAuthURLParam("acr_values", strings.Join(p.config.ACR, " ")))
	}
	return m.oauth.AuthCodeURL(f.State, options...), f, nil
}

// EndSessionURL is where to send the browser to end the provider's own session
// too (RP-Initiated Logout 1.0); from there it comes back to returnURL, which the
// provider must have registered. idToken, if there is one, tells the provider whose
// session it is. Empty: the provider offers no such thing.
func (p *Provider) EndSessionURL(ctx context.Context, returnURL, idToken string) (string, error) {
	m, err := p.metadata(ctx)
	if err != nil || m.endSession == "" {
		return "", err
	}
	u, err := url.Parse(m.endSession)
	if err != nil {
		return "", fmt.Errorf("%w: logout endpoint", ErrProvider)
	}
	q := u.Query()
	q.Set("client_id", p.config.ClientID)
	q.Set("post_logout_redirect_uri", returnURL)
	if idToken != "" {
		q.Set("id_token_hint", idToken)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// metadata is what the issuer publishes about itself, as far as it is used here.
type metadata struct {
	read          time.Time
	provider      *goidc.Provider
	keys          goidc.KeySet
	oauth         oauth2.Config
	endSession    string
	issInResponse bool // RFC 9207 §3: answers always have iss
}

// metadataLife is how long metadata and signing keys serve. Keys that are not
// known yet are fetched at once; this is for those that were withdrawn.
const metadataLife = time.Hour

// metadata returns what was discovered, discovering it first if need be. Those who
// need it at the same time share one request; a failure is not kept.
func (p *Provider) metadata(ctx context.Context) (*metadata, error) {
	if m := p.current.Load(); m != nil && p.config.Now().Sub(m.read) < metadataLife {
		return m, nil
	}
	flight := p.flights.DoChan("", func() (any, error) {
		m, err := p.discover(context.WithoutCancel(ctx)) // the client's time-out bounds it
		if err == nil {
			p.current.Store(m)
		}
		return m, err
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: discovery: %w", ErrProvider, ctx.Err())
	case r := <-flight:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*metadata), nil
	}
}

func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	ctx = goidc.ClientContext(ctx, p.config.HTTPClient)
	provider, err := goidc.NewProvider(ctx, p.config.Issuer)
	if err != nil {
		return nil, providerError("discovery", err)
	}
	var doc document
	if err := provider.Claims(&doc); err != nil {
		return nil, providerError("discovery", err)
	}
	if err := doc.validate(p.config.Issuer); err != nil {
		return nil, fmt.Errorf("%w: discovery: %w", ErrProvider, err)
	}
	return &metadata{
		read:     p.config.Now(),
		provider: provider,
		keys:     goidc.NewRemoteKeySet(ctx, doc.KeysURL),
		oauth: oauth2.Config{
			ClientID:     p.config.ClientID,
			ClientSecret: p.config.ClientSecret,
			RedirectURL:  p.config.RedirectURL,
			Scopes:       p.config.Scopes,
			Endpoint: oauth2.Endpoint{
				AuthURL:   doc.AuthURL,
				TokenURL:  doc.TokenURL,
				AuthStyle: doc.authStyle(p.config.ClientSecret),
			},
		},
		endSession:    doc.EndSessionURL,
		issInResponse: doc.IssInResponse,
	}, nil
}

// document is the part of the discovery document that is used (Discovery 1.0 §3).
type document struct {
	AuthURL       string   `json:"authorization_endpoint"`
	TokenURL      string   `json:"token_endpoint"`
	KeysURL       string   `json:"jwks_uri"`
	UserInfoURL   string   `json:"userinfo_endpoint"`
	EndSessionURL string   `json:"end_session_endpoint"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	IssInResponse bool     `json:"authorization_response_iss_parameter_supported"`
}

// validate refuses endpoints without TLS, unless the issuer itself has none, which
// [Config] allows on the loopback only.
func (d document) validate(issuer string) error {
	loopback := checkURL(issuer, false) != nil
	for _, endpoint := range []string{d.AuthURL, d.TokenURL, d.KeysURL} {
		if err := checkURL(endpoint, loopback); err != nil {
			return fmt.Errorf("endpoint: %w", err)
		}
	}
	for _, endpoint := range []string{d.UserInfoURL, d.EndSessionURL} {
		if endpoint != "" && checkURL(endpoint, loopback) != nil {
			return errors.New("endpoint: must begin with https")
		}
	}
	return nil
}

// authStyle is how the client proves itself at the token endpoint: basic unless
// only the other one is offered (Discovery 1.0 §3), nothing without a secret.
func (d document) authStyle(secret string) oauth2.AuthStyle {
	postOnly := slices.Contains(d.AuthMethods, "client_secret_post") && !slices.Contains(d.AuthMethods, "client_secret_basic")
	if secret == "" || postOnly {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}
