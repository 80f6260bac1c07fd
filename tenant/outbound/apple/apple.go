// Package apple speaks to Apple's service for Exposure Notifications: it changes a
// region's configuration and reads what is delivered (protocol/enx-config.md sections 3.1
// and 3.2). Nothing but public hosts is reached, redirects are not followed, answers are
// bounded, and what the two headers of a change carry is in no error.
//
// Whether the real service still answers, and reads the signature as we write it, is not
// known: the package is tried against package appletest, which answers as Apple documents.
package apple

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"carillon/signing/authorityname"
	"carillon/tenant/outbound"
)

// DefaultURL is where the service was, without a trailing slash.
const DefaultURL = "https://gateway.icloud.com/enservice/v2"

const (
	// ChangePath is what follows the service’s address for changes.
	ChangePath = "/update/app/config"
	readPath   = "/app/config"
	// regionHeader names the region that is asked for, in capitals.
	regionHeader = "x-apple-ct-region-identifier"
	// maxAnswer bounds a configuration that is read: Apple's texts in all languages.
	maxAnswer = 8 << 20
	// maxRefusal bounds what is read of other answers.
	maxRefusal = 4 << 10
)

// Why a change was not taken, or nothing was read.
var (
	// ErrInvalid: Apple finds the request malformed, or does not know a key (400).
	ErrInvalid = errors.New("the change is not taken by Apple: a key is unknown to it, or the request is not as it wants it (400)")
	// ErrSignature: Apple does not accept the signature (401).
	ErrSignature = errors.New("the signature is not accepted by Apple: it has another public key, or another name of the authority (401)")
	// ErrNoRegion: Apple has no configuration for the region, and the call makes none (404).
	ErrNoRegion = errors.New("no such region at Apple: Apple must set the region up first (404)")
	// ErrBusy: Apple's service fails at the moment (429, 5xx) or is not reached. It may
	// have taken the change.
	ErrBusy = errors.New("the service of Apple fails or cannot be reached")
	// ErrAnswer: it answered what no documentation says.
	ErrAnswer = errors.New("the service of Apple answered what it should not")
)

// Client is safe for concurrent use.
type Client struct {
	network *outbound.Network
	client  *http.Client
	base    string
}

// New returns a client of the service at a URL, such as [DefaultURL], on the network:
// [outbound.ErrAddress] if that may not be called.
func New(n *outbound.Network, base string) (*Client, error) {
	base = strings.TrimSuffix(base, "/")
	if _, err := n.ParseURL(base); err != nil {
		return nil, err
	}
	return &Client{network: n, client: n.Client(), base: base}, nil
}

// ChangeURL is where changes are sent.
func (c *Client) ChangeURL() string { return c.base + ChangePath }

// Change is what is sent.
type Change struct {
	// Country is the ISO code of two letters, State that of the subdivision alone, if
	// there is one: WA, not US-WA.
	Country string `json:"countryCode"`
	State   string `json:"state,omitempty"`
	// KeyVersion is a number here, and a text everywhere else.
	KeyVersion int            `json:"publicKeyVersion"`
	Config     map[string]any `json:"config"`
}

// Send sends a change once: nil if Apple took it, else one of the errors of this package.
func (c *Client) Send(ctx context.Context, pair authorityname.Pair, change Change) error {
	body, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("change: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.ChangeURL(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("change: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(authorityname.HeaderName, pair.Name)
	request.Header.Set(authorityname.HeaderSignature, pair.Signature)
	_, err = c.do(request, maxRefusal)
	return err
}

// Delivered is what Apple delivers for a region.
type Delivered struct {
	Country    string         `json:"countryCode"`
	State      string         `json:"state"`
	BundleID   string         `json:"appBundleId"`
	KeyVersion string         `json:"publicKeyVersion"`
	Config     map[string]any `json:"config"`
}

// Read asks what Apple delivers for a region, an ISO code as US-WA. Its errors are those
// of this package; [ErrNoRegion] also if the answer is about others.
func (c *Client) Read(ctx context.Context, region string) (Delivered, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+readPath, nil)
	if err != nil {
		return Delivered{}, fmt.Errorf("read configuration: %w", err)
	}
	request.Header.Set(regionHeader, strings.ToUpper(region))
	body, err := c.do(request, maxAnswer)
	if err != nil {
		return Delivered{}, err
	}
	var answer struct {
		AppConfigs []Delivered `json:"appConfigs"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return Delivered{}, fmt.Errorf("%w: no JSON of the form that is known", ErrAnswer)
	}
	for _, d := range answer.AppConfigs {
		if d.of(region) {
			return d, nil
		}
	}
	return Delivered{}, fmt.Errorf("%w (the answer is about others)", ErrNoRegion)
}

// of reports whether d is about the region. Whether Apple writes WA or US-WA is not known.
func (d Delivered) of(region string) bool {
	country, state, _ := strings.Cut(strings.ToUpper(region), "-")
	theirs := strings.TrimPrefix(strings.ToUpper(d.State), country+"-")
	return strings.EqualFold(d.Country, country) && theirs == state
}

// do sends a request and returns the body of a 200.
func (c *Client) do(request *http.Request, limit int64) ([]byte, error) {
	request.Header.Set("User-Agent", "carillon")
	request.Header.Set("Accept-Encoding", "identity")
	response, err := c.client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	defer response.Body.Close()
	switch code := response.StatusCode; {
	case code == http.StatusOK:
	case code == http.StatusBadRequest:
		return nil, ErrInvalid
	case code == http.StatusUnauthorized:
		return nil, ErrSignature
	case code == http.StatusNotFound:
		return nil, ErrNoRegion
	case code == http.StatusTooManyRequests || code >= http.StatusInternalServerError:
		return nil, fmt.Errorf("%w (status %d)", ErrBusy, code)
	case code >= 300 && code < 400:
		return nil, fmt.Errorf("%w: a redirect (status %d), which is not followed", ErrAnswer, code)
	default:
		return nil, fmt.Errorf("%w: status %d", ErrAnswer, code)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: the answer breaks off: %w", ErrBusy, err)
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrAnswer, limit)
	}
	return body, nil
}

// Differ lists the keys of want that d has otherwise, in their order. Numbers are compared
// as numbers, and colors to a thousandth.
func (d Delivered) Differ(want map[string]any) []string {
	return differ(want, d.Config)
}
