package issuer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/authz"
	"carillon/signing/jws"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/issuer"
	"carillon/tenant/outbound"
	"carillon/tenant/tenanttest"
)

const (
	outside  = "outside.example"
	audience = "keys.example"
)

var person = authz.Subject{Kind: authz.Person, ID: "id", Name: "Robin"}

// keySet is an outside server's, which a test changes.
type keySet struct {
	URL string

	mu     sync.Mutex
	answer http.HandlerFunc // guarded by mu
}

func newKeySet(t *testing.T) *keySet {
	t.Helper()
	k := &keySet{answer: http.NotFound}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		answer := k.answer
		k.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	k.URL = s.URL
	return k
}

func (k *keySet) answers(h http.HandlerFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answer = h
}

func body(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// lists makes the set answer with keys, as "name=key" pairs.
func (k *keySet) lists(t *testing.T, keys ...jws.PublicKey) {
	t.Helper()
	k.answers(body(setOf(t, keys...)))
}

func setOf(t *testing.T, keys ...jws.PublicKey) string {
	t.Helper()
	list := make([]jws.JWK, len(keys))
	for i, key := range keys {
		var err error
		if list[i], err = jws.NewJWK(key.KeyID, key.Key); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func newKey(t *testing.T, kid string) jws.PublicKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jws.PublicKey{KeyID: kid, Key: &private.PublicKey}
}

type fixture struct {
	world        *tenanttest.World
	north, south *tenant.Tenant
	set          *keySet
	refresher    *issuer.Refresher
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{world: w, north: w.Create("north"), south: w.Create("south"), set: newKeySet(t)}
	f.refresher = f.newRefresher(outbound.New(true))
	return f
}

func (f *fixture) newRefresher(n *outbound.Network) *issuer.Refresher {
	return issuer.NewRefresher(issuer.Config{
		DB: f.world.Jobs, Fetcher: outbound.NewFetcher(n),
		Log: slog.New(slog.DiscardHandler), Now: f.world.Now,
	})
}

func (f *fixture) accept(t *testing.T, of *tenant.Tenant, s issuer.Spec) error {
	t.Helper()
	return f.world.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return issuer.Accept(t.Context(), tx, of, person, s, f.world.Now())
	})
}

func (f *fixture) mustAccept(t *testing.T, of *tenant.Tenant, s issuer.Spec) {
	t.Helper()
	if err := f.accept(t, of, s); err != nil {
		t.Fatalf("accept: %v", err)
	}
}

func (f *fixture) acceptSet(t *testing.T) {
	t.Helper()
	f.mustAccept(t, f.north, issuer.Spec{Issuer: outside, Audience: audience, JWKS: f.set.URL})
}

// refresh fetches the set two minutes later; an error is why nothing changed.
func (f *fixture) refresh(t *testing.T) error {
	t.Helper()
	f.world.Advance(2 * time.Minute)
	return f.refresher.Refresh(t.Context(), f.north.ID, outside)
}

func (f *fixture) entry(t *testing.T, of *tenant.Tenant) issuer.Entry {
	t.Helper()
	var list []issuer.Entry
	err := f.world.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
		list, err = issuer.List(t.Context(), tx)
		return err
	})
	if err != nil || len(list) != 1 {
		t.Fatalf("%d servers are listed, %v", len(list), err)
	}
	return list[0]
}

// wantTrusted checks what publishing would use: these keys, under these names, and none
// of the others.
func (f *fixture) wantTrusted(t *testing.T, of *tenant.Tenant, keys ...jws.PublicKey) {
	t.Helper()
	a, err := issuer.NewBook(f.world.Publish).Find(t.Context(), of.ID, outside)
	if err != nil {
		t.Fatalf("find: %v", err)
	}
	if a.Audience != audience {
		t.Errorf("audience %q", a.Audience)
	}
	var trusted []string
	for _, k := range f.entry(t, of).Keys {
		if k.RevokedAt == nil {
			trusted = append(trusted, k.KeyID)
		} else if a.Key(k.KeyID) != nil && !slices.ContainsFunc(keys, func(w jws.PublicKey) bool { return w.KeyID == k.KeyID }) {
			t.Errorf("%s is revoked, and used", k.KeyID)
		}
	}
	if len(trusted) != len(keys) {
		t.Errorf("trusted are %q, want %d keys", trusted, len(keys))
	}
	for _, k := range keys {
		if got := a.Key(k.KeyID); got == nil || !got.Equal(k.Key) {
			t.Errorf("%s: not the key that was listed (%v)", k.KeyID, got != nil)
		}
	}
}

