-- +goose Up

-- Two roles that nobody can log in as, each taken on by name for one transaction, as
-- carillon_sharing is: the jobs role becomes carillon_keeping to make, use, retire and
-- destroy keys of every purpose, and the portal's becomes carillon_key_list to show them.
-- Neither reads a sealed key.
-- +goose StatementBegin
do $$
declare
  by_grant boolean := current_setting('server_version_num')::integer >= 160000;
  taken    record;
begin
  for taken in select * from (values ('carillon_keeping', 'carillon_jobs'), ('carillon_key_list', 'carillon_portal')) as t (role, member) loop
    begin
      execute format('create role %I nologin nosuperuser nocreatedb nocreaterole nobypassrls', taken.role);
    exception when duplicate_object or unique_violation then
      null;
    end;
    if by_grant and (pg_has_role(taken.member, taken.role, 'usage') or not pg_has_role(taken.member, taken.role, 'set')) then
      execute format('grant %I to %I with inherit false, set true', taken.role, taken.member);
    elsif not by_grant and not exists (select from pg_auth_members
                                        where roleid = taken.role::regrole and member = taken.member::regrole) then
      execute format('alter role %I noinherit', taken.member);
      execute format('grant %I to %I', taken.role, taken.member);
    end if;
    if pg_has_role(taken.member, taken.role, 'usage') then
      raise exception '% has the rights of % without taking it on', taken.member, taken.role;
    end if;
  end loop;
end
$$;
-- +goose StatementEnd
grant usage on schema public to carillon_keeping, carillon_key_list;

alter table signing_key
  alter column sealed drop not null,
  add column activate_at   timestamptz,
  add column destroy_at    timestamptz,
  add column destroyed_at  timestamptz;
update signing_key set sealed = null, destroyed_at = now() where state = 'destroyed';
-- Export files are listed for 14 days.
update signing_key set destroy_at = coalesce(retired_at, now()) + interval '15 days' where state = 'verify-only';
alter table signing_key
  add constraint signing_key_destroyed_is_erased
    check (state <> 'destroyed' or sealed is null and destroyed_at is not null);
comment on column signing_key.activate_at is 'When a version that is next will be used; null if people decide.';
comment on column signing_key.destroy_at is 'When a version that is verify-only will be destroyed: nothing that it signed or sealed is valid any more.';

grant select (tenant_id, purpose, version, key_id, label, state, public_der, created_at, activate_at, activated_at, retired_at, destroy_at, destroyed_at)
   on signing_key to carillon_keeping, carillon_key_list;
grant insert (tenant_id, purpose, version, key_id, label, state, sealed, public_der, created_at, activate_at, activated_at)
   on signing_key to carillon_keeping;
grant update (state, sealed, activate_at, activated_at, retired_at, destroy_at, destroyed_at)
   on signing_key to carillon_keeping;
grant delete on signing_key to carillon_keeping;
grant update (activate_at, destroy_at, destroyed_at) on signing_key to carillon_operator;
-- A version begins unused, and no version that anybody could need is deleted: see key.Keep.
create policy begins_unused on signing_key as restrictive for insert to carillon_keeping
  with check (state = 'next');
create policy ends_destroyed on signing_key as restrictive for delete to carillon_keeping
  using (state = 'destroyed' and public_der is null);
-- Keys of sandboxes are noted as such when they are made.
grant select, insert on sandbox_key to carillon_keeping;

create table key_schedule (
  tenant_id       uuid        not null,
  purpose         text        not null,
  period_seconds  integer     not null,
  changed_at      timestamptz not null,
  constraint key_schedule_pkey primary key (tenant_id, purpose),
  constraint key_schedule_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint key_schedule_purpose_known
    check (purpose in ('certificate', 'export', 'sms', 'token', 'revision', 'code-mac', 'phone-mac', 'audit')),
  constraint key_schedule_period_bounded check (period_seconds between 3600 and 63072000)
);
comment on table key_schedule is
  'How long a health authority uses a version of a key, where that is not the usual time.';

