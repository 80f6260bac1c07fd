package stats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"carillon/signing"
	"carillon/signing/bearer"
	"carillon/tenant"
	"carillon/tenant/key"
)

// ErrUnauthorized means that a request for shared statistics brought no token of the
// tenant's.
var ErrUnauthorized = errors.New("unauthorized")

// Refusal is [ErrUnauthorized] in the words of the key server protocol §9.
type Refusal struct{ Text string } //nolint:errname // as the problems of the other packages

// Error tells the kind alone: the words may repeat what was sent.
func (r *Refusal) Error() string { return ErrUnauthorized.Error() }

// Unwrap lets errors.Is find the kind.
func (r *Refusal) Unwrap() error { return ErrUnauthorized }

func unauthorized(format string, args ...any) error {
	return &Refusal{Text: fmt.Sprintf(format, args...)}
}

// Authorize checks that the value of an Authorization header is a token signed with
// one of the tenant's certificate keys (key server protocol §9): a [Refusal] if not.
// t is nil if there is no such tenant. keys are as carillon_publish may see them.
func Authorize(ctx context.Context, keys *key.Ring, t *tenant.Tenant, header string, now time.Time) error {
	text, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return unauthorized("Authorization header is not in `Bearer <token>` format")
	}
	u, err := bearer.Parse(text)
	if err != nil {
		return unauthorized("unauthorized: %v", err)
	}
	if t == nil || u.Issuer() != t.Settings.Issuer {
		return unauthorized("unauthorized: issuer not found: %.256q", u.Issuer())
	}
	public, err := keys.Public(ctx, t.ID, signing.Certificate)
	if err != nil {
		return fmt.Errorf("keys of certificates: %w", err)
	}
	i := slices.IndexFunc(public, func(k key.Public) bool { return k.KeyID == u.KeyID() })
	if i < 0 {
		return unauthorized("unauthorized: key not found: %.100q", u.KeyID())
	}
	err = u.Verify(public[i].Key, now)
	switch {
	case errors.Is(err, bearer.ErrAudience):
		return unauthorized("unauthorized, audience mismatch")
	case err != nil:
		return unauthorized("unauthorized: %v", err)
	}
	return nil
}