// actions are the tenant's audit entries of servers, oldest first.
func (f *fixture) actions(t *testing.T) (list []string) {
	t.Helper()
	err := f.world.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		entries, err := audit.List(t.Context(), tx, 100)
		for _, e := range slices.Backward(entries) {
			if strings.HasPrefix(e.Action, "verification-server:") {
				list = append(list, strings.TrimPrefix(e.Action, "verification-server:")+" "+e.ActorName+" "+e.Target+" "+string(e.Detail))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A key that appears is trusted, one that disappears is revoked for good (§2.7).
func TestRotation(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a, b, c := newKey(t, "v1"), newKey(t, "v2"), newKey(t, "v3")
	a2 := jws.PublicKey{KeyID: "other", Key: a.Key}
	swapped := []jws.PublicKey{{KeyID: "v2", Key: a.Key}, {KeyID: "v1", Key: b.Key}}
	f.acceptSet(t)
	f.wantTrusted(t, f.north)
	for _, step := range []struct {
		name         string
		lists, trust []jws.PublicKey
	}{
		{"first", []jws.PublicKey{a}, []jws.PublicKey{a}},
		{"overlap", []jws.PublicKey{b, a}, []jws.PublicKey{a, b}},
		{"names swapped", swapped, swapped},
		{"another name", []jws.PublicKey{a2, b}, []jws.PublicKey{a2, b}},
		{"old one gone", []jws.PublicKey{b}, []jws.PublicKey{b}},
		{"old one back", []jws.PublicKey{a, b}, []jws.PublicKey{b}},
		{"its name for another key", []jws.PublicKey{{KeyID: "other", Key: c.Key}, b}, []jws.PublicKey{{KeyID: "other", Key: c.Key}, b}},
		{"all new", []jws.PublicKey{newKey(t, "v9")}, nil},
	} {
		f.set.lists(t, step.lists...)
		if err := f.refresh(t); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if step.trust == nil {
			step.trust = step.lists
		}
		t.Log(step.name)
		f.wantTrusted(t, f.north, step.trust...)
	}
	if got := f.actions(t); len(got) != 6 || !strings.Contains(got[1], `keys Carillon outside.example {"added": "v1"}`) || !strings.Contains(got[3], `"revoked": "other"`) {
		t.Errorf("audit entries:\n%s", strings.Join(got, "\n"))
	}
}

// What was revoked is trusted again neither soon, even if nothing else is listed, nor
// ever while it is remembered, which is for 30 days.
func TestRevokedKeysStayRevoked(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	old, current := newKey(t, "v1"), newKey(t, "v2")
	f.acceptSet(t)
	for _, keys := range [][]jws.PublicKey{{old}, {current}} {
		f.set.lists(t, keys...)
		if err := f.refresh(t); err != nil {
			t.Fatal(err)
		}
	}
	f.set.lists(t, old)
	for range 2 {
		if err := f.refresh(t); !errors.Is(err, issuer.ErrSpec) {
			t.Errorf("a list of revoked keys alone: %v", err)
		}
		f.wantTrusted(t, f.north, current)
	}
	f.world.Advance(30 * 24 * time.Hour)
	if err := f.refresh(t); err != nil {
		t.Errorf("a list of a forgotten key: %v", err)
	}
	f.wantTrusted(t, f.north, old)
}

// An answer that cannot be used changes nothing, and is seen until the next good one.
func TestBadAnswersChangeNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a, b := newKey(t, "v1"), newKey(t, "v2")
	f.acceptSet(t)
	f.set.lists(t, a)
	if err := f.refresh(t); err != nil {
		t.Fatal(err)
	}
	good := f.entry(t, f.north).RefreshedAt
	curve := strings.Replace(setOf(t, b), "P-256", "P-384", 1)
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		failure string
	}{
		"empty array":     {body("[]"), "lists no P-256 key"},
		"empty set":       {body(`{"keys":[]}`), "lists no P-256 key"},
		"nothing":         {body(""), "no list of keys"},
		"a page":          {body("<html><title>Sorry</title></html>"), "no list of keys"},
		"another curve":   {body(curve), "lists no P-256 key"},
		"same name twice": {body(setOf(t, b, newKey(t, "v2"))), "twice"},
		"a private part":  {body(strings.Replace(setOf(t, b), `"kid"`, `"d":"AA","kid"`, 1)), "private part"},
		"huge":            {body(setOf(t, b) + strings.Repeat(" ", 1<<20)), "more than 65536 bytes"},
		"error":           {http.NotFound, "status 404"},
		"unavailable":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "status 503"},
		"redirect":        {http.RedirectHandler("http://169.254.169.254/", http.StatusFound).ServeHTTP, "not followed"},
		"breaks off":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "does not answer"},
	} {
		f.set.answers(test.answer)
		if err := f.refresh(t); err == nil {
			t.Errorf("%s: taken", name)
		}
		f.wantTrusted(t, f.north, a)
		e := f.entry(t, f.north)
		if !strings.Contains(e.Failure, test.failure) || e.FailedAt == nil || !e.FailedAt.Equal(f.world.Now()) || !e.RefreshedAt.Equal(*good) {
			t.Errorf("%s: shown as %q at %v, good at %v", name, e.Failure, e.FailedAt, e.RefreshedAt)
		}
	}
	f.set.lists(t, a, b)
	if err := f.refresh(t); err != nil {
		t.Fatal(err)
	}
	f.wantTrusted(t, f.north, a, b)
	if e := f.entry(t, f.north); e.Failure != "" || e.FailedAt != nil || !e.RefreshedAt.Equal(f.world.Now()) {
		t.Errorf("after a good answer: %+v", e)
	}
}

