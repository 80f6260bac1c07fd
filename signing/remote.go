package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Remote is a P-256 key whose private half is elsewhere. Every signature is verified
// before it is given out. It prints and logs as a fixed word.
type Remote struct {
	public  *ecdsa.PublicKey
	timeout time.Duration
	sign    func(ctx context.Context, digest []byte) ([]byte, error)
	observe func(work func() error) error
}

// NewRemote returns a key that has digests signed by sign, each within timeout.
func NewRemote(public *ecdsa.PublicKey, timeout time.Duration, sign func(ctx context.Context, digest []byte) ([]byte, error)) *Remote {
	return &Remote{public: public, timeout: timeout, sign: sign, observe: func(work func() error) error { return work() }}
}

// Public implements [crypto.Signer]; it returns an [*ecdsa.PublicKey].
func (r *Remote) Public() crypto.PublicKey { return r.public }

// Sign implements [crypto.Signer] for digests of SHA-256. The signature is in ASN.1 form.
// [Within] gives it a context; without one its own timeout ends it.
func (r *Remote) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return r.signWithin(context.Background(), digest, opts) //nolint:forbidigo // crypto.Signer knows no context
}

func (r *Remote) signWithin(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := checkDigest(digest, opts); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var signature []byte
	err := r.observe(func() (err error) {
		if signature, err = r.sign(ctx, digest); err != nil {
			return err
		}
		if !ecdsa.VerifyASN1(r.public, digest, signature) {
			return fmt.Errorf("signature does not verify: %w", ErrUntrusted)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return signature, nil
}

// Format hides where the key is from every verb of package fmt.
func (*Remote) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[key elsewhere]") }

// LogValue hides where the key is from package slog.
func (*Remote) LogValue() slog.Value { return slog.StringValue("[key elsewhere]") }

// bound is a Remote that works within a caller's context.
type bound struct {
	*Remote
	sign func(digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (b bound) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return b.sign(digest, opts)
}

// Within returns key for use while ctx lasts: if its private half is elsewhere, signing
// ends when ctx does. Any other key is returned as it is.
func Within(ctx context.Context, key crypto.Signer) crypto.Signer {
	r, is := key.(*Remote)
	if !is {
		return key
	}
	return bound{r, func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
		return r.signWithin(ctx, digest, opts)
	}}
}
