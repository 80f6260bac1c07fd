package outbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Why a document was not fetched.
var (
	// ErrUnreachable: the server was not reached, or did not answer in time.
	ErrUnreachable = errors.New("server does not answer")
	// ErrAnswer: the server answered with something else than the document.
	ErrAnswer = errors.New("server's answer cannot be used")
)

// Fetcher reads documents of outside servers. It is safe for concurrent use.
type Fetcher struct {
	network *Network
	client  *http.Client
}

// NewFetcher returns one that reaches what n reaches.
func NewFetcher(n *Network) *Fetcher { return &Fetcher{network: n, client: n.Client()} }

// Check reports whether an address may be asked at all: [ErrAddress] if not.
func (f *Fetcher) Check(address string) error {
	_, err := f.network.ParseURL(address)
	return err
}

// Get returns a document of at most limit bytes: [ErrAddress], [ErrUnreachable] or
// [ErrAnswer] if there is none. Only a 200 with the whole of its body is one; redirects
// are not followed, and nothing is unpacked. What may be shown of a failure is in the
// error's text, which does not repeat the address.
//
// A server that answers slowly, or never ends, is bounded by ctx and by limit.
func (f *Fetcher) Get(ctx context.Context, address string, limit int64) ([]byte, error) {
	u, err := f.network.ParseURL(address)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, ErrAddress // the cause repeats the address
	}
	request.Header.Set("User-Agent", "carillon")
	request.Header.Set("Accept-Encoding", "identity") // and so the transport unpacks nothing
	response, err := f.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, withoutURL(err))
	}
	defer response.Body.Close()
	if err := usable(response, limit); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: it breaks off: %w", ErrUnreachable, err)
	case int64(len(body)) > limit:
		return nil, tooLarge(limit)
	}
	return body, nil
}

// Post gives a JSON document to a server, with a header that signs it: [ErrAddress],
// [ErrUnreachable] or [ErrAnswer] if the server did not take it, which any status of 200 to
// 299 says it did. The error's text does not repeat the address.
func (f *Fetcher) Post(ctx context.Context, address, header, signature string, document []byte) error {
	u, err := f.network.ParseURL(address)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(document))
	if err != nil {
		return ErrAddress // the cause repeats the address
	}
	request.Header.Set("User-Agent", "carillon")
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(header, signature)
	response, err := f.client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, withoutURL(err))
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, drained) // so that the connection can be used again
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%w: status %d", ErrAnswer, response.StatusCode)
	}
	return nil
}

// drained is how much of an answer that nobody reads is taken off the line.
const drained = 64 << 10

func usable(r *http.Response, limit int64) error {
	encoding := r.Header.Get("Content-Encoding")
	switch {
	case r.StatusCode >= 300 && r.StatusCode < 400:
		return fmt.Errorf("%w: a redirect (status %d), which is not followed", ErrAnswer, r.StatusCode)
	case r.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: status %d", ErrAnswer, r.StatusCode)
	case encoding != "" && encoding != "identity":
		return fmt.Errorf("%w: it is packed (%.20q)", ErrAnswer, encoding)
	case r.ContentLength > limit:
		return tooLarge(limit)
	}
	return nil
}

func tooLarge(limit int64) error {
	return fmt.Errorf("%w: it has more than %d bytes", ErrAnswer, limit)
}

// withoutURL takes the address out of a client's error: it may hold what lets its
// owner in.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
