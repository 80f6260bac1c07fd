package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/tenanttest"
)

var (
	administrator = authz.Subject{Kind: authz.Person, ID: "77aa", Name: "Robin", Roles: []authz.Role{authz.Administrator}}
	caseworker    = authz.Subject{Kind: authz.Person, ID: "00bb", Name: "Sam", Roles: []authz.Role{authz.Caseworker}}

	anywhere = netip.MustParseAddr("203.0.113.9")
)

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	known := client.NewAuthenticator(w.Device, nil, w.Now)
	for kind, role := range map[client.Kind]authz.Role{
		client.Device: authz.KeyDevice, client.Admin: authz.KeyAdmin, client.Stats: authz.KeyStats, client.SCIM: authz.KeySCIM,
	} {
		text, id := create(t, w, north, kind, "of kind "+string(kind))
		want := authz.Subject{Kind: authz.APIKey, ID: id.String(), Name: "of kind " + string(kind), Roles: []authz.Role{role}}
		for _, presented := range []string{text, " \t" + text + "\r\n"} {
			got, err := known.Authenticate(t.Context(), north, kind, presented, anywhere)
			if err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			if !cmp.Equal(want, got) {
				t.Errorf("%s: subject %v named %q", kind, got, got.Name)
			}
		}
	}
}

// Whatever is wrong with a key, the answer is the same.
func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	device, id := create(t, w, north, client.Device, "phones")
	admin, _ := create(t, w, north, client.Admin, "back end")
	disabled, disabledID := create(t, w, north, client.Device, "old phones")
	revoke(t, w, north, disabledID)

	for name, db := range map[string]*tenant.DB{"device": w.Device, "issuer": w.Issuer} {
		known := client.NewAuthenticator(db, nil, w.Now)
		for what, c := range map[string]struct {
			at   *tenant.Tenant
			kind client.Kind
			text string
		}{
			"no key":               {north, client.Device, ""},
			"blanks":               {north, client.Device, strings.Repeat(" ", len(device))},
			"cut short":            {north, client.Device, device[:len(device)-1]},
			"too long":             {north, client.Device, device + "A"},
			"another last letter":  {north, client.Device, device[:len(device)-1] + "!"},
			"its ID":               {north, client.Device, id.String()},
			"its preview":          {north, client.Device, device[:6]},
			"an admin key":         {north, client.Device, admin},
			"for another work":     {north, client.Admin, device},
			"for statistics":       {north, client.Stats, device},
			"for an unknown kind":  {north, "root", device},
			"another tenant's":     {south, client.Device, device},
			"a disabled one":       {north, client.Device, disabled},
			"of no tenant at all":  {&tenant.Tenant{ID: tenant.NewID()}, client.Device, device},
			"of the zero tenant":   {&tenant.Tenant{}, client.Device, device},
			"with a zero byte":     {north, client.Device, device[:40] + "\x00" + device[41:]},
			"not in UTF-8":         {north, client.Device, device[:40] + "\xff" + device[41:]},
			"without beginning":    {north, client.Device, strings.TrimPrefix(device, "carillon_device_")},
			"with another one":     {north, client.Device, strings.Replace(device, "device", "admin", 1)},
			"an older key's form":  {north, client.Device, strings.Repeat("A", 86)},
			"an endless one":       {north, client.Device, device + strings.Repeat("A", 1<<20)},
			"two keys at once":     {north, client.Device, device + "," + device},
			"in another case":      {north, client.Device, swapCase(device)},
			"with a blank between": {north, client.Device, device[:40] + " " + device[41:]},
		} {
			subject, err := known.Authenticate(t.Context(), c.at, c.kind, c.text, anywhere)
			if err != client.ErrUnknownKey { //nolint:errorlint // the very same answer, bare
				t.Errorf("%s, %s: %v", name, what, err)
			}
			if !cmp.Equal(authz.Subject{}, subject) {
				t.Errorf("%s, %s: subject %v", name, what, subject)
			}
		}
	}
}

