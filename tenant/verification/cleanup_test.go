package verification_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant"
	"carillon/tenant/verification"
)

// What is left of a code and a token at each age (§6.4). Ages count from the
// later expiry.
func TestCleanup(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	start := f.world.Now().UTC().Truncate(time.Second)
	issued, long := f.messaged(t, f.north)
	other, _ := f.messaged(t, f.south)
	tok := f.token(t, f.north, verification.IssueRequest{})
	f.token(t, f.south, verification.IssueRequest{})
	codeEnd, tokenEnd := issued.LongExpiresAt, start.Add(f.north.Settings.TokenLife)
	if !codeEnd.Equal(tokenEnd) {
		t.Fatalf("codes end at %v, tokens at %v: the table below assumes that they are the same", codeEnd, tokenEnd)
	}
	type left struct{ Codes, Digests, Tokens int }
	steps := []struct {
		name string
		age  time.Duration
		want left
	}{
		{"at expiry", 0, left{2, 2, 1}},
		{"24 h", 24 * time.Hour, left{2, 2, 1}},
		{"24 h and more", 24*time.Hour + time.Second, left{2, 2, 0}},
		{"48 h", 48 * time.Hour, left{2, 1, 0}}, // the code without a message ended earlier
		{"48 h and more", 48*time.Hour + time.Second, left{2, 0, 0}},
		{"14 d", 14 * 24 * time.Hour, left{1, 0, 0}},
		{"14 d and more", 14*24*time.Hour + time.Second, left{0, 0, 0}},
	}
	for _, s := range steps {
		for range 2 { // twice is as good as once
			if err := verification.Cleanup(t.Context(), f.world.Jobs, f.north, codeEnd.Add(s.age)); err != nil {
				t.Fatal(err)
			}
		}
		got := left{f.countCodes(t, f.north), f.countDigests(t, f.north), f.countTokens(t, f.north)}
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", s.name, diff)
		}
		if s.want.Codes == 2 {
			f.status(t, f.north, issued) // still tells
		}
	}
	// All of it is gone for phones, too, and a blanked code is an unknown one.
	_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: long})
	wantProblem(t, err, verification.ErrCodeInvalid, "")
	_, err = f.device.Certificate(t.Context(), f.north, verification.CertificateRequest{Token: tok, EKeyHMAC: hmacText})
	wantProblem(t, err, verification.ErrTokenInvalid, "")
	// The other tenant was left alone.
	if got, want := (left{f.countCodes(t, f.south), f.countDigests(t, f.south), f.countTokens(t, f.south)}), (left{2, 2, 1}); got != want {
		t.Errorf("the other tenant has %+v, want %+v", got, want)
	}
	f.verify(t, f.south, other.Code)
}

// More rows than a batch holds, among them many that ended in the same second.
func TestCleanupInBatches(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now().UTC().Truncate(time.Second)
	in(t, f.world.Issuer, f.north.ID, func(ctx context.Context, tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, `
insert into verification_code
       (tenant_id, code_id, short_mac, long_mac, test_type, issued_at, expires_at, long_expires_at, issuer_kind, issuer_id)
select current_tenant(), gen_random_uuid(), sha512(('s' || i)::bytea), sha512(('l' || i)::bytea), 'confirmed',
       e.ends_at, e.ends_at, e.ends_at, 'api-key', 'x'
  from generate_series(1, 3500) i,
       lateral (select $1::timestamptz - make_interval(hours => 49, secs => greatest(i - 1500, 0)) as ends_at) e`, now)
		return err
	})
	in(t, f.world.Device, f.north.ID, func(ctx context.Context, tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, `
insert into verification_token (tenant_id, token_digest, expires_at)
select current_tenant(), sha256(i::text::bytea), $1::timestamptz - make_interval(hours => 25, secs => i % 1100)
  from generate_series(1, 3500) i`, now)
		return err
	})
	if err := verification.Cleanup(t.Context(), f.world.Jobs, f.north, now); err != nil {
		t.Fatal(err)
	}
	if c, d, k := f.countCodes(t, f.north), f.countDigests(t, f.north), f.countTokens(t, f.north); c != 3500 || d != 0 || k != 0 {
		t.Errorf("%d codes, %d with digests, %d tokens, want 3500, 0, 0", c, d, k)
	}
	if err := verification.Cleanup(t.Context(), f.world.Jobs, f.north, now.Add(13*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if c := f.countCodes(t, f.north); c != 0 {
		t.Errorf("%d codes, want none", c)
	}
}

func (f *fixture) countDigests(tb testing.TB, of *tenant.Tenant) (n int) {
	tb.Helper()
	in(tb, f.world.Issuer, of.ID, func(ctx context.Context, tx *tenant.Tx) error {
		return tx.Get(ctx, &n, `select count(*) from verification_code where short_mac is not null or long_mac is not null`)
	})
	return n
}
