package service

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/message"
	"carillon/tenant/onboarding"
	"carillon/tenant/tenanttest"
)

var update = flag.Bool("update", false, "rewrite golden files")

func config(t *testing.T, w *tenanttest.World, roles ...Role) Config {
	t.Helper()
	return Config{
		Roles: roles, DSN: func(role string) (string, error) { return w.Database.DSN(role), nil },
		Root: w.Root, Files: files(t), BaseURL: "http://127.0.0.1:8080",
		Login:  oidc.Config{Issuer: "http://127.0.0.1:8080/idp", ClientID: "c", RedirectURL: "http://127.0.0.1:8080/login/callback", Now: time.Now},
		Sender: message.None{}, JobInterval: time.Second, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
}

func files(t testing.TB) export.Store {
	t.Helper()
	s, err := export.NewFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, c Config) *Service {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// Every URL of the service, of both surfaces, with its guard: the attack surface on
// one page.
func TestRoutesAreGolden(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, tenanttest.New(t), Roles()...))
	got := authz.Table(s.Routes())
	const golden = "testdata/routes.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("routes differ from %s (-want +got); run the test with -update if that is meant:\n%s", golden, diff)
	}
	if err := authz.ValidateRoutes(s.Routes()); err != nil {
		t.Error(err)
	}
}

// A process serves the URLs of its own roles and no others.
func TestRolesServeTheirOwn(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for _, test := range []struct {
		role      Role
		mine, not string
	}{
		{Device, "/api/verify", "/api/issue"},
		{Issuer, "/api/issue", "/v1/publish"},
		{Report, "/api/user-report", "/api/verify"},
		{Publish, "/v1/publish", "/api/verify"},
		{Portal, "/portal/", "/api/issue"},
		{Jobs, "/health", "/api/"},
		{Operator, "/operator", "/portal"},
	} {
		t.Run(string(test.role), func(t *testing.T) {
			t.Parallel()
			table := authz.Table(open(t, config(t, w, test.role)).Routes())
			if !strings.Contains(table, test.mine) || strings.Contains(table, test.not) {
				t.Errorf("serves\n%s", table)
			}
		})
	}
}

// What no surface knows is the extra handler's, with its own status.
func TestExtraHandlerAnswers(t *testing.T) {
	t.Parallel()
	c := config(t, tenanttest.New(t), Roles()...)
	c.Extra = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/dev/page" {
			_, _ = io.WriteString(w, "here")
			return
		}
		http.NotFound(w, r)
	})
	h := open(t, c).Handler()
	for path, want := range map[string]int{"/dev/page": http.StatusOK, "/dev/none": http.StatusNotFound} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: status %d, want %d", path, w.Code, want)
		}
	}
}

// Whoever could walk around row security is no process of ours.
func TestRefusesAPrivilegedRole(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	c := config(t, w, Device)
	c.DSN = func(string) (string, error) { return w.Database.DSN(""), nil }
	if s, err := Open(t.Context(), c); !errors.Is(err, tenant.ErrPrivileged) {
		t.Errorf("opened %v, %v", s != nil, err)
	}
}

// A tenant that releases keys still in use is named in the log at every start.
func TestWarnsOfSameDayRelease(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.Create("strict")
	w.Create("rehearsal", func(s *onboarding.Spec) { s.ReleaseSameDay = true })
	var log bytes.Buffer
	c := config(t, w, Jobs)
	c.Log = slog.New(slog.NewJSONHandler(&log, nil))
	open(t, c)
	if !strings.Contains(log.String(), `"tenant":"rehearsal"`) || strings.Contains(log.String(), "strict") {
		t.Errorf("log: %s", log.String())
	}
}

func TestParseRoles(t *testing.T) {
	t.Parallel()
	if roles, err := ParseRoles(nil); err != nil || len(roles) != len(Roles()) {
		t.Errorf("%v, %v", roles, err)
	}
	if roles, err := ParseRoles([]string{"jobs", "device"}); err != nil || len(roles) != 2 {
		t.Errorf("%v, %v", roles, err)
	}
	if _, err := ParseRoles([]string{"owner"}); err == nil {
		t.Error("an unknown role was taken")
	}
}

// Stopping lets a request under way finish, and takes no new ones.
func TestStopsGracefully(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "finished")
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, l, slow) }()
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answer <- string(body)
	}()
	<-arrived
	cancel()
	for { // until it takes no new connections
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		_ = c.Close()
	}
	close(release)
	if got := <-answer; got != "finished" {
		t.Errorf("the request under way got %q", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
