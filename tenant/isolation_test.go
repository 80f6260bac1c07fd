package tenant_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lib/pq"

	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/tenanttest"
)

// fillSQL makes a row for a tenant, $1, in each table that onboarding leaves empty.
// A new table fails the test until it has a statement here.
var fillSQL = []string{
	`insert into member (tenant_id, member_id, issuer, email, name, roles)
	 values ($1, gen_random_uuid(), 'https://idp.example', 'robin@health.example', 'Robin', '{owner}')`,
	`insert into verification_code (tenant_id, code_id, short_mac, long_mac, test_type, issued_at, expires_at, long_expires_at, issuer_kind, issuer_id)
	 values ($1, gen_random_uuid(), sha512('short'), sha512('long'), 'confirmed', now(), now(), now(), 'system', '')`,
	`insert into message_provider (tenant_id, position, kind, config, changed_at) values ($1, 1, 'webhook', '{}', now())`,
	`insert into message_template (tenant_id, label, language, body, changed_at) values ($1, 'Main', 'en', '[longcode]', now())`,
	`insert into message_queue (tenant_id, code_id, purpose, sealed, not_before, expires_at)
	 select tenant_id, code_id, 'EN Report', 'sealed', now(), now() from verification_code where tenant_id = $1`,
	`insert into message_delivery (tenant_id, code_id, state, queued_at, changed_at)
	 select tenant_id, code_id, 'queued', now(), now() from verification_code where tenant_id = $1`,
	`insert into message_error (tenant_id, day, error_code, count) values ($1, now(), '30007', 1)`,
	`insert into verification_token (tenant_id, token_digest, expires_at)
	 values ($1, sha256('token'), now())`,
	`insert into user_report (tenant_id, code_id, phone_mac, nonce_digest, created_at)
	 values ($1, gen_random_uuid(), sha512('phone'), sha256('nonce'), now())`,
	`insert into lab_mapping (tenant_id, version, mapping, created_at, author_kind, author_id)
	 values ($1, 1, '{}', now(), 'system', '')`,
	`insert into lab_secret (tenant_id, sealed) values ($1, '')`,
	`insert into lab_submission (tenant_id, submission_id, api_key_id, format, mapping_version, received_at, queued, duplicates, corrections, ignored, dead_letters)
	 select tenant_id, gen_random_uuid(), api_key_id, 'csv', 1, now(), 0, 0, 0, 0, 1 from api_key where tenant_id = $1`,
	`insert into lab_result (tenant_id, result_id, submission_id, accession_digest, essence_digest, state, reason, sealed, due_at, received_at, settled_at)
	 select tenant_id, gen_random_uuid(), submission_id, sha256('accession'), sha256('essence'), 'dead', 'phone_missing', '', now(), now(), now()
	   from lab_submission where tenant_id = $1`,
	`insert into statistic_tally (tenant_id, flush_id, series, hour, subject, cohort, class, quantity, flushed_at)
	 values ($1, gen_random_uuid(), 'codes-invalid', '2026-11-25 15:00Z', '', '2026-11-25', 0, 1, now())`,
	`insert into statistic_day (tenant_id, day, series, subject, cohort, class, quantity)
	 values ($1, '2026-11-25', 'codes-issued', '', '2026-11-25', 0, 1)`,
	`insert into statistic_horizon (tenant_id, settled_until) values ($1, '2026-11-25')`,
	`insert into wrong_code_count (tenant_id, minute, count_id, wrong)
	 values ($1, date_trunc('minute', now()), gen_random_uuid(), 1)`,
	`insert into guessing_alarm (tenant_id, day, wrong, digits) values ($1, current_date, 1000, 9)`,
	`insert into quota_day (tenant_id, day, issued, base) values ($1, current_date, 10, 10)`,
	`insert into quota_entry (tenant_id, day, entry_id, kind, codes) values ($1, current_date, gen_random_uuid(), 'share', 1)`,
	`insert into alert_rule (tenant_id, rule_id, figure, threshold, emails, changed_at, checked_day)
	 values ($1, gen_random_uuid(), 'issued-above', 1, '{a@health.example}', now(), current_date)`,
	`insert into alert_notice (tenant_id, rule_id, day, channel, figure, threshold, value, raised_at)
	 select tenant_id, rule_id, current_date, 'a@health.example', figure, threshold, 2, now() from alert_rule where tenant_id = $1`,
	`insert into pack_section (tenant_id, section, version, content, changed_at, changed_by) values ($1, 'region', 1, '{}', now(), 'Robin')`,
	`insert into pack (tenant_id, pack_id, number, config, sms_keys, signed, asked_at, asked_by, asked_by_id)
	 values ($1, gen_random_uuid(), 1, '{}', '[]', false, now(), 'Robin', 'p')`,
	`insert into pack_hand_over (tenant_id, hand_over_id, pack_id, recipient, person, handed_at, handed_by)
	 select tenant_id, gen_random_uuid(), pack_id, 'apple', 'Alex', now(), 'Robin' from pack where tenant_id = $1`,
	`insert into pack_push (tenant_id, push_id, pack_id, changes, asked_at, asked_by, asked_by_id, due_at)
	 select tenant_id, gen_random_uuid(), pack_id, '{}', now(), 'Robin', 'p', now() from pack where tenant_id = $1`,
	`insert into report_page (tenant_id) values ($1)`,
	`insert into report_text (tenant_id, language) values ($1, 'es')`,
	`insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at)
	 values ($1, decode(repeat('00', 16), 'hex'), 1, 144, 0, 'confirmed', false, '', now())`,
	`insert into outside_issuer (tenant_id, issuer, audience, changed_at) values ($1, 'outside.example', 'keys', now())`,
	`insert into outside_issuer_key (tenant_id, issuer, public_der, kid, added_at)
	 values ($1, 'outside.example', decode(repeat('00', 91), 'hex'), 'v1', now())`,
	`insert into import_source (tenant_id, import_no, name, index_url, root_url, region, traveler, missing_type, changed_at)
	 values ($1, 1, 'partner', 'https://files.example/index.txt', 'https://files.example/', 'XA', false, 'confirmed', now())`,
	`insert into import_key (tenant_id, import_no, key_id, key_version, public_der)
	 values ($1, 1, '302', 'v1', decode(repeat('00', 91), 'hex'))`,
	`insert into import_file (tenant_id, import_no, name, discovered_at, due_at, position, quarantined) values ($1, 1, '1.zip', now(), now(), 1, 1)`,
	`insert into import_quarantine (tenant_id, import_no, name, position, revised, reason) values ($1, 1, '1.zip', 0, false, 'too old')`,
	`insert into publish_receipt (tenant_id, digest, expires_at) values ($1, sha256('receipt'), now())`,
	`insert into export_batch (tenant_id, config_id, starts_at, ends_at)
	 select tenant_id, config_id, now(), now() + interval '1 hour' from export_config where tenant_id = $1`,
	`insert into share_offer (tenant_id, offer_id, recipient, travelers_only, offered_at)
	 values ($1, gen_random_uuid(), 'nobody', false, now())`,
	`insert into share_answer (tenant_id, donor, offer_id, accepted, answered_at, crossed_until)
	 select $1, tenant, gen_random_uuid(), true, now(), now() from tenant_directory where slug = 'donor'`,
	`insert into share_crossing (tenant_id, donor, from_at, until_at, key_count, revised_count)
	 values ($1, gen_random_uuid(), '2026-11-25 14:00Z', '2026-11-25 15:00Z', 1, 0)`,
	`insert into batch (tenant_id, batch_id, created_at, issuer_kind, issuer_id, issuer_name, issuer_roles)
	 values ($1, gen_random_uuid(), now(), 'api-key', 'id', 'name', '{key-admin}')`,
	`insert into batch_row (tenant_id, batch_id, row_number, code_id, messaged, sealed_order)
	 select tenant_id, batch_id, 1, gen_random_uuid(), false, 'sealed' from batch where tenant_id = $1`,
	`insert into batch_file (tenant_id, file_id, member_id, created_at, sealed_head, sealed_body)
	 values ($1, gen_random_uuid(), 'id', now(), 'sealed', 'sealed')`,
	`insert into batch_secret (tenant_id, sealed) values ($1, '')`,
	`insert into export_file (tenant_id, config_id, starts_at, file_no, name, key_count, revised_count, size, sha256)
	 select tenant_id, config_id, starts_at, 1, 'name', 0, 0, 0, sha256('') from export_batch where tenant_id = $1`,
	`insert into export_part (tenant_id, config_id, starts_at, fence, file_no, part_no, body)
	 select tenant_id, config_id, starts_at, 1, 1, 1, 'part' from export_batch where tenant_id = $1`,
	`insert into api_key_use (tenant_id, api_key_id, last_hour)
	 select tenant_id, api_key_id, date_trunc('hour', now(), 'UTC') from api_key where tenant_id = $1`,
	`insert into identity_provider (tenant_id, provider_id, name, issuer, client_id, proof, scopes, email_domains, trust_email, role_claim, roles, acr, amr, changed_at)
	 values ($1, gen_random_uuid(), 'Own', 'https://own.example', 'client', 'none', '{}', '{}', false, '', '[]', '{}', '{}', now())`,
	`insert into sign_in_domain (tenant_id, domain, token, added_at) values ($1, 'health.example', repeat('t', 20), now())`,
	`insert into staff_group (tenant_id, group_id, name) values ($1, gen_random_uuid(), 'Group')`,
	`insert into member_platform_login (tenant_id, member_id, issuer, subject, moved_at)
	 select tenant_id, member_id, 'https://platform.example', 'before', now() from member where tenant_id = $1 limit 1`,
	`insert into staff_group_member (tenant_id, group_id, member_id)
	 select tenant_id, group_id, member_id from staff_group join member using (tenant_id) where tenant_id = $1 limit 1`,
	`insert into staff_invitation (tenant_id, invitation_id, digest, email, name, roles, invited_by, invited_at, expires_at)
	 values ($1, gen_random_uuid(), sha256('link'), 'new@health.example', 'New', '{analyst}', 'Robin', now(), now() + interval '1 day')`,
	`insert into staff_role (tenant_id, name, description, allowed, denied, version)
	 values ($1, 'helper', '', '{code:read}', '{}', gen_random_uuid())`,
	`insert into audit_checkpoint (tenant_id, entries, at, statement) values ($1, 1, now(), 'signed')`,
	`insert into member (tenant_id, member_id, issuer, email, name, roles)
	 values ($1, gen_random_uuid(), 'https://login.example', 'granter@health.example', 'Granter', '{owner}')
	     on conflict do nothing`,
	`insert into rehearsal_pass (tenant_id, run_id, digest, expires_at) values ($1, gen_random_uuid(), sha256('pass'), now())`,
	`insert into rehearsal_code (tenant_id, code_id, short_mac, long_mac, test_type, issued_at, expires_at, long_expires_at, issuer_kind, issuer_id)
	 values ($1, gen_random_uuid(), sha512('short'), sha512('long'), 'confirmed', now(), now(), now(), 'system', '')`,
	`insert into rehearsal_token (tenant_id, token_digest, expires_at) values ($1, sha256('token'), now())`,
	`insert into rehearsal_key (tenant_id, tek, rolling_start, rolling_period, transmission_risk, days_since_onset)
	 values ($1, 'rehearse01234567', 1, 1, 1, 0)`,
	`insert into selftest_run (tenant_id, run_id, started_at, ended_at, steps) values ($1, gen_random_uuid(), now(), now(), '[]')`,
	// Tables of sandboxes alone: the reference to the tenant's kind is not looked at here.
	`with unchecked as (select set_config('session_replication_role', 'replica', true))
	 insert into simulated_app (tenant_id, api_key_id, sealed) select tenant_id, api_key_id, '' from unchecked, api_key where tenant_id = $1`,
	`with unchecked as (select set_config('session_replication_role', 'replica', true))
	 insert into simulated_phones (tenant_id, person, stage, step, sealed, started_at, expires_at)
	 select $1, 'robin', 'met', 1, '', now(), now() + interval '1 day' from unchecked`,
	`insert into support_grant (tenant_id, grant_id, email, role, granted_by, granted_at, expires_at)
	 select tenant_id, gen_random_uuid(), 'support@platform.example', 'auditor', member_id, now(), now() + interval '1 hour'
	   from member where tenant_id = $1 and email = 'granter@health.example'`,
	`insert into approval (tenant_id, approval_id, kind, target, reason, requested_by, requester, requested_at, expires_at)
	 values ($1, gen_random_uuid(), 'key:activate', 'export 2', 'It is time.', gen_random_uuid(), 'Robin', now(), now() + interval '1 hour')`,
	`insert into key_schedule (tenant_id, purpose, period_seconds, changed_at) values ($1, 'token', 86400, now())`,
	`insert into key_rotation (tenant_id, rotation_id, purpose, step, requested_at, requested_by)
	 values ($1, gen_random_uuid(), 'token', 'requested', now(), 'Robin')`,
	`insert into key_alarm (tenant_id, purpose, kind, raised_at) values ($1, 'token', 'late', now())`,
	`insert into signing_key (tenant_id, purpose, version, key_id, state, destroyed_at) values ($1, 'code-mac', 99, '99', 'destroyed', now())`,
	`insert into tenant_leaving (tenant_id, asked_by, approved_by, begun_at, closes_at, erase_after)
	 values ($1, 'robin', 'sam', now(), now() + interval '4 days', now() + interval '30 days')`,
	`insert into tenant_archive (tenant_id, archive_id, recipient, asked_by, asked_at) values ($1, gen_random_uuid(), '', 'robin', now())`,
	`insert into mobile_app (tenant_id, os, name, app_id, store_url)
	 values ($1, 'ios', 'App', 'TEAMID.org.health', 'https://store.example')`,
}

