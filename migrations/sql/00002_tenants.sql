-- +goose Up

create table tenant_directory (
  tenant               uuid        not null,
  slug                 text        not null,
  name                 text        not null,
  region               text        not null,
  health_authority_id  text        not null,
  state                text        not null default 'active',
  created_at           timestamptz not null default now(),
  constraint tenant_directory_pkey primary key (tenant),
  constraint tenant_directory_slug_key unique (slug),
  constraint tenant_directory_region_key unique (region),
  constraint tenant_directory_health_authority_id_key unique (health_authority_id),
  constraint tenant_directory_slug_form
    check (slug ~ '^[a-z0-9](-?[a-z0-9])*$' and length(slug) between 2 and 40),
  constraint tenant_directory_name_form check (length(name) between 1 and 200),
  constraint tenant_directory_region_form
    check (region ~ '^[A-Z]{2}(-[A-Z0-9]{1,3})?$'),
  constraint tenant_directory_health_authority_id_form
    check (health_authority_id = lower(health_authority_id) and length(health_authority_id) between 1 and 256),
  constraint tenant_directory_state_known
    check (state in ('active', 'suspended'))
);
comment on table tenant_directory is
  'Public facts of each health authority; read before a request''s tenant is known.';

create table directory_host (
  host    text not null,
  tenant  uuid not null,
  constraint directory_host_pkey primary key (host),
  constraint directory_host_tenant_fkey foreign key (tenant) references tenant_directory,
  constraint directory_host_form check (host = lower(host) and host !~ '[:/ ]' and length(host) between 1 and 253)
);
comment on table directory_host is
  'Host names that serve one tenant; read before a request''s tenant is known.';
create index directory_host_tenant_idx on directory_host (tenant);

grant select on tenant_directory, directory_host
   to carillon_device, carillon_issuer, carillon_publish,
      carillon_portal, carillon_jobs, carillon_operator;
grant insert, update on tenant_directory to carillon_operator;
grant insert, update, delete on directory_host to carillon_operator;

create table tenant_setting (
  tenant_id            uuid     not null,
  issuer               text     not null,
  audience             text     not null,
  certificate_seconds  integer  not null default 900,
  token_seconds        integer  not null default 86400,
  test_types           text[]   not null default '{confirmed,likely,negative}',
  require_date         boolean  not null default true,
  issue_user_report    boolean  not null default false,
  code_digits          smallint not null default 8,
  code_seconds         integer  not null default 900,
  long_code_length     smallint not null default 16,
  long_code_seconds    integer  not null default 86400,
  sms_enabled          boolean  not null default false,
  sms_country          text     not null default 'US',
  sms_template         text     not null default 'Your exposure notification code: [longcode]. It expires in [longexpires] hours.',
  truncate_seconds     integer  not null default 3600,
  release_same_day     boolean  not null default false,
  constraint tenant_setting_pkey primary key (tenant_id),
  constraint tenant_setting_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint tenant_setting_issuer_form check (length(issuer) between 1 and 255),
  constraint tenant_setting_audience_form check (length(audience) between 1 and 255),
  constraint tenant_setting_certificate_seconds_range check (certificate_seconds between 60 and 3600),
  constraint tenant_setting_token_seconds_range check (token_seconds between 60 and 172800),
  constraint tenant_setting_test_types_known
    check (test_types <@ array['confirmed', 'likely', 'negative', 'user-report'] and cardinality(test_types) > 0),
  constraint tenant_setting_code_digits_range check (code_digits between 6 and 8),
  constraint tenant_setting_code_seconds_range check (code_seconds between 1 and 7200),
  constraint tenant_setting_long_code_length_range check (long_code_length between 12 and 16),
  constraint tenant_setting_long_code_seconds_range check (long_code_seconds between 1 and 86400),
  constraint tenant_setting_sms_country_form check (sms_country ~ '^[A-Z]{2}$'),
  constraint tenant_setting_sms_template_length check (octet_length(sms_template) <= 800),
  constraint tenant_setting_truncate_seconds_range check (truncate_seconds between 1 and 86400)
);
comment on table tenant_setting is
  'What a health authority chooses: codes, certificates, messages, time granularity. Lengths in seconds.';

create table data_key (
  tenant_id   uuid        not null,
  wrapped     bytea       not null,
  created_at  timestamptz not null default now(),
  constraint data_key_pkey primary key (tenant_id),
  constraint data_key_tenant_fkey foreign key (tenant_id) references tenant_directory
);
comment on table data_key is
  'The tenant''s data key, wrapped by the platform''s root key. Without it nothing sealed by the tenant opens.';

create table signing_key (
  tenant_id     uuid        not null,
  purpose       text        not null,
  version       integer     not null,
  key_id        text        not null,
  label         text        not null default '',
  state         text        not null,
  sealed        bytea       not null,
  public_der    bytea,
  created_at    timestamptz not null default now(),
  activated_at  timestamptz,
  retired_at    timestamptz,
  constraint signing_key_pkey primary key (tenant_id, purpose, version),
  constraint signing_key_key_id_key unique (tenant_id, purpose, key_id, label),
  constraint signing_key_data_key_fkey foreign key (tenant_id) references data_key,
  constraint signing_key_purpose_known
    check (purpose in ('certificate', 'export', 'sms', 'token', 'revision', 'code-mac')),
  constraint signing_key_state_known check (state in ('next', 'active', 'verify-only', 'destroyed')),
  constraint signing_key_version_positive check (version > 0),
  constraint signing_key_key_id_form check (key_id ~ '^[A-Za-z0-9_.-]{1,100}$'),
  constraint signing_key_label_form check (label ~ '^[A-Za-z0-9_]{0,20}$'),
  constraint signing_key_public_for_signatures
    check ((public_der is not null) = (purpose in ('certificate', 'export', 'sms')))
);
comment on table signing_key is
  'Versions of each key of a tenant: the secret sealed under the data key, the public half beside it. key_id is what goes on the wire; label is an export key''s version string.';
create unique index signing_key_one_active on signing_key (tenant_id, purpose) where state = 'active';

alter table tenant_setting enable row level security;
alter table tenant_setting force  row level security;
alter table data_key       enable row level security;
alter table data_key       force  row level security;
alter table signing_key    enable row level security;
alter table signing_key    force  row level security;

create policy tenant_only on tenant_setting using (tenant_id = current_tenant());
create policy tenant_only on data_key       using (tenant_id = current_tenant());
create policy tenant_only on signing_key    using (tenant_id = current_tenant());

-- Each process sees only the keys its work needs.
create policy device_keys on signing_key as restrictive for select to carillon_device
  using (purpose in ('certificate', 'token', 'code-mac'));
create policy issuer_keys on signing_key as restrictive for select to carillon_issuer
  using (purpose in ('code-mac', 'sms'));
create policy publish_keys on signing_key as restrictive for select to carillon_publish
  using (purpose in ('certificate', 'revision'));
create policy portal_keys on signing_key as restrictive for select to carillon_portal
  using (purpose in ('code-mac', 'sms'));
create policy jobs_keys on signing_key as restrictive for select to carillon_jobs
  using (purpose = 'export');

grant select on tenant_setting
   to carillon_device, carillon_issuer, carillon_publish,
      carillon_portal, carillon_jobs, carillon_operator;
grant insert, update on tenant_setting to carillon_operator;
grant select on data_key, signing_key
   to carillon_device, carillon_issuer, carillon_publish,
      carillon_portal, carillon_jobs, carillon_operator;
grant insert on data_key, signing_key to carillon_operator;
grant update (state, sealed, activated_at, retired_at) on signing_key to carillon_operator;
