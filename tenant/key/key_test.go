package key_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
)

func TestFirstKeys(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	ring := key.NewRing(w.Operator, w.Root)

	type name struct{ KeyID, Label string }
	want := map[signing.Purpose]name{
		signing.Certificate: {"north-c1", ""}, signing.SMS: {"north-s1", ""}, signing.Export: {"310", "v1"},
		signing.Token: {"1", ""}, signing.Revision: {"1", ""}, signing.CodeMAC: {"1", ""},
		signing.PhoneMAC: {"1", ""}, signing.Audit: {"north-a1", ""},
	}
	wantSize := map[signing.Purpose]int{signing.Token: 32, signing.Revision: 32, signing.CodeMAC: 128, signing.PhoneMAC: 128}
	got := map[signing.Purpose]name{}
	for _, p := range signing.Purposes() {
		if size, symmetric := wantSize[p]; symmetric {
			s := secrets(t, ring, north.ID, p)
			if len(s) != 1 || s[0].State != key.Active || len(s[0].Bytes) != size {
				t.Errorf("%s: %d keys, the first of %d bytes", p, len(s), len(s[0].Bytes))
			}
			got[p] = name{s[0].KeyID, ""}
			continue
		}
		s, err := ring.Signer(t.Context(), north.ID, p)
		if err != nil {
			t.Fatalf("Signer(%s): %v", p, err)
		}
		got[p] = name{s.KeyID, s.Label}
		public := publics(t, ring, north.ID, p)
		if len(public) != 1 || public[0].State != key.Active || public[0].KeyID != s.KeyID || public[0].Label != s.Label {
			t.Errorf("Public(%s) = %+v, want the signer's", p, public)
		}
		digest := sha256.Sum256([]byte("signed"))
		signature, err := s.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil || !ecdsa.VerifyASN1(public[0].Key, digest[:], signature) {
			t.Errorf("%s: the public key does not verify the signer's signature (%v)", p, err)
		}
		if parsed, err := signing.ParsePublicDER(public[0].DER); err != nil || !parsed.Equal(public[0].Key) {
			t.Errorf("%s: DER and Key differ (%v)", p, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestTenantsHaveDifferentKeys(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	ring := key.NewRing(w.Operator, w.Root)
	for _, p := range []signing.Purpose{signing.Token, signing.Revision, signing.CodeMAC, signing.PhoneMAC} {
		if bytes.Equal(secrets(t, ring, north.ID, p)[0].Bytes, secrets(t, ring, south.ID, p)[0].Bytes) {
			t.Errorf("both tenants have the same %s key", p)
		}
	}
	for _, p := range []signing.Purpose{signing.Certificate, signing.Export, signing.SMS} {
		if publics(t, ring, north.ID, p)[0].Key.Equal(publics(t, ring, south.ID, p)[0].Key) {
			t.Errorf("both tenants have the same %s key", p)
		}
	}
}

// Version 1 is replaced by version 2 in steps; readers never find a moment in which
// what another process sealed or signed cannot be opened or verified.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	addVersion(t, w, north, signing.Token, 2, "2")
	addVersion(t, w, north, signing.Certificate, 2, "north-c2")

	type view struct{ Signer, Secrets, Public string }
	steps := []struct {
		name     string
		one, two key.State
		want     view
	}{
		{"published", key.Active, key.Next, view{"north-c1", "1 active, 2 next", "north-c2 next, north-c1 active"}},
		{"activated", key.VerifyOnly, key.Active, view{"north-c2", "2 active, 1 verify-only", "north-c2 active, north-c1 verify-only"}},
		{"finished", key.Destroyed, key.Active, view{"north-c2", "2 active", "north-c2 active"}},
	}
	for _, step := range steps {
		// The old one steps back first: never are two active.
		setState(t, w, north, 1, step.one)
		setState(t, w, north, 2, step.two)
		ring := key.NewRing(w.Device, w.Root)
		signer, err := ring.Signer(t.Context(), north.ID, signing.Certificate)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		got := view{Signer: signer.KeyID}
		var list []string
		for _, s := range secrets(t, ring, north.ID, signing.Token) {
			list = append(list, s.KeyID+" "+string(s.State))
		}
		got.Secrets, list = strings.Join(list, ", "), nil
		for _, p := range publics(t, ring, north.ID, signing.Certificate) {
			list = append(list, p.KeyID+" "+string(p.State))
		}
		got.Public = strings.Join(list, ", ")
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestTwoActiveVersionsAreRefused(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	addVersion(t, w, north, signing.Token, 2, "2")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(t.Context(), `update signing_key set state = 'active' where purpose = 'token'`)
		return err
	})
	if !tenant.Violates(err, "signing_key_one_active") {
		t.Errorf("err = %v, want a violation of signing_key_one_active", err)
	}
}

func TestNoActiveKey(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	setState(t, w, north, 1, key.VerifyOnly)
	ring := key.NewRing(w.Operator, w.Root)
	if _, err := ring.Signer(t.Context(), north.ID, signing.Certificate); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("Signer: %v, want ErrNoKey", err)
	}
	if _, err := ring.Secrets(t.Context(), north.ID, signing.Token); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("Secrets: %v, want ErrNoKey", err)
	}
	if got := publics(t, ring, north.ID, signing.Certificate); len(got) != 1 || got[0].State != key.VerifyOnly {
		t.Errorf("Public = %+v, want the verify-only one", got)
	}
}

// Each process opens only the keys that its work needs (restrictive policies), and a
// tenant that does not exist has none.
func TestPurposesByRole(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	roles := map[string]struct {
		db   *tenant.DB
		want []signing.Purpose
	}{
		"device":   {w.Device, []signing.Purpose{signing.Certificate, signing.Token, signing.CodeMAC}},
		"issuer":   {w.Issuer, []signing.Purpose{signing.SMS, signing.CodeMAC, signing.PhoneMAC}},
		"report":   {w.Report, []signing.Purpose{signing.SMS, signing.CodeMAC, signing.PhoneMAC}},
		"publish":  {w.Publish, []signing.Purpose{signing.Certificate, signing.Revision}},
		"portal":   {w.Portal, []signing.Purpose{signing.SMS, signing.CodeMAC, signing.PhoneMAC}},
		"jobs":     {w.Jobs, []signing.Purpose{signing.Export, signing.Audit}},
		"operator": {w.Operator, signing.Purposes()},
	}
	for name, role := range roles {
		ring := key.NewRing(role.db, w.Root)
		var got []signing.Purpose
		for _, p := range signing.Purposes() {
			if usable(t, ring, north.ID, p) {
				got = append(got, p)
			}
			if usable(t, ring, tenant.NewID(), p) {
				t.Errorf("%s: a tenant that does not exist has a %s key", name, p)
			}
		}
		if diff := cmp.Diff(role.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A sealed key that is moved to another tenant, purpose or name does not open.
func TestMovedKeysDoNotOpen(t *testing.T) {
	t.Parallel()
	moves := map[string]string{
		"data key of another tenant": `update data_key set wrapped = (select wrapped from data_key where tenant_id = $2) where tenant_id = $1`,
		"key of another tenant":      `update signing_key set sealed = (select sealed from signing_key where tenant_id = $2 and purpose = 'token') where tenant_id = $1 and purpose = 'token'`,
		"key of another purpose":     `update signing_key set sealed = (select sealed from signing_key where tenant_id = $1 and purpose = 'revision') where tenant_id = $1 and purpose = 'token' and $2::uuid is not null`,
		"another key ID":             `update signing_key set key_id = '9' where tenant_id = $1 and purpose = 'token' and $2::uuid is not null`,
		"another label":              `update signing_key set label = 'v9' where tenant_id = $1 and purpose = 'token' and $2::uuid is not null`,
	}
	for name, move := range moves {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := tenanttest.New(t)
			north, south := w.Create("north"), w.Create("south")
			result, err := w.Database.Super().ExecContext(t.Context(), move, north.ID, south.ID)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := result.RowsAffected(); n != 1 || err != nil {
				t.Fatalf("%d rows moved (%v)", n, err)
			}
			_, err = key.NewRing(w.Device, w.Root).Secrets(t.Context(), north.ID, signing.Token)
			if !errors.Is(err, signing.ErrSealed) {
				t.Errorf("Secrets: %v, want ErrSealed", err)
			}
		})
	}
}

func TestAnotherRootOpensNothing(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	other, err := signing.CreateRootFile(filepath.Join(t.TempDir(), "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	ring := key.NewRing(w.Device, signing.Custody{Root: other})
	if _, err := ring.Signer(t.Context(), north.ID, signing.Certificate); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("Signer: %v, want ErrSealed", err)
	}
	if got := publics(t, ring, north.ID, signing.Certificate); len(got) != 1 {
		t.Errorf("Public lists %d keys: public halves need no root key", len(got))
	}
}

// Without its data key nothing of a tenant opens.
func TestDestroyedDataKey(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	if _, err := w.Database.Super().ExecContext(t.Context(), `update data_key set wrapped = '' where tenant_id = $1`, north.ID); err != nil {
		t.Fatal(err)
	}
	ring := key.NewRing(w.Operator, w.Root)
	for _, p := range []signing.Purpose{signing.Token, signing.Revision, signing.CodeMAC, signing.PhoneMAC} {
		if s, err := ring.Secrets(t.Context(), north.ID, p); err == nil || s != nil {
			t.Errorf("%s key opens without the data key", p)
		}
		secrets(t, ring, south.ID, p)
	}
}

// Keys in memory cost no round trip; a miss costs one transaction.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	ring := key.NewRing(w.Device, w.Root)
	ask := func() {
		if _, err := ring.Signer(t.Context(), north.ID, signing.Certificate); err != nil {
			t.Error(err)
		}
		publics(t, ring, north.ID, signing.Certificate)
	}
	const signer, public = 4, 3 // begin, one statement or two, commit
	if got := w.Trips(ask); got != signer+public {
		t.Errorf("first use: %d round trips, want %d", got, signer+public)
	}
	if got := w.Trips(ask); got != 0 {
		t.Errorf("second use: %d round trips, want none", got)
	}
}

// A caller who sorts or cuts what it was given changes nobody else's.
func TestAnswersAreTheCallers(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	ring := key.NewRing(w.Device, w.Root)
	secrets(t, ring, north.ID, signing.Token)[0] = key.Secret{}
	publics(t, ring, north.ID, signing.Certificate)[0] = key.Public{}
	if got := secrets(t, ring, north.ID, signing.Token); got[0].KeyID != "1" {
		t.Error("one caller's change of Secrets reached another")
	}
	if got := publics(t, ring, north.ID, signing.Certificate); got[0].KeyID != "north-c1" {
		t.Error("one caller's change of Public reached another")
	}
}

func TestKeysHideThemselves(t *testing.T) {
	t.Parallel()
	secret := key.Secret{KeyID: "1", State: key.Active, Bytes: []byte("canary-canary-canary")}
	signer := key.Signer{KeyID: "1"}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("keys", "secret", secret, "signer", signer)
	}
	text := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		text += fmt.Sprintf(verb, secret) + fmt.Sprintf(verb, signer) + fmt.Sprintf(verb, []key.Secret{secret})
	}
	for _, form := range []string{
		string(secret.Bytes), hex.EncodeToString(secret.Bytes),
		base64.StdEncoding.EncodeToString(secret.Bytes)[:8], "99 97 110",
	} {
		if strings.Contains(text, form) {
			t.Errorf("a secret shows itself as %q", form)
		}
	}
}

