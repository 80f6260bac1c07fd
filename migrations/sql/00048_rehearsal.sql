-- +goose Up

-- Rehearsals take the way of a real case, through tables of their own. What keeps them
-- from real ones is no care of anybody's: a rehearsal's keys begin with eight bytes that
-- no real key may begin with, and each table has a constraint that says so.
alter table exposure
  add constraint exposure_no_rehearsal check (substr(tek, 1, 8) <> 'rehearse'::bytea) not valid;
alter table exposure validate constraint exposure_no_rehearsal;

-- Their files have folders of their own, which no configuration of exports may have.
alter table export_config
  add constraint export_config_no_rehearsal check (path !~ '^rehearsal');

create table rehearsal_pass (
  tenant_id   uuid         not null,
  run_id      uuid         not null,
  digest      bytea        not null,
  expires_at  timestamptz  not null,
  constraint rehearsal_pass_pkey primary key (tenant_id),
  constraint rehearsal_pass_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint rehearsal_pass_digest_length check (octet_length(digest) = 32)
);
comment on table rehearsal_pass is
  'What the rehearsal that is under way presents instead of API keys; one of each tenant, so that there is never a second rehearsal beside the first.';

create table rehearsal_code (
  tenant_id           uuid        not null,
  code_id             uuid        not null,
  short_mac           bytea       not null,
  long_mac            bytea       not null,
  test_type           text        not null,
  symptom_date        date,
  test_date           date,
  issued_at           timestamptz not null,
  expires_at          timestamptz not null,
  long_expires_at     timestamptz not null,
  claimed_at          timestamptz,
  issuer_kind         text        not null,
  issuer_id           text        not null,
  external_issuer_id  text        not null default '',
  constraint rehearsal_code_pkey primary key (tenant_id, code_id),
  constraint rehearsal_code_short_mac_key unique (tenant_id, short_mac),
  constraint rehearsal_code_long_mac_key unique (tenant_id, long_mac),
  constraint rehearsal_code_tenant_fkey foreign key (tenant_id) references tenant_directory
);
comment on table rehearsal_code is 'Codes of the rehearsal that is under way, as verification_code has those of people.';

create table rehearsal_token (
  tenant_id       uuid        not null,
  token_digest    bytea       not null,
  expires_at      timestamptz not null,
  used_at         timestamptz,
  tekmac_digest   bytea,
  test_type       text,
  code_day        date,
  seconds_to_use  integer,
  constraint rehearsal_token_pkey primary key (tenant_id, token_digest),
  constraint rehearsal_token_tenant_fkey foreign key (tenant_id) references tenant_directory
);
comment on table rehearsal_token is 'Tokens of the rehearsal that is under way, as verification_token has those of people.';

create table rehearsal_key (
  tenant_id          uuid      not null,
  tek                bytea     not null,
  rolling_start      integer   not null,
  rolling_period     smallint  not null,
  transmission_risk  smallint  not null,
  days_since_onset   smallint  not null,
  constraint rehearsal_key_pkey primary key (tenant_id, tek),
  constraint rehearsal_key_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint rehearsal_key_marked check (octet_length(tek) = 16 and substr(tek, 1, 8) = 'rehearse'::bytea)
);
comment on table rehearsal_key is 'Exposure keys of the rehearsal that is under way. Exports are made of exposure, which cannot have them.';

create table selftest_run (
  tenant_id    uuid        not null,
  run_id       uuid        not null,
  started_at   timestamptz not null,
  ended_at     timestamptz not null,
  failed_step  text        not null default '',
  reason       text        not null default '',
  steps        jsonb       not null,
  constraint selftest_run_pkey primary key (tenant_id, run_id),
  constraint selftest_run_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint selftest_run_step_known
    check (failed_step in ('', 'issue', 'verify', 'certificate', 'publish', 'export', 'download', 'signature')),
  constraint selftest_run_reason_complete check ((failed_step = '') = (reason = '') and length(reason) <= 60),
  constraint selftest_run_steps_list check (jsonb_typeof(steps) = 'array')
);
comment on table selftest_run is
  'How rehearsals ended: each step with its duration in milliseconds, and where and why one failed, as a word. The newest hundred of each tenant.';
create index selftest_run_started_at_idx on selftest_run (tenant_id, started_at);

alter table rehearsal_pass  enable row level security;
alter table rehearsal_pass  force  row level security;
alter table rehearsal_code  enable row level security;
alter table rehearsal_code  force  row level security;
alter table rehearsal_token enable row level security;
alter table rehearsal_token force  row level security;
alter table rehearsal_key   enable row level security;
alter table rehearsal_key   force  row level security;
alter table selftest_run    enable row level security;
alter table selftest_run    force  row level security;
create policy tenant_only on rehearsal_pass  using (tenant_id = current_tenant());
create policy tenant_only on rehearsal_code  using (tenant_id = current_tenant());
create policy tenant_only on rehearsal_token using (tenant_id = current_tenant());
create policy tenant_only on rehearsal_key   using (tenant_id = current_tenant());
create policy tenant_only on selftest_run    using (tenant_id = current_tenant());

grant select on rehearsal_pass to carillon_device, carillon_issuer;
grant select, insert, update, delete on rehearsal_pass to carillon_jobs;
grant select, insert on rehearsal_code to carillon_issuer;
grant select, update (claimed_at) on rehearsal_code to carillon_device;
grant select, insert, update (used_at, tekmac_digest, seconds_to_use) on rehearsal_token to carillon_device;
grant insert on rehearsal_key to carillon_publish;
grant select on rehearsal_key to carillon_jobs;
grant delete on rehearsal_code, rehearsal_token, rehearsal_key to carillon_jobs;
grant select (tenant_id) on rehearsal_code, rehearsal_token to carillon_jobs;
grant select, insert, delete on selftest_run to carillon_jobs;
grant select on selftest_run to carillon_portal, carillon_operator;

-- Staff may have the self-test run now, as they may have the keys' job.
create policy own_selftest on job_run to carillon_portal using (job = 'selftest' and tenant = current_tenant());
