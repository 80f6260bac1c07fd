-- +goose Up

alter table tenant_directory
  drop constraint tenant_directory_state_known,
  add constraint tenant_directory_state_known check (state in ('active', 'suspended', 'leaving', 'erased')),
  add column state_reason text not null default '',
  add column state_since  timestamptz,
  add constraint tenant_directory_state_reason_length check (length(state_reason) <= 500);
comment on column tenant_directory.state is
  'active; suspended and leaving: only read from, phones are told of maintenance; erased: as if it had never been.';
comment on column tenant_directory.state_reason is 'Why, for the authority''s staff.';
comment on column tenant_directory.state_since is 'Null for a state that it has had from the start.';

alter table platform_entry
  add column target  text not null default '',
  add column request text not null default '';
comment on column platform_entry.target is 'To whom it was done: an authority''s slug, an operator''s address. Empty if to all.';

-- How often codes were issued, keys published and messages not sent, by the day: counts,
-- which operators see rounded.
grant select (tenant_id, day, series, quantity) on statistic_day to carillon_operator;
create policy operator_counts on statistic_day as restrictive for select to carillon_operator
  using (series in ('codes-issued', 'upload-keys',
                    -- what an API key did, for the day it leaks
                    'issued-by-key', 'key-codes-claimed', 'key-codes-invalid', 'key-tokens-claimed', 'key-tokens-invalid'));
grant select (tenant_id, day, count) on message_error to carillon_operator;

-- Staff see only the person who has signed in, and only to let her in as support.
alter table platform_operator enable row level security;
alter table platform_operator force  row level security;
create policy platform_itself on platform_operator to carillon_operator using (true);
create policy oneself on platform_operator for select to carillon_portal
  using (issuer = nullif(current_setting('carillon.login_issuer', true), '')
     and email  = nullif(current_setting('carillon.login_email', true), ''));
grant select on platform_operator to carillon_portal;
grant insert on platform_entry to carillon_portal;

create table support_grant (
  tenant_id   uuid        not null,
  grant_id    uuid        not null,
  email       text        not null,
  role        text        not null,
  granted_by  uuid        not null,
  granted_at  timestamptz not null,
  expires_at  timestamptz not null,
  revoked_at  timestamptz,
  used_at     timestamptz,
  constraint support_grant_pkey primary key (tenant_id, grant_id),
  constraint support_grant_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint support_grant_granted_by_fkey foreign key (tenant_id, granted_by) references member on delete cascade,
  constraint support_grant_email_form check (email = lower(email) and email like '%_@_%' and length(email) <= 250),
  constraint support_grant_role_reads check (role in ('analyst', 'auditor')),
  constraint support_grant_time_boxed check (expires_at > granted_at and expires_at <= granted_at + interval '24 hours')
);
comment on table support_grant is
  'Invitations of platform support into a health authority''s portal, by one of its staff, for a day at most. used_at is when it was first used.';
create index support_grant_expires_at_idx on support_grant (tenant_id, expires_at);
alter table support_grant enable row level security;
alter table support_grant force  row level security;
create policy tenant_only on support_grant using (tenant_id = current_tenant());
-- Whoever is invited sees by whom.
create policy own_invitations on support_grant for select to carillon_portal, carillon_operator
  using (email = nullif(current_setting('carillon.login_email', true), ''));
grant select, insert on support_grant to carillon_portal;
grant update (revoked_at, used_at) on support_grant to carillon_portal;
grant select on support_grant to carillon_operator;
grant select (tenant_id, expires_at), delete on support_grant to carillon_jobs;