// A tenant gets a whole set of keys once.
func TestProvisionTwice(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		return key.Provision(t.Context(), tx, north.ID, north.Slug, w.Root, "310")
	})
	if !tenant.Violates(err, "data_key_pkey") {
		t.Errorf("err = %v, want a violation of data_key_pkey", err)
	}
}

// Nobody but the operator makes keys.
func TestProvisionNeedsTheOperator(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for name, db := range map[string]*tenant.DB{
		"device": w.Device, "issuer": w.Issuer, "publish": w.Publish, "portal": w.Portal, "jobs": w.Jobs,
	} {
		id := tenant.NewID()
		err := db.In(t.Context(), id, func(tx *tenant.Tx) error {
			return key.Provision(t.Context(), tx, id, "north", w.Root, "310")
		})
		if !tenanttest.Denied(err) {
			t.Errorf("%s: %v, want permission denied", name, err)
		}
	}
}

func secrets(t *testing.T, r *key.Ring, id tenant.ID, p signing.Purpose) []key.Secret {
	t.Helper()
	s, err := r.Secrets(t.Context(), id, p)
	if err != nil {
		t.Fatalf("Secrets(%s): %v", p, err)
	}
	return s
}

func publics(t *testing.T, r *key.Ring, id tenant.ID, p signing.Purpose) []key.Public {
	t.Helper()
	list, err := r.Public(t.Context(), id, p)
	if err != nil {
		t.Fatalf("Public(%s): %v", p, err)
	}
	return list
}

