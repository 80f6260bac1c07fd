-- +goose Up

-- Three roles that nobody can log in as, each taken on by name for one transaction: the
-- jobs role empties the tables of an erased tenant as one and reads what goes into an
-- archive as another, the operators' role writes an imported tenant as the third. None
-- has its rights otherwise (noinherit).
-- +goose StatementBegin
do $$
declare
  pair text[];
begin
  foreach pair slice 1 in array array[
    ['carillon_erasure', 'carillon_jobs'], ['carillon_archive', 'carillon_jobs'], ['carillon_import', 'carillon_operator']]
  loop
    begin
      execute format('create role %I nologin nosuperuser nocreatedb nocreaterole nobypassrls', pair[1]);
    exception when duplicate_object or unique_violation then
      null;
    end;
    if not exists (select
                     from pg_auth_members
                    where roleid = pair[1]::regrole
                      and member = pair[2]::regrole) then
      execute format('alter role %I noinherit', pair[2]);
      execute format('grant %I to %I', pair[1], pair[2]);
    end if;
  end loop;
end
$$;
-- +goose StatementEnd
grant usage on schema public to carillon_erasure, carillon_archive, carillon_import;

create table tenant_leaving (
  tenant_id    uuid        not null,
  asked_by     text        not null,
  approved_by  text        not null,
  begun_at     timestamptz not null,
  closes_at    timestamptz not null,
  erase_after  timestamptz not null,
  told         smallint    not null default 0,
  constraint tenant_leaving_pkey primary key (tenant_id),
  constraint tenant_leaving_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint tenant_leaving_two_people check (asked_by <> approved_by),
  constraint tenant_leaving_order check (begun_at <= closes_at and closes_at <= erase_after),
  constraint tenant_leaving_cool_down check (erase_after >= begun_at + interval '7 days'),
  constraint tenant_leaving_told_range check (told between 0 and 3)
);
comment on table tenant_leaving is
  'A tenant that leaves: who asked, who approved, when phones can publish no more, and when it may be erased. The row goes if leaving is undone. told counts the letters to the owners.';

create table tenant_archive (
  tenant_id   uuid        not null,
  archive_id  uuid        not null,
  state       text        not null default 'asked',
  recipient   text        not null,
  asked_by    text        not null,
  asked_at    timestamptz not null,
  ended_at    timestamptz,
  size        bigint,
  sha256      bytea,
  constraint tenant_archive_pkey primary key (tenant_id, archive_id),
  constraint tenant_archive_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint tenant_archive_state_known check (state in ('asked', 'made', 'failed')),
  constraint tenant_archive_recipient_length check (length(recipient) <= 200),
  constraint tenant_archive_sha256_length check (octet_length(sha256) = 32),
  constraint tenant_archive_ended check ((state = 'asked') = (ended_at is null)),
  constraint tenant_archive_made_complete check ((state = 'made') = (size is not null and sha256 is not null))
);
comment on table tenant_archive is
  'Archives of a tenant''s data: to whom their keys are sealed (empty for an archive without keys), and what came of them. While one is asked for, what belongs into it can be read.';
create unique index tenant_archive_asked_idx on tenant_archive (tenant_id) where state = 'asked';

alter table tenant_leaving enable row level security;
alter table tenant_leaving force  row level security;
alter table tenant_archive enable row level security;
alter table tenant_archive force  row level security;
create policy tenant_only on tenant_leaving using (tenant_id = current_tenant());
create policy tenant_only on tenant_archive using (tenant_id = current_tenant());

grant select, insert, delete on tenant_leaving to carillon_portal;
grant select, update (told) on tenant_leaving to carillon_jobs;
grant select on tenant_leaving to carillon_operator;
grant select, insert on tenant_archive to carillon_operator;
grant select, update (state, ended_at, size, sha256) on tenant_archive to carillon_jobs;

-- While the codes that are out can still be used, a leaving tenant's phones publish.
alter table tenant_directory add column winding_down boolean not null default false;
comment on column tenant_directory.winding_down is
  'A leaving tenant issues no codes any more; those that are out can be used while this is true.';