// An answer that arrives after a newer one, or after a change by hand, changes nothing.
func TestLateAnswersChangeNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a, b := newKey(t, "v1"), newKey(t, "v2")
	for name, meanwhile := range map[string]func(){
		"a newer answer": func() {
			f.set.lists(t, b)
			if err := f.refresh(t); err != nil {
				t.Error(err)
			}
		},
		"a change by hand": func() {
			f.mustAccept(t, f.north, issuer.Spec{Issuer: outside, Audience: audience, Keys: []jws.PublicKey{b}})
		},
	} {
		f.acceptSet(t)
		asked, release := make(chan struct{}), make(chan struct{})
		f.set.answers(func(w http.ResponseWriter, _ *http.Request) {
			close(asked)
			<-release
			_, _ = w.Write([]byte(setOf(t, a)))
		})
		done := make(chan error, 1)
		go func() { done <- f.refresher.Refresh(t.Context(), f.north.ID, outside) }()
		<-asked
		meanwhile()
		close(release)
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		f.wantTrusted(t, f.north, b)
		err := f.world.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
			return issuer.Remove(t.Context(), tx, person, outside, f.world.Now())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A server that lists other keys each time does not fill the database.
func TestKeysOfAServerAreBounded(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.acceptSet(t)
	for turn := range 11 {
		keys := make([]jws.PublicKey, jws.MaxSetKeys)
		for i := range keys {
			keys[i] = newKey(t, fmt.Sprintf("%d.%d", turn, i))
		}
		f.set.lists(t, keys...)
		if err := f.refresh(t); (err != nil) != (turn == 10) {
			t.Errorf("set %d: %v", turn+1, err)
		}
	}
	if n := len(f.entry(t, f.north).Keys); n != 200 {
		t.Errorf("%d keys are stored", n)
	}
}

// A server that fails keeps no other from its keys, be it of the same tenant or of
// another, and is none of the job's failures. Addresses of this machine are reached
// only where that is allowed.
func TestTurn(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a := newKey(t, "v1")
	f.set.lists(t, a)
	f.acceptSet(t)
	f.mustAccept(t, f.north, issuer.Spec{Issuer: "broken.example", Audience: audience, JWKS: "https://192.0.2.1:22/"})
	f.mustAccept(t, f.south, issuer.Spec{Issuer: outside, Audience: audience, JWKS: f.set.URL})
	turn := func(r *issuer.Refresher, of *tenant.Tenant) {
		t.Helper()
		if err := r.Turn(t.Context(), of.ID); err != nil {
			t.Error(err)
		}
	}
	turn(f.refresher, f.south)
	f.wantTrusted(t, f.south, a)
	turn(f.newRefresher(outbound.New(false, 443)), f.south)
	if e := f.entry(t, f.south); !strings.Contains(e.Failure, "address cannot be used") {
		t.Errorf("shown as %q", e.Failure)
	}
	f.wantTrusted(t, f.south, a)
	turn(f.refresher, f.north)
	if found, err := issuer.NewBook(f.world.Publish).Find(t.Context(), f.north.ID, outside); err != nil || found.Key("v1") == nil {
		t.Errorf("beside a broken one: %v", err)
	}
	if err := f.refresher.Refresh(t.Context(), f.south.ID, "broken.example"); !errors.Is(err, issuer.ErrUnknown) {
		t.Errorf("another tenant's server: %v", err)
	}
}

// Pinned keys are those that were given last; a key set takes their place only when it
// is fetched.
func TestPinnedKeys(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a, b, c := newKey(t, "v1"), newKey(t, "v2"), newKey(t, "v3")
	pin := func(keys ...jws.PublicKey) issuer.Spec {
		return issuer.Spec{Issuer: outside, Audience: audience, Keys: keys}
	}
	f.mustAccept(t, f.north, pin(a, b))
	f.wantTrusted(t, f.north, a, b)
	f.mustAccept(t, f.north, pin(b))
	f.wantTrusted(t, f.north, b)
	if err := f.accept(t, f.north, pin(a)); !errors.Is(err, issuer.ErrSpec) {
		t.Errorf("a revoked key alone: %v", err)
	}
	if err := f.refresh(t); !errors.Is(err, issuer.ErrUnknown) {
		t.Errorf("nothing to fetch: %v", err)
	}
	f.acceptSet(t)
	f.wantTrusted(t, f.north, b)
	f.set.lists(t, c)
	if err := f.refresh(t); err != nil {
		t.Fatal(err)
	}
	f.wantTrusted(t, f.north, c)
	if _, err := issuer.NewBook(f.world.Publish).Find(t.Context(), f.south.ID, outside); !errors.Is(err, issuer.ErrUnknown) {
		t.Errorf("another tenant accepts it, too: %v", err)
	}
	if got := f.actions(t); len(got) != 4 || !strings.Contains(got[0], `accept Robin outside.example {"added": "v1 v2", "audience": "keys.example"}`) {
		t.Errorf("audit entries:\n%s", strings.Join(got, "\n"))
	}
}

func TestAcceptRefuses(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a, b := newKey(t, "v1"), newKey(t, "v2")
	good := issuer.Spec{Issuer: outside, Audience: audience, Keys: []jws.PublicKey{a}}
	for name, change := range map[string]func(*issuer.Spec){
		"no issuer":       func(s *issuer.Spec) { s.Issuer = "" },
		"long issuer":     func(s *issuer.Spec) { s.Issuer = strings.Repeat("i", 501) },
		"line in issuer":  func(s *issuer.Spec) { s.Issuer = "a\nb" },
		"own issuer":      func(s *issuer.Spec) { s.Issuer = f.north.Settings.Issuer },
		"no audience":     func(s *issuer.Spec) { s.Audience = "" },
		"no keys":         func(s *issuer.Spec) { s.Keys = nil },
		"keys and a set":  func(s *issuer.Spec) { s.JWKS = f.set.URL },
		"key without ID":  func(s *issuer.Spec) { s.Keys = []jws.PublicKey{{Key: a.Key}} },
		"same ID twice":   func(s *issuer.Spec) { s.Keys = []jws.PublicKey{a, {KeyID: "v1", Key: b.Key}} },
		"same key twice":  func(s *issuer.Spec) { s.Keys = []jws.PublicKey{a, {KeyID: "v2", Key: a.Key}} },
		"more than there": func(s *issuer.Spec) { s.Keys = slices.Repeat([]jws.PublicKey{a}, jws.MaxSetKeys+1) },
	} {
		s := good
		change(&s)
		if err := f.accept(t, f.north, s); !errors.Is(err, issuer.ErrSpec) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range issuer.MaxIssuers + 1 {
		s := good
		s.Issuer = fmt.Sprint(outside, i)
		if err := f.accept(t, f.north, s); (err != nil) != (i == issuer.MaxIssuers) {
			t.Errorf("server %d: %v", i+1, err)
		}
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustAccept(t, f.north, issuer.Spec{Issuer: outside, Audience: audience, Keys: []jws.PublicKey{newKey(t, "v1")}})
	remove := func(of *tenant.Tenant) error {
		return f.world.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
			return issuer.Remove(t.Context(), tx, person, outside, f.world.Now())
		})
	}
	if err := remove(f.south); !errors.Is(err, issuer.ErrUnknown) {
		t.Errorf("another tenant's: %v", err)
	}
	if err := remove(f.north); err != nil {
		t.Error(err)
	}
	if err := remove(f.north); !errors.Is(err, issuer.ErrUnknown) {
		t.Errorf("again: %v", err)
	}
	if _, err := issuer.NewBook(f.world.Publish).Find(t.Context(), f.north.ID, outside); !errors.Is(err, issuer.ErrUnknown) {
		t.Errorf("it is still accepted: %v", err)
	}
}

// A process that hears of changes sees a revocation at once.
func TestBookHearsOfChanges(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: f.world.Database.DSN("carillon_publish"), Watch: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	book := issuer.NewBook(db)
	a, b := newKey(t, "v1"), newKey(t, "v2")
	wants := func(keys ...jws.PublicKey) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; {
			found, err := book.Find(t.Context(), f.north.ID, outside)
			if err != nil && !errors.Is(err, issuer.ErrUnknown) {
				t.Fatal(err)
			}
			if err == nil && (found.Key("v1") != nil) == slices.Contains(keys, a) && (found.Key("v2") != nil) == slices.Contains(keys, b) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the change was not seen")
			}
		}
	}
	if _, err := book.Find(t.Context(), f.north.ID, outside); !errors.Is(err, issuer.ErrUnknown) {
		t.Fatal(err)
	}
	for _, keys := range [][]jws.PublicKey{{a, b}, {b}} {
		f.mustAccept(t, f.north, issuer.Spec{Issuer: outside, Audience: audience, Keys: keys})
		wants(keys...)
	}
}
