package signup_test

import (
	"errors"
	"testing"

	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/onboarding"
	"carillon/tenant/sharing"
	"carillon/tenant/tenanttest"
)

// broken is the constraint or the refusal that an error is about; empty if it is neither.
func broken(err error) string {
	var answer *pq.Error
	switch {
	case !errors.As(err, &answer):
		return ""
	case answer.Code == "42501":
		return "denied"
	default:
		return answer.Constraint
	}
}

// A sandbox's keys come to no production export, and no production tenant's to a sandbox:
// not by sharing, not by importing, not by believing a sandbox's certificates, not by
// having its signing keys. The database holds that, whichever role tries, the owner of
// the schema included.
func TestSandboxesAreApart(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	real := w.Create("real")
	box := w.Create("box-sandbox", func(s *onboarding.Spec) { s.Kind, s.Region = tenant.Sandbox, "ZZ-AAA" })
	for _, c := range []struct {
		name, statement, want string
		args                  []any
	}{
		{"a sandbox becomes production", `update tenant_directory set kind = 'production', slug = 'box', region = 'XX' where tenant = $1`, "tenant_directory_kind_stays", []any{box.ID}},
		{"production becomes a sandbox", `update tenant_directory set kind = 'sandbox', slug = 'real-sandbox', region = 'ZZ-1' where tenant = $1`, "tenant_directory_kind_stays", []any{real.ID}},
		{"a sandbox takes another name", `update tenant_directory set slug = 'box' where tenant = $1`, "tenant_directory_sandbox_slug", []any{box.ID}},
		{"a sandbox takes a region", `update tenant_directory set region = 'US-MN' where tenant = $1`, "tenant_directory_sandbox_region", []any{box.ID}},
		{"production takes a sandbox's name", `update tenant_directory set slug = 'real-sandbox' where tenant = $1`, "tenant_directory_sandbox_slug", []any{real.ID}},

		{"an offer out of a sandbox", `insert into share_offer (tenant_id, offer_id, recipient, travelers_only, offered_at) values ($1, gen_random_uuid(), 'real', false, now())`, "share_offer_one_kind", []any{box.ID}},
		{"an offer that lies about its kind", `insert into share_offer (tenant_id, offer_id, recipient, travelers_only, offered_at, kind) values ($1, gen_random_uuid(), 'real', false, now(), 'production')`, "share_offer_kind_fkey", []any{box.ID}},
		{"an offer into a sandbox", `insert into share_offer (tenant_id, offer_id, recipient, travelers_only, offered_at) values ($1, gen_random_uuid(), 'box-sandbox', false, now())`, "share_offer_one_kind", []any{real.ID}},
		{"an answer to a sandbox", `insert into share_answer (tenant_id, donor, offer_id, accepted, answered_at, crossed_until) values ($1, $2, gen_random_uuid(), true, now(), now())`, "share_answer_donor_kind_fkey", []any{real.ID, box.ID}},
		{"an answer of a sandbox", `insert into share_answer (tenant_id, donor, offer_id, accepted, answered_at, crossed_until) values ($1, $2, gen_random_uuid(), true, now(), now())`, "share_answer_donor_kind_fkey", []any{box.ID, real.ID}},
		{"an answer that lies about its kind", `insert into share_answer (tenant_id, donor, offer_id, accepted, answered_at, crossed_until, kind) values ($1, $2, gen_random_uuid(), true, now(), now(), 'sandbox')`, "share_answer_kind_fkey", []any{real.ID, box.ID}},

		{"an import believes a sandbox", `insert into import_key (tenant_id, import_no, key_id, key_version, public_der) select $1, 1, 'k', 'v1', public_der from sandbox_key limit 1`, "import_key_not_of_sandbox", []any{real.ID}},
		{"certificates of a sandbox are believed", `insert into outside_issuer_key (tenant_id, issuer, public_der, kid, added_at) select $1, 'box', public_der, 'k', now() from sandbox_key limit 1`, "outside_issuer_key_not_of_sandbox", []any{real.ID}},
		{"production has a sandbox's signing key", `update signing_key set public_der = (select public_der from sandbox_key limit 1) where tenant_id = $1 and purpose = 'export'`, "signing_key_not_of_sandbox", []any{real.ID}},
		{"a sandbox's key is forgotten", `delete from sandbox_key`, "", nil},
	} {
		if c.args != nil {
			if got := broken(super(t, w, c.args[0].(tenant.ID), c.statement, c.args...)); got != c.want {
				t.Errorf("%s, by the owner: %q, want %q", c.name, got, c.want)
			}
		}
		for role, db := range map[string]*tenant.DB{
			"device": w.Device, "issuer": w.Issuer, "report": w.Report, "publish": w.Publish, "portal": w.Portal, "jobs": w.Jobs, "operator": w.Operator,
		} {
			id := real.ID
			if c.args != nil {
				id = c.args[0].(tenant.ID)
			}
			err := db.In(t.Context(), id, func(tx *tenant.Tx) error { _, err := tx.Exec(t.Context(), c.statement, c.args...); return err })
			got := broken(err)
			if err == nil || (got != "denied" && got != c.want) {
				t.Errorf("%s, by %s: %v", c.name, role, err)
			}
		}
	}
	// Shared keys are only those of a share in force, which there is none of.
	err := w.Jobs.InSharing(t.Context(), real.ID, "test", func(tx *tenant.Tx) error {
		_, err := tx.Exec(t.Context(), `
insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at, shared_by)
values ($1, decode(md5('1'), 'hex'), 1, 144, 2, 'confirmed', false, 'XA', now(), $2)`, real.ID, box.ID)
		return err
	})
	if broken(err) != "denied" {
		t.Errorf("a sandbox's key as a shared one: %v", err)
	}
}

// super runs a statement as the owner of the schema, bound to a tenant.
func super(t *testing.T, w *tenanttest.World, id tenant.ID, statement string, args ...any) error {
	t.Helper()
	tx, err := w.Database.Super().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `select set_config('carillon.tenant_id', $1, true)`, id.String()); err != nil {
		t.Fatal(err)
	}
	_, err = tx.ExecContext(t.Context(), statement, args...)
	return err
}

// Sandboxes share with each other, as production does; across, staff get a plain answer,
// the same whether or not there is such a tenant.
func TestSharingStaysWithinAKind(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	real := w.Create("real")
	box := w.Create("box-sandbox", func(s *onboarding.Spec) { s.Kind, s.Region = tenant.Sandbox, "ZZ-AAA" })
	w.Create("twin-sandbox", func(s *onboarding.Spec) { s.Kind, s.Region = tenant.Sandbox, "ZZ-BBB" })
	staff := sharing.NewStaff(w.Portal, authz.NewPolicies(nil), w.Now)
	owner := authz.Subject{Kind: authz.Person, ID: "o", Name: "Owner", Roles: []authz.Role{authz.Owner}}
	for to, want := range map[string]error{"twin-sandbox": nil, "real": sharing.ErrRecipient, "nobody": sharing.ErrRecipient} {
		if err := staff.Offer(t.Context(), box, owner, to, sharing.Terms{}); !errors.Is(err, want) {
			t.Errorf("sandbox offers to %s: %v, want %v", to, err, want)
		}
	}
	for to, want := range map[string]error{"other": nil, "box-sandbox": sharing.ErrRecipient, "nobody-sandbox": sharing.ErrRecipient} {
		if err := staff.Offer(t.Context(), real, owner, to, sharing.Terms{}); !errors.Is(err, want) {
			t.Errorf("production offers to %s: %v, want %v", to, err, want)
		}
	}
}