comment on column tenant_directory.state is
  'active; suspended: only read from, phones are told of maintenance; leaving: issues no codes, and is only read from once winding_down is over; erased: as if it had never been, for good.';

-- Another authority may serve the region of one that was erased; slug and health authority
-- ID are never used again.
alter table tenant_directory drop constraint tenant_directory_region_key;
create unique index tenant_directory_region_key on tenant_directory (region) where state <> 'erased';

-- A tenant leaves as tenant_leaving says, and is erased only while it leaves, for good.
-- Staff change the tenant to which the transaction is bound.
-- +goose StatementBegin
create function keep_state() returns trigger
  language plpgsql
as $$
begin
  if current_user in ('carillon_portal', 'carillon_erasure', 'carillon_jobs') and old.tenant is distinct from current_tenant()
     or old.state = 'erased'
     or current_user = 'carillon_portal'
        and (old.state, new.state) not in (('active', 'leaving'), ('leaving', 'active'), ('leaving', 'leaving'))
     or new.state = 'erased' and old.state <> 'leaving'
     or (new.state = 'leaving') <> (old.state = 'leaving') and new.state <> 'erased'
        and (new.state = 'leaving') <> exists (select from tenant_leaving where tenant_id = old.tenant) then
    raise exception using errcode = 'check_violation', constraint = 'tenant_directory_state_kept',
      table = 'tenant_directory', message = 'a tenant does not change so';
  end if;
  return new;
end
$$;
-- +goose StatementEnd
create trigger keep_state before update on tenant_directory
   for each row execute function keep_state();
grant update (state, state_reason, state_since, winding_down) on tenant_directory to carillon_portal;
grant update (winding_down) on tenant_directory to carillon_jobs;
grant update (state, state_reason, state_since, winding_down, name) on tenant_directory to carillon_erasure;

-- The jobs role writes letters to owners.
grant select (tenant_id, email, roles, state) on member to carillon_jobs;

create table erasure (
  tenant        uuid        not null,
  slug          text        not null,
  begun_at      timestamptz not null,
  decided_at    timestamptz not null,
  destroyed_at  timestamptz,
  addresses     text[]      not null,
  deleted       jsonb       not null default '{}',
  objects       bigint      not null default 0,
  backup_key    text        not null default '',
  cleared_at    timestamptz,
  statement     text        not null default '',
  certified_at  timestamptz,
  sent_at       timestamptz,
  constraint erasure_pkey primary key (tenant),
  constraint erasure_tenant_fkey foreign key (tenant) references tenant_directory,
  constraint erasure_backup_key_known check (backup_key in ('', 'destroyed', 'none')),
  constraint erasure_addresses_until_sent check (sent_at is null or addresses = '{}'),
  constraint erasure_certified_complete check ((certified_at is null) = (statement = '') and (certified_at is null or destroyed_at < cleared_at)),
  constraint erasure_statement_length check (octet_length(statement) <= 65536)
);
comment on table erasure is
  'Tenants that were erased, or are being: since when (decided_at: there is no way back; destroyed_at: the data key is gone), how many rows went from each table and how many objects from the store, and the signed certificate. addresses are the owners'', until the certificate has been sent to them.';
comment on column erasure.cleared_at is 'When a scan found nothing left, last.';

create table platform_key (
  key_id      text        not null,
  wrapped     bytea       not null,
  sealed      bytea       not null,
  public_der  bytea       not null,
  created_at  timestamptz not null,
  constraint platform_key_pkey primary key (key_id),
  constraint platform_key_key_id_form check (key_id ~ '^[A-Za-z0-9_.-]{1,100}$'),
  constraint platform_key_der_length check (octet_length(public_der) = 91)
);
comment on table platform_key is
  'Keys with which the platform signs certificates of erasure: the private half sealed under a data key of the platform''s own, which is wrapped by the root key. Public halves are kept for good.';

