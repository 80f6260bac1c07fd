-- +goose Up

alter table member
  add column state         text        not null default 'active',
  add column last_seen_at  timestamptz,
  add column provisioned   boolean     not null default false,
  add column external_id   text,
  add column changed_at    timestamptz not null default now(),
  add constraint member_state_known check (state in ('active', 'suspended', 'deactivated')),
  add constraint member_external_id_length check (length(external_id) between 1 and 200),
  drop constraint member_roles_present,
  add constraint member_roles_present check (cardinality(roles) > 0 or provisioned);
comment on column member.state is
  'suspended: by staff, and only they end it; deactivated: by the identity provider. Neither may sign in.';
comment on column member.last_seen_at is
  'When she last asked for a page, cut to five minutes, and written no more often.';
comment on column member.provisioned is
  'The authority''s identity provider made her, and keeps her e-mail address and state. Her roles may come from groups alone.';
comment on column member.external_id is
  'What the identity provider calls her.';

-- Nobody may leave an authority without an active owner, at the end of a transaction,
-- until it is erased.
-- Whoever takes one away waits for others who do, and then sees what they did.
-- +goose StatementBegin
create function keep_an_owner() returns trigger
  language plpgsql as $$
begin
  if tg_op = 'UPDATE' and new.state = 'active' and 'owner' = any (new.roles) then
    return null;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('an owner of ' || old.tenant_id, 0));
  if exists (select
               from member m
              where m.tenant_id = old.tenant_id
                and m.state = 'active'
                and 'owner' = any (m.roles))
     or exists (select
                  from tenant_directory d
                 where d.tenant = old.tenant_id
                   and d.state = 'erased') then
    return null;
  end if;
  raise exception 'the last owner of a health authority stays'
    using errcode = 'check_violation', table = 'member', constraint = 'member_owner_kept';
end
$$;
-- +goose StatementEnd
create constraint trigger member_owner_kept
  after update of state, roles or delete on member
  deferrable initially deferred
  for each row when (old.state = 'active' and 'owner' = any (old.roles))
  execute function keep_an_owner();

create table staff_invitation (
  tenant_id      uuid        not null,
  invitation_id  uuid        not null,
  digest         bytea       not null,
  email          text        not null,
  name           text        not null,
  roles          text[]      not null,
  state          text        not null default 'waiting',
  invited_by     text        not null,
  invited_at     timestamptz not null,
  expires_at     timestamptz not null,
  sent_at        timestamptz,
  constraint staff_invitation_pkey primary key (tenant_id, invitation_id),
  constraint staff_invitation_digest_key unique (tenant_id, digest),
  constraint staff_invitation_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint staff_invitation_digest_length check (octet_length(digest) = 32),
  constraint staff_invitation_email_form check (email = lower(email) and email like '%_@_%' and length(email) <= 250),
  constraint staff_invitation_name_length check (length(name) between 1 and 100),
  constraint staff_invitation_roles_number check (cardinality(roles) between 1 and 20),
  constraint staff_invitation_state_known check (state in ('waiting', 'accepted', 'revoked')),
  constraint staff_invitation_expires_after check (expires_at > invited_at)
);
comment on table staff_invitation is
  'Invitations to join an authority''s staff. The link''s token is stored only as a digest, which changes with each letter; invited_by is the member who asked; sent_at is null while no letter has gone out.';
create unique index staff_invitation_waiting on staff_invitation (tenant_id, email) where state = 'waiting';
create index staff_invitation_expires_idx on staff_invitation (tenant_id, expires_at);

create table staff_group (
  tenant_id    uuid        not null,
  group_id     uuid        not null,
  name         text        not null,
  external_id  text,
  role         text,
  created_at   timestamptz not null default now(),
  changed_at   timestamptz not null default now(),
  constraint staff_group_pkey primary key (tenant_id, group_id),
  constraint staff_group_name_key unique (tenant_id, name),
  constraint staff_group_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint staff_group_name_length check (length(name) between 1 and 100),
  constraint staff_group_external_id_length check (length(external_id) between 1 and 200),
  constraint staff_group_makes_no_owner check (role <> 'owner')
);
comment on table staff_group is
  'Groups of the authority''s identity provider. Whoever is in one has its role, which staff choose and the provider cannot; it is never the owner''s.';

create table staff_group_member (
  tenant_id  uuid not null,
  group_id   uuid not null,
  member_id  uuid not null,
  constraint staff_group_member_pkey primary key (tenant_id, group_id, member_id),
  constraint staff_group_member_group_fkey foreign key (tenant_id, group_id) references staff_group on delete cascade,
  constraint staff_group_member_member_fkey foreign key (tenant_id, member_id) references member on delete cascade
);
comment on table staff_group_member is
  'Who is in which group, as the identity provider says.';
create index staff_group_member_member_idx on staff_group_member (tenant_id, member_id);

alter table staff_invitation   enable row level security;
alter table staff_invitation   force  row level security;
alter table staff_group        enable row level security;
alter table staff_group        force  row level security;
alter table staff_group_member enable row level security;
alter table staff_group_member force  row level security;
create policy tenant_only on staff_invitation   using (tenant_id = current_tenant());
create policy tenant_only on staff_group        using (tenant_id = current_tenant());
create policy tenant_only on staff_group_member using (tenant_id = current_tenant());

grant update (email, external_id, provisioned, state, last_seen_at, changed_at), delete on member to carillon_portal;
grant select, insert on staff_invitation to carillon_portal;
grant update (digest, state, expires_at, sent_at) on staff_invitation to carillon_portal;
grant select (tenant_id, invitation_id, expires_at), delete on staff_invitation to carillon_jobs;
grant select, insert, delete on staff_group, staff_group_member to carillon_portal;
grant update (name, external_id, role, changed_at) on staff_group to carillon_portal;
