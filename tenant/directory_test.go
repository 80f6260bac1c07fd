package tenant_test

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/onboarding"
	"carillon/tenant/tenanttest"
)

func TestDirectory(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north", func(s *onboarding.Spec) { s.HealthAuthorityID = "Org.North.Health" })
	w.Create("south")
	exec(t, w, `insert into directory_host (host, tenant) values ('north.example', $1), ('en.north.example', $1)`, north.ID)

	type lookup func(*tenant.Directory, context.Context) (*tenant.Tenant, error)
	bySlug := func(s string) lookup {
		return func(d *tenant.Directory, ctx context.Context) (*tenant.Tenant, error) { return d.BySlug(ctx, s) }
	}
	byAuthority := func(s string) lookup {
		return func(d *tenant.Directory, ctx context.Context) (*tenant.Tenant, error) {
			return d.ByHealthAuthorityID(ctx, s)
		}
	}
	byHost := func(s string) lookup {
		return func(d *tenant.Directory, ctx context.Context) (*tenant.Tenant, error) { return d.ByHost(ctx, s) }
	}
	byRegion := func(s string) lookup {
		return func(d *tenant.Directory, ctx context.Context) (*tenant.Tenant, error) { return d.ByRegion(ctx, s) }
	}
	byID := func(id tenant.ID) lookup {
		return func(d *tenant.Directory, ctx context.Context) (*tenant.Tenant, error) { return d.ByID(ctx, id) }
	}
	found := map[string]lookup{
		"slug":                   bySlug("north"),
		"authority":              byAuthority("org.north.health"),
		"authority in any case":  byAuthority("ORG.north.HEALTH"),
		"host":                   byHost("north.example"),
		"another host":           byHost("en.north.example"),
		"host in any case":       byHost("North.Example"),
		"host with trailing dot": byHost("north.example."),
		"region":                 byRegion(north.Region),
		"region in small":        byRegion(strings.ToLower(north.Region)),
		"ID":                     byID(north.ID),
	}
	unknown := map[string]lookup{
		"slug":                 bySlug("nowhere"),
		"slug in capitals":     bySlug("NORTH"),
		"no slug":              bySlug(""),
		"reserved slug":        bySlug("api"),
		"slug with zero":       bySlug("north\x00"),
		"slug with a path":     bySlug("north/../south"),
		"authority":            byAuthority("org.nowhere.health"),
		"no authority":         byAuthority(""),
		"pattern":              byAuthority("%"),
		"authority with blank": byAuthority(" org.north.health"),
		"authority with zero":  byAuthority("org.north.health\x00"),
		"long authority":       byAuthority(strings.Repeat("a", 257)),
		"authority is a slug":  byAuthority("north"),
		"authority not UTF-8":  byAuthority("\xff"),
		"host not UTF-8":       byHost("\xff"),
		"host":                 byHost("nowhere.example"),
		"no host":              byHost(""),
		"a dot":                byHost("."),
		"parent host":          byHost("example"),
		"child host":           byHost("www.north.example"),
		"host with port":       byHost("north.example:443"),
		"two trailing dots":    byHost("north.example.."),
		"long host":            byHost(strings.Repeat("a", 254)),
		"region":               byRegion("ZZ-ZZ"),
		"no region":            byRegion(""),
		"region's country":     byRegion(north.Region[:2]),
		"region with zero":     byRegion(north.Region + "\x00"),
		"region's homograph":   byRegion("\u0131" + north.Region[1:]), // a capital I once raised
		"ID":                   byID(tenant.NewID()),
		"no ID":                byID(tenant.ID{}),
	}
	for role, db := range map[string]*tenant.DB{
		"device": w.Device, "issuer": w.Issuer, "publish": w.Publish,
		"portal": w.Portal, "jobs": w.Jobs, "operator": w.Operator,
	} {
		d := tenant.NewDirectory(db)
		for name, look := range found {
			got, err := look(d, t.Context())
			if err != nil {
				t.Errorf("%s: by %s: %v", role, name, err)
				continue
			}
			if diff := cmp.Diff(north, got); diff != "" {
				t.Errorf("%s: by %s (-want +got):\n%s", role, name, diff)
			}
		}
		for name, look := range unknown {
			if got, err := look(d, t.Context()); !errors.Is(err, tenant.ErrUnknown) || got != nil {
				t.Errorf("%s: %s: %v, %v, want ErrUnknown", role, name, got, err)
			}
		}
	}
}

