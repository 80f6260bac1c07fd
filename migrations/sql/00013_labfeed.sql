-- +goose Up

create table lab_mapping (
  tenant_id    uuid        not null,
  version      integer     not null,
  mapping      jsonb       not null,
  created_at   timestamptz not null,
  author_kind  text        not null,
  author_id    text        not null,
  constraint lab_mapping_pkey primary key (tenant_id, version),
  constraint lab_mapping_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint lab_mapping_version_positive check (version > 0),
  constraint lab_mapping_object check (jsonb_typeof(mapping) = 'object')
);
comment on table lab_mapping is
  'How a tenant reads laboratory results: which tests count, what their outcomes mean, where the fields are. The highest version is in force; none means the built-in one.';

create table lab_secret (
  tenant_id   uuid        not null,
  sealed      bytea       not null,
  created_at  timestamptz not null default now(),
  constraint lab_secret_pkey primary key (tenant_id),
  constraint lab_secret_data_key_fkey foreign key (tenant_id) references data_key
);
comment on table lab_secret is
  'The key of the digests that stand for accessions, sealed under the tenant''s data key. It is not rotated: a digest made under another key would not be recognised.';

create table lab_submission (
  tenant_id        uuid        not null,
  submission_id    uuid        not null,
  api_key_id       uuid        not null,
  format           text        not null,
  mapping_version  integer     not null,
  received_at      timestamptz not null,
  queued           integer     not null,
  duplicates       integer     not null,
  corrections      integer     not null,
  ignored          integer     not null,
  dead_letters     integer     not null,
  constraint lab_submission_pkey primary key (tenant_id, submission_id),
  constraint lab_submission_api_key_fkey foreign key (tenant_id, api_key_id) references api_key,
  constraint lab_submission_format_known check (format in ('fhir', 'hl7', 'csv'))
);
comment on table lab_submission is
  'Documents that laboratories sent: when, by which API key, and how many results met which fate on arrival. The ID is a keyed digest of the document, which is not stored.';
create index lab_submission_received_at_idx on lab_submission (tenant_id, received_at);

create table lab_result (
  tenant_id         uuid        not null,
  result_id         uuid        not null,
  submission_id     uuid        not null,
  accession_digest  bytea,
  essence_digest    bytea       not null,
  test_type         text,
  state             text        not null,
  reason            text        not null default '',
  sealed            bytea,
  code_id           uuid,
  attempts          integer     not null default 0,
  fence             bigint      not null default 0,
  due_at            timestamptz not null,
  leased_until      timestamptz,
  received_at       timestamptz not null,
  settled_at        timestamptz,
  constraint lab_result_pkey primary key (tenant_id, result_id),
  constraint lab_result_submission_fkey foreign key (tenant_id, submission_id) references lab_submission,
  constraint lab_result_digest_length
    check (octet_length(accession_digest) = 32 and octet_length(essence_digest) = 32),
  constraint lab_result_test_type_known check (test_type in ('confirmed', 'likely', 'negative')),
  constraint lab_result_state_known check (state in ('waiting', 'issued', 'superseded', 'dead', 'discarded')),
  constraint lab_result_waiting_complete
    check (state <> 'waiting' or (test_type is not null and sealed is not null and accession_digest is not null)),
  constraint lab_result_sealed_only_while_open check (sealed is null or state in ('waiting', 'dead')),
  constraint lab_result_dead_has_reason check (state <> 'dead' or reason <> ''),
  constraint lab_result_issued_has_code check (state <> 'issued' or code_id is not null),
  constraint lab_result_settled check ((state = 'waiting') = (settled_at is null))
);
comment on table lab_result is
  'Laboratory results on their way to verification codes. The accession is a keyed digest; telephone number, dates and codes of test and outcome are sealed and erased when the code is issued, the result is replaced or discarded, or 72 hours after it became a dead letter. The rest is kept 90 days, to recognise what is sent again.';
create index lab_result_accession_idx on lab_result (tenant_id, accession_digest);
create index lab_result_submission_idx on lab_result (tenant_id, submission_id);
create index lab_result_received_at_idx on lab_result (tenant_id, received_at);
create index lab_result_waiting_idx on lab_result (tenant_id, due_at) where state = 'waiting';
create index lab_result_dead_idx on lab_result (tenant_id, settled_at) where state = 'dead';

alter table lab_mapping    enable row level security;
alter table lab_mapping    force  row level security;
alter table lab_secret     enable row level security;
alter table lab_secret     force  row level security;
alter table lab_submission enable row level security;
alter table lab_submission force  row level security;
alter table lab_result     enable row level security;
alter table lab_result     force  row level security;
create policy tenant_only on lab_mapping    using (tenant_id = current_tenant());
create policy tenant_only on lab_secret     using (tenant_id = current_tenant());
create policy tenant_only on lab_submission using (tenant_id = current_tenant());
create policy tenant_only on lab_result     using (tenant_id = current_tenant());

grant select, insert on lab_mapping to carillon_issuer, carillon_operator;
grant select, insert on lab_secret to carillon_issuer;
grant select, insert, delete on lab_submission to carillon_issuer;
grant select, insert, delete on lab_result to carillon_issuer;
grant update (test_type, essence_digest, state, reason, sealed, code_id, attempts, fence, due_at, leased_until, settled_at)
   on lab_result to carillon_issuer;
