-- +goose Up

create table login_session (
  token_digest  text        not null,
  data          bytea       not null,
  expires_at    timestamptz not null,
  constraint login_session_pkey primary key (token_digest)
);
comment on table login_session is
  'Signed-in browsers. A session exists before a tenant is chosen; the cookie''s value is stored only as a digest.';
create index login_session_expires_at_idx on login_session (expires_at);
grant select, insert, update, delete on login_session to carillon_portal;
grant select (token_digest, expires_at), delete on login_session to carillon_jobs;

create table member (
  tenant_id   uuid        not null,
  member_id   uuid        not null,
  issuer      text        not null,
  email       text        not null,
  subject     text,
  name        text        not null,
  roles       text[]      not null,
  created_at  timestamptz not null default now(),
  constraint member_pkey primary key (tenant_id, member_id),
  constraint member_login_key unique (tenant_id, issuer, email),
  constraint member_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint member_email_form check (email = lower(email) and email like '%_@_%' and length(email) <= 250),
  constraint member_name_length check (length(name) between 1 and 100),
  constraint member_roles_present check (cardinality(roles) > 0)
);
comment on table member is
  'Staff of a health authority. subject is bound at the first sign-in through issuer with this e-mail address, and must match ever after.';

alter table member enable row level security;
alter table member force  row level security;
create policy tenant_only on member using (tenant_id = current_tenant());
-- A person who has signed in may list the authorities that know her, and no other row.
create policy own_memberships on member for select to carillon_portal
  using (issuer = nullif(current_setting('carillon.login_issuer', true), '')
     and email  = nullif(current_setting('carillon.login_email', true), ''));

grant select, insert, update on member to carillon_operator;
grant select, insert on member to carillon_portal;
grant update (subject, name, roles) on member to carillon_portal;

create table api_key (
  tenant_id    uuid        not null,
  api_key_id   uuid        not null,
  kind         text        not null,
  name         text        not null,
  digest       bytea       not null,
  preview      text        not null,
  created_at   timestamptz not null default now(),
  disabled_at  timestamptz,
  constraint api_key_pkey primary key (tenant_id, api_key_id),
  constraint api_key_name_key unique (tenant_id, name),
  constraint api_key_digest_key unique (tenant_id, digest),
  constraint api_key_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint api_key_kind_known check (kind in ('device', 'admin', 'stats')),
  constraint api_key_name_length check (length(name) between 1 and 100),
  constraint api_key_digest_length check (octet_length(digest) = 32),
  constraint api_key_preview_length check (length(preview) <= 6)
);
comment on table api_key is
  'Credentials of phones and back ends. Only a digest is stored; preview is the first six characters.';

create table audit_entry (
  tenant_id    uuid        not null,
  entry_no     bigint      not null generated always as identity,
  at           timestamptz not null,
  actor_kind   text        not null,
  actor_id     text        not null,
  actor_name   text        not null,
  action       text        not null,
  target       text        not null,
  detail       jsonb       not null default '{}',
  constraint audit_entry_pkey primary key (tenant_id, entry_no),
  constraint audit_entry_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint audit_entry_actor_kind_known check (actor_kind in ('person', 'api-key', 'system'))
);
comment on table audit_entry is
  'What people and programs did to a tenant. Append-only by grant: no role may change or remove an entry.';

alter table api_key     enable row level security;
alter table api_key     force  row level security;
alter table audit_entry enable row level security;
alter table audit_entry force  row level security;
create policy tenant_only on api_key     using (tenant_id = current_tenant());
create policy tenant_only on audit_entry using (tenant_id = current_tenant());

grant select on api_key to carillon_device, carillon_issuer, carillon_portal, carillon_operator;
grant insert on api_key to carillon_portal, carillon_operator;
grant update (disabled_at) on api_key to carillon_portal, carillon_operator;
grant select on audit_entry to carillon_portal, carillon_operator;
grant insert on audit_entry to carillon_issuer, carillon_portal, carillon_jobs, carillon_operator;
