package exposure_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/exposure/exposuretest"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
)

// fixture is a world with two tenants, each with a phone, and the service.
type fixture struct {
	world        *tenanttest.World
	north, south *tenant.Tenant
	phone, other *exposuretest.Phone
	service      *exposure.Service
}

const (
	confirmed  = certificate.Confirmed
	likely     = certificate.Likely
	negative   = certificate.Negative
	userReport = certificate.UserReport
)

func setUp(tb testing.TB) *fixture {
	tb.Helper()
	w := tenanttest.New(tb)
	f := &fixture{world: w, north: w.Create("north"), south: w.Create("south")}
	f.phone, f.other = f.newPhone(tb, f.north), f.newPhone(tb, f.south)
	f.restart()
	return f
}

// restart makes the service anew, with a ring that has not seen any key yet.
func (f *fixture) restart() {
	w := f.world
	f.service = exposure.New(exposure.Config{DB: w.Publish, Keys: key.NewRing(w.Publish, w.Root), Now: w.Now})
}

func (f *fixture) newPhone(tb testing.TB, t *tenant.Tenant) *exposuretest.Phone {
	tb.Helper()
	p, err := exposuretest.New(tb.Context(), key.NewRing(f.world.Device, f.world.Root), t, f.world.Now)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// publish sends an upload that must succeed.
func (f *fixture) publish(tb testing.TB, u exposure.Upload) *exposure.Receipt {
	tb.Helper()
	r, err := f.service.Publish(tb.Context(), f.north, u)
	if err != nil {
		tb.Fatalf("Publish: %v", explain(err))
	}
	return r
}

// revise sends keys again with another report type and a token.
func (f *fixture) revise(tb testing.TB, report certificate.ReportType, keys []exposure.UploadKey, token string) (*exposure.Receipt, error) {
	tb.Helper()
	u := f.phone.Upload(report, keys)
	u.RevisionToken = token
	return f.service.Publish(tb.Context(), f.north, u)
}

func explain(err error) string {
	var p *exposure.Problem
	if errors.As(err, &p) {
		return fmt.Sprintf("%v: %s", err, p.Text)
	}
	return fmt.Sprint(err)
}

func wantErr(tb testing.TB, got, want error) {
	tb.Helper()
	if !errors.Is(got, want) {
		tb.Errorf("got %v, want %v", explain(got), want)
	}
}

// row is a key as it is stored.
type row struct {
	Start, Period, Risk   int32
	Type                  string
	Days                  int32
	Traveler              bool
	Regions               string
	Created               time.Time
	RevisedType           string
	Revised               time.Time
	RevisedDays, NewRisk  int32
	Generated, WasRevised bool
}

const rowSQL = `
select rolling_start, rolling_period, transmission_risk, report_type, days_since_onset, traveler,
       array_to_string(region || other_regions, ','), created_at at time zone 'UTC',
       coalesce(revised_type::text, ''), coalesce(revised_at, 'epoch') at time zone 'UTC',
       coalesce(revised_days, 99), coalesce(revised_risk, 99), generated, revised_at is not null
  from exposure
 where tenant_id = $1
   and tek = $2`

func (f *fixture) row(tb testing.TB, t *tenant.Tenant, k exposure.UploadKey) row {
	tb.Helper()
	var r row
	err := f.world.Database.Super().QueryRowContext(tb.Context(), rowSQL, t.ID, tekOf(tb, k)).Scan(
		&r.Start, &r.Period, &r.Risk, &r.Type, &r.Days, &r.Traveler, &r.Regions, &r.Created,
		&r.RevisedType, &r.Revised, &r.RevisedDays, &r.NewRisk, &r.Generated, &r.WasRevised)
	if err != nil {
		tb.Fatalf("stored key: %v", err)
	}
	return r
}

func tekOf(tb testing.TB, k exposure.UploadKey) []byte {
	tb.Helper()
	tek, err := base64.StdEncoding.DecodeString(k.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return tek
}

func (f *fixture) count(tb testing.TB) (n int) {
	tb.Helper()
	if err := f.world.Database.Super().QueryRowContext(tb.Context(), `select count(*) from exposure`).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}

// settle moves a tenant's horizon, as closing windows does.
func (f *fixture) settle(tb testing.TB, t *tenant.Tenant, until time.Time) {
	tb.Helper()
	_, err := f.world.Database.Super().ExecContext(tb.Context(),
		`update export_horizon set settled_until = $2 where tenant_id = $1`, t.ID, until)
	if err != nil {
		tb.Fatal(err)
	}
}
