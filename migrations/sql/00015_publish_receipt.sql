-- +goose Up

create table publish_receipt (
  tenant_id   uuid        not null,
  digest      bytea       not null,
  expires_at  timestamptz not null,
  constraint publish_receipt_pkey primary key (tenant_id, digest),
  constraint publish_receipt_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint publish_receipt_digest_length check (octet_length(digest) = 32)
);
comment on table publish_receipt is
  'Uploads that were stored: digests of what only the phone and its certificate know, so that a phone which lost the answer is known by sending the same again. Kept until the certificate has ended; names no key.';
create index publish_receipt_expires_at_idx on publish_receipt (tenant_id, expires_at);

alter table publish_receipt enable row level security;
alter table publish_receipt force  row level security;
create policy tenant_only on publish_receipt using (tenant_id = current_tenant());
grant select, insert on publish_receipt to carillon_publish;
grant select, delete on publish_receipt to carillon_jobs;
