package service

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/authz"
	"carillon/deploy/phone"
	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/key/keeping"
	"carillon/tenant/mail"
	"carillon/tenant/member"
	"carillon/tenant/onboarding"
	"carillon/tenant/role"
	"carillon/tenant/tenanttest"
)

// rotating is a service of two processes under phones that never pause, and what its
// custodians do meanwhile.
type rotating struct {
	t         *testing.T
	world     *tenanttest.World
	tenant    *tenant.Tenant
	servers   [2]*httptest.Server
	issuer    [2]phone.Issuer
	device    string
	staff     *custody.Staff
	ann, bob  authz.Subject
	clock     func() time.Time
	ahead     atomic.Int64 // how far the clock is ahead of real time
	flows     atomic.Int64
	next      atomic.Int64
	load      sync.WaitGroup
	stopPhone context.CancelFunc
}

func (r *rotating) now() time.Time { return r.clock().Add(time.Duration(r.ahead.Load())) }

const (
	exportEvery  = 5 * time.Second
	phonesAtOnce = 3
	// longEnough ends a wait for something that takes seconds.
	longEnough = 90 * time.Second
)

func newRotating(t *testing.T) *rotating {
	t.Helper()
	r := &rotating{t: t, world: tenanttest.New(t), clock: time.Now}
	r.world.SetNow(time.Now())
	r.tenant = r.world.Create("north", func(s *onboarding.Spec) {
		s.ExportPeriod, s.Truncate, s.MinRecords, s.PaddingRange, s.ReleaseSameDay = exportEvery, exportEvery, 20, 5, true
	})
	r.device = r.world.Key(r.tenant, client.Device)
	admin := r.world.Key(r.tenant, client.Admin)
	store := files(t)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	for i := range r.servers {
		c := config(t, r.world, Device, Issuer, Publish, Jobs)
		c.Files, c.NoLimits, c.Now = store, true, r.now
		s := open(t, c)
		r.servers[i] = httptest.NewServer(s.Handler())
		t.Cleanup(r.servers[i].Close)
		for _, job := range s.jobs {
			running.Go(func() { _ = job(ctx) })
		}
		r.issuer[i] = phone.Issuer{Base: r.base(i), AdminKey: admin, HTTP: r.servers[i].Client()}
	}
	r.staff = custody.NewStaff(r.world.Portal, role.NewPolicies(r.world.Portal), nil, r.now)
	r.ann, r.bob = r.custodian("ann"), r.custodian("bob")
	return r
}

func (r *rotating) base(i int) string { return r.servers[i].URL + "/t/north/" }

func (r *rotating) custodian(name string) authz.Subject {
	r.t.Helper()
	m := member.Member{Issuer: "https://idp.example", Email: name + "@north.example", Name: name, Roles: []authz.Role{authz.KeyCustodian}}
	if err := r.world.Operator.In(r.t.Context(), r.tenant.ID, func(tx *tenant.Tx) error { return member.Add(r.t.Context(), tx, m) }); err != nil {
		r.t.Fatal(err)
	}
	var id uuid.UUID
	if err := r.world.Database.Super().QueryRowContext(r.t.Context(), `select member_id from member where email = $1`, m.Email).Scan(&id); err != nil {
		r.t.Fatal(err)
	}
	return authz.Subject{Kind: authz.Person, ID: id.String(), Name: name, Roles: m.Roles}
}

// phone asks one process, and the next one the other.
func (r *rotating) phone() (*phone.Phone, phone.Issuer) {
	i := int(r.next.Add(1) % 2)
	base := r.base(i)
	return &phone.Phone{
		Server: phone.Server{
			DeviceBase: base, PublishURL: base + "v1/publish", DeviceKey: r.device, HealthAuthorityID: r.tenant.HealthAuthorityID,
			IndexURL: base + "exports/index.txt", DownloadBase: base + "exports/",
		},
		HTTP: r.servers[i].Client(), Now: r.now,
	}, r.issuer[i]
}

// held is what a phone has half-way through, each step done at another process.
type held struct {
	code      phone.Code
	token     string
	cert      string
	keys      phone.Keys
	published phone.Published
}