// Each setting arrives in its own field.
func TestSettings(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	exec(t, w, `
update tenant_setting
   set issuer = 'i', audience = 'a', certificate_seconds = 61, token_seconds = 62, test_types = '{likely,user-report}',
       require_date = false, issue_user_report = true, code_digits = 7, code_seconds = 63, long_code_length = 13,
       long_code_seconds = 64, sms_enabled = true, sms_country = 'DE', sms_template = 't', truncate_seconds = 65,
       release_same_day = true, maintenance = true, generate_sms = true, batch_issue = true, enx = true,
       self_report = true, self_report_page = true, self_report_block_seconds = 2592060, self_report_free_seconds = 3660,
       device_networks = '{192.0.2.0/24}', admin_networks = '{2001:db8::/32}', portal_networks = '{198.51.100.7}',
       quota_enforced = true, quota_factor = 1.5, sms_signing = 'closed', language = 'es', time_zone = 'Pacific/Guam',
       quiet_from = 1320, quiet_until = 480
 where tenant_id = $1`, north.ID)
	got, err := tenant.NewDirectory(w.Device).ByID(t.Context(), north.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := tenant.Settings{
		Issuer: "i", Audience: "a", CertificateLife: 61 * time.Second, TokenLife: 62 * time.Second,
		TestTypes: []string{"likely", "user-report"}, IssueUserReport: true, CodeDigits: 7, CodeLife: 63 * time.Second,
		LongCodeLength: 13, LongCodeLife: 64 * time.Second, SMSEnabled: true, SMSCountry: "DE", SMSTemplate: "t",
		Truncate: 65 * time.Second, ReleaseSameDay: true,
		Maintenance: true, GenerateSMS: true, BatchIssue: true, ENX: true,
		SelfReport: true, SelfReportPage: true, SelfReportBlock: 2592060 * time.Second, SelfReportFree: 3660 * time.Second,
		DeviceNetworks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		AdminNetworks:  []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
		PortalNetworks: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")},
		QuotaEnforced:  true, QuotaFactor: 1.5, SMSSigning: tenant.SigningClosed, Language: "es", TimeZone: "Pacific/Guam",
		QuietFrom: 1320, QuietUntil: 480, Contacts: []string{},
	}
	if diff := cmp.Diff(want, got.Settings, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

// A suspended tenant is found, as suspended, and left out where work is handed out.
func TestSuspended(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	exec(t, w, `update tenant_directory set state = 'suspended' where tenant = $1`, north.ID)
	d := tenant.NewDirectory(w.Jobs)
	got, err := d.BySlug(t.Context(), "north")
	if err != nil || got.State != tenant.Suspended {
		t.Errorf("north = %+v, %v", got, err)
	}
	var visited []tenant.ID
	err = d.Each(t.Context(), func(id tenant.ID) error {
		visited = append(visited, id)
		return nil
	})
	if err != nil || !slices.Equal(visited, []tenant.ID{south.ID}) {
		t.Errorf("Each visits %v (%v), want the active one", visited, err)
	}
}

// An erased tenant is found by none of its names.
func TestErased(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	w.MarkErased(north)
	exec(t, w, `insert into directory_host (host, tenant) values ('north.example', $1)`, north.ID)
	d := tenant.NewDirectory(w.Device)
	for name, find := range map[string]func() (*tenant.Tenant, error){
		"slug":                func() (*tenant.Tenant, error) { return d.BySlug(t.Context(), "north") },
		"ID":                  func() (*tenant.Tenant, error) { return d.ByID(t.Context(), north.ID) },
		"region":              func() (*tenant.Tenant, error) { return d.ByRegion(t.Context(), north.Region) },
		"host":                func() (*tenant.Tenant, error) { return d.ByHost(t.Context(), "north.example") },
		"health authority ID": func() (*tenant.Tenant, error) { return d.ByHealthAuthorityID(t.Context(), north.HealthAuthorityID) },
	} {
		if got, err := find(); !errors.Is(err, tenant.ErrUnknown) {
			t.Errorf("by %s: %v, %v", name, got, err)
		}
	}
}

// A tenant is leaving exactly while a row says so, is erased only while it leaves, and
// then for good; the portal changes the tenant it is bound to.
func TestStatesAreKept(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	move := func(bound, id tenant.ID, state string) error {
		return w.Portal.In(t.Context(), bound, func(tx *tenant.Tx) error {
			_, err := tx.Exec(t.Context(), `update tenant_directory set state = $2 where tenant = $1`, id, state)
			return err
		})
	}
	refused := func(what string, err error) {
		t.Helper()
		if !tenant.Violates(err, "tenant_directory_state_kept") {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("erased at once", move(north.ID, north.ID, "erased"))
	refused("leaving without a row", move(north.ID, north.ID, "leaving"))
	refused("another tenant", move(north.ID, south.ID, "suspended"))
	exec(t, w, `
insert into tenant_leaving (tenant_id, asked_by, approved_by, begun_at, closes_at, erase_after)
values ($1, 'robin', 'sam', now(), now(), now() + interval '30 days')`, north.ID)
	refused("another tenant, which does not leave", move(south.ID, south.ID, "leaving"))
	if err := move(north.ID, north.ID, "leaving"); err != nil {
		t.Fatal(err)
	}
	refused("active while a row says leaving", move(north.ID, north.ID, "active"))
	refused("erased by staff", move(north.ID, north.ID, "erased"))
	refused("suspended by staff", move(north.ID, north.ID, "suspended"))
	exec(t, w, `update tenant_directory set state = 'erased' where tenant = $1`, north.ID)
	refused("back", move(north.ID, north.ID, "active"))
	refused("back to leaving", move(north.ID, north.ID, "leaving"))
}

// All tenants are visited once, page by page, until one visit fails.
func TestEachTenant(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	const tenants = 2300
	exec(t, w, `
insert into tenant_directory (tenant, slug, name, region, health_authority_id)
select gen_random_uuid(), 'slug-' || n, 'name', 'X' || chr(65 + n / 1000) || '-' || to_char(n % 1000, 'FM000'), 'id-' || n
  from generate_series(1, $1::int) n`, tenants)
	d := tenant.NewDirectory(w.Jobs)
	seen := map[tenant.ID]int{}
	trips := w.Trips(func() {
		err := d.Each(t.Context(), func(id tenant.ID) error {
			seen[id]++
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	if len(seen) != tenants {
		t.Errorf("%d tenants were visited, want %d", len(seen), tenants)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was visited %d times", id, n)
		}
	}
	if trips > 4*3 {
		t.Errorf("%d round trips for %d tenants", trips, tenants)
	}
	visits := 0
	err := d.Each(t.Context(), func(tenant.ID) error {
		if visits++; visits == 1200 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || visits != 1200 {
		t.Errorf("%d visits, then %v", visits, err)
	}
}

// A known name costs nothing, and neither does an unknown one for [tenant.DirectoryAge].
func TestDirectoryRoundTrips(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.Create("north")
	d := tenant.NewDirectory(w.Device)
	const entry, settings = 3, 3 // begin, one statement, commit
	for name, wants := range map[string][]int{
		"south": {entry, 0, 0}, "north": {entry + settings, 0, 0}, "not a slug": {0},
	} {
		for i, want := range wants {
			if got := w.Trips(func() { _, _ = d.BySlug(t.Context(), name) }); got != want {
				t.Errorf("%s, look %d: %d round trips, want %d", name, i+1, got, want)
			}
		}
	}
}

// Only a name without any answer is strange: not one that is known, was known or is
// known to be nobody's.
func TestStrangeNames(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	exec(t, w, `insert into directory_host (host, tenant) values ('north.example', $1)`, north.ID)
	d := tenant.NewDirectory(w.Device)
	for _, test := range []struct {
		name    string
		strange func(string) bool
		find    func(context.Context, string) (*tenant.Tenant, error)
	}{
		{"north", d.StrangeSlug, d.BySlug},
		{"south", d.StrangeSlug, d.BySlug},
		{"north.example", d.StrangeHost, d.ByHost},
		{"South.example.", d.StrangeHost, d.ByHost},
	} {
		if !test.strange(test.name) {
			t.Errorf("%s is not strange at first", test.name)
		}
		_, _ = test.find(t.Context(), test.name)
		if test.strange(test.name) {
			t.Errorf("%s is strange when it has been looked for", test.name)
		}
	}
	if d.StrangeSlug("not a slug") || d.StrangeHost("") {
		t.Error("what cannot be a name is strange")
	}
}

// A tenant that is made after somebody looked for it is found after a moment.
func TestUnknownNamesAreForgotten(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	d := tenant.NewDirectory(w.Device)
	if _, err := d.BySlug(t.Context(), "north"); !errors.Is(err, tenant.ErrUnknown) {
		t.Fatalf("BySlug: %v", err)
	}
	w.Create("north")
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := d.BySlug(t.Context(), "north")
		if err == nil {
			return
		}
		if !errors.Is(err, tenant.ErrUnknown) || time.Now().After(deadline) {
			t.Fatalf("BySlug: %v", err)
		}
		runtime.Gosched()
	}
}

// The platform's switch reaches every tenant and every directory, without a restart.
func TestMaintenance(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.Create("north")
	closed := func(d *tenant.Directory) (north, platform bool) {
		t.Helper()
		of, err := d.BySlug(t.Context(), "north")
		if err != nil {
			t.Fatal(err)
		}
		if platform, err = d.Maintenance(t.Context()); err != nil {
			t.Fatal(err)
		}
		return of.Maintenance, platform
	}
	follows := func(d *tenant.Directory, want bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
			north, platform := closed(d)
			if north == want && platform == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("tenant %v, platform %v, want %v", north, platform, want)
			}
		}
	}
	d := tenant.NewDirectory(w.Device)
	follows(d, false)
	for _, on := range []bool{true, false} {
		if err := tenant.SetMaintenance(t.Context(), w.Operator, switcher, on, tenanttest.Start); err != nil {
			t.Fatal(err)
		}
		follows(d, on)
	}
	d.HoldMaintenance()
	follows(d, true)
	follows(tenant.NewDirectory(w.Issuer), false)
	for role, db := range map[string]*tenant.DB{"device": w.Device, "issuer": w.Issuer, "portal": w.Portal, "jobs": w.Jobs, "publish": w.Publish, "report": w.Report} {
		if err := tenant.SetMaintenance(t.Context(), db, switcher, true, tenanttest.Start); !tenanttest.Denied(err) {
			t.Errorf("%s switches maintenance: %v", role, err)
		}
	}
}

var switcher = authz.Subject{Kind: authz.System, ID: "operator", Name: "Operator"}

// Each switch of maintenance has its entry, which nobody can change; what is no switch
// has none.
func TestMaintenanceIsEntered(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for _, on := range []bool{false, true, true, false} {
		if err := tenant.SetMaintenance(t.Context(), w.Operator, switcher, on, w.Now()); err != nil {
			t.Fatal(err)
		}
		w.Advance(time.Minute)
	}
	got, err := tenant.MaintenanceSwitches(t.Context(), w.Operator, 10)
	if err != nil {
		t.Fatal(err)
	}
	at := tenanttest.Start.Truncate(time.Second)
	want := []tenant.MaintenanceSwitch{{At: at.Add(3 * time.Minute), By: "Operator", On: false}, {At: at.Add(time.Minute), By: "Operator", On: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, sql := range []string{`update platform_entry set actor_name = 'x'`, `delete from platform_entry`} {
		err := w.Operator.Platform(t.Context(), func(tx *tenant.Tx) error {
			_, err := tx.Exec(t.Context(), sql)
			return err
		})
		if !tenanttest.Denied(err) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if _, err := tenant.MaintenanceSwitches(t.Context(), w.Portal, 10); !tenanttest.Denied(err) {
		t.Errorf("the portal reads them: %v", err)
	}
}

func TestClosedFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		state                        tenant.State
		platform, own, issue, verify bool
	}{
		{tenant.Active, false, false, false, false},
		{tenant.Active, false, true, true, false},
		{tenant.Active, true, false, true, true},
		{tenant.Active, true, true, true, true},
		{tenant.Suspended, false, false, true, true},
		{tenant.Leaving, false, false, true, true},
		{"", false, false, true, true},
	} {
		of := tenant.Tenant{State: test.state, Maintenance: test.platform, Settings: tenant.Settings{Maintenance: test.own}}
		if of.ClosedForIssue() != test.issue || of.ClosedForVerify() != test.verify || of.ClosedForPublish() != test.verify {
			t.Errorf("%+v: issue %v, verify %v, publish %v", test, of.ClosedForIssue(), of.ClosedForVerify(), of.ClosedForPublish())
		}
	}
}

// Without the database the answer is not that nobody has the name.
func TestDirectoryWithoutDatabase(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.Create("north")
	db := w.Open("carillon_device")
	d := tenant.NewDirectory(db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ByHealthAuthorityID(t.Context(), "org.north.health"); err == nil || errors.Is(err, tenant.ErrUnknown) {
		t.Errorf("ByHealthAuthorityID: %v, want an error of the database", err)
	}
	if err := d.Each(t.Context(), func(tenant.ID) error { return nil }); err == nil {
		t.Error("Each visits all of none")
	}
}

func exec(t *testing.T, w *tenanttest.World, statement string, args ...any) {
	t.Helper()
	if _, err := w.Database.Super().ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
