package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/signing/exportfile/exportfiletest"
	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/exposure/exposuretest"
	"carillon/tenant/key"
	"carillon/tenant/onboarding"
	"carillon/tenant/tenanttest"
)

const period = time.Hour

// fixture is a tenant whose files are cut hourly, in a world that it may share, and
// what it takes to publish keys.
type fixture struct {
	world     *tenanttest.World
	store     Store
	directory *tenant.Directory
	publisher *exposure.Service

	tenant    *tenant.Tenant
	phone     *exposuretest.Phone
	exportKey key.Public
}

func hourly(s *onboarding.Spec) {
	s.ExportPeriod, s.Truncate, s.MinRecords, s.PaddingRange = period, period, 20, 5
}

func setUp(tb testing.TB) *fixture {
	tb.Helper()
	store, err := NewFileStore(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	w := tenanttest.New(tb)
	f := &fixture{
		world: w, store: store, directory: tenant.NewDirectory(w.Jobs),
		publisher: exposure.New(exposure.Config{DB: w.Publish, Keys: key.NewRing(w.Publish, w.Root), Now: w.Now}),
	}
	return f.of(tb, w.Create("north", hourly))
}

// of is the same world as another tenant sees it.
func (f *fixture) of(tb testing.TB, t *tenant.Tenant) *fixture {
	tb.Helper()
	other := *f
	other.tenant = t
	var err error
	other.phone, err = exposuretest.New(tb.Context(), key.NewRing(f.world.Device, f.world.Root), t, f.world.Now)
	if err != nil {
		tb.Fatal(err)
	}
	exports, err := key.NewRing(f.world.Jobs, f.world.Root).Public(tb.Context(), t.ID, signing.Export)
	if err != nil {
		tb.Fatal(err)
	}
	other.exportKey = exports[0]
	return &other
}

// service is a worker of its own; step, if not nil, is called between any two things
// that it does.
func (f *fixture) service(step func(name string) error) *Service {
	s := New(Config{
		DB: f.world.Jobs, Keys: key.NewRing(f.world.Jobs, f.world.Root), Directory: f.directory,
		Store: f.store, Log: slog.New(slog.DiscardHandler), Now: f.world.Now,
	})
	if step != nil {
		s.step = step
	}
	return s
}

// turn is a worker's turn that must succeed.
func (f *fixture) turn(tb testing.TB, s *Service) {
	tb.Helper()
	if err := s.Turn(tb.Context(), f.tenant.ID); err != nil {
		tb.Fatalf("turn: %v", err)
	}
}

// tek is a key's bytes.
type tek = [16]byte

// publish uploads n new keys of days that have ended, and returns their bytes.
func (f *fixture) publish(ctx context.Context, n int) ([]tek, error) {
	keys := f.phone.Keys(n)
	if _, err := f.send(ctx, certificate.Confirmed, keys, ""); err != nil {
		return nil, err
	}
	return bytesOf(keys), nil
}

// send publishes keys. The certificate outlives the test's clock, which publishers
// advance for each other.
func (f *fixture) send(ctx context.Context, report certificate.ReportType, keys []exposure.UploadKey, token string) (*exposure.Receipt, error) {
	u := f.phone.Upload(report, keys, func(c *certificate.Claims) { c.Expires = c.Expires.Add(24 * time.Hour) })
	u.RevisionToken = token
	r, err := f.publisher.Publish(ctx, f.tenant, u)
	var p *exposure.Problem
	if errors.As(err, &p) {
		return nil, fmt.Errorf("%w: %s", err, p.Text)
	}
	return r, err
}

func bytesOf(keys []exposure.UploadKey) []tek {
	raw := make([]tek, len(keys))
	for i, k := range keys {
		b, err := certificate.ParseBase64(k.Key)
		if err != nil {
			panic(err)
		}
		raw[i] = tek(b)
	}
	return raw
}

func (f *fixture) mustPublish(tb testing.TB, n int) []tek {
	tb.Helper()
	keys, err := f.publish(tb.Context(), n)
	if err != nil {
		tb.Fatalf("publish: %v", err)
	}
	return keys
}

func (f *fixture) exec(tb testing.TB, query string, args ...any) {
	tb.Helper()
	if _, err := f.world.Database.Super().ExecContext(tb.Context(), query, args...); err != nil {
		tb.Fatal(err)
	}
}

// index is what a phone reads; nothing if there is none yet.
func (f *fixture) index(tb testing.TB) []string {
	tb.Helper()
	body, err := f.object(tb.Context(), Prefix(f.tenant)+IndexName)
	if err != nil && !errors.Is(err, ErrNotFound) {
		tb.Fatal(err)
	}
	return strings.Fields(string(body))
}

func (f *fixture) object(ctx context.Context, name string) ([]byte, error) {
	o, err := f.store.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}

// files reads all that a phone can: every file that the index names is there, and
// signed by the tenant.
func (f *fixture) files(tb testing.TB) []exportfile.File {
	tb.Helper()
	var all []exportfile.File
	for _, name := range f.index(tb) {
		body, err := f.object(tb.Context(), Prefix(f.tenant)+name)
		if err != nil {
			tb.Fatalf("the index names %s: %v", name, err)
		}
		file, err := exportfile.Verify(body, f.exportKey.KeyID, f.exportKey.Label, f.exportKey.Key)
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		if again, err := exportfiletest.Decode(body); err != nil || again.Verify(f.exportKey.KeyID, f.exportKey.Label, f.exportKey.Key) != nil {
			tb.Fatalf("%s, read independently: %v", name, err)
		}
		all = append(all, file)
	}
	return all
}

// observe counts how often each key occurs in the files, as a new key and as a
// revised one.
func (f *fixture) observe(tb testing.TB) (fresh, revised map[tek]int) {
	tb.Helper()
	fresh, revised = map[tek]int{}, map[tek]int{}
	for _, file := range f.files(tb) {
		for _, k := range file.Keys {
			fresh[k.Data]++
		}
		for _, k := range file.Revised {
			revised[k.Data]++
		}
	}
	return fresh, revised
}

// wantOnce checks that each of the keys is in exactly one file.
func (f *fixture) wantOnce(tb testing.TB, keys []tek) {
	tb.Helper()
	times, _ := f.observe(tb)
	for _, k := range keys {
		if n := times[k]; n != 1 {
			tb.Errorf("an acknowledged key is in %d files", n)
		}
	}
	for _, n := range times {
		if n != 1 {
			tb.Errorf("a key is in %d files", n)
		}
	}
}

// wantTidy checks that the store has the index and what it names, and nothing else.
func (f *fixture) wantTidy(tb testing.TB) {
	tb.Helper()
	names, err := f.store.List(tb.Context(), Prefix(f.tenant))
	if err != nil {
		tb.Fatal(err)
	}
	want := []string{Prefix(f.tenant) + IndexName}
	for _, name := range f.index(tb) {
		want = append(want, Prefix(f.tenant)+name)
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		tb.Errorf("stored are %q, want %q", names, want)
	}
}
