-- +goose Up

alter table api_key drop constraint api_key_kind_known;
alter table api_key add constraint api_key_kind_known check (kind in ('device', 'admin', 'stats', 'scim'));

-- A key that takes another's place has its name and the next generation.
alter table api_key
  add column generation  integer     not null default 1,
  add column expires_at  timestamptz,
  add column networks    cidr[]      not null default '{}';
alter table api_key drop constraint api_key_name_key;
alter table api_key
  add constraint api_key_name_key            unique (tenant_id, name, generation),
  add constraint api_key_generation_positive check (generation > 0),
  add constraint api_key_networks_bounded    check (cardinality(networks) <= 50),
  add constraint api_key_networks_no_phones  check (kind <> 'device' or networks = '{}');
comment on table api_key is
  'Credentials of phones, back ends and identity providers. Only a digest is stored; preview is the first six characters of what is secret.';
comment on column api_key.generation is
  'Keys of one name follow each other; only the last generation can be followed.';
comment on column api_key.networks is
  'From where the key is good; empty: from everywhere.';
grant update (name, expires_at, networks) on api_key to carillon_portal, carillon_operator;

create table api_key_use (
  tenant_id   uuid        not null,
  api_key_id  uuid        not null,
  last_hour   timestamptz not null,
  constraint api_key_use_pkey primary key (tenant_id, api_key_id),
  constraint api_key_use_key_fkey foreign key (tenant_id, api_key_id) references api_key,
  constraint api_key_use_hour_whole check (last_hour = date_trunc('hour', last_hour, 'UTC'))
);
comment on table api_key_use is
  'The last full hour in which a key was used. The roll-up of statistics writes it, from what processes flush; later hours are still there.';
alter table api_key_use enable row level security;
alter table api_key_use force  row level security;
create policy tenant_only on api_key_use using (tenant_id = current_tenant());
grant select, insert, update on api_key_use to carillon_jobs;
grant select on api_key_use to carillon_portal, carillon_operator;
grant select (tenant_id, api_key_id) on api_key to carillon_jobs;

-- What was done with a key, by whichever role it was shown to.
grant insert on statistic_tally to carillon_report;
grant select on statistic_tally, statistic_day, statistic_horizon to carillon_operator;
