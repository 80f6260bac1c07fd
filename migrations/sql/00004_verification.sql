-- +goose Up

create table verification_code (
  tenant_id           uuid        not null,
  code_id             uuid        not null,
  short_mac           bytea,
  long_mac            bytea,
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
  constraint verification_code_pkey primary key (tenant_id, code_id),
  constraint verification_code_short_mac_key unique (tenant_id, short_mac),
  constraint verification_code_long_mac_key unique (tenant_id, long_mac),
  constraint verification_code_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint verification_code_mac_length
    check (octet_length(short_mac) = 64 and octet_length(long_mac) = 64),
  constraint verification_code_test_type_known
    check (test_type in ('confirmed', 'likely', 'negative', 'user-report')),
  constraint verification_code_expiry_order check (expires_at <= long_expires_at),
  constraint verification_code_issuer_kind_known check (issuer_kind in ('person', 'api-key', 'system')),
  constraint verification_code_external_issuer_id_length check (octet_length(external_issuer_id) <= 255)
);
comment on table verification_code is
  'Issued codes. The code itself is never stored, only its keyed digests, blanked 48 hours after expiry; the row, for its status, is kept 14 days after expiry.';
create index verification_code_long_expires_at_idx on verification_code (tenant_id, long_expires_at);

create table verification_token (
  tenant_id      uuid        not null,
  token_digest   bytea       not null,
  expires_at     timestamptz not null,
  used_at        timestamptz,
  tekmac_digest  bytea,
  constraint verification_token_pkey primary key (tenant_id, token_digest),
  constraint verification_token_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint verification_token_digest_length
    check (octet_length(token_digest) = 32 and octet_length(tekmac_digest) = 32),
  constraint verification_token_use_complete check ((used_at is null) = (tekmac_digest is null))
);
comment on table verification_token is
  'Which long-term tokens exist and whether they were spent. Nothing joins a token to its code or to a person.';
create index verification_token_expires_at_idx on verification_token (tenant_id, expires_at);

alter table verification_code  enable row level security;
alter table verification_code  force  row level security;
alter table verification_token enable row level security;
alter table verification_token force  row level security;
create policy tenant_only on verification_code  using (tenant_id = current_tenant());
create policy tenant_only on verification_token using (tenant_id = current_tenant());

grant select on verification_code to carillon_device, carillon_issuer, carillon_portal, carillon_jobs;
grant update (claimed_at) on verification_code to carillon_device;
grant insert, delete on verification_code to carillon_issuer, carillon_portal;
grant update (expires_at, long_expires_at) on verification_code to carillon_issuer, carillon_portal;
grant update (short_mac, long_mac), delete on verification_code to carillon_jobs;
grant select, insert on verification_token to carillon_device;
grant update (used_at, tekmac_digest) on verification_token to carillon_device;
grant select, delete on verification_token to carillon_jobs;
