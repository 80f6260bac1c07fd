-- +goose Up

-- A sandbox is a tenant that nobody has vouched for. It is known by its slug and its
-- region, which belongs to no country, so that a rule can tell by a name alone.
alter table tenant_directory
  add column kind text not null default 'production',
  add constraint tenant_directory_kind_known check (kind in ('production', 'sandbox')),
  add constraint tenant_directory_kind_key unique (tenant, kind),
  add constraint tenant_directory_sandbox_slug check ((kind = 'sandbox') = (slug like '%-sandbox')),
  add constraint tenant_directory_sandbox_region check ((kind = 'sandbox') = (region like 'ZZ-%'));
comment on column tenant_directory.kind is
  'production, or sandbox: for trying out, whose keys never come into a production export. It never changes.';

-- +goose StatementBegin
create function keep_kind() returns trigger
  language plpgsql
as $$
begin
  raise exception using errcode = 'check_violation', constraint = 'tenant_directory_kind_stays',
    table = 'tenant_directory', message = 'a tenant stays what it is';
end
$$;
-- +goose StatementEnd
create trigger keep_kind before update of kind on tenant_directory
   for each row when (old.kind <> new.kind) execute function keep_kind();

-- tenant_kind is what the bound tenant is, production if there is none.
create function tenant_kind() returns text
  language sql stable parallel safe
  return coalesce((select kind from tenant_directory where tenant = current_tenant()), 'production');

-- Keys are shared between tenants of one kind: an offer and its answer name the kind,
-- which both sides must have.
alter table share_offer
  add column kind text not null default 'production',
  add constraint share_offer_kind_fkey foreign key (tenant_id, kind) references tenant_directory (tenant, kind),
  add constraint share_offer_one_kind check ((kind = 'sandbox') = (recipient like '%-sandbox'));
alter table share_offer alter column kind set default tenant_kind();
alter table share_answer
  add column kind text not null default 'production',
  add constraint share_answer_kind_fkey foreign key (tenant_id, kind) references tenant_directory (tenant, kind),
  add constraint share_answer_donor_kind_fkey foreign key (donor, kind) references tenant_directory (tenant, kind);
alter table share_answer alter column kind set default tenant_kind();
create policy from_a_share on exposure as restrictive for insert to carillon_sharing
  with check (shared_by in (select f.donor from share_in_force f));

-- Public keys of sandboxes. Files and certificates that are signed by one of them are
-- not believed in production, whoever set the key up there.
create table sandbox_key (
  public_der  bytea not null,
  constraint sandbox_key_pkey primary key (public_der)
);
comment on table sandbox_key is
  'Every public key that a sandbox has ever had, as DER-encoded SPKI: no production tenant trusts one, or has it.';
grant select on sandbox_key to carillon_operator, carillon_jobs;
grant insert on sandbox_key to carillon_operator;

-- +goose StatementBegin
create function keep_out_sandbox_key() returns trigger
  language plpgsql
as $$
begin
  if (select kind from tenant_directory where tenant = new.tenant_id) = 'sandbox' then
    if tg_table_name = 'signing_key' then
      insert into sandbox_key (public_der) values (new.public_der) on conflict do nothing;
    end if;
  elsif exists (select from sandbox_key where public_der = new.public_der) then
    raise exception using errcode = 'check_violation', constraint = tg_table_name || '_not_of_sandbox',
      table = tg_table_name, message = 'a key of a sandbox is not for production';
  end if;
  return new;
end
$$;
-- +goose StatementEnd
create trigger keep_out_sandbox_key before insert or update of public_der on signing_key
   for each row when (new.public_der is not null) execute function keep_out_sandbox_key();
create trigger keep_out_sandbox_key before insert or update of public_der on import_key
   for each row execute function keep_out_sandbox_key();
create trigger keep_out_sandbox_key before insert or update of public_der on outside_issuer_key
   for each row execute function keep_out_sandbox_key();

