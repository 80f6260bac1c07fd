-- +goose Up

create table exposure (
  tenant_id          uuid        not null,
  tek                bytea       not null,
  rolling_start      integer     not null,
  rolling_period     smallint    not null,
  transmission_risk  smallint    not null,
  report_type        text        not null,
  days_since_onset   smallint,
  traveler           boolean     not null,
  regions            text[]      not null,
  created_at         timestamptz not null,
  generated          boolean     not null default false,
  revised_type       text,
  revised_at         timestamptz,
  revised_days       smallint,
  revised_risk       smallint,
  constraint exposure_pkey primary key (tenant_id, tek),
  constraint exposure_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint exposure_tek_length check (octet_length(tek) = 16),
  constraint exposure_rolling_period_range check (rolling_period between 1 and 144),
  constraint exposure_transmission_risk_range
    check (transmission_risk between 0 and 8 and revised_risk between 0 and 8),
  constraint exposure_report_type_known
    check (report_type in ('confirmed', 'likely', 'user-report')),
  constraint exposure_revised_type_known
    check (revised_type in ('confirmed', 'likely', 'negative')),
  constraint exposure_days_since_onset_range
    check (days_since_onset between -14 and 14 and revised_days between -14 and 14),
  constraint exposure_revision_complete
    check ((revised_type is null) = (revised_at is null) and (revised_type is null) = (revised_risk is null))
);
comment on table exposure is
  'Temporary exposure keys. created_at and revised_at are cut to the tenant''s window: nothing here tells when, or together with what, a key arrived.';
create index exposure_created_at_idx on exposure (tenant_id, created_at);
create index exposure_revised_at_idx on exposure (tenant_id, revised_at) where revised_at is not null;

create table export_config (
  tenant_id         uuid        not null,
  config_id         uuid        not null,
  path              text        not null default '',
  region            text        not null,
  input_regions     text[]      not null default '{}',
  exclude_regions   text[]      not null default '{}',
  travelers         text        not null default 'region',
  period_seconds    integer     not null,
  min_age_seconds   integer     not null default 7200,
  min_records       integer     not null default 1000,
  padding_range     integer     not null default 100,
  max_records       integer     not null default 500000,
  active_from       timestamptz not null,
  active_thru       timestamptz,
  constraint export_config_pkey primary key (tenant_id, config_id),
  constraint export_config_path_key unique (tenant_id, path),
  constraint export_config_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint export_config_path_form check (path ~ '^([a-z0-9-]{1,40}/)?$'),
  constraint export_config_travelers_known check (travelers in ('region', 'include', 'exclude')),
  constraint export_config_period_divides_day
    check (period_seconds between 1 and 86400 and 86400 % period_seconds = 0),
  constraint export_config_min_age_range check (min_age_seconds between 0 and 86400),
  constraint export_config_records_range
    check (min_records between 0 and max_records and padding_range >= 1 and max_records between 1 and 750000)
);
comment on table export_config is
  'What a tenant publishes: which keys, how often, in files of which size. travelers: region = by region alone, include = travelers of any region too, exclude = non-travelers only.';

create table export_horizon (
  tenant_id      uuid        not null,
  settled_until  timestamptz not null,
  constraint export_horizon_pkey primary key (tenant_id),
  constraint export_horizon_tenant_fkey foreign key (tenant_id) references tenant_directory
);
comment on table export_horizon is
  'Before this instant every window of the tenant is closed: a key that arrives now is dated no earlier.';

create table export_batch (
  tenant_id     uuid        not null,
  config_id     uuid        not null,
  starts_at     timestamptz not null,
  ends_at       timestamptz not null,
  state         text        not null default 'open',
  fence         bigint      not null default 0,
  leased_until  timestamptz,
  published_at  timestamptz,
  constraint export_batch_pkey primary key (tenant_id, config_id, starts_at),
  constraint export_batch_config_fkey foreign key (tenant_id, config_id) references export_config,
  constraint export_batch_state_known check (state in ('open', 'staged', 'published')),
  constraint export_batch_window_forward check (starts_at < ends_at)
);
comment on table export_batch is
  'One window of one configuration. open: its keys are not chosen; staged: its files exist as rows (the commit point); published: its files and the index are in the store. fence grows with each lease, so that a late worker cannot write.';
create index export_batch_unfinished_idx on export_batch (tenant_id, state, ends_at) where state <> 'published';

create table export_file (
  tenant_id   uuid        not null,
  config_id   uuid        not null,
  starts_at   timestamptz not null,
  file_no     integer     not null,
  name        text        not null,
  state       text        not null default 'staged',
  key_count   integer     not null,
  revised_count  integer  not null,
  size        integer     not null,
  sha256      bytea       not null,
  body        bytea,
  constraint export_file_pkey primary key (tenant_id, config_id, starts_at, file_no),
  constraint export_file_name_key unique (tenant_id, config_id, name),
  constraint export_file_batch_fkey foreign key (tenant_id, config_id, starts_at) references export_batch,
  constraint export_file_state_known check (state in ('staged', 'published', 'unlisted', 'deleted')),
  constraint export_file_number_positive check (file_no > 0),
  constraint export_file_sha256_length check (octet_length(sha256) = 32),
  constraint export_file_body_while_staged check ((body is not null) = (state = 'staged'))
);
comment on table export_file is
  'Files of a batch. body holds the exact bytes from the commit point until the store has them.';

alter table exposure       enable row level security;
alter table exposure       force  row level security;
alter table export_config  enable row level security;
alter table export_config  force  row level security;
alter table export_horizon enable row level security;
alter table export_horizon force  row level security;
alter table export_batch   enable row level security;
alter table export_batch   force  row level security;
alter table export_file    enable row level security;
alter table export_file    force  row level security;
create policy tenant_only on exposure       using (tenant_id = current_tenant());
create policy tenant_only on export_config  using (tenant_id = current_tenant());
create policy tenant_only on export_horizon using (tenant_id = current_tenant());
create policy tenant_only on export_batch   using (tenant_id = current_tenant());
create policy tenant_only on export_file    using (tenant_id = current_tenant());

grant select, insert on exposure to carillon_publish, carillon_jobs;
grant update (regions, revised_type, revised_at, revised_days, revised_risk) on exposure to carillon_publish;
grant delete on exposure to carillon_jobs;
grant select on export_horizon to carillon_publish;
grant select on export_config to carillon_jobs, carillon_portal, carillon_operator;
grant insert, update on export_config to carillon_operator;
grant select, insert, update on export_horizon to carillon_jobs;
grant insert on export_horizon to carillon_operator;
grant select, insert, update, delete on export_batch, export_file to carillon_jobs;
