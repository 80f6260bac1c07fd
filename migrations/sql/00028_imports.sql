-- +goose Up

create table import_source (
  tenant_id     uuid         not null,
  import_no     smallint     not null,
  name          text         not null,
  index_url     text         not null,
  root_url      text         not null,
  region        text         not null,
  traveler      boolean      not null,
  missing_type  report_type  not null,
  changed_at    timestamptz  not null,
  removed_at    timestamptz,
  looked_at     timestamptz,
  failed_at     timestamptz,
  failure       text         not null default '',
  constraint import_source_pkey primary key (tenant_id, import_no),
  constraint import_source_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint import_source_number_positive check (import_no > 0),
  constraint import_source_name_form check (name ~ '^[a-z0-9](-?[a-z0-9])*$' and length(name) between 2 and 40),
  constraint import_source_url_length check (length(index_url) between 1 and 2000 and length(root_url) between 1 and 2000),
  constraint import_source_missing_type_known check (missing_type in ('confirmed', 'likely')),
  constraint import_source_failure_complete check ((failed_at is null) = (failure = ''))
);
comment on table import_source is
  'Outside key servers whose export files a tenant imports. looked_at is when the index was last read, failure why it was not since. A removed one is kept while keys with its number are.';
create unique index import_source_name_idx on import_source (tenant_id, name) where removed_at is null;

create table import_key (
  tenant_id    uuid      not null,
  import_no    smallint  not null,
  key_id       text      not null,
  key_version  text      not null,
  public_der   bytea     not null,
  constraint import_key_pkey primary key (tenant_id, import_no, key_id, key_version),
  constraint import_key_source_fkey foreign key (tenant_id, import_no) references import_source,
  constraint import_key_der_length check (octet_length(public_der) = 91)
);
comment on table import_key is
  'P-256 public keys, as DER-encoded SPKI, by which files of an outside key server are believed.';

create table import_file (
  tenant_id      uuid         not null,
  import_no      smallint     not null,
  name           text         not null,
  state          text         not null default 'open',
  discovered_at  timestamptz  not null,
  unlisted_at    timestamptz,
  due_at         timestamptz  not null,
  attempts       integer      not null default 0,
  failure        text         not null default '',
  sha256         bytea,
  position       integer      not null default 0,
  stored         integer      not null default 0,
  revised        integer      not null default 0,
  known          integer      not null default 0,
  quarantined    integer      not null default 0,
  finished_at    timestamptz,
  checked_at     timestamptz,
  constraint import_file_pkey primary key (tenant_id, import_no, name),
  constraint import_file_source_fkey foreign key (tenant_id, import_no) references import_source,
  constraint import_file_state_known check (state in ('open', 'done', 'changed')),
  constraint import_file_name_length check (length(name) between 1 and 300),
  constraint import_file_sha256_length check (octet_length(sha256) = 32),
  constraint import_file_counts_add_up check (position = stored + revised + known + quarantined),
  constraint import_file_done_complete check (state <> 'done' or (finished_at is not null and sha256 is not null and failure = '')),
  constraint import_file_changed_has_failure check (state <> 'changed' or failure <> '')
);
comment on table import_file is
  'Files that the index of an outside key server has listed. open: position says how many of its keys are dealt with, and sha256 of which bytes; done: all of them; changed: other bytes were found under its name, and no more of it is imported.';
create index import_file_open_idx on import_file (tenant_id, import_no, due_at) where state = 'open' and unlisted_at is null;

create table import_quarantine (
  tenant_id  uuid      not null,
  import_no  smallint  not null,
  name       text      not null,
  position   integer   not null,
  revised    boolean   not null,
  reason     text      not null,
  constraint import_quarantine_pkey primary key (tenant_id, import_no, name, position),
  constraint import_quarantine_file_fkey foreign key (tenant_id, import_no, name) references import_file,
  constraint import_quarantine_reason_length check (length(reason) between 1 and 200)
);
comment on table import_quarantine is
  'Keys that were not imported, by their place in their file, counted from 0, and why. The keys themselves are not kept. Of each file, the first thousand.';

alter table import_source     enable row level security;
alter table import_source     force  row level security;
alter table import_key        enable row level security;
alter table import_key        force  row level security;
alter table import_file       enable row level security;
alter table import_file       force  row level security;
alter table import_quarantine enable row level security;
alter table import_quarantine force  row level security;
create policy tenant_only on import_source     using (tenant_id = current_tenant());
create policy tenant_only on import_key        using (tenant_id = current_tenant());
create policy tenant_only on import_file       using (tenant_id = current_tenant());
create policy tenant_only on import_quarantine using (tenant_id = current_tenant());

grant select on import_source, import_key, import_file, import_quarantine to carillon_jobs, carillon_operator;
grant insert, update on import_source to carillon_operator;
grant insert, delete on import_key to carillon_operator;
grant update (due_at) on import_file to carillon_operator;
grant update (looked_at, failed_at, failure) on import_source to carillon_jobs;
grant delete on import_source, import_key to carillon_jobs;
grant insert, update, delete on import_file to carillon_jobs;
grant insert, delete on import_quarantine to carillon_jobs;
