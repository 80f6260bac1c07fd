package service

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/exposure/exposuretest"
	"carillon/tenant/importer"
	"carillon/tenant/issuer"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/onboarding"
	"carillon/tenant/outbound"
	"carillon/tenant/tenanttest"
)

// deployment is a whole Carillon with one health authority, served over HTTP.
type deployment struct {
	world   *tenanttest.World
	tenant  *tenant.Tenant
	store   export.Store
	service *Service
	url     string
}

func deploy(t *testing.T, slug string) *deployment {
	t.Helper()
	w := tenanttest.New(t)
	d := &deployment{world: w, store: files(t)}
	d.tenant = w.Create(slug, func(s *onboarding.Spec) {
		s.ExportPeriod, s.Truncate, s.MinRecords, s.PaddingRange = time.Hour, time.Hour, 20, 5
	})
	c := config(t, w, Roles()...)
	c.Files, c.Now, c.Loopback = d.store, w.Now, true
	d.service = open(t, c)
	server := httptest.NewServer(d.service.Handler())
	t.Cleanup(server.Close)
	d.url = server.URL + "/t/" + slug
	return d
}

// job does a job's work for the authority.
func (d *deployment) job(t *testing.T, name string) {
	t.Helper()
	jobs := d.service.outsideJobs(d.world.Jobs, tenant.NewDirectory(d.world.Jobs))
	i := slices.IndexFunc(jobs, func(j job.Job) bool { return j.Name == name })
	if err := jobs[i].Run(t.Context(), d.tenant.ID); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// publish sends keys of a phone, whose certificate is the authority's unless another is
// given.
func (d *deployment) publish(t *testing.T, u exposure.Upload) *exposure.Receipt {
	t.Helper()
	s := exposure.New(exposure.Config{DB: d.world.Publish, Keys: key.NewRing(d.world.Publish, d.world.Root), Now: d.world.Now})
	u.HealthAuthorityID = d.tenant.HealthAuthorityID
	r, err := s.Publish(t.Context(), d.tenant, u)
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	return r
}

func (d *deployment) phone(t *testing.T) *exposuretest.Phone {
	t.Helper()
	p, err := exposuretest.New(t.Context(), key.NewRing(d.world.Device, d.world.Root), d.tenant, d.world.Now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// export makes the files of the hours up to some later.
func (d *deployment) export(t *testing.T) {
	t.Helper()
	d.world.Advance(4 * time.Hour)
	s := export.New(export.Config{
		DB: d.world.Jobs, Keys: key.NewRing(d.world.Jobs, d.world.Root), Directory: tenant.NewDirectory(d.world.Jobs),
		Store: d.store, Log: slog.New(slog.DiscardHandler), Now: d.world.Now,
	})
	if err := s.Turn(t.Context(), d.tenant.ID); err != nil {
		t.Fatal(err)
	}
}

// exportKey is the public key that partners are given.
func (d *deployment) exportKey(t *testing.T) exportfile.TrustedKey {
	t.Helper()
	public, err := key.NewRing(d.world.Jobs, d.world.Root).Public(t.Context(), d.tenant.ID, signing.Export)
	if err != nil {
		t.Fatal(err)
	}
	return exportfile.TrustedKey{KeyID: public[0].KeyID, KeyVersion: public[0].Label, Key: public[0].Key}
}

// published are the keys in the files that phones download, new and revised ones.
func (d *deployment) published(t *testing.T) (fresh, revised []exportfile.Key) {
	t.Helper()
	trusted := d.exportKey(t)
	for _, name := range strings.Fields(d.object(t, export.IndexName)) {
		f, err := exportfile.Verify([]byte(d.object(t, name)), trusted.KeyID, trusted.KeyVersion, trusted.Key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fresh, revised = append(fresh, f.Keys...), append(revised, f.Revised...)
	}
	return fresh, revised
}

func (d *deployment) object(t *testing.T, name string) string {
	t.Helper()
	o, err := d.store.Open(t.Context(), export.Prefix(d.tenant)+name)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	body, err := io.ReadAll(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func (d *deployment) asOperator(t *testing.T, fn func(ctx context.Context, tx *tenant.Tx) error) {
	t.Helper()
	if err := d.world.Operator.In(t.Context(), d.tenant.ID, func(tx *tenant.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func (d *deployment) imports(t *testing.T) importer.Entry {
	t.Helper()
	var list []importer.Entry
	d.asOperator(t, func(ctx context.Context, tx *tenant.Tx) (err error) {
		list, err = importer.List(ctx, tx)
		return err
	})
	if len(list) != 1 {
		t.Fatalf("%d imports", len(list))
	}
	return list[0]
}

// Two deployments that know of each other what partners are told: an index, and a key.
// What phones publish at one is in the next file of the other, under the other's
// signature; so are revisions; and keys do not come back to where they came from.
func TestImportsFromAnotherDeployment(t *testing.T) {
	t.Parallel()
	here, there := deploy(t, "north"), deploy(t, "south")
	introduce := func(to, from *deployment) {
		to.asOperator(t, func(ctx context.Context, tx *tenant.Tx) error {
			return importer.Add(ctx, tx, outbound.NewFetcher(outbound.New(true)), authz.Subject{Kind: authz.System}, importer.Spec{
				Name: "partner", Index: from.url + "/exports/index.txt", Region: to.tenant.Region,
				Keys: []exportfile.TrustedKey{from.exportKey(t)},
			}, to.world.Now())
		})
	}
	introduce(there, here)
	introduce(here, there)
	phone := here.phone(t)
	keys := phone.Keys(3)
	receipt := here.publish(t, phone.Upload(certificate.Likely, keys))
	here.export(t)
	fresh, _ := here.published(t)
	if len(fresh) < 20 {
		t.Fatalf("%d keys were published, with padding", len(fresh))
	}
	there.world.Advance(4 * time.Hour)
	there.job(t, importer.JobName)
	if e := there.imports(t); e.Stored != len(fresh) || e.Quarantined != 0 || e.Failure != "" {
		t.Errorf("import of %d keys: %+v", len(fresh), e)
	}
	there.export(t)
	taken, _ := there.published(t)
	for _, k := range fresh {
		if !slices.Contains(taken, k) {
			t.Error("a key is not in the other's files")
		}
	}
	again := phone.Upload(certificate.Confirmed, keys)
	again.RevisionToken = receipt.RevisionToken
	here.publish(t, again)
	here.export(t)
	there.world.Advance(4 * time.Hour)
	there.job(t, importer.JobName)
	there.export(t)
	_, changed := here.published(t)
	_, known := there.published(t)
	if len(changed) < len(keys) || len(known) != len(changed) {
		t.Errorf("%d keys are revised here, %d there", len(changed), len(known))
	}
	for _, k := range changed {
		if !slices.Contains(known, k) {
			t.Error("a revision is not in the other's files")
		}
	}
	here.world.Advance(8 * time.Hour)
	here.job(t, importer.JobName)
	if e := here.imports(t); e.Stored != len(taken)-len(fresh) || e.Known != len(fresh) || e.Revised != 0 {
		t.Errorf("what comes back: %+v", e)
	}
}

// A deployment's certificates are good at another that fetches its key set, as outside
// verification servers' are.
func TestAcceptsAnotherDeploymentsCertificates(t *testing.T) {
	t.Parallel()
	codes, keys := deploy(t, "north"), deploy(t, "south")
	set := codes.tenant.Settings
	keys.asOperator(t, func(ctx context.Context, tx *tenant.Tx) error {
		return issuer.Accept(ctx, tx, keys.tenant, authz.Subject{Kind: authz.System}, issuer.Spec{
			Issuer: set.Issuer, Audience: set.Audience, JWKS: codes.url + "/jwks",
		}, keys.world.Now())
	})
	keys.job(t, issuer.JobName)
	phone := codes.phone(t)
	if r := keys.publish(t, phone.Upload(certificate.Confirmed, phone.Keys(5))); r.Inserted != 5 {
		t.Errorf("receipt %v", r)
	}
}
