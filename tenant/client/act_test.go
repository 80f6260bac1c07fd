package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/client"
	"carillon/tenant/tenanttest"
)

const day = 24 * time.Hour

func mustMake(t *testing.T, w *tenanttest.World, of *tenant.Tenant, kind client.Kind, terms client.Terms) (string, client.Key) {
	t.Helper()
	text, k, err := staff(w).Make(t.Context(), of, administrator, kind, terms)
	if err != nil {
		t.Fatal(err)
	}
	return text, k
}

func accepts(t *testing.T, a *client.Authenticator, at *tenant.Tenant, kind client.Kind, text, from string) bool {
	t.Helper()
	_, err := a.Authenticate(t.Context(), at, kind, text, netip.MustParseAddr(from))
	if err != nil && err != client.ErrUnknownKey { //nolint:errorlint // the very same answer, bare
		t.Fatal(err)
	}
	return err == nil
}

// actions are those of the tenant's audit log, the oldest first.
func actions(t *testing.T, w *tenanttest.World, of *tenant.Tenant) (list []string) {
	t.Helper()
	err := w.Portal.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		entries, err := audit.Find(t.Context(), tx, audit.Filter{Action: "apikey:"}, 1000)
		for i := len(entries) - 1; i >= 0; i-- {
			e := entries[i]
			if e.ActorID != administrator.ID || !e.At.Equal(w.Now().Truncate(time.Second)) {
				t.Errorf("entry %+v", e)
			}
			list = append(list, strings.TrimPrefix(e.Action, "apikey:")+" "+e.Target)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestTermsAreRefused(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	lab := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	mustMake(t, w, north, client.Admin, client.Terms{Name: "Lab"})
	_, other := mustMake(t, w, north, client.Admin, client.Terms{Name: "Another"})
	for name, c := range map[string]struct {
		kind  client.Kind
		terms client.Terms
		want  error
	}{
		"no kind":            {"", client.Terms{Name: "x"}, client.ErrKind},
		"unknown kind":       {"root", client.Terms{Name: "x"}, client.ErrKind},
		"no name":            {client.Admin, client.Terms{}, client.ErrName},
		"blank name":         {client.Admin, client.Terms{Name: " x"}, client.ErrName},
		"long name":          {client.Admin, client.Terms{Name: strings.Repeat("é", 101)}, client.ErrName},
		"a line break":       {client.Admin, client.Terms{Name: "a\nb"}, client.ErrName},
		"turned direction":   {client.Admin, client.Terms{Name: "a\u202eb"}, client.ErrName},
		"zero byte":          {client.Admin, client.Terms{Name: "a\x00"}, client.ErrName},
		"not in UTF-8":       {client.Admin, client.Terms{Name: "a\xff"}, client.ErrName},
		"taken":              {client.Stats, client.Terms{Name: "Lab"}, client.ErrNameTaken},
		"expires now":        {client.Admin, client.Terms{Name: "x", Expires: w.Now()}, client.ErrExpiry},
		"expires long after": {client.Admin, client.Terms{Name: "x", Expires: w.Now().Add(client.MaxLife + time.Second)}, client.ErrExpiry},
		"a phone's networks": {client.Device, client.Terms{Name: "x", Networks: lab}, client.ErrDeviceNetworks},
		"51 networks":        {client.Admin, client.Terms{Name: "x", Networks: make([]netip.Prefix, 51)}, client.ErrNetworks},
	} {
		if text, _, err := staff(w).Make(t.Context(), north, administrator, c.kind, c.terms); !errors.Is(err, c.want) || text != "" {
			t.Errorf("make, %s: %v, want %v", name, err, c.want)
		}
		if errors.Is(c.want, client.ErrKind) || errors.Is(c.want, client.ErrDeviceNetworks) {
			continue
		}
		if _, err := staff(w).Change(t.Context(), north, administrator, other.ID, c.terms); !errors.Is(err, c.want) {
			t.Errorf("change, %s: %v, want %v", name, err, c.want)
		}
	}
	if got := actions(t, w, north); len(got) != 2 {
		t.Errorf("refusals left entries: %q", got)
	}
}

func TestParseNetworks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                 "[]",
		" 192.0.2.7 ,\r\n2001:db8::/32\n":  "[192.0.2.7/32 2001:db8::/32]",
		"192.0.2.7/24 192.0.2.0/24":        "[192.0.2.0/24]",
		"::ffff:192.0.2.7":                 "[192.0.2.7/32]",
		"::ffff:192.0.2.0/120":             "",
		"192.0.2.0/33":                     "",
		"192.0.2":                          "",
		"fe80::1%eth0/64":                  "",
		"example.org":                      "",
		"0x7f.1":                           "",
		strings.Repeat("192.0.2.1 ", 50):   "[192.0.2.1/32]",
		strings.Repeat("192.0.2.1 ", 51):   "",
		"192.0.2.0/24; drop table api_key": "",
		strings.Repeat("1", 1<<20):         "",
	} {
		got, err := client.ParseNetworks(text)
		switch {
		case want == "" && !errors.Is(err, client.ErrNetworks):
			t.Errorf("%.40q: %v, %v", text, got, err)
		case want != "" && (err != nil || fmt.Sprint(got) != want):
			t.Errorf("%.40q: %v, %v; want %s", text, got, err, want)
		}
	}
}

