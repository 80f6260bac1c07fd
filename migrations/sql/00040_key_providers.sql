-- +goose Up

alter table signing_key
  add column provider text not null default 'sealed',
  add constraint signing_key_provider_known check (provider in ('sealed', 'pkcs11', 'aws-kms', 'vault')),
  add constraint signing_key_outside_signs check (provider = 'sealed' or purpose in ('certificate', 'export', 'sms'));
comment on column signing_key.provider is
  'Where the private half is. sealed: in this row. Otherwise sealed holds a reference to it, sealed likewise and bound to the provider.';

create table retired_root (
  root        text        not null,
  retired_at  timestamptz not null default now(),
  constraint retired_root_pkey primary key (root),
  constraint retired_root_length check (length(root) between 1 and 255)
);
comment on table retired_root is
  'Root keys that nothing may be wrapped by any more. Append-only by grant.';
grant select on retired_root
   to carillon_device, carillon_issuer, carillon_report, carillon_publish, carillon_portal, carillon_jobs, carillon_operator;
grant insert on retired_root to carillon_operator;

alter table data_key add column root text not null default '';
comment on column data_key.root is
  'Which root key wrapped it, as the wrapped key itself says. Empty for a root key without a name, or an erased key.';

-- What a root key with a name has wrapped begins with 2, the length of the name, the name.
create function wrapped_by(wrapped bytea) returns text
  language sql immutable strict parallel safe
  return case when octet_length(wrapped) > 2 and get_byte(wrapped, 0) = 2
              then encode(substring(wrapped from 3 for get_byte(wrapped, 1)), 'escape')
              else '' end;

-- +goose StatementBegin
create function name_root() returns trigger
  language plpgsql
as $$
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('retired root', 0));
  new.root := wrapped_by(new.wrapped);
  if exists (select from retired_root r where r.root = new.root) then
    raise exception 'root key % is retired', new.root
      using errcode = 'check_violation', constraint = 'data_key_root_not_retired', table = 'data_key';
  end if;
  return new;
end $$;
-- +goose StatementEnd
create trigger name_root before insert or update of wrapped, root on data_key for each row execute function name_root();
grant update (wrapped) on data_key to carillon_operator;