// usable reports whether the ring gives any key for the purpose; [key.ErrNoKey] is
// the only refusal.
func usable(t *testing.T, r *key.Ring, id tenant.ID, p signing.Purpose) bool {
	t.Helper()
	_, errSigner := r.Signer(t.Context(), id, p)
	_, errSecrets := r.Secrets(t.Context(), id, p)
	for _, err := range []error{errSigner, errSecrets} {
		if err != nil && !errors.Is(err, key.ErrNoKey) {
			t.Fatalf("%s: %v", p, err)
		}
	}
	public := len(publics(t, r, id, p)) > 0
	if public && errSigner != nil {
		t.Errorf("%s: public keys without a signer", p)
	}
	return errSigner == nil || errSecrets == nil || public
}

// addVersion makes one more version of a tenant's key, in state next.
func addVersion(t *testing.T, w *tenanttest.World, of *tenant.Tenant, p signing.Purpose, version int, keyID string) {
	t.Helper()
	err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return insertVersion(t.Context(), tx, w.Root, of, p, version, keyID)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func insertVersion(ctx context.Context, tx *tenant.Tx, root signing.Root, of *tenant.Tenant, p signing.Purpose, version int, keyID string) error {
	var wrapped []byte
	if err := tx.Get(ctx, &wrapped, `select wrapped from data_key`); err != nil {
		return err
	}
	dk, err := signing.OpenDataKey(ctx, root, of.ID.String(), wrapped)
	if err != nil {
		return err
	}
	b := signing.Binding{Tenant: of.ID.String(), Purpose: p, KeyID: keyID + "/"}
	var sealed, public []byte
	if p == signing.Token {
		sealed, err = signing.NewSecret(dk, b, 32)
	} else {
		sealed, public, err = signing.NewP256(dk, b)
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
insert into signing_key (tenant_id, purpose, version, key_id, state, sealed, public_der)
values (current_tenant(), $1, $2, $3, 'next', $4, $5)`, string(p), version, keyID, sealed, public)
	return err
}

// setState sets the state of one version of every purpose.
func setState(t *testing.T, w *tenanttest.World, of *tenant.Tenant, version int, s key.State) {
	t.Helper()
	err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(t.Context(), `
update signing_key
   set state = $2, sealed = case when $2 = 'destroyed' then null else sealed end,
       destroyed_at = case when $2 = 'destroyed' then now() end
 where version = $1`, version, string(s))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A tenant that was made before a purpose existed gets that purpose's key, and keeps
// the others.
func TestComplete(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	ring := key.NewRing(w.Operator, w.Root)
	before := secrets(t, ring, north.ID, signing.CodeMAC)[0].Bytes
	const forget = `delete from signing_key where tenant_id = $1 and purpose = 'phone-mac'`
	if _, err := w.Database.Super().ExecContext(t.Context(), forget, north.ID); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]signing.Purpose{{signing.PhoneMAC}, nil} {
		err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			made, err := key.Complete(t.Context(), tx, north.ID, north.Slug, w.Root)
			if diff := cmp.Diff(want, made); diff != "" {
				t.Errorf("made (-want +got):\n%s", diff)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ring = key.NewRing(w.Report, w.Root)
	if got := secrets(t, ring, north.ID, signing.PhoneMAC); len(got) != 1 || len(got[0].Bytes) != 128 {
		t.Errorf("%d keys", len(got))
	}
	if after := secrets(t, ring, north.ID, signing.CodeMAC)[0].Bytes; !bytes.Equal(before, after) {
		t.Error("another key was replaced")
	}
}

// What one tenant's data key sealed, another's does not open; who is no tenant has none.
func TestDataKey(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	ring := key.NewRing(w.Issuer, w.Root)
	dk, err := ring.DataKey(t.Context(), north.ID)
	if err != nil {
		t.Fatal(err)
	}
	b := signing.Binding{Tenant: north.ID.String(), Purpose: "test", KeyID: "row"}
	sealed, err := dk.Seal(b, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := dk.Open(b, sealed); err != nil || string(plain) != "secret" {
		t.Errorf("opens to %q, %v", plain, err)
	}
	other, err := ring.DataKey(t.Context(), south.ID)
	if err != nil {
		t.Fatal(err)
	}
	b.Tenant = south.ID.String()
	if _, err := other.Open(b, sealed); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("another tenant's key opens it: %v", err)
	}
	if _, err := ring.DataKey(t.Context(), tenant.NewID()); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("nobody's data key: %v", err)
	}
}