func (r *rotating) issueTo(ctx context.Context, h *held, kind string) (err error) {
	_, issuer := r.phone()
	h.code, err = issuer.Issue(ctx, kind, r.now().Add(-48*time.Hour))
	return err
}

func (r *rotating) verify(ctx context.Context, h *held) error {
	p, _ := r.phone()
	d, err := p.Verify(ctx, h.code.Code)
	h.token = d.Token
	return err
}

func (r *rotating) certify(ctx context.Context, h *held) (err error) {
	p, _ := r.phone()
	if h.keys.TEKs == nil {
		h.keys = p.NewKeys(5, false)
	}
	h.cert, err = p.Certificate(ctx, h.token, h.keys)
	return err
}

func (r *rotating) publish(ctx context.Context, h *held) (err error) {
	p, _ := r.phone()
	h.published, err = p.Publish(ctx, h.keys, h.cert, "")
	if err == nil && h.published.RevisionToken == "" {
		err = errors.New("no revision token")
	}
	return err
}

// revise has likely keys confirmed, by the token of the first upload.
func (r *rotating) revise(ctx context.Context, h *held) error {
	again := held{keys: h.keys}
	for _, step := range []func() error{
		func() error { return r.issueTo(ctx, &again, "confirmed") },
		func() error { return r.verify(ctx, &again) },
		func() error { return r.certify(ctx, &again) },
		func() error {
			p, _ := r.phone()
			_, err := p.Revise(ctx, again.keys, again.cert, h.published)
			return err
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// await downloads, as phones do that know every public half, until the keys are there.
func (r *rotating) await(ctx context.Context, h *held) error {
	p, _ := r.phone()
	seen := map[string]bool{}
	var got []phone.Downloaded
	for {
		fresh, err := r.download(ctx, p, seen)
		if err != nil {
			return err
		}
		got = append(got, fresh...)
		if found, _ := phone.Contains(got, h.keys.TEKs); found == len(h.keys.TEKs) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (r *rotating) download(ctx context.Context, p *phone.Phone, seen map[string]bool) (list []phone.Downloaded, err error) {
	trusted, err := key.NewRing(r.world.Jobs, r.world.Root).Public(ctx, r.tenant.ID, signing.Export)
	if err != nil {
		return nil, err
	}
	index, err := fetch(ctx, p, p.Server.IndexURL)
	if err != nil {
		return nil, err
	}
	for name := range strings.FieldsSeq(string(index)) {
		if seen[name] {
			continue
		}
		seen[name] = true
		body, err := fetch(ctx, p, p.Server.DownloadBase+name)
		if err != nil {
			return nil, err
		}
		var file exportfile.File
		known := slices.ContainsFunc(trusted, func(k key.Public) bool {
			file, err = exportfile.Verify(body, k.KeyID, k.Label, k.Key)
			return err == nil
		})
		if !known {
			return nil, fmt.Errorf("%s is signed by nobody: %w", name, err)
		}
		list = append(list, phone.Downloaded{Name: name, File: file})
	}
	return list, nil
}

// signedBy lists the versions whose signatures the newest file carries, the newest first.
func (r *rotating) signedBy(ctx context.Context) string {
	r.t.Helper()
	p, _ := r.phone()
	index, err := fetch(ctx, p, p.Server.IndexURL)
	r.must(err)
	names := strings.Fields(string(index))
	body, err := fetch(ctx, p, p.Server.DownloadBase+names[len(names)-1])
	r.must(err)
	known, err := key.NewRing(r.world.Jobs, r.world.Root).Public(ctx, r.tenant.ID, signing.Export)
	r.must(err)
	var labels []string
	for _, k := range known {
		if _, err := exportfile.Verify(body, k.KeyID, k.Label, k.Key); err == nil {
			labels = append(labels, k.Label)
		}
	}
	return strings.Join(labels, " ")
}

func fetch(ctx context.Context, p *phone.Phone, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := p.HTTP.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", url, response.StatusCode, body)
	}
	return body, err
}

// flow takes a phone through everything.
func (r *rotating) flow(ctx context.Context) error {
	h := &held{}
	for _, step := range []struct {
		name string
		do   func(context.Context, *held) error
	}{
		{"issue", func(ctx context.Context, h *held) error { return r.issueTo(ctx, h, "likely") }},
		{"verify", r.verify},
		{"certificate", r.certify},
		{"publish", r.publish},
		{"revise", r.revise},
		{"download", r.await},
	} {
		if err := step.do(ctx, h); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (r *rotating) begin() {
	ctx, stop := context.WithCancel(r.t.Context())
	r.stopPhone = stop
	for range phonesAtOnce {
		r.load.Go(func() {
			for ctx.Err() == nil {
				if err := r.flow(ctx); err == nil {
					r.flows.Add(1)
				} else if ctx.Err() == nil {
					r.t.Errorf("a phone failed: %v", err)
				}
			}
		})
	}
}

// until waits for something that other processes bring about.
func (r *rotating) until(what string, holds func() bool) {
	r.t.Helper()
	for end := time.Now().Add(longEnough); !holds(); {
		if time.Now().After(end) {
			r.t.Fatalf("still not: %s", what)
		}
		select {
		case <-r.t.Context().Done():
			r.t.Fatal(r.t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (r *rotating) book() *custody.Book {
	r.t.Helper()
	b, err := r.staff.Book(r.t.Context(), r.tenant, r.ann)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *rotating) states(p signing.Purpose) string {
	var list []string
	for _, v := range r.book().Versions[p] {
		list = append(list, string(v.State))
	}
	return strings.Join(list, " ")
}

func (r *rotating) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotating) rotate(p signing.Purpose) uuid.UUID {
	r.t.Helper()
	id, err := r.staff.Rotate(r.t.Context(), r.tenant, r.ann, p, true, "Under load.")
	r.must(err)
	return id
}

// guide takes a rotation through what people do, to the new version's use.
func (r *rotating) guide(p signing.Purpose) uuid.UUID {
	r.t.Helper()
	ctx := r.t.Context()
	id := r.rotate(p)
	r.until(string(p)+" is made and tried", func() bool {
		rotation, err := r.book().Rotation(id)
		return err == nil && rotation.Step == custody.Made && (rotation.TestedAt != nil || p != signing.Export)
	})
	r.must(r.staff.HandOver(ctx, r.tenant, r.ann, id))
	r.must(r.staff.Confirm(ctx, r.tenant, r.ann, id, custody.Apple, "a letter"))
	r.must(r.staff.Confirm(ctx, r.tenant, r.ann, id, custody.Google, "a letter"))
	r.must(r.staff.AskActivation(ctx, r.tenant, r.ann, id, "Both have it."))
	r.must(r.world.Portal.In(ctx, r.tenant.ID, func(tx *tenant.Tx) error {
		asked, err := approval.Open(ctx, tx, r.now())
		if err == nil {
			_, err = approval.Approve(ctx, tx, r.bob, asked[0].ID, r.now())
		}
		return err
	}))
	r.must(r.staff.Activate(ctx, r.tenant, r.ann, id))
	return id
}

// Every kind of key is rotated while phones go on without a pause: none of their requests
// fails, what was made under an old version is good under the new one, and the old one is
// refused from the very end of its overlap.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	ctx := t.Context()
	r.begin()
	before := map[string]*held{"code": {}, "token": {}, "certificate": {}, "revision": {}}
	steps := []func(context.Context, *held) error{r.verify, r.certify, r.publish}
	for name, count := range map[string]int{"code": 0, "token": 1, "certificate": 2, "revision": 3} {
		r.must(r.issueTo(ctx, before[name], "likely"))
		for _, step := range steps[:count] {
			r.must(step(ctx, before[name]))
		}
	}
	oldKey, err := key.NewRing(r.world.Device, r.world.Root).Signer(ctx, r.tenant.ID, signing.Certificate)
	r.must(err)
	r.until("phones have been through everything", func() bool { return r.flows.Load() > phonesAtOnce })

	clocked := []signing.Purpose{signing.Certificate, signing.Token, signing.CodeMAC, signing.PhoneMAC, signing.Revision, signing.Audit}
	for _, p := range clocked {
		r.rotate(p)
	}
	export := r.guide(signing.Export)
	r.guide(signing.SMS)
	for _, p := range append(slices.Clone(clocked), signing.SMS) {
		r.until(string(p)+" is in use", func() bool { return r.states(p) == "verify-only active" })
	}
	r.until("exports are signed by both", func() bool { return r.states(signing.Export) == "active active" })
	r.until("the newest file is signed by both versions", func() bool { return r.signedBy(ctx) == "v2 v1" })
	r.until("phones have been through everything since", func(done int64) func() bool {
		return func() bool { return r.flows.Load() > done+2*phonesAtOnce }
	}(r.flows.Load()))
	r.must(r.staff.Retire(ctx, r.tenant, r.ann, export))
	r.until("exports are signed by the new version", func() bool { return r.states(signing.Export) == "verify-only active" })

	r.until("the newest file is signed by the new version alone", func() bool { return r.signedBy(ctx) == "v2" })

	for name, from := range map[string]int{"code": 0, "token": 1, "certificate": 2} {
		for _, step := range steps[from:] {
			if err := step(ctx, before[name]); err != nil {
				t.Errorf("a %s from before the rotation: %v", name, err)
			}
		}
	}
	if err := r.revise(ctx, before["revision"]); err != nil {
		t.Errorf("a revision token from before the rotation: %v", err)
	}
	r.until("phones have been through everything at the end", func(done int64) func() bool {
		return func() bool { return r.flows.Load() > done+phonesAtOnce }
	}(r.flows.Load()))
	r.stopPhone()
	r.load.Wait()
	t.Logf("%d phones went through everything, none failed", r.flows.Load())
	r.endOfOverlap(oldKey)
}

// endOfOverlap moves the clock to the end of the old certificate key's overlap: before it,
// what it signs is taken; from then on it is refused, and listed no more. That the end is
// kept to the second, by every kind of key, is for TestOldVersionsEndWithTheirOverlap.
func (r *rotating) endOfOverlap(old key.Signer) {
	ctx := r.t.Context()
	end := *r.book().Versions[signing.Certificate][0].DestroyAt
	keeper := keeping.New(keeping.Config{
		DB: r.world.Jobs, Keys: key.NewRing(r.world.Jobs, r.world.Root), Directory: tenant.NewDirectory(r.world.Jobs),
		Policies: role.NewPolicies(r.world.Jobs), Mail: mail.None{}, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Now: r.now,
	})
	r.ahead.Store(int64(time.Until(end.Add(-longEnough)))) // real time goes on while the test asks
	r.must(keeper.Run(ctx, r.tenant.ID))
	r.must(r.publishSigned(ctx, old))
	if list := r.jwks(ctx); !strings.Contains(list, old.KeyID) {
		r.t.Errorf("before the end of its overlap, the old key is not in %s", list)
	}
	r.ahead.Store(int64(time.Until(end)))
	r.must(keeper.Run(ctx, r.tenant.ID))
	r.until("the old key is listed no more", func() bool { return !strings.Contains(r.jwks(ctx), old.KeyID) })
	var refused *phone.Refusal
	if err := r.publishSigned(ctx, old); err == nil || !errors.As(err, &refused) {
		r.t.Errorf("after the end of its overlap, what the old key signs: %v", err)
	}
	if states := r.states(signing.Certificate); states != "destroyed active" {
		r.t.Errorf("certificate keys are %s", states)
	}
}

// publishSigned publishes keys with a certificate of the test's own, good in all but its
// signer.
func (r *rotating) publishSigned(ctx context.Context, by key.Signer) error {
	p, _ := r.phone()
	keys := p.NewKeys(3, false)
	mac, err := certificate.MAC(keys.Secret, keys.TEKs)
	if err != nil {
		return err
	}
	now := r.now()
	cert, err := certificate.Sign(by.Key, by.KeyID, certificate.Claims{
		Issuer: r.tenant.Settings.Issuer, Audience: r.tenant.Settings.Audience, IssuedAt: now.Add(-certificate.Backdate), NotBefore: now.Add(-certificate.Backdate),
		Expires: now.Add(15 * time.Minute), ReportType: certificate.Confirmed, TEKMAC: base64.StdEncoding.EncodeToString(mac),
	})
	if err != nil {
		return err
	}
	_, err = p.Publish(ctx, keys, cert, "")
	return err
}

func (r *rotating) jwks(ctx context.Context) string {
	r.t.Helper()
	p, _ := r.phone()
	body, err := fetch(ctx, p, p.Server.DeviceBase+"jwks")
	r.must(err)
	return string(body)
}
