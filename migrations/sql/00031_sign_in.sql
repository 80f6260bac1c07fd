-- +goose Up

create table identity_provider (
  tenant_id      uuid        not null,
  provider_id    uuid        not null,
  name           text        not null,
  issuer         text        not null,
  client_id      text        not null,
  proof          text        not null,
  sealed         bytea,
  public_key     bytea,
  scopes         text[]      not null,
  email_domains  text[]      not null,
  trust_email    boolean     not null,
  role_claim     text        not null,
  roles          jsonb       not null,
  acr            text[]      not null,
  amr            text[]      not null,
  state          text        not null default 'draft',
  version        integer     not null default 1,
  changed_at     timestamptz not null,
  constraint identity_provider_pkey primary key (tenant_id, provider_id),
  constraint identity_provider_name_key unique (tenant_id, name),
  constraint identity_provider_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint identity_provider_name_length check (length(name) between 1 and 60),
  constraint identity_provider_issuer_length check (length(issuer) between 8 and 500),
  constraint identity_provider_client_id_length check (length(client_id) between 1 and 300),
  constraint identity_provider_proof_known check (proof in ('none', 'secret', 'key')),
  constraint identity_provider_proof_complete
    check ((proof = 'none') = (sealed is null) and (proof = 'key') = (public_key is not null)),
  constraint identity_provider_trust_named check (not trust_email or cardinality(email_domains) > 0),
  constraint identity_provider_roles_list check (jsonb_typeof(roles) = 'array'),
  constraint identity_provider_no_owner check (not jsonb_path_exists(roles, '$[*].role ? (@ == "owner")')),
  constraint identity_provider_state_known check (state in ('draft', 'tested', 'active', 'off'))
);
comment on table identity_provider is
  'OpenID providers at which a tenant''s staff sign in. The client''s secret or private key is sealed under the data key; version counts the changes that need another trial.';

create table sign_in_domain (
  tenant_id  uuid        not null,
  domain     text        not null,
  token      text        not null,
  added_at   timestamptz not null,
  proved_at  timestamptz,
  constraint sign_in_domain_pkey primary key (tenant_id, domain),
  constraint sign_in_domain_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint sign_in_domain_form check (domain = lower(domain) and domain ~ '^[a-z0-9.-]{4,253}$'),
  constraint sign_in_domain_token_length check (length(token) between 20 and 60)
);
comment on table sign_in_domain is
  'Domains of e-mail addresses that lead to a tenant''s sign-in page, once a record in the domain''s DNS has proved that the tenant may say so.';

-- A logout token is taken once. Its tenant is in the digest: the platform's own provider
-- has none.
create table spent_logout (
  token_digest  bytea       not null,
  expires_at    timestamptz not null,
  constraint spent_logout_pkey primary key (token_digest),
  constraint spent_logout_digest_length check (octet_length(token_digest) = 32)
);
comment on table spent_logout is
  'Digests of the back-channel logout tokens that were taken, until they could no longer be sent again.';
create index spent_logout_expires_at_idx on spent_logout (expires_at);

-- Sessions can be ended from elsewhere: by the provider, or because the provider is no
-- longer used. An ended one stays until it would have expired, so that a request under
-- way does not bring it back.
alter table login_session
  add column ends_at      timestamptz not null default now() + interval '12 hours',
  add column ended_at     timestamptz,
  add column provider_id  uuid,
  add column person       bytea,
  add column session      bytea,
  add constraint login_session_person_length check (octet_length(person) = 32),
  add constraint login_session_session_length check (octet_length(session) = 32);
comment on column login_session.person is 'Digest of whose session it is: provider and subject.';
comment on column login_session.session is 'Digest of the session''s name at its provider.';
create index login_session_person_idx   on login_session (person)      where person is not null;
create index login_session_session_idx  on login_session (session)     where session is not null;
create index login_session_provider_idx on login_session (provider_id) where provider_id is not null;

alter table identity_provider enable row level security;
alter table identity_provider force  row level security;
alter table sign_in_domain    enable row level security;
alter table sign_in_domain    force  row level security;
create policy tenant_only on identity_provider using (tenant_id = current_tenant());
create policy tenant_only on sign_in_domain    using (tenant_id = current_tenant());
-- Somebody who has named the domain of her address may be told whose it is, and nothing else.
create policy own_domain on sign_in_domain for select to carillon_portal
  using (proved_at is not null
     and domain = nullif(current_setting('carillon.login_domain', true), ''));

grant select, insert, update on identity_provider to carillon_portal;
grant select, insert, delete, update (proved_at) on sign_in_domain to carillon_portal;
grant insert on spent_logout to carillon_portal, carillon_operator;
grant select (token_digest, expires_at), delete on spent_logout to carillon_jobs;

create trigger tell_change after insert or update or delete on identity_provider for each row execute function tell_change();
