package onboarding_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
	"carillon/tenant/onboarding"
	"carillon/tenant/tenanttest"
)

func spec() onboarding.Spec {
	return onboarding.Spec{
		Slug: "north", Name: "Department of Health of North", Region: "US-WA",
		HealthAuthorityID: "Org.North.Health", Issuer: "health.north.example", Audience: "exposure-notifications-server",
		ExportKeyID: "310",
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	id := create(t, w, spec())

	got, err := tenant.NewDirectory(w.Device).BySlug(t.Context(), "north")
	if err != nil {
		t.Fatal(err)
	}
	want := &tenant.Tenant{
		ID: id, Number: got.Number, Slug: "north", Name: "Department of Health of North", Region: "US-WA",
		HealthAuthorityID: "org.north.health", State: tenant.Active, Kind: tenant.Production,
		Settings: tenant.Settings{
			Contacts: []string{},
			Issuer:   "health.north.example", Audience: "exposure-notifications-server",
			CertificateLife: 15 * time.Minute, TokenLife: 24 * time.Hour,
			TestTypes: []string{"confirmed", "likely", "negative"}, RequireDate: true,
			CodeDigits: 8, CodeLife: 15 * time.Minute, LongCodeLength: 16, LongCodeLife: 24 * time.Hour,
			SMSCountry:      "US",
			SMSTemplate:     "Your exposure notification code: [longcode]. It expires in [longexpires] hours.",
			Truncate:        time.Hour,
			SelfReportBlock: 90 * 24 * time.Hour, SelfReportFree: time.Hour,
			QuotaFactor: 1, SMSSigning: tenant.SigningOff, Language: "en", TimeZone: "UTC",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tenant (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(config{Region: "US-WA", Period: 4 * 3600, MinRecords: 1000, Padding: 100}, configOf(t, w, id)); diff != "" {
		t.Errorf("export configuration (-want +got):\n%s", diff)
	}
	if n := count(t, w.Jobs, id, `select count(*) from export_horizon where settled_until = to_timestamp(0)`); n != 1 {
		t.Errorf("%d horizons", n)
	}
	public, err := key.NewRing(w.Operator, w.Root).Public(t.Context(), id, signing.Export)
	if err != nil || len(public) != 1 || public[0].KeyID != "310" || public[0].Label != "v1" {
		t.Errorf("export keys: %+v, %v", public, err)
	}
}

func TestChoices(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s := spec()
	s.ExportPeriod, s.ExportMinAge, s.Truncate = time.Minute, 30*time.Second, 10*time.Second
	s.MinRecords, s.PaddingRange, s.ReleaseSameDay, s.SMSEnabled = 7, 3, true, true
	id := create(t, w, s)
	got, err := tenant.NewDirectory(w.Device).ByID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if g := got.Settings; g.Truncate != 10*time.Second || !g.ReleaseSameDay || !g.SMSEnabled {
		t.Errorf("settings = %+v", g)
	}
	want := config{Region: "US-WA", Period: 60, MinAge: 30, MinRecords: 7, Padding: 3}
	if diff := cmp.Diff(want, configOf(t, w, id)); diff != "" {
		t.Errorf("export configuration (-want +got):\n%s", diff)
	}
}

// A negative age asks for what the platforms ask for.
func TestMinAgeOfThePlatforms(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s := spec()
	s.ExportMinAge = -1
	if got := configOf(t, w, create(t, w, s)).MinAge; got != 2*3600 {
		t.Errorf("minimum age = %d s, want two hours", got)
	}
}

func TestAuditEntry(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	id := create(t, w, spec())
	var got []audit.Entry
	err := w.Operator.In(t.Context(), id, func(tx *tenant.Tx) (err error) {
		got, err = audit.List(t.Context(), tx, 10)
		return err
	})
	if err != nil || len(got) != 1 {
		t.Fatalf("%d entries, %v", len(got), err)
	}
	want := audit.Entry{
		No: got[0].No, At: w.Now(), ActorKind: string(authz.System), ActorID: "onboarding", ActorName: "Carillon",
		Action: "tenant:create", Target: "north", Detail: json.RawMessage("{}"),
	}
	got[0].At = got[0].At.UTC()
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
}

// The answer says which name is taken, and nothing of whoever has it. Nothing is
// left behind.
func TestTaken(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	create(t, w, spec())
	free := onboarding.Spec{
		Slug: "south", Name: "Department of Health of South", Region: "US-OR", HealthAuthorityID: "org.south.health",
		Issuer: "health.south.example", Audience: "a", ExportKeyID: "310",
	}
	before := rows(t, w)
	for name, c := range map[string]struct {
		change func(*onboarding.Spec)
		want   string
	}{
		"slug":                {func(s *onboarding.Spec) { s.Slug = "north" }, "slug taken by another tenant"},
		"region":              {func(s *onboarding.Spec) { s.Region = "US-WA" }, "region taken by another tenant"},
		"health authority ID": {func(s *onboarding.Spec) { s.HealthAuthorityID = "ORG.NORTH.HEALTH" }, "health authority ID taken by another tenant"},
	} {
		s := free
		c.change(&s)
		id, err := onboarding.Create(t.Context(), w.Operator, w.Root, s, w.Now())
		if !errors.Is(err, onboarding.ErrExists) || err.Error() != c.want || id != (tenant.ID{}) {
			t.Errorf("%s: %v, %v, want %q", name, id, err, c.want)
		}
	}
	if diff := cmp.Diff(before, rows(t, w)); diff != "" {
		t.Errorf("refusals left rows behind (-before +after):\n%s", diff)
	}
	create(t, w, free)
}

func TestRefusedValues(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	before := rows(t, w)
	for name, c := range map[string]struct {
		change     func(*onboarding.Spec)
		constraint string
	}{
		"no name":              {func(s *onboarding.Spec) { s.Name = "" }, "tenant_directory_name_form"},
		"long name":            {func(s *onboarding.Spec) { s.Name = strings.Repeat("n", 201) }, "tenant_directory_name_form"},
		"region in lower case": {func(s *onboarding.Spec) { s.Region = "us-wa" }, "tenant_directory_region_form"},
		"no authority ID":      {func(s *onboarding.Spec) { s.HealthAuthorityID = "" }, "tenant_directory_health_authority_id_form"},
		"no issuer":            {func(s *onboarding.Spec) { s.Issuer = "" }, "tenant_setting_issuer_form"},
		"long audience":        {func(s *onboarding.Spec) { s.Audience = strings.Repeat("a", 256) }, "tenant_setting_audience_form"},
		"uneven period":        {func(s *onboarding.Spec) { s.ExportPeriod = 7 * time.Hour }, "export_config_period_divides_day"},
		"part of a second":     {func(s *onboarding.Spec) { s.Truncate = time.Millisecond }, "tenant_setting_truncate_seconds_range"},
		"no padding":           {func(s *onboarding.Spec) { s.PaddingRange = -1 }, "export_config_records_range"},
		"export key ID":        {func(s *onboarding.Spec) { s.ExportKeyID = "3 1 0" }, "signing_key_key_id_form"},
	} {
		s := spec()
		c.change(&s)
		if _, err := onboarding.Create(t.Context(), w.Operator, w.Root, s, w.Now()); !tenant.Violates(err, c.constraint) {
			t.Errorf("%s: %v, want a violation of %s", name, err, c.constraint)
		}
	}
	for _, slug := range []string{"", "a", "Bad", "api", "with space"} {
		s := spec()
		s.Slug = slug
		if _, err := onboarding.Create(t.Context(), w.Operator, w.Root, s, w.Now()); !errors.Is(err, tenant.ErrSlug) {
			t.Errorf("slug %q: %v, want ErrSlug", slug, err)
		}
	}
	if diff := cmp.Diff(before, rows(t, w)); diff != "" {
		t.Errorf("refusals left rows behind (-before +after):\n%s", diff)
	}
}

// Only the operator's role may make tenants or change when their files are cut.
func TestOnlyTheOperator(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	id := create(t, w, spec())
	other := spec()
	other.Slug, other.Region, other.HealthAuthorityID = "south", "US-OR", "org.south.health"
	for name, db := range map[string]*tenant.DB{
		"device": w.Device, "issuer": w.Issuer, "publish": w.Publish, "portal": w.Portal, "jobs": w.Jobs,
	} {
		if _, err := onboarding.Create(t.Context(), db, w.Root, other, w.Now()); err == nil {
			t.Errorf("%s made a tenant", name)
		}
		if err := onboarding.Retime(t.Context(), db, id, time.Minute, 0, time.Minute, w.Now()); err == nil {
			t.Errorf("%s changed a tenant's times", name)
		}
	}
}

func TestRetime(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := create(t, w, spec()), w.Create("south")
	untouched := configOf(t, w, south.ID)
	if err := onboarding.Retime(t.Context(), w.Operator, north, 2*time.Minute, time.Minute, 30*time.Second, w.Now()); err != nil {
		t.Fatal(err)
	}
	want := config{Region: "US-WA", Period: 120, MinAge: 60, MinRecords: 1000, Padding: 100}
	if diff := cmp.Diff(want, configOf(t, w, north)); diff != "" {
		t.Errorf("export configuration (-want +got):\n%s", diff)
	}
	got, err := tenant.NewDirectory(w.Device).ByID(t.Context(), north)
	if err != nil || got.Settings.Truncate != 30*time.Second {
		t.Errorf("Truncate = %v, %v", got.Settings.Truncate, err)
	}
	if n := count(t, w.Operator, north, `select count(*) from audit_entry where action = 'tenant:retime'`); n != 1 {
		t.Errorf("%d audit entries", n)
	}
	if diff := cmp.Diff(untouched, configOf(t, w, south.ID)); diff != "" {
		t.Errorf("another tenant's configuration (-want +got):\n%s", diff)
	}
	if err := onboarding.Retime(t.Context(), w.Operator, tenant.NewID(), time.Minute, 0, time.Minute, w.Now()); err == nil {
		t.Error("a tenant that does not exist was changed")
	}
}

func create(t *testing.T, w *tenanttest.World, s onboarding.Spec) tenant.ID {
	t.Helper()
	id, err := onboarding.Create(t.Context(), w.Operator, w.Root, s, w.Now())
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return id
}

type config struct {
	Region     string
	Period     int `db:"period_seconds"`
	MinAge     int `db:"min_age_seconds"`
	MinRecords int `db:"min_records"`
	Padding    int `db:"padding_range"`
}

func configOf(t *testing.T, w *tenanttest.World, id tenant.ID) (c config) {
	t.Helper()
	err := w.Jobs.In(t.Context(), id, func(tx *tenant.Tx) error {
		return tx.Get(t.Context(), &c, `select region, period_seconds, min_age_seconds, min_records, padding_range from export_config`)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func count(t *testing.T, db *tenant.DB, id tenant.ID, query string) (n int) {
	t.Helper()
	err := db.In(t.Context(), id, func(tx *tenant.Tx) error { return tx.Get(t.Context(), &n, query) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// rows counts what onboarding writes, of all tenants.
func rows(t *testing.T, w *tenanttest.World) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, table := range []string{
		"tenant_directory", "tenant_setting", "data_key", "signing_key", "export_config", "export_horizon", "audit_entry",
	} {
		var c int
		if err := w.Database.Super().QueryRowContext(t.Context(), `select count(*) from `+table).Scan(&c); err != nil {
			t.Fatal(err)
		}
		n[table] = c
	}
	return n
}

// A tenant of an earlier version gets the keys that it lacks, suspended or not, and
// its log says so; whoever has all of them is left alone.
func TestCompleteKeys(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	for _, statement := range []string{
		`delete from signing_key where purpose = 'phone-mac' and tenant_id = $1`,
		`update tenant_directory set state = 'suspended' where tenant = $1`,
	} {
		if _, err := w.Database.Super().ExecContext(t.Context(), statement, north.ID); err != nil {
			t.Fatal(err)
		}
	}
	before := rows(t, w)
	for range 2 {
		if err := onboarding.CompleteKeys(t.Context(), w.Operator, w.Root, w.Now()); err != nil {
			t.Fatal(err)
		}
	}
	before["signing_key"]++
	before["audit_entry"]++
	if diff := cmp.Diff(before, rows(t, w)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	const keysSQL = `select count(*) from signing_key where purpose = 'phone-mac' and state = 'active'`
	for _, id := range []tenant.ID{north.ID, south.ID} {
		if n := count(t, w.Operator, id, keysSQL); n != 1 {
			t.Errorf("%d keys for telephone numbers, want 1", n)
		}
	}
}
