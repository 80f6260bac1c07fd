-- +goose Up

create table audit_head (
  tenant_id  uuid    not null,
  entries    bigint  not null,
  digest     bytea   not null,
  constraint audit_head_pkey primary key (tenant_id),
  constraint audit_head_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint audit_head_entries_counted check (entries >= 0),
  constraint audit_head_digest_length check (octet_length(digest) = 32)
);
comment on table audit_head is
  'How many entries a tenant''s audit log has, and the digest of the newest: what the next one is chained to. Whoever writes entries may write it; a wrong one breaks the chain, which shows.';

create table audit_checkpoint (
  tenant_id  uuid        not null,
  entries    bigint      not null,
  at         timestamptz not null,
  statement  text        not null,
  constraint audit_checkpoint_pkey primary key (tenant_id, entries, at),
  constraint audit_checkpoint_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint audit_checkpoint_statement_length check (octet_length(statement) <= 8192)
);
comment on table audit_checkpoint is
  'Signed statements of how many entries the audit log had at an instant, and of the digest of the newest. Append-only by grant.';

alter table audit_head       enable row level security;
alter table audit_head       force  row level security;
alter table audit_checkpoint enable row level security;
alter table audit_checkpoint force  row level security;
create policy tenant_only on audit_head       using (tenant_id = current_tenant());
create policy tenant_only on audit_checkpoint using (tenant_id = current_tenant());
grant select, insert on audit_head to carillon_issuer, carillon_portal, carillon_jobs, carillon_operator;
grant update (entries, digest) on audit_head to carillon_issuer, carillon_portal, carillon_jobs, carillon_operator;
grant select on audit_checkpoint to carillon_portal, carillon_jobs, carillon_operator;
grant insert on audit_checkpoint to carillon_jobs;

alter table audit_entry
  add column request  text not null default '',
  add column because  text not null default '',
  add column digest   bytea;
alter table audit_entry alter column entry_no drop identity;

-- audit_framed gives a text its length in bytes, so that no two lists of texts have
-- the same bytes.
create function audit_framed(value text) returns bytea
  language sql immutable strict parallel safe
  return int4send(octet_length(convert_to(value, 'UTF8'))) || convert_to(value, 'UTF8');

-- audit_digest is what signing/auditchain computes from an exported entry.
create function audit_digest(previous bytea, e audit_entry) returns bytea
  language sql stable parallel safe
  return sha256(convert_to('carillon audit entry 1', 'UTF8') || previous || uuid_send(e.tenant_id)
    || int8send(e.entry_no) || int8send((extract(epoch from e.at) * 1000000)::bigint)
    || audit_framed(e.actor_kind) || audit_framed(e.actor_id) || audit_framed(e.actor_name)
    || audit_framed(e.action) || audit_framed(e.target) || audit_framed(e.detail::text)
    || audit_framed(e.request) || audit_framed(e.because));

-- The owner may be no superuser: for this once it sees every tenant's rows.
alter table audit_entry no force row level security;
alter table audit_head  no force row level security;
-- +goose StatementBegin
do $$
declare
  e     audit_entry;
  head  audit_head;
begin
  for e in select * from audit_entry order by tenant_id, entry_no loop
    if head.tenant_id is distinct from e.tenant_id then
      head := row (e.tenant_id, 0, decode(repeat('00', 32), 'hex'));
    end if;
    head.entries := head.entries + 1;
    update audit_entry set entry_no = -head.entries where tenant_id = e.tenant_id and entry_no = e.entry_no;
    e.entry_no := head.entries;
    head.digest := audit_digest(head.digest, e);
    update audit_entry set digest = head.digest where tenant_id = e.tenant_id and entry_no = -head.entries;
    insert into audit_head values (head.*)
        on conflict (tenant_id) do update set entries = excluded.entries, digest = excluded.digest;
  end loop;
  update audit_entry set entry_no = -entry_no;
end $$;
-- +goose StatementEnd
alter table audit_entry force row level security;
alter table audit_head  force row level security;

alter table audit_entry
  alter column digest set not null,
  add constraint audit_entry_digest_length check (octet_length(digest) = 32);

-- audit_link gives a new entry its number and chains it to the one before. Whoever
-- writes the next entry of the tenant waits for the commit.
-- +goose StatementBegin
create function audit_link() returns trigger language plpgsql as $$
declare
  head  audit_head;
begin
  insert into audit_head (tenant_id, entries, digest)
  values (new.tenant_id, 0, decode(repeat('00', 32), 'hex'))
      on conflict do nothing;
  select * into strict head from audit_head where tenant_id = new.tenant_id for update;
  new.entry_no := head.entries + 1;
  new.digest   := audit_digest(head.digest, new);
  update audit_head set entries = new.entry_no, digest = new.digest where tenant_id = new.tenant_id;
  return new;
end $$;
-- +goose StatementEnd
create trigger audit_link before insert on audit_entry for each row execute function audit_link();

comment on table audit_entry is
  'What people and programs did to a tenant, numbered without gap and each chained to the one before by its digest. Append-only by grant: no role may change or remove an entry.';

alter table signing_key drop constraint signing_key_purpose_known;
alter table signing_key add constraint signing_key_purpose_known
  check (purpose in ('certificate', 'export', 'sms', 'token', 'revision', 'code-mac', 'phone-mac', 'audit'));
alter table signing_key drop constraint signing_key_public_for_signatures;
alter table signing_key add constraint signing_key_public_for_signatures
  check ((public_der is not null) = (purpose in ('certificate', 'export', 'sms', 'audit')));
alter policy jobs_keys on signing_key using (purpose in ('export', 'audit'));
