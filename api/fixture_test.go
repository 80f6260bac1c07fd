package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/api"
	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/app"
	"carillon/tenant/batch"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/key"
	"carillon/tenant/labfeed"
	"carillon/tenant/limit"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/outbox"
	"carillon/tenant/message/provider"
	"carillon/tenant/message/provider/providertest"
	"carillon/tenant/stats"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

const (
	linkDomain = "links.example"
	portalHost = "portal.example"
)

// fixture is a whole service behind HTTP, with two tenants.
type fixture struct {
	world        *tenanttest.World
	north, south account
	sms          *messagetest.Sender
	provider     *providertest.Server
	files        *export.FileStore
	metrics      *prometheus.Registry
	counter      *stats.Counter
	log          *logBuffer
	routes       []authz.Route
	base         string
}

// account is a tenant with an API key of each kind.
type account struct {
	*tenant.Tenant
	device, admin, stats string
}

// setUp starts a service that knows no limit, unless change says otherwise.
func setUp(t *testing.T, change ...func(*fixture, *api.Config)) *fixture {
	t.Helper()
	f := &fixture{world: tenanttest.New(t), sms: &messagetest.Sender{}, log: &logBuffer{}, provider: providertest.New(t)}
	f.counter = stats.NewCounter(f.world.Now)
	var err error
	if f.files, err = export.NewFileStore(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	f.north, f.south = f.open(t, "north"), f.open(t, "south")
	f.start(t, change...)
	return f
}

// open makes a tenant that allows everything and sends messages.
func (f *fixture) open(t *testing.T, slug string) account {
	t.Helper()
	of := f.world.Create(slug)
	f.set(t, of, `test_types = '{confirmed,likely,negative,user-report}', require_date = false, issue_user_report = true, sms_enabled = true, generate_sms = true, self_report = true`)
	return account{
		Tenant: of, device: f.world.Key(of, client.Device), admin: f.world.Key(of, client.Admin), stats: f.world.Key(of, client.Stats),
	}
}

// set changes a tenant's settings. Servers started before may not see it at once.
func (f *fixture) set(t *testing.T, of *tenant.Tenant, settings string) {
	t.Helper()
	f.sql(t, `update tenant_setting set `+settings+` where tenant_id = $1`, of.ID.String())
}

func (f *fixture) sql(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := f.world.Database.Super().ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// router sends messages of tenants with providers of their own.
func (f *fixture) router(t *testing.T) *provider.Router {
	t.Helper()
	r, err := provider.NewRouter(provider.Config{
		DB: f.world.Issuer, Keys: key.NewRing(f.world.Issuer, f.world.Root), Networks: provider.NewNetworks(true),
		Fallback: f.sms, BaseURL: "https://codes.example", Log: slog.New(slog.NewJSONHandler(f.log, nil)), Now: f.world.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// start starts a server, with caches of its own, in place of the one before.
func (f *fixture) start(t *testing.T, change ...func(*fixture, *api.Config)) {
	t.Helper()
	w := f.world
	policies := authz.NewPolicies(nil)
	f.metrics = prometheus.NewRegistry()
	keys := key.NewRing(w.Publish, w.Root)
	c := api.Config{
		Directory: tenant.NewDirectory(w.Device), Policies: policies,
		Device: f.verification(w.Device, nil), DeviceKeys: client.NewAuthenticator(w.Device, f.counter, w.Now),
		Reporter: f.verification(w.Report, withoutWait),
		Issuer:   f.verification(w.Issuer, nil), IssuerKeys: client.NewAuthenticator(w.Issuer, f.counter, w.Now),
		Receipts: f.router(t),
		LabFeed:  f.labFeed(),
		Stats:    stats.New(w.Issuer, w.Now), Shared: stats.New(w.Publish, w.Now), Counter: f.counter,
		Publisher:  exposure.New(exposure.Config{DB: w.Publish, Keys: keys, Limits: exposure.DefaultLimits(), Now: w.Now}),
		PublicKeys: keys, Files: f.files,
		Links: &api.Links{
			Domains: []string{linkDomain, "other.example"}, Apps: app.NewCatalogue(w.Publish),
			Information: app.InformationURL, PortalHost: portalHost,
		},
		Metrics: f.metrics, Log: slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: w.Now,
	}
	c.Batches = batch.New(batch.Config{DB: w.Issuer, Keys: key.NewRing(w.Issuer, w.Root), Policies: policies, Codes: c.Issuer, Now: w.Now})
	for _, ch := range change {
		ch(f, &c)
	}
	s, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	f.routes = s.Routes()
	server := httptest.NewUnstartedServer(nil)
	server.Config = api.NewHTTPServer(recorded(t, s.Handler()))
	server.Start()
	t.Cleanup(server.Close)
	f.base = server.URL
}

// labFeed issues through an outbox.
func (f *fixture) labFeed() *labfeed.Service {
	db, keys := f.world.Issuer, key.NewRing(f.world.Issuer, f.world.Root)
	return labfeed.New(labfeed.Config{
		DB: db, Keys: keys, Policies: authz.NewPolicies(nil), Directory: tenant.NewDirectory(db),
		Codes: f.verification(db, func(c *verification.Config) { c.Outbox = outbox.New(keys, f.world.Now) }),
		Log:   slog.New(slog.NewJSONHandler(f.log, nil)), Now: f.world.Now,
	})
}

func (f *fixture) verification(db *tenant.DB, change func(*verification.Config)) *verification.Service {
	c := verification.Config{
		DB: db, Keys: key.NewRing(db, f.world.Root), Policies: authz.NewPolicies(nil), Sender: f.sms,
		Now: f.world.Now, Rand: rand.Reader,
	}
	if change != nil {
		change(&c)
	}
	return verification.New(c)
}

// limited bounds callers to n requests a minute.
func limited(n int) func(*fixture, *api.Config) {
	return func(f *fixture, c *api.Config) { c.Limiter = limit.NewTraffic(limit.Rates{Caller: n}, f.world.Now) }
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) json() (members map[string]any, ok bool) {
	err := json.Unmarshal(a.body, &members)
	return members, err == nil && members != nil
}

func (a answer) member(name string) any {
	members, _ := a.json()
	return members[name]
}

func (a answer) text(name string) string {
	s, _ := a.member(name).(string)
	return s
}

func (a answer) String() string { return fmt.Sprintf("%s %.300s", a.Status, a.body) }

type header map[string]string

// ask sends a request and reads the answer. A "Host" header sets the request's host.
func (f *fixture) ask(t *testing.T, method, path string, h header, body string) answer {
	t.Helper()
	a, err := f.request(t.Context(), method, path, h, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (f *fixture) request(ctx context.Context, method, path string, h header, body io.Reader) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, f.base+path, body)
	if err != nil {
		return answer{}, err
	}
	for name, value := range h {
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response, text}, err
}

type object map[string]any

func (o object) with(name string, value any) object {
	changed := object{name: value}
	for n, v := range o {
		if n != name {
			changed[n] = v
		}
	}
	return changed
}

// post sends JSON with an API key to a tenant's URL.
func (f *fixture) post(t *testing.T, to *tenant.Tenant, path, apiKey string, body object) answer {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return f.ask(t, http.MethodPost, "/t/"+string(to.Slug)+path, jsonWith(apiKey), string(text))
}

func jsonWith(apiKey string) header {
	h := header{"Content-Type": "application/json", "Accept": "application/json"}
	if apiKey != "" {
		h["X-API-Key"] = apiKey
	}
	return h
}

func must(t *testing.T, a answer) answer {
	t.Helper()
	if a.StatusCode != http.StatusOK || a.text("error") != "" {
		t.Fatalf("%s: %v", a.Request.URL.Path, a)
	}
	return a
}

func (f *fixture) issue(t *testing.T, of account, body object) (code, uuid string) {
	t.Helper()
	a := must(t, f.post(t, of.Tenant, "/api/issue", of.admin, object{"testType": "confirmed"}.merge(body)))
	return a.text("code"), a.text("uuid")
}

func (o object) merge(more object) object {
	for n, v := range more {
		o = o.with(n, v)
	}
	return o
}

func (f *fixture) token(t *testing.T, of account, issue object) string {
	t.Helper()
	code, _ := f.issue(t, of, issue)
	return must(t, f.post(t, of.Tenant, "/api/verify", of.device, object{"code": code})).text("token")
}

// upload is a publish body whose certificate is good.
func (f *fixture) upload(t *testing.T, of account, teks []certificate.TEK, issue object) object {
	t.Helper()
	secret := randomBytes(16)
	mac, err := certificate.MAC(secret, teks)
	if err != nil {
		t.Fatal(err)
	}
	cert := must(t, f.post(t, of.Tenant, "/api/certificate", of.device, object{
		"token": f.token(t, of, issue), "ekeyhmac": base64.StdEncoding.EncodeToString(mac),
	})).text("certificate")
	return object{
		"temporaryExposureKeys": wire(teks), "healthAuthorityID": of.HealthAuthorityID,
		"verificationPayload": cert, "hmacKey": base64.StdEncoding.EncodeToString(secret), "padding": "x",
	}
}

func wire(teks []certificate.TEK) []object {
	list := make([]object, len(teks))
	for i, k := range teks {
		list[i] = object{"key": k.Key, "rollingStartNumber": k.RollingStart, "rollingPeriod": k.RollingPeriod, "transmissionRisk": k.TransmissionRisk}
	}
	return list
}

// teks are n keys of a day each, the newest that of yesterday.
func (f *fixture) teks(n int) []certificate.TEK {
	const perDay = 144
	midnight := f.world.Now().Truncate(24*time.Hour).Unix() / 600
	list := make([]certificate.TEK, n)
	for i := range list {
		list[i] = certificate.TEK{
			Key:          base64.StdEncoding.EncodeToString(randomBytes(16)),
			RollingStart: int32(midnight - int64(i+1)*perDay), RollingPeriod: perDay,
		}
	}
	return list
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// unknownKey has the form of an API key.
func unknownKey() string { return base64.RawURLEncoding.EncodeToString(randomBytes(64)) }

func (f *fixture) counted(t *testing.T, name string) float64 {
	t.Helper()
	families, err := f.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

func (f *fixture) metricsText(t *testing.T) string {
	t.Helper()
	families, err := f.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(families)
}
