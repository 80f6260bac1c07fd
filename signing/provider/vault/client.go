package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"carillon/signing"
)

const (
	attempts = 3
	// pause is before the second attempt; it doubles.
	pause = 100 * time.Millisecond
	// attemptTimeout is for one attempt, callTimeout for all of them.
	attemptTimeout = 4 * time.Second
	callTimeout    = 10 * time.Second
	maxAnswer      = 64 << 10
	maxToken       = 4 << 10
)

// answer classes that the callers tell apart.
var (
	errMissing = errors.New("not there")
	errRefused = errors.New("bad request")
)

// client speaks Vault's HTTP API.
type client struct {
	config Config
	http   *http.Client
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

func newClient(c Config) (*client, error) {
	u, err := url.Parse(c.Address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("vault: the address is a URL of scheme, host and port alone")
	}
	if u.Scheme != "https" && !c.Insecure {
		return nil, errors.New("vault: the address must be https")
	}
	if !namePattern.MatchString(c.Mount) {
		return nil, errors.New("vault: the mount is a name of letters, digits, hyphens and underscores")
	}
	if c.TokenFile == "" {
		return nil, errors.New("vault: a file with the token is needed")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConnsPerHost = 32
	if c.CAFile != "" {
		if transport.TLSClientConfig, err = trusting(c.CAFile); err != nil {
			return nil, err
		}
	}
	c.Address = strings.TrimSuffix(c.Address, "/")
	return &client{config: c, http: &http.Client{
		Transport: transport, Timeout: attemptTimeout,
		// A standby that redirects would be given the token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func trusting(file string) (*tls.Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("vault: authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("vault: %s holds no certificate", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// call makes one call of the transit engine: path follows the mount. All of them may be
// repeated without harm. out may be nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	defer clear(body)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	wait := pause
	for attempt := 1; ; attempt++ {
		again, err := c.try(ctx, method, path, body, out)
		if err == nil || !again || attempt == attempts {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", signing.ErrUnavailable, ctx.Err())
		case <-time.After(wait):
			wait *= 2
		}
	}
}

// try makes one attempt, and reports whether another may succeed.
func (c *client) try(ctx context.Context, method, path string, body []byte, out any) (again bool, err error) {
	token, err := c.token()
	if err != nil {
		return false, err
	}
	r, err := http.NewRequestWithContext(ctx, method, c.config.Address+"/v1/"+c.config.Mount+"/"+path, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("the address of Vault cannot be used")
	}
	r.Header.Set("X-Vault-Token", token)
	r.Header.Set("X-Vault-Request", "true")
	if c.config.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", c.config.Namespace)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return false, fmt.Errorf("%w: %w", signing.ErrUnavailable, ctx.Err())
		}
		return true, fmt.Errorf("%w: no answer", signing.ErrUnavailable)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	defer clear(text)
	if err != nil {
		return true, fmt.Errorf("%w: answer broken off", signing.ErrUnavailable)
	}
	return judge(answer.StatusCode, text, out)
}

// token is read for each attempt, because whoever looks after it renews it.
func (c *client) token() (string, error) {
	f, err := os.Open(c.config.TokenFile)
	if err != nil {
		return "", fmt.Errorf("%w: token: %w", signing.ErrUnavailable, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", fmt.Errorf("%w: token: %w", signing.ErrUnavailable, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// judge never quotes an answer.
func judge(status int, text []byte, out any) (again bool, err error) {
	switch {
	case status == http.StatusOK && out != nil:
		var answer struct {
			Data json.RawMessage `json:"data"`
		}
		if len(text) > maxAnswer || json.Unmarshal(text, &answer) != nil || json.Unmarshal(answer.Data, out) != nil {
			return false, fmt.Errorf("%w: not what was asked for", signing.ErrUntrusted)
		}
		return false, nil
	case status == http.StatusOK && !json.Valid(text):
		return false, fmt.Errorf("%w: not what was asked for", signing.ErrUntrusted)
	case status == http.StatusOK, status == http.StatusNoContent:
		return false, nil
	case status == http.StatusNotFound:
		return false, errMissing
	case status == http.StatusBadRequest:
		return false, errRefused
	case status == http.StatusPreconditionFailed, status == http.StatusTooManyRequests, status >= 500:
		return true, fmt.Errorf("%w: status %d", signing.ErrUnavailable, status)
	default: // 403: the token has ended, or may not do this
		return false, fmt.Errorf("%w: status %d", signing.ErrUnavailable, status)
	}
}
