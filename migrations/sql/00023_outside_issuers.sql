-- +goose Up

create table outside_issuer (
  tenant_id     uuid        not null,
  issuer        text        not null,
  audience      text        not null,
  jwks_url      text,
  changed_at    timestamptz not null,
  fence         bigint      not null default 0,
  refreshed_at  timestamptz,
  failed_at     timestamptz,
  failure       text        not null default '',
  constraint outside_issuer_pkey primary key (tenant_id, issuer),
  constraint outside_issuer_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint outside_issuer_name_length check (length(issuer) between 1 and 500),
  constraint outside_issuer_audience_length check (length(audience) between 1 and 500),
  constraint outside_issuer_jwks_url_length check (length(jwks_url) between 1 and 2000),
  constraint outside_issuer_failure_complete check ((failed_at is null) = (failure = ''))
);
comment on table outside_issuer is
  'Outside verification servers whose certificates a tenant accepts. Keys are fetched from jwks_url, or were given by hand if there is none. fence grows with each fetch and each change by hand, so that a late answer changes nothing; failure is why the last fetch changed nothing.';

create table outside_issuer_key (
  tenant_id   uuid        not null,
  issuer      text        not null,
  public_der  bytea       not null,
  kid         text        not null,
  added_at    timestamptz not null,
  revoked_at  timestamptz,
  constraint outside_issuer_key_pkey primary key (tenant_id, issuer, public_der),
  constraint outside_issuer_key_issuer_fkey foreign key (tenant_id, issuer) references outside_issuer,
  constraint outside_issuer_key_kid_form check (kid ~ '^[!-~]{1,200}$'),
  constraint outside_issuer_key_der_length check (octet_length(public_der) = 91)
);
comment on table outside_issuer_key is
  'P-256 public keys of outside verification servers, as DER-encoded SPKI. A key is known by its material, not by its name. One that was revoked is not trusted again while its row is kept, 30 days.';

alter table outside_issuer     enable row level security;
alter table outside_issuer     force  row level security;
alter table outside_issuer_key enable row level security;
alter table outside_issuer_key force  row level security;
create policy tenant_only on outside_issuer     using (tenant_id = current_tenant());
create policy tenant_only on outside_issuer_key using (tenant_id = current_tenant());

grant select (tenant_id, issuer, audience) on outside_issuer to carillon_publish;
grant select on outside_issuer_key to carillon_publish;
grant select on outside_issuer, outside_issuer_key to carillon_jobs, carillon_operator;
grant update (fence, refreshed_at, failed_at, failure) on outside_issuer to carillon_jobs;
grant insert, update, delete on outside_issuer to carillon_operator;
grant insert, delete on outside_issuer_key to carillon_jobs, carillon_operator;
grant update (kid, revoked_at) on outside_issuer_key to carillon_jobs, carillon_operator;

create trigger tell_change after insert or delete or update of issuer, audience, jwks_url on outside_issuer for each row execute function tell_change();
create trigger tell_change after insert or update or delete on outside_issuer_key for each row execute function tell_change();
