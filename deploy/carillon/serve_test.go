package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/migrations/testdb"
	"carillon/tenant"
	"carillon/tenant/quota"
)

// freeAddress is one that nobody listens on, a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually asks a URL until it answers with the status.
func eventually(t *testing.T, url string, status int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			body, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if response.StatusCode == status {
				return string(body)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s does not answer %d", url, status)
		}
	}
}

// leads asks a region's host for a link, and returns where it leads.
func leads(t *testing.T, address, host, agent string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/v?c=abc", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	request.Header.Set("User-Agent", agent)
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.Header.Get("Location")
}

// What the operators' page says, from an empty service to a health authority with an
// index: a tenant is made by command, the processes run as roles of their own, and an
// interrupt ends them in order.
func TestServeFromNothing(t *testing.T) {
	t.Parallel()
	database := testdb.New(t).DSN("")
	dir := t.TempDir()
	root := filepath.Join(dir, "root.key")
	create := []string{
		"tenant", "create", "north", "--name", "Health of the north", "--region", "XA-N", "--health-authority-id", "org.north",
		"--issuer", "north.example", "--export-key-id", "310", "--database", database, "--root-key", root,
	}
	if code := run(t.Context(), create); code != 0 {
		t.Fatalf("tenant create: exit code %d", code)
	}
	if code := run(t.Context(), create); code != exitFailed {
		t.Errorf("the same tenant again: exit code %d", code)
	}
	apps := func(args ...string) int {
		return run(t.Context(), append([]string{"tenant", "app"}, append(args, "--database", database)...))
	}
	fingerprint := strings.Repeat("0A:", 31) + "FF"
	add := []string{"add", "north", "--os", "android", "--name", "North", "--app-id", "org.north", "--store-url", "https://store.example/north", "--fingerprint", fingerprint}
	for _, step := range []struct {
		args []string
		want int
	}{
		{add, 0},
		{add, exitFailed},
		{[]string{"add", "north", "--os", "ios", "--name", "North", "--app-id", "T.org.north", "--store-url", "https://store.example/ios"}, 0},
		{[]string{"list", "north"}, 0},
		{[]string{"list", "nowhere"}, exitFailed},
		{[]string{"remove", "north", "--os", "ios", "--name", "North"}, 0},
		{[]string{"remove", "north", "--os", "ios", "--name", "North"}, exitFailed},
		{[]string{"remove", "north", "--os", "palm", "--name", "North"}, exitUsage},
	} {
		if code := apps(step.args...); code != step.want {
			t.Errorf("tenant app %v: exit code %d, want %d", step.args, code, step.want)
		}
	}
	listen, operations := freeAddress(t), freeAddress(t)
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{
			"serve", "device", "issuer", "publish", "jobs", "--database", database, "--root-key", root,
			"--exports", filepath.Join(dir, "exports"), "--listen", listen, "--operations", operations, "--job-interval", "100ms",
			"--redirect-domain", "links.example,older.example", "--information-url", "https://health.example/about",
		})
	}()
	eventually(t, "http://"+listen+"/ready", http.StatusOK)
	if index := eventually(t, "http://"+listen+"/t/north/exports/index.txt", http.StatusOK); index != "" {
		t.Errorf("index: %q", index)
	}
	if keys := eventually(t, "http://"+listen+"/t/north/jwks", http.StatusOK); !strings.HasPrefix(keys, `[{"kid":"north-c1"`) {
		t.Errorf("jwks: %s", keys)
	}
	for _, domain := range []string{"links.example", "older.example"} {
		if to := leads(t, listen, "xa-n."+domain, "Android"); !strings.HasPrefix(to, "intent://v?c=abc&r=XA-N#Intent;scheme=ens;package=org.north;") {
			t.Errorf("%s leads to %q", domain, to)
		}
	}
	if m := eventually(t, "http://"+operations+"/metrics", http.StatusOK); !strings.Contains(m, "carillon_requests_total") {
		t.Error("metrics do not count requests")
	}
	eventually(t, "http://"+listen+"/portal/north/", http.StatusNotFound) // not a role of this process
	jobs := func(args ...string) int {
		return run(t.Context(), append(append([]string{"jobs"}, args...), "--database", database))
	}
	for _, step := range []struct {
		args []string
		want int
	}{
		{[]string{"run", "retention"}, 0},
		{[]string{"run", "retention", "--tenant", "north"}, 0},
		{[]string{"run", "export", "--wait", "0"}, 0},
		{[]string{"run", "messages"}, exitFailed}, // is at work all the time
		{[]string{"run", "retention", "--tenant", "nowhere"}, exitFailed},
		{nil, 0},
		{[]string{"--json"}, 0},
		{[]string{"--late"}, 0}, // nothing is
		{[]string{"--tenant", "north"}, 0},
		{[]string{"--tenant", "nowhere"}, exitFailed},
	} {
		if code := jobs(step.args...); code != step.want {
			t.Errorf("jobs %v: exit code %d, want %d", step.args, code, step.want)
		}
	}
	if said := eventually(t, "http://"+operations+"/jobs", http.StatusOK); !strings.Contains(said, `"job":"export"`) {
		t.Errorf("/jobs says %s", said)
	}
	if m := eventually(t, "http://"+operations+"/metrics", http.StatusOK); !strings.Contains(m, `carillon_job_late{job="retention"} 0`) {
		t.Error("metrics do not tell which jobs are late")
	}
	interrupt()
	if code := <-ended; code != 0 {
		t.Errorf("serve: exit code %d", code)
	}
	if err := os.Chmod(root, 0o640); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), append([]string{"serve", "jobs", "--database", database, "--root-key", root}, "--exports", dir)); code != exitFailed {
		t.Errorf("a root key that others can read: exit code %d", code)
	}
}