// Nothing that is stored would be accepted as a key.
func TestOnlyADigestIsStored(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	text, id := create(t, w, north, client.Device, "phones")
	var row, preview string
	var digest []byte
	err := w.Database.Super().QueryRowContext(t.Context(),
		`select k::text, preview, digest from api_key k where api_key_id = $1`, id).Scan(&row, &preview, &digest)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimPrefix(text, "carillon_device_")
	if strings.Contains(row, secret[:7]) {
		t.Error("the row holds more of the key than its preview")
	}
	if want := sha256.Sum256([]byte(text)); !bytes.Equal(digest, want[:]) {
		t.Error("the digest is not that of the text")
	}
	if preview != secret[:6] {
		t.Errorf("preview = %q", preview)
	}
	if other, _ := create(t, w, north, client.Device, "more phones"); other == text {
		t.Error("two keys are alike")
	}
}

// The form of keys is a promise to those who look for secrets in published files, and
// to command lines, which take a hyphen in front for a flag.
func TestForm(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	for _, kind := range client.Kinds() {
		form := regexp.MustCompile(`^carillon_` + string(kind) + `_[A-Z2-7]{52}$`)
		if text, _ := create(t, w, north, kind, "of kind "+string(kind)); !form.MatchString(text) {
			t.Errorf("a key of kind %s has another form", kind)
		}
	}
}

// Keys of the older form go on working, also those that begin with a hyphen.
func TestOlderKeys(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	text := "-" + strings.Repeat("_aZ09", 17)
	digest := sha256.Sum256([]byte(text))
	const old = `
insert into api_key (tenant_id, api_key_id, kind, name, digest, preview)
values ($1, $2, 'device', 'an old one', $3, '-_aZ09')`
	if _, err := w.Database.Super().ExecContext(t.Context(), old, north.ID, uuid.New(), digest[:]); err != nil {
		t.Fatal(err)
	}
	mustKnow(t, client.NewAuthenticator(w.Device, nil, w.Now), north, text)
	if id, err := client.NewAuthenticator(w.Report, nil, w.Now).Owner(t.Context(), text); err != nil || id != north.ID {
		t.Errorf("its owner: %v, %v", id, err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	_, id := create(t, w, north, client.Device, "phones")
	create(t, w, south, client.Device, "phones")
	revoke(t, w, north, id)
	for _, kind := range []client.Kind{client.Device, client.Admin} {
		if text, err := tryCreate(t.Context(), w.Portal, north, kind, "phones"); !errors.Is(err, client.ErrNameTaken) || text != "" {
			t.Errorf("%s: %v, want ErrNameTaken, also for a disabled key's name", kind, err)
		}
	}
	for name, c := range map[string]struct {
		kind       client.Kind
		name       string
		constraint string
	}{
		"no name":      {client.Device, "", "api_key_name_length"},
		"long name":    {client.Device, strings.Repeat("é", 101), "api_key_name_length"},
		"unknown kind": {"root", "root", "api_key_kind_known"},
	} {
		if _, err := tryCreate(t.Context(), w.Portal, north, c.kind, c.name); !tenant.Violates(err, c.constraint) {
			t.Errorf("%s: %v, want a violation of %s", name, err, c.constraint)
		}
	}
	create(t, w, north, client.Device, strings.Repeat("é", 100))
}

// A process that has seen a key accepts it for a while, and not for ever.
func TestRevokedKeysAreForgotten(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	text, id := create(t, w, north, client.Device, "phones")
	known := client.NewAuthenticator(w.Device, nil, w.Now)
	mustKnow(t, known, north, text)
	revoke(t, w, north, id)
	until(t, "the key is forgotten", func() bool {
		_, err := known.Authenticate(t.Context(), north, client.Device, text, anywhere)
		return errors.Is(err, client.ErrUnknownKey)
	})
}

// until asks again and again until the condition holds, or the test's time is over.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// Known keys cost nothing, unknown ones a transaction each, malformed ones nothing.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	text := w.Key(north, client.Device)
	known := client.NewAuthenticator(w.Device, nil, w.Now)
	ask := func(text string) func() {
		return func() { _, _ = known.Authenticate(t.Context(), north, client.Device, text, anywhere) }
	}
	unknown := text[:16] + strings.Repeat("A", len(text)-16)
	const transaction = 3 // begin, one statement, commit
	for i, c := range []struct {
		text string
		want int
	}{{text, transaction}, {text, 0}, {unknown, transaction}, {unknown, transaction}, {"short", 0}, {"", 0}} {
		if got := w.Trips(ask(c.text)); got != c.want {
			t.Errorf("step %d: %d round trips, want %d", i, got, c.want)
		}
	}
}

// Many want the same name, one gets it.
func TestNameRace(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	var made atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			_, err := tryCreate(t.Context(), w.Portal, north, client.Device, "phones")
			if err == nil {
				made.Add(1)
			} else if !errors.Is(err, client.ErrNameTaken) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("%d keys of one name", n)
	}
}