// table is one with rows of tenants, as the catalogue and a role's grants have it.
type table struct {
	name string
	// columns are those that can be written.
	columns []string
	// row is the victim's, as JSON.
	row string
}

// Whatever a role may do to a table, it does to the rows of its transaction's tenant
// and to no others: not while bound to another tenant, not while bound to none.
func TestTenantsAreApart(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	victim, twin := w.Create("victim"), w.Create("twin")
	w.Create("donor")
	for _, of := range []*tenant.Tenant{victim, twin} {
		w.Key(of, client.Device)
		for _, statement := range fillSQL {
			if _, err := w.Database.Super().ExecContext(t.Context(), statement, of.ID); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	tables := tenantTables(t, w.Database.Super(), victim.ID)
	before := contents(t, w.Database.Super(), tables, victim.ID)

	roles := map[string]*tenant.DB{ // those that log in
		"carillon_device": w.Device, "carillon_issuer": w.Issuer, "carillon_report": w.Report, "carillon_publish": w.Publish,
		"carillon_portal": w.Portal, "carillon_jobs": w.Jobs, "carillon_operator": w.Operator,
		"carillon_backup": w.Open("carillon_backup"),
	}
	if known := strings.Join(processRoles(t, w.Database.Super()), " "); len(strings.Fields(known)) != len(roles) {
		t.Errorf("the schema's roles are %s: test all of them", known)
	}
	for role, db := range roles {
		for _, tab := range tables {
			p := prober{
				t: t, role: role, table: tab, victim: victim.ID,
				grants: grantsOf(t, w.Database.Super(), role, tab.name),
			}
			p.probe("bound to its own tenant", own, func(ctx context.Context, fn func(*tenant.Tx) error) error { return db.In(ctx, victim.ID, fn) })
			p.probe("bound to another tenant", foreign, func(ctx context.Context, fn func(*tenant.Tx) error) error { return db.In(ctx, twin.ID, fn) })
			p.probe("bound to a tenant that does not exist", foreign, func(ctx context.Context, fn func(*tenant.Tx) error) error { return db.In(ctx, tenant.NewID(), fn) })
			p.probe("bound to no tenant", foreign, db.Platform)
			p.probe("at sign-in", foreign, func(ctx context.Context, fn func(*tenant.Tx) error) error {
				return db.ForLogin(ctx, "https://idp.example", "sam@health.example", fn)
			})
		}
	}
	// The roles that are taken on for a transaction: that which fetches shared keys, while
	// nothing is shared; those for signing keys; that which archives, while both wait for an archive; those which
	// erase and import, while neither tenant was erased or is being imported.
	taken := map[string]func(context.Context, tenant.ID, func(*tenant.Tx) error) error{
		"carillon_sharing": func(ctx context.Context, id tenant.ID, fn func(*tenant.Tx) error) error {
			return w.Jobs.InSharing(ctx, id, "probe", fn)
		},
		"carillon_keeping": func(ctx context.Context, id tenant.ID, fn func(*tenant.Tx) error) error {
			return w.Jobs.InKeeping(ctx, id, "probe", fn)
		},
		"carillon_key_list": func(ctx context.Context, id tenant.ID, fn func(*tenant.Tx) error) error {
			return w.Portal.InKeyList(ctx, id, fn)
		},
		"carillon_archive": func(ctx context.Context, id tenant.ID, fn func(*tenant.Tx) error) error {
			return w.Jobs.InRole(ctx, id, tenant.Archivist, fn)
		},
		"carillon_erasure": func(ctx context.Context, id tenant.ID, fn func(*tenant.Tx) error) error {
			return w.Jobs.InRole(ctx, id, tenant.Eraser, fn)
		},
		"carillon_import": func(ctx context.Context, id tenant.ID, fn func(*tenant.Tx) error) error {
			return w.Operator.InRole(ctx, id, tenant.Importer, fn)
		},
	}
	for role, in := range taken {
		idle := role == "carillon_erasure" || role == "carillon_import"
		for _, tab := range tables {
			p := prober{
				t: t, role: role, table: tab, victim: victim.ID,
				grants: grantsOf(t, w.Database.Super(), role, tab.name),
			}
			bound := func(id tenant.ID) binding {
				return func(ctx context.Context, fn func(*tenant.Tx) error) error { return in(ctx, id, fn) }
			}
			side := own
			if idle {
				side = foreign
			}
			p.probe("bound to its own tenant", side, bound(victim.ID))
			p.probe("bound to another tenant", foreign, bound(twin.ID))
			p.probe("bound to a tenant that does not exist", foreign, bound(tenant.NewID()))
		}
	}
	if after := contents(t, w.Database.Super(), tables, victim.ID); after != before {
		t.Error("the victim's rows changed")
	}
}

type side string

const (
	own     side = "own"
	foreign side = "foreign"
)

// grants are what a role may do to a table. The texts are columns it may use so.
type grants struct {
	read, update []string
	delete       bool
}

// prober tries all that a role may do to a table's row of the victim.
type prober struct {
	t      *testing.T
	role   string
	table  table
	victim tenant.ID
	grants grants
}

type binding func(context.Context, func(*tenant.Tx) error) error

func (p prober) probe(how string, s side, in binding) {
	p.t.Helper()
	what := fmt.Sprintf("%s, %s, %s", p.role, p.table.name, how)
	p.read(what, s, in)
	p.update(what, s, in)
	p.delete(what, s, in)
	if s == foreign {
		p.insert(what, in)
		p.move(what, in)
	}
}

func (p prober) read(what string, s side, in binding) {
	p.t.Helper()
	query := `select count(*) from ` + p.table.name
	if slices.Contains(p.grants.read, "tenant_id") {
		query += fmt.Sprintf(` where tenant_id = '%s'`, p.victim)
	}
	n, err := p.count(in, query)
	switch {
	case len(p.grants.read) == 0:
		if !tenanttest.Denied(err) {
			p.t.Errorf("%s: reads without a grant (%v)", what, err)
		}
	case err != nil:
		p.t.Errorf("%s: read: %v", what, err)
	case s == own && n == 0:
		p.t.Errorf("%s: sees no row: nothing is proved", what)
	case s == foreign && n != 0:
		p.t.Errorf("%s: sees %d rows", what, n)
	}
}

// update needs no more than one column that may be changed: rows that a policy hides
// are not changed to what they are, either.
func (p prober) update(what string, s side, in binding) {
	p.t.Helper()
	column := p.table.columns[0]
	if len(p.grants.update) > 0 {
		column = p.grants.update[0]
	}
	n, err := p.exec(in, fmt.Sprintf(`update %s set %s = %[2]s where tenant_id = '%s'`, p.table.name, column, p.victim))
	p.judge(what+": update", s, len(p.grants.update) > 0, n, err)
}

func (p prober) delete(what string, s side, in binding) {
	p.t.Helper()
	n, err := p.exec(in, fmt.Sprintf(`delete from %s where tenant_id = '%s'`, p.table.name, p.victim))
	if s == own && isCode(err, "23503") {
		return // the row was seen: others refer to it
	}
	p.judge(what+": delete", s, p.grants.delete, n, err)
}

func (p prober) judge(what string, s side, granted bool, n int64, err error) {
	p.t.Helper()
	switch {
	case !granted:
		if !tenanttest.Denied(err) {
			p.t.Errorf("%s: done to %d rows without a grant (%v)", what, n, err)
		}
	case err != nil:
		p.t.Errorf("%s: %v", what, err)
	case s == own && n == 0:
		p.t.Errorf("%s: no row: nothing is proved", what)
	case s == foreign && n != 0:
		p.t.Errorf("%s: %d rows", what, n)
	}
}

// insert writes a copy of the victim's row, as the victim's.
func (p prober) insert(what string, in binding) {
	p.t.Helper()
	columns := strings.Join(p.table.columns, ", ")
	n, err := p.exec(in, fmt.Sprintf(`insert into %s (%s) select %[2]s from jsonb_populate_record(null::%[1]s, $1::jsonb)`, p.table.name, columns), p.table.row)
	if !tenanttest.Denied(err) {
		p.t.Errorf("%s: insert: %d rows (%v), want a refusal", what, n, err)
	}
}

// move gives the role's own rows to the victim.
func (p prober) move(what string, in binding) {
	p.t.Helper()
	n, err := p.exec(in, fmt.Sprintf(`update %s set tenant_id = '%s'`, p.table.name, p.victim))
	if n != 0 || (err != nil && !tenanttest.Denied(err)) {
		p.t.Errorf("%s: moved %d rows to another tenant (%v)", what, n, err)
	}
}

var errUndo = errors.New("undo")

// exec runs a statement in a transaction of its own and undoes it.
func (p prober) exec(in binding, query string, args ...any) (n int64, err error) {
	err = in(p.t.Context(), func(tx *tenant.Tx) (err error) {
		if n, err = tx.Exec(p.t.Context(), query, args...); err != nil {
			return err
		}
		return errUndo
	})
	if errors.Is(err, errUndo) {
		err = nil
	}
	return n, err
}

func (p prober) count(in binding, query string) (n int, err error) {
	err = in(p.t.Context(), func(tx *tenant.Tx) error { return tx.Get(p.t.Context(), &n, query) })
	return n, err
}

func isCode(err error, code string) bool {
	var answer *pq.Error
	return errors.As(err, &answer) && string(answer.Code) == code
}

const tablesSQL = `
  select c.relname,
         (select array_agg(a.attname order by a.attnum)
            from pg_attribute a
           where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attidentity <> 'a' and a.attgenerated = '')
    from pg_class c
   where c.relnamespace = 'public'::regnamespace
     and c.relkind in ('r', 'p')
     and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id')
order by c.relname`

// tenantTables finds all tables with rows of tenants, and a row of one tenant in each.
func tenantTables(t *testing.T, super *sql.DB, of tenant.ID) []table {
	t.Helper()
	rows, err := super.QueryContext(t.Context(), tablesSQL)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var tables []table
	for rows.Next() {
		var tab table
		if err := rows.Scan(&tab.name, pq.Array(&tab.columns)); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, tab)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for i, tab := range tables {
		query := fmt.Sprintf(`select to_jsonb(x)::text from %s x where tenant_id = $1 limit 1`, tab.name)
		if err := super.QueryRowContext(t.Context(), query, of).Scan(&tables[i].row); err != nil {
			t.Fatalf("a row of %s to test with: %v", tab.name, err)
		}
	}
	return tables
}

// contents is a digest of all rows of a tenant.
func contents(t *testing.T, super *sql.DB, tables []table, of tenant.ID) (all string) {
	t.Helper()
	for _, tab := range tables {
		var digest string
		query := fmt.Sprintf(`select md5(string_agg(x::text, ' ' order by x::text)) from %s x where tenant_id = $1`, tab.name)
		if err := super.QueryRowContext(t.Context(), query, of).Scan(&digest); err != nil {
			t.Fatal(err)
		}
		all += tab.name + " " + digest + "\n"
	}
	return all
}

const grantsSQL = `
select (select coalesce(array_agg(a.attname order by a.attnum) filter (where has_column_privilege($1, c.oid, a.attnum, 'select')), '{}')
          from pg_attribute a where a.attrelid = c.oid and a.attnum > 0),
       (select coalesce(array_agg(a.attname order by a.attnum) filter (where has_column_privilege($1, c.oid, a.attnum, 'update')), '{}')
          from pg_attribute a where a.attrelid = c.oid and a.attnum > 0),
       has_table_privilege($1, c.oid, 'delete')
  from pg_class c
 where c.oid = $2::regclass`

func grantsOf(t *testing.T, super *sql.DB, role, table string) (g grants) {
	t.Helper()
	err := super.QueryRowContext(t.Context(), grantsSQL, role, table).Scan(pq.Array(&g.read), pq.Array(&g.update), &g.delete)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func processRoles(t *testing.T, super *sql.DB) (names []string) {
	t.Helper()
	err := super.QueryRowContext(t.Context(), `select array_agg(rolname order by rolname) from pg_roles where rolname like 'carillon\_%' and rolcanlogin`).Scan(pq.Array(&names))
	if err != nil {
		t.Fatal(err)
	}
	return names
}