// Whoever sees a key holds it, so that nobody gets by a key what she may not do herself.
func TestWhoMayAct(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	_, k := mustMake(t, w, north, client.Admin, client.Terms{Name: "Lab"})
	clerk := authz.Subject{Kind: authz.Person, ID: "00cc", Name: "Kim", Roles: []authz.Role{"key-clerk"}}
	policies := authz.NewPolicies(func(context.Context, string) (*authz.Policy, error) {
		return authz.NewPolicy([]authz.Rule{
			{Role: "key-clerk", Action: authz.APIKeyRead, Effect: authz.Allowed},
			{Role: "key-clerk", Action: authz.APIKeyWrite, Effect: authz.Allowed},
			{Role: "key-clerk", Action: authz.StatsRead, Effect: authz.Allowed},
		})
	})
	s := client.NewStaff(w.Portal, policies, w.Now)
	terms := client.Terms{Name: "Clerk's"}
	for what, act := range map[string]func(by authz.Subject, at *tenant.Tenant) error{
		"make": func(by authz.Subject, at *tenant.Tenant) error {
			_, _, err := s.Make(t.Context(), at, by, client.Admin, terms)
			return err
		},
		"rotate": func(by authz.Subject, at *tenant.Tenant) error {
			_, _, err := s.Rotate(t.Context(), at, by, k.ID, 0, time.Time{})
			return err
		},
		"change": func(by authz.Subject, at *tenant.Tenant) error {
			_, err := s.Change(t.Context(), at, by, k.ID, terms)
			return err
		},
		"revoke": func(by authz.Subject, at *tenant.Tenant) error {
			_, err := s.Revoke(t.Context(), at, by, k.ID)
			return err
		},
		"find": func(by authz.Subject, at *tenant.Tenant) error {
			_, err := s.Find(t.Context(), at, by, k.ID)
			return err
		},
		"list": func(by authz.Subject, at *tenant.Tenant) error { _, err := s.List(t.Context(), at, by); return err },
	} {
		if err := act(caseworker, north); !errors.Is(err, authz.ErrForbidden) {
			t.Errorf("%s, a caseworker: %v", what, err)
		}
		if err := act(authz.Subject{Kind: authz.APIKey, ID: k.ID.String(), Roles: []authz.Role{authz.KeyAdmin}}, north); !errors.Is(err, authz.ErrForbidden) {
			t.Errorf("%s, a key: %v", what, err)
		}
		if what == "make" || what == "list" {
			continue
		}
		if err := act(administrator, south); !errors.Is(err, client.ErrUnknownKey) {
			t.Errorf("%s, under another tenant: %v", what, err)
		}
	}
	if _, _, err := s.Make(t.Context(), north, clerk, client.Admin, terms); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a clerk without codes makes a key that issues codes: %v", err)
	}
	if _, _, err := s.Rotate(t.Context(), north, clerk, k.ID, 0, time.Time{}); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("and rotates one: %v", err)
	}
	if _, _, err := s.Make(t.Context(), north, clerk, client.SCIM, terms); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("or one that changes staff: %v", err)
	}
	for i, kind := range []client.Kind{client.Stats, client.Device} { // phones do what no person can
		if _, _, err := s.Make(t.Context(), north, clerk, kind, client.Terms{Name: fmt.Sprint("Clerk's ", i)}); err != nil {
			t.Errorf("a clerk makes a key of kind %s: %v", kind, err)
		}
	}
	if keys, err := s.List(t.Context(), south, administrator); err != nil || len(keys) != 0 {
		t.Errorf("another tenant lists %d keys (%v)", len(keys), err)
	}
}

