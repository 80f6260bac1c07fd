package exposure_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/exposure/exposuretest"
)

// twiceADay are n keys that end at noon and at midnight, the newest of yesterday.
func (f *fixture) twiceADay(n int) []exposure.UploadKey {
	today := exposuretest.Interval(f.world.Now().Truncate(24 * time.Hour))
	keys := make([]exposure.UploadKey, n)
	for i := range keys {
		keys[i] = exposuretest.Key(today-int32(i+1)*72, 72)
	}
	return keys
}

// Up to 30 keys, which is all an upload can have, a token is as long as one for a single key (§3.1).
func TestTokenLengthIsConstant(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	length := 0
	for n := 1; n <= 30; n++ {
		got := len(f.publish(t, f.phone.Upload(confirmed, f.twiceADay(n))).RevisionToken)
		if n == 1 {
			length = got
		}
		if got != length {
			t.Errorf("%d keys: %d characters, want %d", n, got, length)
		}
	}
}

// rotate makes the tenant's revision key verify-only and adds a new one.
func (f *fixture) rotate(tb testing.TB, of *tenant.Tenant) {
	tb.Helper()
	f.setKeyState(tb, of, signing.Revision, "verify-only")
	ctx := tb.Context()
	err := f.world.Operator.In(ctx, of.ID, func(tx *tenant.Tx) error {
		sealed, err := f.sealedSecret(ctx, tx, of)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
insert into signing_key (tenant_id, purpose, version, key_id, state, sealed)
values (current_tenant(), 'revision', 2, '2', 'active', $1)`, sealed)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	f.restart()
}

func (f *fixture) sealedSecret(ctx context.Context, tx *tenant.Tx, of *tenant.Tenant) ([]byte, error) {
	var wrapped []byte
	if err := tx.Get(ctx, &wrapped, `select wrapped from data_key`); err != nil {
		return nil, err
	}
	dk, err := signing.OpenDataKey(ctx, f.world.Root, of.ID.String(), wrapped)
	if err != nil {
		return nil, err
	}
	return signing.NewSecret(dk, signing.Binding{Tenant: of.ID.String(), Purpose: signing.Revision, KeyID: "2/"}, 32)
}

// A rotated key still opens tokens; a destroyed one does not, which keeps nobody from
// publishing new keys (§1.8).
func TestTokenRotation(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(4)
	old := f.publish(t, f.phone.Upload(likely, keys[:2])).RevisionToken
	f.rotate(t, f.north)
	again, err := f.revise(t, confirmed, keys[:1], old)
	if err != nil || again.Revised != 1 {
		t.Fatalf("with the token of a rotated key: %v, %v", again, explain(err))
	}
	_, err = f.world.Database.Super().ExecContext(t.Context(),
		`update signing_key set state = 'destroyed', sealed = null, destroyed_at = now() where purpose = 'revision' and version = 1`)
	if err != nil {
		t.Fatal(err)
	}
	f.restart()
	_, err = f.revise(t, confirmed, keys[1:2], old)
	wantErr(t, err, exposure.ErrInvalidRevisionToken)
	if r, err := f.revise(t, confirmed, keys[2:], old); err != nil || r.Inserted != 2 {
		t.Errorf("new keys with the token of a destroyed key: %v, %v", r, explain(err))
	}
	// The answer to the revision was sealed with the new key, and lists the first keys.
	if r, err := f.revise(t, confirmed, keys[1:2], again.RevisionToken); err != nil || r.Revised != 1 {
		t.Errorf("with the newer token: %v, %v", r, explain(err))
	}
}

// An answer's token lists the keys of the token that was sent, too, but only if that
// one opened (§3.2).
func TestTokenAccumulates(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(3)
	token := ""
	for i := range keys {
		r, err := f.revise(t, likely, keys[i:i+1], token)
		if err != nil || r.Inserted != 1 {
			t.Fatalf("key %d: %v, %v", i, r, explain(err))
		}
		token = r.RevisionToken
	}
	forged := f.phone.Upload(likely, f.phone.Keys(1))
	forged.RevisionToken = "AAAA"
	alone := f.publish(t, forged).RevisionToken
	_, err := f.revise(t, confirmed, keys, alone)
	wantErr(t, err, exposure.ErrInvalidRevisionToken)
	if r, err := f.revise(t, confirmed, keys, token); err != nil || r.Revised != 3 {
		t.Errorf("all keys with the last token: %v, %v", r, explain(err))
	}
}

// Whatever rule keeps one key from changing keeps a new key beside it from being
// stored (§1.8).
func TestRefusalsStoreNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(3)
	likelyToken := f.publish(t, f.phone.Upload(likely, keys[:1])).RevisionToken
	confirmedToken := f.publish(t, f.phone.Upload(confirmed, keys[1:2])).RevisionToken
	if _, err := f.revise(t, confirmed, keys[:1], likelyToken); err != nil {
		t.Fatal(explain(err))
	}
	tests := []struct {
		name   string
		report certificate.ReportType
		known  exposure.UploadKey
		token  string
		want   error
	}{
		{"no token", confirmed, keys[0], "", exposure.ErrMissingRevisionToken},
		{"another's token", confirmed, keys[0], confirmedToken, exposure.ErrInvalidRevisionToken},
		{"already revised", userReport, keys[0], likelyToken, exposure.ErrAlreadyRevised},
		{"no such transition", likely, keys[1], confirmedToken, exposure.ErrTransition},
	}
	for _, test := range tests {
		_, err := f.revise(t, test.report, []exposure.UploadKey{keys[2], test.known}, test.token)
		wantErr(t, err, test.want)
		if n := f.count(t); n != 2 {
			t.Errorf("%s: %d keys are stored, want 2", test.name, n)
		}
	}
}

// The table of §3.3, each row against the database: an original type, a first report
// and a second one.
func TestTransitionsStored(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	reports := []certificate.ReportType{confirmed, likely, negative, userReport}
	for _, original := range []certificate.ReportType{confirmed, likely, userReport} {
		for _, first := range reports {
			for _, second := range reports {
				f.walk(t, original, first, second)
			}
		}
	}
}

func (f *fixture) walk(t *testing.T, original, first, second certificate.ReportType) {
	t.Helper()
	keys := f.phone.Keys(1)
	token := f.publish(t, f.phone.Upload(original, keys)).RevisionToken
	revised := certificate.ReportType("")
	for _, to := range []certificate.ReportType{first, second} {
		changed, refusal := expected(original, revised, to)
		name := fmt.Sprintf("%s, revised %q, to %s", original, revised, to)
		r, err := f.revise(t, to, keys, token)
		switch {
		case !errors.Is(err, refusal):
			t.Errorf("%s: %v, want %v", name, explain(err), refusal)
		case err == nil && (r.Revised != changed || r.Inserted != 0):
			t.Errorf("%s: %v, want %d revised", name, r, changed)
		}
		if changed == 1 {
			revised = to
		}
		if got := f.row(t, f.north, keys[0]); got.Type != string(original) || got.RevisedType != string(revised) {
			t.Errorf("%s: stored as %s, revised %q", name, got.Type, got.RevisedType)
		}
	}
}

// expected spells the conditions of §3.3 out in their order.
func expected(original, revised, to certificate.ReportType) (changed int, refusal error) {
	may := map[certificate.ReportType][]certificate.ReportType{
		userReport: {confirmed, likely, negative},
		likely:     {confirmed, negative},
	}
	switch {
	case to == original, to == revised:
		return 0, nil
	case revised != "":
		return 0, exposure.ErrAlreadyRevised
	case !slices.Contains(may[original], to):
		return 0, exposure.ErrTransition
	default:
		return 1, nil
	}
}