// An error on the way to the database is not an answer about the key, and tells
// nothing of it.
func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	text := w.Key(north, client.Device)
	db := w.Open("carillon_device")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := client.NewAuthenticator(db, nil, w.Now).Authenticate(t.Context(), north, client.Device, text, anywhere)
	if err == nil || errors.Is(err, client.ErrUnknownKey) {
		t.Errorf("Authenticate: %v, want an error of the database", err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v", err, err), text[16:22]) {
		t.Error("the error shows the key")
	}
}

func create(t *testing.T, w *tenanttest.World, of *tenant.Tenant, kind client.Kind, name string) (text string, id uuid.UUID) {
	t.Helper()
	err := w.Portal.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
		text, id, err = client.Create(t.Context(), tx, kind, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text, id
}

func tryCreate(ctx context.Context, db *tenant.DB, of *tenant.Tenant, kind client.Kind, name string) (text string, err error) {
	err = db.In(ctx, of.ID, func(tx *tenant.Tx) (err error) {
		text, _, err = client.Create(ctx, tx, kind, name)
		return err
	})
	return text, err
}

func revoke(t *testing.T, w *tenanttest.World, of *tenant.Tenant, id uuid.UUID) {
	t.Helper()
	if _, err := staff(w).Revoke(t.Context(), of, administrator, id); err != nil {
		t.Fatal(err)
	}
}

func staff(w *tenanttest.World) *client.Staff {
	return client.NewStaff(w.Portal, authz.NewPolicies(nil), w.Now)
}

func mustKnow(t *testing.T, known *client.Authenticator, at *tenant.Tenant, text string) {
	t.Helper()
	if _, err := known.Authenticate(t.Context(), at, client.Device, text, anywhere); err != nil {
		t.Errorf("the key is not known: %v", err)
	}
}

func swapCase(s string) string {
	if upper := strings.ToUpper(s); upper != s {
		return upper
	}
	return strings.ToLower(s)
}

// A device key tells whose it is, to the report role alone; nothing else does.
func TestOwner(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	a := client.NewAuthenticator(w.Report, nil, w.Now)
	keys := map[*tenant.Tenant]string{north: w.Key(north, client.Device), south: w.Key(south, client.Device)}
	for of, key := range keys {
		if id, err := a.Owner(t.Context(), " "+key+"\n"); err != nil || id != of.ID {
			t.Errorf("%s: %v, %v", of.Slug, id, err)
		}
		if _, err := client.NewAuthenticator(w.Device, nil, w.Now).Owner(t.Context(), key); !errors.Is(err, client.ErrUnknownKey) {
			t.Errorf("another role finds a key's owner: %v", err)
		}
	}
	const disable = `update api_key set disabled_at = now() where tenant_id = $1 and kind = 'device'`
	if _, err := w.Database.Super().ExecContext(t.Context(), disable, south.ID); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{
		"none": "", "malformed": "x", "unknown": "carillon_device_" + strings.Repeat("A", 52),
		"a back end's": w.Key(north, client.Admin), "disabled": keys[south],
	} {
		if _, err := a.Owner(t.Context(), key); !errors.Is(err, client.ErrUnknownKey) {
			t.Errorf("%s: %v, want ErrUnknownKey", name, err)
		}
	}
	digest := sha256.Sum256([]byte(keys[north]))
	err := w.Report.ForKey(t.Context(), digest, func(tx *tenant.Tx) error {
		var n int
		if err := tx.Get(t.Context(), &n, `select count(*) from api_key`); err != nil || n != 1 {
			t.Errorf("a key shows %d keys (%v), want itself", n, err)
		}
		if err := tx.Get(t.Context(), &n, `select count(*) from user_report`); err != nil || n != 0 {
			t.Errorf("a key shows %d reports (%v)", n, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