grant insert, update on erasure to carillon_erasure;
grant select, update (objects, backup_key, cleared_at, statement, certified_at, sent_at, addresses) on erasure to carillon_jobs;
grant select on erasure to carillon_operator;
grant select, insert on platform_key to carillon_jobs;
grant select (key_id, public_der, created_at) on platform_key to carillon_operator;
grant insert on platform_entry to carillon_jobs, carillon_erasure;

-- tenant_erased tells whether the bound tenant was erased.
create function tenant_erased() returns boolean
  language sql stable parallel safe
  return exists (select from tenant_directory where tenant = current_tenant() and state = 'erased');

-- open_to_erasure lets carillon_erasure empty every table that has tenants' rows, of the
-- bound tenant if that was erased, and look through the others for what names it. It is
-- called after all steps, so that no new table is forgotten.
-- +goose StatementBegin
create function open_to_erasure() returns void
  language plpgsql
as $$
declare
  t         regclass;
  of_tenant boolean;
begin
  perform pg_advisory_xact_lock(hashtextextended('open_to_erasure', 0));
  for t, of_tenant in
    select c.oid::regclass,
           exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
      from pg_class c
     where c.relnamespace = 'public'::regnamespace
       and c.relkind in ('r', 'p')
  order by c.relname
  loop
    if of_tenant then
      execute format('grant select, delete on %s to carillon_erasure', t);
      if not exists (select from pg_policy where polrelid = t and polname = 'only_erased') then
        execute format('create policy only_erased on %s as restrictive to carillon_erasure using (tenant_erased())', t);
      end if;
    elsif t::text not in ('login_session', 'platform_operator', 'platform_key', 'goose_db_version') then
      execute format('grant select on %s to carillon_erasure', t);
      if (select relrowsecurity from pg_class where oid = t)
         and not exists (select from pg_policy where polrelid = t and polname = 'scanned') then
        execute format('create policy scanned on %s for select to carillon_erasure using (true)', t);
      end if;
    end if;
  end loop;
end
$$;
-- +goose StatementEnd
select open_to_erasure();
grant delete on directory_host, job_run, application to carillon_erasure;
create policy of_erased on job_run for delete to carillon_erasure using (tenant = current_tenant() and tenant_erased());

-- What carillon_archive reads, of the bound tenant while one of its people waits for it.
create function archive_asked() returns boolean
  language sql stable parallel safe
  return exists (select from tenant_archive where tenant_id = current_tenant() and state = 'asked');

-- tenant_made_here tells whether the bound tenant was made by this very transaction.
create function tenant_made_here() returns boolean
  language sql stable parallel safe
  return exists (select from tenant_directory where tenant = current_tenant() and xmin = pg_current_xact_id()::xid);

-- +goose StatementBegin
do $$
declare
  t text;
begin
  foreach t in array array[
    'tenant_setting', 'report_page', 'report_text', 'message_template', 'mobile_app', 'lab_mapping',
    'member', 'staff_role', 'staff_group', 'staff_group_member', 'api_key',
    'export_config', 'export_horizon', 'export_batch', 'export_file',
    'statistic_day', 'statistic_horizon', 'outside_issuer', 'outside_issuer_key', 'import_source', 'import_key',
    'audit_entry', 'audit_checkpoint', 'data_key', 'signing_key',
    'exposure', 'verification_code', 'verification_token',
    'share_offer', 'share_answer']
  loop
    execute format('grant select on %I to carillon_archive', t);
    execute format('create policy only_asked on %I as restrictive to carillon_archive using (archive_asked())', t);
    if t not in ('share_offer', 'share_answer') then
      execute format('grant insert on %I to carillon_import', t);
      execute format('create policy only_made_here on %I as restrictive to carillon_import using (tenant_made_here())', t);
    end if;
  end loop;
end
$$;
-- +goose StatementEnd
grant select on tenant_directory, tenant_archive to carillon_archive;
grant insert on platform_entry to carillon_import;
grant select on tenant_directory, sandbox_key, retired_root to carillon_import;
grant insert on tenant_directory, sandbox_key to carillon_import;
grant select, insert, update (entries, digest) on audit_head to carillon_import;
create policy only_made_here on audit_head as restrictive to carillon_import using (tenant_made_here());
