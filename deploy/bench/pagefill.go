//go:build !release

package bench

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"carillon/authz"
	"carillon/tenant"
	staff "carillon/tenant/member"
	"carillon/tenant/platform"
	"carillon/tenant/stats"
)

// authoritySQL gives a health authority what a year has left of it: $1 is the authority, $2 how
// many codes it has, of the 15 days that codes are kept. However early in the day it is, this
// day has a fifteenth of them, which is what statistics count anew for each page.
var authoritySQL = []struct {
	what, query string
	codes       bool // the query has $2
}{
	{"people", `
insert into member (tenant_id, member_id, issuer, subject, email, name, roles, state, last_seen_at)
select $1::uuid, gen_random_uuid(), 'https://login.example', 's' || i, 'person' || i || '@people.example', 'Person ' || i,
       case i % 20 when 0 then '{administrator}' when 1 then '{analyst}' else '{caseworker}' end::text[],
       case i % 10 when 0 then 'suspended' else 'active' end, now() - i * interval '1 hour'
  from generate_series(1, 300) i`, false},
	{"invitations", `
insert into staff_invitation (tenant_id, invitation_id, digest, email, expires_at, invited_at, invited_by, name, roles, sent_at)
select $1::uuid, gen_random_uuid(), sha256(('i' || i)::bytea), 'new' || i || '@people.example', now() + interval '5 days', now(), 'Person 1', 'New ' || i, '{caseworker}', now()
  from generate_series(1, 100) i`, false},
	{"API keys", `
insert into api_key (tenant_id, api_key_id, digest, kind, name, preview)
select $1::uuid, gen_random_uuid(), sha256(('k' || i)::bytea), case i % 3 when 0 then 'device' when 1 then 'stats' else 'admin' end, 'Laboratory ' || i, 'abcdef'
  from generate_series(1, 60) i`, false},
	{"codes", `
with issuers as (
  select row_number() over () - 1 as n, kind, id
    from (select 'person' as kind, member_id::text as id from member where tenant_id = $1::uuid
          union all
          select 'api-key', api_key_id::text from api_key where tenant_id = $1::uuid and kind = 'admin') x
), midnight as (select date_trunc('day', now(), 'UTC') as at)
insert into verification_code
       (tenant_id, code_id, short_mac, long_mac, test_type, symptom_date, issued_at, expires_at, long_expires_at, claimed_at, issuer_kind, issuer_id, external_issuer_id)
select $1::uuid, gen_random_uuid(), case when i % 15 < 3 then sha512(('s' || i)::bytea) end, case when i % 15 < 3 then sha512(('l' || i)::bytea) end,
       (array['confirmed', 'likely', 'negative', 'user-report'])[1 + i % 4], (at - interval '3 days')::date,
       at, at + interval '15 minutes', at + interval '1 day', case when i % 10 < 7 then at + i % 900 * interval '1 second' end,
       u.kind, u.id, case when i % 9 = 0 then 'external ' || i % 40 else '' end
  from (select i, case i % 15 when 0 then m.at + (now() - m.at) * random() else m.at - (i % 15 - random()) * interval '1 day' end as at
          from generate_series(1, $2::integer) i, midnight m) c
  join issuers u on u.n = i % (select count(*) from issuers)
 order by at`, true},
	{"messages", `
insert into message_delivery (tenant_id, code_id, state, queued_at, changed_at, provider, class)
select tenant_id, code_id, case n % 10 when 0 then 'failed' when 1 then 'sent' else 'delivered' end, issued_at, issued_at + n % 60 * interval '1 second', 'twilio', ''
  from (select *, row_number() over () as n from verification_code where tenant_id = $1::uuid) c
 where n % 3 < 2`, false},
	{"audit entries", `
insert into audit_entry (tenant_id, entry_no, at, actor_kind, actor_id, actor_name, action, target, detail, request, because, digest)
select tenant_id, h.entries + row_number() over (order by issued_at), issued_at, 'person', issuer_id, 'Person', 'code:issue', code_id::text, '{"type": "confirmed"}', 'ABCDEFGH2345', 'caseworker', sha256(code_id::text::bytea)
  from verification_code join (select coalesce(max(entry_no), 0) as entries from audit_entry where tenant_id = $1::uuid) h on true
 where tenant_id = $1::uuid and issuer_kind = 'person'`, false},
	{"the audit log's end", `
insert into audit_head (tenant_id, entries, digest)
select tenant_id, entry_no, digest from audit_entry where tenant_id = $1::uuid order by entry_no desc limit 1
    on conflict (tenant_id) do update set entries = excluded.entries, digest = excluded.digest`, false},
	{"export files", `
with windows as (
  insert into export_batch (tenant_id, config_id, starts_at, ends_at, state, published_at)
  select tenant_id, config_id, date_trunc('day', now(), 'UTC') - i * interval '4 hours', date_trunc('day', now(), 'UTC') - (i - 1) * interval '4 hours', 'published', now()
    from export_config, generate_series(1, 84) i
   where tenant_id = $1::uuid
  returning *
)
insert into export_file (tenant_id, config_id, starts_at, file_no, key_count, name, revised_count, sha256, size, state)
select tenant_id, config_id, starts_at, 1, 20000, extract(epoch from starts_at)::bigint || '-' || extract(epoch from ends_at)::bigint || '-00001.zip', 10, sha256('x'), 400000, 'published'
  from windows`, false},
	{"errors of messages", `
insert into message_error (tenant_id, day, error_code, count)
select $1::uuid, current_date - d, '3000' || e, 10 + d from generate_series(0, 90) d, generate_series(1, 6) e`, false},
	{"days of the budget", `
insert into quota_day (tenant_id, day, issued, base)
select $1::uuid, current_date - d, $2 / 15, greatest(10, least(20000, $2 / 20)) from generate_series(1, 42) d`, true},
}

