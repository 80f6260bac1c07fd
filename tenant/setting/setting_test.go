package setting_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
)

var robin = authz.Subject{Kind: authz.Person, ID: "77aa", Name: "Robin", Roles: []authz.Role{authz.Administrator}}

// another is a possible value of each setting that is not its first one.
var another = map[string]string{
	"test-types": "confirmed,user-report", "require-date": "off", "issue-user-report": "on", "batch-issue": "on",
	"code-digits": "7", "code-life": "30m0s", "long-code-length": "12", "long-code-life": "12h0m0s",
	"maintenance": "on", "enx": "on",
	"self-report": "on", "self-report-page": "on", "self-report-block": "720h0m0s", "self-report-free": "1h30m0s",
	"device-networks": "192.0.2.0/24,2001:db8::/32", "admin-networks": "198.51.100.7/32", "portal-networks": "203.0.113.0/28",
	"quota-enforced": "on", "quota-factor": "1.50",
	"sms": "on", "sms-country": "DE", "sms-template": "Your code is [code], for [expires] minutes", "generate-sms": "on",
	"sms-signing": "closed", "email": "on", "language": "es-419", "time-zone": "America/Chicago", "quiet-from": "21:30", "quiet-until": "08:00",
	"welcome": "Call 555-0100\nat night", "contacts": "a@north.example,b@north.example", "invite-letter": "Come to [realmname]: [invitelink]",
	"certificate-life": "10m0s", "token-life": "36h0m0s",
}

func TestChange(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	untouched := read(t, w, south)
	first := read(t, w, north)
	for _, s := range setting.List() {
		if first[s.Name] == another[s.Name] {
			t.Errorf("%s is %q from the start: the test would not see a change", s.Name, first[s.Name])
		}
	}

	if err := change(t, w, north, another); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(another, read(t, w, north)); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(untouched, read(t, w, south)); diff != "" {
		t.Errorf("the other tenant's settings (-before +after):\n%s", diff)
	}
	if err := change(t, w, north, first); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, read(t, w, north)); diff != "" {
		t.Errorf("settings set back to what was shown (-want +got):\n%s", diff)
	}
}

func TestChangeIsAudited(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	if err := change(t, w, north, map[string]string{"code-digits": "6", "sms-country": "US"}); err != nil {
		t.Fatal(err)
	}
	e := newest(t, w, north)
	if e.Action != string(authz.SettingsWrite) || e.ActorID != robin.ID {
		t.Errorf("entry is %s by %s, want %s by %s", e.Action, e.ActorID, authz.SettingsWrite, robin.ID)
	}
	if got, want := string(e.Detail), `{"+code-digits": "6", "-code-digits": "8"}`; got != want {
		t.Errorf("detail is %s, want %s: what changed and nothing else", got, want)
	}
}

// One bad value keeps every other from being set, too.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	before := read(t, w, north)
	bad := map[string][]string{
		"test-types": {"", "Confirmed", "confirmed,x"}, "require-date": {"", "1", "ON"},
		"code-digits": {"5", "13", "x", "", "99999999999"}, "code-life": {"0s", "3h", "15", "1.5s", "-1m", "2562047h"},
		"long-code-length": {"11", "17"}, "long-code-life": {"25h"},
		"self-report-page": {"on"}, "self-report-block": {"1h", "2161h"}, "self-report-free": {"59m", "91m"},
		"device-networks": {"x", "192.0.2.0/33", "fe80::1%eth0", "192.0.2.0/24,"},
		"quota-factor":    {"0.01", "101", "x", "NaN", "Inf"},
		"sms-country":     {"us", "USA", ""}, "sms-template": {strings.Repeat("x", 801)},
		"sms-signing": {"on"}, "language": {"", "x", "English!"}, "time-zone": {"", "Local", "Mars/Olympus"},
		"welcome": {"a\u202eb", strings.Repeat("x", 2001), "\xff"}, "contacts": {"nobody", "a@b.example,,", "ü@b.example", strings.Repeat("a@b.example,", 10) + "a@b.example"},
		"invite-letter": {"Come", "[invitelink]" + strings.Repeat("x", 2000)},
		"quiet-from":    {"24:00", "9", "x"}, "certificate-life": {"59s", "61m"}, "token-life": {"49h"},
	}
	for name, values := range bad {
		for _, value := range values {
			err := change(t, w, north, map[string]string{name: value, "maintenance": "on"})
			if !errors.Is(err, setting.ErrValue) {
				t.Errorf("%s=%q: %v, want ErrValue", name, value, err)
				continue
			}
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%q: the error does not name the setting: %v", name, value, err)
			}
		}
	}
	if err := change(t, w, north, map[string]string{"issuer": "x"}); !errors.Is(err, setting.ErrUnknown) {
		t.Errorf("unknown setting: %v, want ErrUnknown", err)
	}
	if diff := cmp.Diff(before, read(t, w, north)); diff != "" {
		t.Errorf("settings after refusals (-before +after):\n%s", diff)
	}
}

func TestOtherWaysToWrite(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	for name, c := range map[string][2]string{
		"device-networks": {" 192.0.2.77/24 , 198.51.100.7", "192.0.2.0/24,198.51.100.7/32"},
		"maintenance":     {"true", "on"},
		"require-date":    {"no", "off"},
		"code-life":       {"900s", "15m0s"},
	} {
		if err := change(t, w, north, map[string]string{name: c[0]}); err != nil {
			t.Errorf("%s=%q: %v", name, c[0], err)
		}
		if got := read(t, w, north)[name]; got != c[1] {
			t.Errorf("%s=%q reads %q, want %q", name, c[0], got, c[1])
		}
	}
}

func change(t *testing.T, w *tenanttest.World, of *tenant.Tenant, values map[string]string) error {
	t.Helper()
	return w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return setting.Change(t.Context(), tx, robin, values, w.Now())
	})
}

func read(t *testing.T, w *tenanttest.World, of *tenant.Tenant) (values map[string]string) {
	t.Helper()
	err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
		values, err = setting.Read(t.Context(), tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func newest(t *testing.T, w *tenanttest.World, of *tenant.Tenant) (e audit.Entry) {
	t.Helper()
	err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		list, err := audit.List(t.Context(), tx, 1)
		if err == nil {
			e = list[0]
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