create table application (
  application_id  uuid        not null,
  email           text        not null,
  confirmed_by    text        not null,
  state           text        not null default 'draft',
  form            jsonb       not null default '{}',
  authority_name  text,
  region          text,
  domain          text,
  contact_name    text,
  contact_email   text,
  contact_phone   text,
  languages       text[],
  codes_per_day   integer,
  challenge       text        not null,
  proven_by       text,
  proven_at       timestamptz,
  proof_address   text,
  sandbox         uuid,
  production      uuid,
  message         text        not null default '',
  reply           text        not null default '',
  created_at      timestamptz not null,
  changed_at      timestamptz not null,
  decided_at      timestamptz,
  told_at         timestamptz,
  constraint application_pkey primary key (application_id),
  constraint application_sandbox_fkey foreign key (sandbox) references tenant_directory,
  constraint application_production_fkey foreign key (production) references tenant_directory,
  constraint application_sandbox_key unique (sandbox),
  constraint application_production_key unique (production),
  constraint application_email_form check (email = lower(email) and email like '%_@_%' and length(email) <= 250),
  constraint application_confirmed_by_known check (confirmed_by in ('provider', 'link')),
  constraint application_state_known check (state in ('draft', 'proving', 'waiting', 'asked', 'approved', 'refused')),
  constraint application_form_size check (pg_column_size(form) <= 16384),
  constraint application_complete check (state = 'draft' or
    (authority_name is not null and region is not null and domain is not null and contact_name is not null and
     contact_email is not null and contact_phone is not null and languages is not null and codes_per_day is not null)),
  constraint application_authority_name_length check (length(authority_name) between 2 and 120),
  constraint application_region_form check (region ~ '^[A-Z]{2}(-[A-Z0-9]{1,3})?$' and region not like 'ZZ%'),
  constraint application_domain_form check (domain = lower(domain) and domain ~ '^[a-z0-9.-]{4,253}$'),
  constraint application_contact_length check (length(contact_name) <= 100 and length(contact_email) <= 250 and length(contact_phone) <= 40),
  constraint application_languages_number check (cardinality(languages) between 1 and 20),
  constraint application_codes_range check (codes_per_day between 1 and 20000),
  constraint application_proven_complete check (
    (state in ('draft', 'proving')) = (proven_at is null) and (proven_at is null) = (proven_by is null)
    and (proven_at is null) = (sandbox is null)),
  constraint application_proven_by_known check (proven_by in ('dns', 'mail')),
  constraint application_decided check (
    (state in ('approved', 'refused')) = (decided_at is not null) and (state = 'approved') = (production is not null)),
  constraint application_words_length check (length(message) <= 2000 and length(reply) <= 2000)
);
comment on table application is
  'Who wants to become a health authority here. form is what was typed, as it was; the columns are what it means once it is complete. challenge is the value of the TXT record that proves the domain.';
comment on column application.told_at is
  'When the letter about the last decision was handed over; null while one is due.';
create unique index application_open_idx on application (email) where state not in ('approved', 'refused');
create index application_email_idx on application (email);
create index application_state_idx on application (state, changed_at);

create table signup_link (
  digest          bytea       not null,
  purpose         text        not null,
  email           text        not null,
  application_id  uuid,
  browser         bytea,
  created_at      timestamptz not null,
  expires_at      timestamptz not null,
  used_at         timestamptz,
  constraint signup_link_pkey primary key (digest),
  constraint signup_link_application_fkey foreign key (application_id) references application on delete cascade,
  constraint signup_link_digest_length check (octet_length(digest) = 32),
  constraint signup_link_purpose_known check (purpose in ('address', 'domain')),
  constraint signup_link_browser_of_address check ((purpose = 'address') = (browser is not null)),
  constraint signup_link_application_of_domain check ((purpose = 'domain') = (application_id is not null)),
  constraint signup_link_email_form check (email = lower(email) and length(email) <= 250),
  constraint signup_link_expires_later check (expires_at > created_at)
);
comment on table signup_link is
  'Links that were sent by letter: address confirms who applies, in the browser that asked for it; domain proves that an authority has its domain. Digests only. An expired one is kept a day, so that a late click is told so and letters can be counted.';
create index signup_link_email_idx on signup_link (email, created_at);
create index signup_link_created_idx on signup_link (created_at);
create index signup_link_application_idx on signup_link (application_id);

grant select, insert, update, delete on application, signup_link to carillon_operator;

-- What a new authority expects stands for what is known of its days.
grant insert on quota_day to carillon_operator;