// The platform is switched to maintenance and back without a restart, and a quota can
// be seen and added to.
func TestMaintenanceAndQuotaCommands(t *testing.T) {
	t.Parallel()
	database := testdb.New(t).DSN("")
	dir := t.TempDir()
	root := filepath.Join(dir, "root.key")
	command := func(args ...string) int { return run(t.Context(), append(args, "--database", database)) }
	if code := command("tenant", "create", "north", "--name", "Health of the north", "--region", "XA-N", "--health-authority-id", "org.north",
		"--issuer", "north.example", "--export-key-id", "310", "--root-key", root); code != 0 {
		t.Fatalf("tenant create: exit code %d", code)
	}
	listen := freeAddress(t)
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{
			"serve", "jobs", "--database", database, "--root-key", root, "--exports", filepath.Join(dir, "exports"),
			"--listen", listen, "--operations", "", "--trusted-proxy", "10.0.0.0/8,127.0.0.1",
		})
	}()
	says := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !strings.Contains(eventually(t, "http://"+listen+"/health", http.StatusOK), want); {
			if time.Now().After(deadline) {
				t.Fatalf("health does not say %s", want)
			}
		}
	}
	says(`"maintenance_mode":false`)
	if code := command("maintenance", "on"); code != 0 {
		t.Errorf("maintenance on: exit code %d", code)
	}
	says(`"maintenance_mode":true`)
	if code := command("maintenance", "off"); code != 0 {
		t.Errorf("maintenance off: exit code %d", code)
	}
	says(`"maintenance_mode":false`)
	if code := command("maintenance", "show"); code != 0 {
		t.Errorf("maintenance show: exit code %d", code)
	}
	for want, args := range map[int][]string{
		0: {"tenant", "quota", "burst", "north", "25"}, exitFailed: {"tenant", "quota", "burst", "north", "0"}, exitUsage: {"maintenance", "perhaps"},
	} {
		if code := command(args...); code != want {
			t.Errorf("%v: exit code %d, want %d", args, code, want)
		}
	}
	if code := command("tenant", "quota", "show", "north"); code != 0 {
		t.Errorf("quota show: exit code %d", code)
	}
	interrupt()
	if code := <-ended; code != 0 {
		t.Errorf("serve: exit code %d", code)
	}
	if code := command("serve", "jobs", "--root-key", root, "--exports", dir, "--trusted-proxy", "anybody"); code != exitFailed {
		t.Errorf("a proxy that is no network: exit code %d", code)
	}
}

func TestShowQuota(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	of := &tenant.Tenant{Settings: tenant.Settings{QuotaEnforced: true, QuotaFactor: 1.3}}
	day := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	s := quota.Standing{Day: day, Base: 100, Effective: 130, Burst: 20, Taken: 60}
	var days []quota.Day
	for i := range 14 {
		days = append(days, quota.Day{Day: day.AddDate(0, 0, i-14), Issued: 95})
	}
	showQuota(&text, of, s, days[1:])
	showQuota(&text, of, s, days)
	const want = `2026-11-25 UTC: 130 codes (100 modelled × 1.30) and 20 added; processes have taken 60, 90 are left; enforced.
No forecast: 13 of the days before are known, and it takes 14.
2026-11-25 UTC: 130 codes (100 modelled × 1.30) and 20 added; processes have taken 60, 90 are left; enforced.
Forecast for today: 95 codes.
`
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
}

// A server leaves processors to a database on its machine.
func TestOnThisMachine(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]bool{
		"host=/run/postgresql dbname=carillon":                         true,
		"host='/a folder/socket' port=5433 dbname=x sslmode=disable":   true,
		"postgres:///carillon?host=/run/postgresql":                    true,
		"host=db.example dbname=carillon":                              false,
		"host=127.0.0.1 dbname=carillon":                               false, // a tunnel, perhaps
		"postgres://db.example/carillon":                               false,
		"postgres://db.example/carillon?passfile=/etc/carillon/passes": false,
		"host=/run/postgresql port=none":                               false, // refused elsewhere
	} {
		if got := onThisMachine(dsn); got != want {
			t.Errorf("%s: %v", dsn, got)
		}
	}
}