// refusals counts what an authenticator tells.
type refusals struct {
	mu   sync.Mutex
	seen map[string]int
}

func (r *refusals) KeyRefused(_ tenant.ID, key, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]int{}
	}
	r.seen[key+" "+why]++
}

// A key expires by the clock, also one that is remembered.
func TestExpiry(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	text, k := mustMake(t, w, north, client.Admin, client.Terms{Name: "Lab", Expires: w.Now().Add(time.Hour)})
	var told refusals
	known := client.NewAuthenticator(w.Issuer, &told, w.Now)
	w.Advance(time.Hour - time.Second)
	if !accepts(t, known, north, client.Admin, text, "192.0.2.1") {
		t.Error("refused before its time")
	}
	w.Advance(time.Second)
	if accepts(t, known, north, client.Admin, text, "192.0.2.1") {
		t.Error("accepted at its end")
	}
	if want := map[string]int{k.ID.String() + " expired": 1}; !cmp.Equal(want, told.seen) {
		t.Errorf("told %v", told.seen)
	}
	if _, err := staff(w).Change(t.Context(), north, administrator, k.ID, client.Terms{Name: "Lab"}); !errors.Is(err, client.ErrUnknownKey) {
		t.Errorf("an expired key is brought back: %v", err)
	}
	if _, _, err := staff(w).Rotate(t.Context(), north, administrator, k.ID, day, time.Time{}); !errors.Is(err, client.ErrUnknownKey) {
		t.Errorf("an expired key is rotated: %v", err)
	}
	if _, err := staff(w).Revoke(t.Context(), north, administrator, k.ID); err != nil {
		t.Errorf("an expired key is revoked: %v", err)
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	networks, err := client.ParseNetworks("192.0.2.0/24 2001:db8:7::/48")
	if err != nil {
		t.Fatal(err)
	}
	text, k := mustMake(t, w, north, client.Admin, client.Terms{Name: "Lab", Networks: networks})
	var told refusals
	known := client.NewAuthenticator(w.Issuer, &told, w.Now)
	for from, want := range map[string]bool{
		"192.0.2.0": true, "192.0.2.255": true, "192.0.3.0": false, "2001:db8:7:ffff::1": true, "2001:db8:8::1": false,
		"::1": false, "127.0.0.1": false,
	} {
		if got := accepts(t, known, north, client.Admin, text, from); got != want {
			t.Errorf("from %s: %v", from, got)
		}
	}
	if _, err := known.Authenticate(t.Context(), north, client.Admin, text, netip.Addr{}); !errors.Is(err, client.ErrUnknownKey) {
		t.Errorf("from nowhere: %v", err)
	}
	if want := map[string]int{k.ID.String() + " outside": 5}; !cmp.Equal(want, told.seen) {
		t.Errorf("told %v", told.seen)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	networks, _ := client.ParseNetworks("192.0.2.0/24")
	old, first := mustMake(t, w, north, client.Admin, client.Terms{Name: "Lab", Networks: networks})
	s := staff(w)
	for _, overlap := range []time.Duration{-time.Second, client.MaxOverlap + time.Second} {
		if _, _, err := s.Rotate(t.Context(), north, administrator, first.ID, overlap, time.Time{}); !errors.Is(err, client.ErrOverlap) {
			t.Errorf("overlap of %s: %v", overlap, err)
		}
	}
	if _, _, err := s.Rotate(t.Context(), north, administrator, first.ID, day, w.Now()); !errors.Is(err, client.ErrExpiry) {
		t.Errorf("a key that begins expired: %v", err)
	}
	text, second, err := s.Rotate(t.Context(), north, administrator, first.ID, client.Overlap, w.Now().Add(365*day))
	if err != nil {
		t.Fatal(err)
	}
	if text == old || second.Name != "Lab" || second.Generation != 2 || second.Kind != client.Admin || !cmp.Equal(first.Networks, second.Networks) {
		t.Errorf("the new key: %+v", second)
	}
	if _, _, err := s.Rotate(t.Context(), north, administrator, first.ID, day, time.Time{}); !errors.Is(err, client.ErrReplaced) {
		t.Errorf("the old key is rotated again: %v", err)
	}
	known := client.NewAuthenticator(w.Issuer, nil, w.Now)
	both := func(want1, want2 bool) {
		t.Helper()
		if got := accepts(t, known, north, client.Admin, old, "192.0.2.1"); got != want1 {
			t.Errorf("the old key: %v", got)
		}
		if got := accepts(t, known, north, client.Admin, text, "192.0.2.1"); got != want2 {
			t.Errorf("the new key: %v", got)
		}
	}
	both(true, true)
	if k, err := s.Find(t.Context(), north, administrator, first.ID); err != nil || k.State(w.Now()) != client.Replaced {
		t.Errorf("the old key: %+v, %v", k, err)
	}
	want := []string{"create " + first.ID.String(), "replace " + first.ID.String(), "rotate " + second.ID.String()}
	if got := actions(t, w, north); !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	w.Advance(client.Overlap - time.Second)
	both(true, true)
	w.Advance(time.Second)
	both(false, true)
	if k, err := s.Find(t.Context(), north, administrator, first.ID); err != nil || k.State(w.Now()) != client.Expired {
		t.Errorf("the old key: %+v, %v", k, err)
	}
}

// A key that ends sooner than the overlap ends when it was to, and one without overlap
// at once.
func TestRotationLengthensNothing(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	soon := w.Now().Add(time.Hour).UTC()
	_, k := mustMake(t, w, north, client.Admin, client.Terms{Name: "Lab", Expires: soon})
	if _, _, err := staff(w).Rotate(t.Context(), north, administrator, k.ID, 7*day, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if k, err := staff(w).Find(t.Context(), north, administrator, k.ID); err != nil || !k.ExpiresAt.Equal(soon) {
		t.Errorf("%+v, %v", k, err)
	}
	text, k := mustMake(t, w, north, client.Admin, client.Terms{Name: "Leaked"})
	if _, _, err := staff(w).Rotate(t.Context(), north, administrator, k.ID, 0, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if accepts(t, client.NewAuthenticator(w.Issuer, nil, w.Now), north, client.Admin, text, "192.0.2.1") {
		t.Error("accepted after a rotation without overlap")
	}
}

// Of many who rotate a key at once, one gets a new key.
func TestRotationRace(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	_, k := mustMake(t, w, north, client.Admin, client.Terms{Name: "Lab"})
	var made atomic.Int32
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			_, _, err := staff(w).Rotate(t.Context(), north, administrator, k.ID, day, time.Time{})
			if err == nil {
				made.Add(1)
			} else if !errors.Is(err, client.ErrReplaced) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("%d new keys", n)
	}
	if keys, err := staff(w).List(t.Context(), north, administrator); err != nil || len(keys) != 2 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

// All keys of a name are renamed together, so that the name stays one.
func TestRename(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	_, first := mustMake(t, w, north, client.Stats, client.Terms{Name: "Reports"})
	_, second, err := staff(w).Rotate(t.Context(), north, administrator, first.ID, day, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	mustMake(t, w, south, client.Stats, client.Terms{Name: "Reports"})
	if _, err := staff(w).Change(t.Context(), north, administrator, second.ID, client.Terms{Name: "Numbers"}); err != nil {
		t.Fatal(err)
	}
	keys, err := staff(w).List(t.Context(), north, administrator)
	if err != nil || len(keys) != 2 || keys[0].Name != "Numbers" || keys[1].Name != "Numbers" || keys[0].Generation != 2 || !keys[1].Followed {
		t.Errorf("%+v, %v", keys, err)
	}
	if keys, err := staff(w).List(t.Context(), south, administrator); err != nil || keys[0].Name != "Reports" {
		t.Errorf("another tenant's: %+v, %v", keys, err)
	}
	if _, _, err := staff(w).Make(t.Context(), north, administrator, client.Stats, client.Terms{Name: "Reports"}); err != nil {
		t.Errorf("the name that is free again: %v", err)
	}
}

// watching opens a handle that hears of changes, as each process has one.
func watching(t *testing.T, w *tenanttest.World) *tenant.DB {
	t.Helper()
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: w.Database.DSN("carillon_device"), Watch: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

// What was revoked stays revoked, whatever is tried, and in every process that hears of
// changes it is refused as soon as that is told.
func TestRevocation(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	text, k := mustMake(t, w, north, client.Device, client.Terms{Name: "Phones"})
	var processes []*client.Authenticator
	for range 2 {
		processes = append(processes, client.NewAuthenticator(watching(t, w), nil, w.Now))
	}
	for _, p := range processes {
		if !accepts(t, p, north, client.Device, text, "192.0.2.1") {
			t.Fatal("the key is not known")
		}
	}
	s := staff(w)
	if _, err := s.Revoke(t.Context(), north, administrator, k.ID); err != nil {
		t.Fatal(err)
	}
	for i, p := range processes {
		until(t, fmt.Sprintf("process %d has heard", i), func() bool {
			return !accepts(t, p, north, client.Device, text, "192.0.2.1")
		})
	}
	if _, err := s.Revoke(t.Context(), north, administrator, k.ID); !errors.Is(err, client.ErrUnknownKey) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := s.Change(t.Context(), north, administrator, k.ID, client.Terms{Name: "Back"}); !errors.Is(err, client.ErrUnknownKey) {
		t.Errorf("changed: %v", err)
	}
	if _, _, err := s.Rotate(t.Context(), north, administrator, k.ID, 0, time.Time{}); !errors.Is(err, client.ErrUnknownKey) {
		t.Errorf("rotated: %v", err)
	}
	if _, err := s.Revoke(t.Context(), north, administrator, uuid.New()); !errors.Is(err, client.ErrUnknownKey) {
		t.Errorf("one that never was: %v", err)
	}
	if got := actions(t, w, north); len(got) != 2 || got[1] != "revoke "+k.ID.String() {
		t.Errorf("entries %q", got)
	}
}

// A key that cannot be written down in the audit log is not made, changed or revoked.
func TestNoEntryNoAct(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	text, k := mustMake(t, w, north, client.Admin, client.Terms{Name: "Lab"})
	if _, err := w.Database.Super().ExecContext(t.Context(), `revoke insert on audit_entry from carillon_portal`); err != nil {
		t.Fatal(err)
	}
	s := staff(w)
	if text, _, err := s.Make(t.Context(), north, administrator, client.Admin, client.Terms{Name: "Other"}); !tenanttest.Denied(err) || text != "" {
		t.Errorf("made: %v", err)
	}
	if text, _, err := s.Rotate(t.Context(), north, administrator, k.ID, 0, time.Time{}); !tenanttest.Denied(err) || text != "" {
		t.Errorf("rotated: %v", err)
	}
	if _, err := s.Change(t.Context(), north, administrator, k.ID, client.Terms{Name: "Other"}); !tenanttest.Denied(err) {
		t.Errorf("changed: %v", err)
	}
	if _, err := s.Revoke(t.Context(), north, administrator, k.ID); !tenanttest.Denied(err) {
		t.Errorf("revoked: %v", err)
	}
	keys, err := s.List(t.Context(), north, administrator)
	if err != nil || len(keys) != 1 || keys[0].Name != "Lab" || keys[0].State(w.Now()) != client.Good {
		t.Errorf("%+v, %v", keys, err)
	}
	if !accepts(t, client.NewAuthenticator(w.Issuer, nil, w.Now), north, client.Admin, text, "192.0.2.1") {
		t.Error("the key is not served any more")
	}
}
