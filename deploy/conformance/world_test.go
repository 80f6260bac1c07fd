package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"carillon/api"
	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/deploy/service"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
)

// world is a whole service, all roles in one process, and the accounts that the
// rules are tried with.
type world struct {
	*tenanttest.World
	running
	sms *messagetest.Sender
	// forwarded is the address that a proxy would name; empty for none.
	forwarded string

	// open and other allow everything; strict asks for a date, sends no messages and
	// issues confirmed and likely alone; brief has tokens of a minute; shut is closed
	// for maintenance.
	open, other, strict, brief, shut account
	// newcomers is how many tenants rules have made for themselves.
	newcomers int
	// earlierCode and earlierToken are what shut gave away before.
	earlierCode, earlierToken string
}

// running is the service that requests are made of.
type running struct {
	base   string
	config service.Config
	// operations serves what is not for the world.
	operations http.Handler
}

// account is a tenant with an API key of each kind.
type account struct {
	*tenant.Tenant
	device, admin, stats string
}

func newWorld(t *testing.T, change ...func(*service.Config)) *world {
	t.Helper()
	w := &world{World: tenanttest.New(t), sms: &messagetest.Sender{}}
	everything := map[string]string{
		"test-types": "confirmed,likely,negative,user-report", "require-date": "off", "issue-user-report": "on",
		"batch-issue": "on", "sms": "on", "generate-sms": "on", "self-report": "on", "self-report-page": "on",
	}
	w.open = w.account(t, "open", everything)
	w.strict = w.account(t, "strict", map[string]string{"test-types": "confirmed,likely"})
	w.other = w.account(t, "other", everything)
	w.brief = w.account(t, "brief", map[string]string{"require-date": "off", "token-life": "1m"})
	w.shut = w.account(t, "shut", everything)
	w.addApps(t, w.open)
	w.start(t, change...)
	w.earlierCode, w.earlierToken = w.issue(t, w.shut, nil).text("code"), w.token(t, w.shut, nil)
	w.set(t, w.shut.Tenant, map[string]string{"maintenance": "on"})
	w.start(t, change...) // caches know of it at once
	return w
}

func (w *world) account(t *testing.T, slug string, settings map[string]string) account {
	t.Helper()
	of := w.Create(slug)
	w.set(t, of, settings)
	of, err := tenant.NewDirectory(w.Operator).ByID(t.Context(), of.ID)
	if err != nil {
		t.Fatal(err)
	}
	return account{
		Tenant: of, device: w.Key(of, client.Device), admin: w.Key(of, client.Admin), stats: w.Key(of, client.Stats),
	}
}

func (w *world) set(t *testing.T, of *tenant.Tenant, settings map[string]string) {
	t.Helper()
	by := authz.Subject{Kind: authz.System, ID: "test"}
	err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return setting.Change(t.Context(), tx, by, settings, w.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// start opens the service; its limits are off unless change turns them on.
func (w *world) start(t *testing.T, change ...func(*service.Config)) {
	t.Helper()
	files, err := export.NewFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := service.Config{
		Roles: service.Roles(), DSN: func(role string) (string, error) { return w.Database.DSN(role), nil },
		Root: w.Root, Files: files, BaseURL: "http://127.0.0.1:8080",
		Login: oidc.Config{
			Issuer: "http://127.0.0.1:8080/idp", ClientID: "c",
			RedirectURL: "http://127.0.0.1:8080/login/callback", Now: time.Now,
		},
		RedirectDomains: []string{redirectDomain}, InformationURL: information,
		Sender: w.sms, JobInterval: time.Minute, NoLimits: true, Log: slog.New(slog.DiscardHandler), Now: w.Now,
	}
	for _, ch := range change {
		ch(&c)
	}
	w.config = c
	s, err := service.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	w.operations = s.Operations()
	server := httptest.NewUnstartedServer(nil)
	server.Config = api.NewHTTPServer(s.Handler())
	server.Start()
	t.Cleanup(func() {
		server.Close()
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	w.base = server.URL
}

// restart opens another service over the same files, which knows nothing that the one
// before has in memory, until the rule ends.
func (w *world) restart(t *testing.T) {
	t.Helper()
	before := w.running
	t.Cleanup(func() { w.running = before })
	w.start(t, func(c *service.Config) { c.Files = before.config.Files })
}

// sql changes rows behind the service's back, where time would have to pass.
func (w *world) sql(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := w.Database.Super().ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) String() string { return fmt.Sprintf("%s %.200s", a.Status, a.body) }

func (a answer) members() map[string]any {
	var m map[string]any
	if json.Unmarshal(a.body, &m) != nil {
		return nil
	}
	return m
}

func (a answer) text(name string) string {
	s, _ := a.members()[name].(string)
	return s
}

func (a answer) number(name string) int64 {
	n, _ := a.members()[name].(float64)
	return int64(n)
}

// header is a request's; "Host" sets the host.
type header map[string]string

func (w *world) ask(t *testing.T, method, path string, h header, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, w.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if w.forwarded != "" {
		r.Header.Set("X-Forwarded-For", w.forwarded)
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
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response, text}
}

type object map[string]any

// merge is o with the members of more.
func (o object) merge(more object) object {
	all := object{}
	for _, from := range []object{o, more} {
		for name, value := range from {
			all[name] = value
		}
	}
	return all
}

func (o object) String() string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(o); err != nil {
		panic(err) // only tests make objects
	}
	return b.String()
}

const jsonType = "application/json"

// key is the API key of an account that a path asks for.
func (a account) key(path string) string {
	switch {
	case strings.HasPrefix(path, "/api/stats"):
		return a.stats
	case path == "/api/verify", path == "/api/certificate", path == "/api/user-report":
		return a.device
	default:
		return a.admin
	}
}

// post sends an object to an account's URL, with the key that the path asks for.
func (w *world) post(t *testing.T, to account, path string, body object) answer {
	t.Helper()
	return w.ask(t, http.MethodPost, "/t/"+string(to.Slug)+path,
		header{"Content-Type": jsonType, "Accept": jsonType, "X-API-Key": to.key(path)}, body.String())
}

func (w *world) must(t *testing.T, to account, path string, body object) answer {
	t.Helper()
	a := w.post(t, to, path, body)
	if a.StatusCode != http.StatusOK || a.text("error") != "" {
		t.Fatalf("%s: %v", path, a)
	}
	return a
}

// issue issues a code that must succeed.
func (w *world) issue(t *testing.T, to account, more object) answer {
	t.Helper()
	return w.must(t, to, "/api/issue", object{"testType": "confirmed"}.merge(more))
}

// longCode issues a code with a message and returns both of its codes.
func (w *world) longCode(t *testing.T, more object) (issued answer, long string) {
	t.Helper()
	issued = w.issue(t, w.open, object{"phone": "+12065550100"}.merge(more))
	sent := w.sms.Delivered()
	for _, word := range strings.FieldsFunc(sent[len(sent)-1].Body, notInCode) {
		if len(word) == w.open.Settings.LongCodeLength {
			long = word
		}
	}
	if long == "" {
		t.Fatal("the message has no long code")
	}
	return issued, long
}

func notInCode(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }

// expireAt moves the end of a code.
func (w *world) expireAt(t *testing.T, issued answer, short, long time.Time) {
	t.Helper()
	w.sql(t, `update verification_code set expires_at = $2, long_expires_at = $3 where code_id = $1`, issued.text("uuid"), short, long)
}

func (w *world) token(t *testing.T, to account, more object) string {
	t.Helper()
	code := w.issue(t, to, more).text("code")
	return w.must(t, to, "/api/verify", object{"code": code}).text("token")
}