create table key_rotation (
  tenant_id        uuid        not null,
  rotation_id      uuid        not null,
  purpose          text        not null,
  step             text        not null,
  version          integer,
  at_once          boolean     not null default false,
  reason           text        not null default '',
  requested_at     timestamptz not null,
  requested_by     text        not null,
  tested_at        timestamptz,
  handed_over_at   timestamptz,
  handed_over_by   text        not null default '',
  apple_at         timestamptz,
  apple_contact    text        not null default '',
  apple_noted_by   text        not null default '',
  google_at        timestamptz,
  google_contact   text        not null default '',
  google_noted_by  text        not null default '',
  rehearsed_at     timestamptz,
  rehearsed_in     text        not null default '',
  activated_at     timestamptz,
  ended_at         timestamptz,
  failure          text        not null default '',
  failed_at        timestamptz,
  constraint key_rotation_pkey primary key (tenant_id, rotation_id),
  constraint key_rotation_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint key_rotation_purpose_known
    check (purpose in ('certificate', 'export', 'sms', 'token', 'revision', 'code-mac', 'phone-mac', 'audit')),
  constraint key_rotation_step_known
    check (step in ('requested', 'made', 'activating', 'active', 'retiring', 'done', 'cancelled')),
  constraint key_rotation_version_made check (version is not null or step in ('requested', 'cancelled')),
  constraint key_rotation_ended check ((ended_at is not null) = (step in ('done', 'cancelled'))),
  constraint key_rotation_texts_bounded
    check (length(reason) <= 500 and length(apple_contact) <= 200 and length(google_contact) <= 200
           and length(requested_by) <= 200 and length(handed_over_by) <= 200 and length(apple_noted_by) <= 200
           and length(google_noted_by) <= 200 and length(rehearsed_in) <= 100 and length(failure) <= 100)
);
comment on table key_rotation is
  'Rotations that somebody asked for. Those of export and message keys are guided: people hand the key over and note who confirmed it. The jobs process makes, activates and retires.';
-- One at a time, until its key is in use.
create unique index key_rotation_one_begun on key_rotation (tenant_id, purpose)
  where step in ('requested', 'made', 'activating');

create table key_alarm (
  tenant_id   uuid        not null,
  purpose     text        not null,
  kind        text        not null,
  raised_at   timestamptz not null,
  told_at     timestamptz,
  constraint key_alarm_pkey primary key (tenant_id, purpose, kind),
  constraint key_alarm_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint key_alarm_kind_known check (kind in ('late', 'old', 'waiting', 'failed', 'missing'))
);
comment on table key_alarm is
  'What is wrong with a key now, and when the custodians were told of it by mail. A row goes when it is right again.';

alter table key_schedule enable row level security;
alter table key_schedule force  row level security;
alter table key_rotation enable row level security;
alter table key_rotation force  row level security;
alter table key_alarm    enable row level security;
alter table key_alarm    force  row level security;
create policy tenant_only on key_schedule using (tenant_id = current_tenant());
create policy tenant_only on key_rotation using (tenant_id = current_tenant());
create policy tenant_only on key_alarm    using (tenant_id = current_tenant());

grant select, insert, update, delete on key_schedule to carillon_portal;
grant select, insert on key_rotation to carillon_portal;
grant update (step, handed_over_at, handed_over_by, apple_at, apple_contact, apple_noted_by, google_at, google_contact,
              google_noted_by, rehearsed_at, rehearsed_in, ended_at)
   on key_rotation to carillon_portal;
-- Whether a key is in use is for the process to say that puts it to use.
create policy portal_asks on key_rotation as restrictive for insert to carillon_portal
  with check (step = 'requested' and version is null);
create policy portal_steps on key_rotation as restrictive for update to carillon_portal
  using (step in ('requested', 'made', 'active')) with check (step in ('requested', 'made', 'activating', 'active', 'retiring', 'cancelled'));

grant select on key_schedule, key_rotation, key_alarm to carillon_keeping, carillon_key_list, carillon_operator;
grant update (step, version, tested_at, activated_at, ended_at, failure, failed_at) on key_rotation to carillon_keeping;
grant insert, update (told_at), delete on key_alarm to carillon_keeping;
grant insert, update (step, activated_at, ended_at, apple_at, apple_contact, apple_noted_by, google_at, google_contact, google_noted_by)
   on key_rotation to carillon_operator;
grant select on data_key, tenant_setting, tenant_directory to carillon_keeping;
grant select, insert on audit_head to carillon_keeping;
grant update (entries, digest) on audit_head to carillon_keeping;
grant insert on audit_entry to carillon_keeping;

-- Whoever asks for a rotation has it begun at once: of the schedule the portal's role sees
-- and changes when keys are looked after, for its own tenant, and nothing else.
alter table job_run enable row level security;
alter table job_run force  row level security;
create policy schedule_itself on job_run to carillon_jobs, carillon_issuer, carillon_operator using (true);
create policy own_keys on job_run to carillon_portal, carillon_keeping using (job = 'keys' and tenant = current_tenant());
grant select (job, tenant, due_at, started_at, leased_until), update (due_at) on job_run to carillon_portal, carillon_keeping;

-- Custodians are told by mail.
grant select (tenant_id, member_id, email, name, state, roles) on member to carillon_jobs;
grant select on staff_role to carillon_jobs;
grant select (tenant_id, group_id, role) on staff_group to carillon_jobs;
grant select (tenant_id, group_id, member_id) on staff_group_member to carillon_jobs;
