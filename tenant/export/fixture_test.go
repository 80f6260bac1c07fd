package export

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/key"
	"carillon/tenant/onboarding"
	"carillon/tenant/tenanttest"
)

const period = time.Hour

// fixture is a world with a tenant whose files are cut hourly, a store, and what it
// takes to publish keys.
type fixture struct {
	world     *tenanttest.World
	tenant    *tenant.Tenant
	directory *tenant.Directory
	store     Store
	publisher *exposure.Service
	signer    key.Signer // of certificates
	exportKey key.Public
}

func hourly(s *onboarding.Spec) {
	s.ExportPeriod, s.Truncate, s.MinRecords, s.PaddingRange = period, period, 20, 5
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	store, err := NewFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := tenanttest.New(t)
	f := &fixture{world: w, store: store, directory: tenant.NewDirectory(w.Jobs)}
	f.tenant = w.Create("north", hourly)
	f.publisher, f.signer = f.publishing(t, f.tenant)
	exports, err := key.NewRing(w.Jobs, w.Root).Public(t.Context(), f.tenant.ID, signing.Export)
	if err != nil {
		t.Fatal(err)
	}
	f.exportKey = exports[0]
	return f
}

func (f *fixture) publishing(t *testing.T, of *tenant.Tenant) (*exposure.Service, key.Signer) {
	t.Helper()
	signer, err := key.NewRing(f.world.Device, f.world.Root).Signer(t.Context(), of.ID, signing.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return exposure.New(exposure.Config{
		DB: f.world.Publish, Keys: key.NewRing(f.world.Publish, f.world.Root),
		Limits: exposure.DefaultLimits(), Now: f.world.Now,
	}), signer
}

// service is a worker of its own; step, if not nil, is asked before each step.
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
func (f *fixture) turn(t *testing.T, s *Service) {
	t.Helper()
	if err := s.Turn(t.Context(), f.tenant.ID); err != nil {
		t.Fatalf("turn: %v", err)
	}
}

// publish uploads n new keys of days that have ended, and returns their bytes.
func (f *fixture) publish(ctx context.Context, n int) ([][16]byte, error) {
	return publishTo(ctx, f.publisher, f.signer, f.tenant, f.world.Now(), n)
}

func publishTo(ctx context.Context, p *exposure.Service, signer key.Signer, to *tenant.Tenant, now time.Time, n int) ([][16]byte, error) {
	secret := make([]byte, 16)
	rand.Read(secret)
	upload := exposure.Upload{HealthAuthorityID: to.HealthAuthorityID, HMACKey: base64.StdEncoding.EncodeToString(secret)}
	var teks []certificate.TEK
	var raw [][16]byte
	midnight := now.Truncate(24*time.Hour).Unix() / 600
	for i := range n {
		var k [16]byte
		rand.Read(k[:])
		raw = append(raw, k)
		tek := certificate.TEK{Key: base64.StdEncoding.EncodeToString(k[:]), RollingStart: int32(midnight - int64(i+1)*144), RollingPeriod: 144}
		teks = append(teks, tek)
		upload.Keys = append(upload.Keys, exposure.UploadKey(tek))
	}
	mac, err := certificate.MAC(secret, teks)
	if err != nil {
		return nil, err
	}
	upload.VerificationPayload, err = certificate.Sign(signer.Key, signer.KeyID, certificate.Claims{
		Issuer: to.Settings.Issuer, Audience: to.Settings.Audience,
		IssuedAt: now, NotBefore: now, Expires: now.Add(24 * time.Hour), // publishers advance the clock for each other
		ReportType: certificate.Confirmed, SymptomOnsetInterval: uint32(midnight - 2*144),
		TEKMAC: base64.StdEncoding.EncodeToString(mac),
	})
	if err != nil {
		return nil, err
	}
	receipt, err := p.Publish(ctx, to, upload)
	if err != nil {
		return nil, err
	}
	if receipt.Inserted != n {
		return nil, errors.New("not every key was inserted")
	}
	return raw, nil
}

func (f *fixture) mustPublish(t *testing.T, n int) [][16]byte {
	t.Helper()
	keys, err := f.publish(t.Context(), n)
	if err != nil {
		var p *exposure.Problem
		if errors.As(err, &p) {
			t.Fatalf("publish: %s", p.Text)
		}
		t.Fatalf("publish: %v", err)
	}
	return keys
}

// index is what a phone reads; nothing if there is none yet.
func (f *fixture) index(t *testing.T) []string {
	t.Helper()
	body, err := f.object(t.Context(), Prefix(f.tenant)+IndexName)
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
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

// observe reads all that a phone can: every file that the index names is there, and
// signed by the tenant. It returns how often each key occurs.
func (f *fixture) observe(t *testing.T) map[[16]byte]int {
	t.Helper()
	times := map[[16]byte]int{}
	for _, name := range f.index(t) {
		body, err := f.object(t.Context(), Prefix(f.tenant)+name)
		if err != nil {
			t.Fatalf("the index names %s: %v", name, err)
		}
		file, err := exportfile.Verify(body, f.exportKey.KeyID, f.exportKey.Label, f.exportKey.Key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, k := range file.Keys {
			times[k.Data]++
		}
	}
	return times
}

// wantOnce checks that each of the keys is in exactly one file.
func (f *fixture) wantOnce(t *testing.T, keys [][16]byte) {
	t.Helper()
	times := f.observe(t)
	for _, k := range keys {
		if n := times[k]; n != 1 {
			t.Errorf("an acknowledged key is in %d files", n)
		}
	}
}