// tallySQL is what processes count, of each series and day, which is not in any row.
const tallySQL = `
insert into statistic_day (tenant_id, day, series, subject, cohort, class, quantity)
select $1::uuid, current_date - d, series, subject, current_date - d - c, c, 500
  from generate_series(0, 14) d, generate_series(0, 5) c,
       unnest(array['codes-invalid', 'nonces-invalid', 'tokens-invalid', 'uploads', 'upload-keys', 'upload-revisions', 'upload-no-onset', 'upload-key-age', 'upload-onset-age']) series,
       unnest(array['android', 'ios']) subject
 union all
select $1::uuid, current_date - d, series, api_key_id::text || case series when 'key-answers' then ' issue' else '' end, current_date - d, 200, 50
  from generate_series(0, 14) d, unnest(array['key-codes-claimed', 'key-codes-invalid', 'key-tokens-claimed', 'key-answers']) series, api_key
 where tenant_id = $1::uuid
    on conflict do nothing`

// earlierSQL repeats what the statistics have of 15 days for the time that they are kept.
const earlierSQL = `
insert into statistic_day (tenant_id, day, series, subject, cohort, class, quantity)
select tenant_id, day - 15 * n, series, subject, cohort - 15 * n, class, quantity
  from statistic_day, generate_series(1, 5) n
 where tenant_id = $1::uuid
    on conflict do nothing`

// fill makes the health authority whose pages are measured.
func (r *pageRun) fill(ctx context.Context) (err error) {
	if r.stack.tenants, err = r.stack.grow(ctx, few); err != nil {
		return err
	}
	id, start := r.stack.tenants[0].id, time.Now()
	pool, err := sql.Open("postgres", r.stack.dsn(""))
	if err != nil {
		return err
	}
	defer pool.Close()
	super, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = super.Close() }()
	// Triggers are left out: the one that chains the audit log takes an hour for so many at once.
	if _, err := super.ExecContext(ctx, `set session_replication_role = replica`); err != nil {
		return err
	}
	do := func(what, query string, args ...any) error {
		if _, err := super.ExecContext(ctx, query, args...); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	for _, step := range authoritySQL {
		args := []any{id}
		if step.codes {
			args = append(args, r.options.Codes)
		}
		if err := do(step.what, step.query, args...); err != nil {
			return err
		}
	}
	jobs, err := tenant.Open(ctx, tenant.Config{DSN: r.stack.dsn("carillon_jobs")})
	if err != nil {
		return err
	}
	defer jobs.Close()
	if _, err := stats.Rollup(ctx, jobs, id, time.Now()); err != nil {
		return err
	}
	for _, query := range []string{tallySQL, earlierSQL} {
		if err := do("statistics", query, id); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.options.Out, "filled in %.0f s\n", time.Since(start).Seconds())
	return do("vacuum", "vacuum analyze")
}

// join makes the owner and the operator.
func (r *pageRun) join(ctx context.Context) error {
	db, err := tenant.Open(ctx, tenant.Config{DSN: r.stack.dsn("carillon_operator")})
	if err != nil {
		return err
	}
	defer db.Close()
	by := authz.Subject{Kind: authz.System, ID: "bench", Name: "bench"}
	err = platform.Add(ctx, db, by, platform.Operator{
		Issuer: r.issuer, Email: string(authz.Operator) + "@people.example", Name: "Operator", Role: authz.Operator,
	}, time.Now())
	if err != nil {
		return err
	}
	return db.In(ctx, r.stack.tenants[0].id, func(tx *tenant.Tx) error {
		return staff.Add(ctx, tx, staff.Member{Issuer: r.issuer, Email: ownerName + "@people.example", Name: "Owner", Roles: []authz.Role{authz.Owner}})
	})
}
