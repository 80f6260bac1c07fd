-- +goose Up

-- The process role report takes in self-reports: /api/user-report and the hosted page.
-- +goose StatementBegin
do $$
begin
  create role carillon_report login nosuperuser nocreatedb nocreaterole nobypassrls;
exception when duplicate_object or unique_violation then
  null;
end
$$;
-- +goose StatementEnd

grant usage on schema public to carillon_report;
grant select on tenant_directory, directory_host, tenant_setting, api_key, data_key, signing_key to carillon_report;

alter table signing_key drop constraint signing_key_purpose_known;
alter table signing_key add constraint signing_key_purpose_known
  check (purpose in ('certificate', 'export', 'sms', 'token', 'revision', 'code-mac', 'phone-mac'));

create policy report_keys on signing_key as restrictive for select to carillon_report
  using (purpose in ('code-mac', 'phone-mac', 'sms'));
alter policy issuer_keys on signing_key using (purpose in ('code-mac', 'phone-mac', 'sms'));
alter policy portal_keys on signing_key using (purpose in ('code-mac', 'phone-mac', 'sms'));

create table user_report (
  tenant_id     uuid        not null,
  code_id       uuid        not null,
  phone_mac     bytea       not null,
  nonce_digest  bytea,
  created_at    timestamptz not null,
  claimed_at    timestamptz,
  constraint user_report_pkey primary key (tenant_id, code_id),
  constraint user_report_phone_mac_key unique (tenant_id, phone_mac),
  constraint user_report_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint user_report_phone_mac_length check (octet_length(phone_mac) = 64),
  constraint user_report_nonce_digest_length check (octet_length(nonce_digest) = 32)
);
comment on table user_report is
  'Telephone numbers, as keyed digests, that have a code of type user-report or had one lately: one report for each number. nonce_digest is of the random bytes that the phone must send again when it verifies; null asks for none. The code may be gone before the row.';
create index user_report_created_at_idx on user_report (tenant_id, created_at);

alter table user_report enable row level security;
alter table user_report force  row level security;
create policy tenant_only on user_report using (tenant_id = current_tenant());

grant select, insert, delete on user_report to carillon_report, carillon_issuer, carillon_portal;
grant update (code_id, nonce_digest, created_at, claimed_at) on user_report to carillon_report, carillon_issuer, carillon_portal;
grant select (tenant_id, code_id, nonce_digest, claimed_at), update (claimed_at) on user_report to carillon_device;
grant select (tenant_id, created_at, claimed_at), delete on user_report to carillon_jobs;

grant select, insert, delete on verification_code to carillon_report;
grant select on message_provider, message_template to carillon_report;
grant select, insert, update on message_delivery to carillon_report;
grant select, insert, update (count) on message_error to carillon_report;

-- The hosted page knows its tenant by the device key alone: whoever has a key may find
-- out whose it is.
create policy own_device_key on api_key for select to carillon_report
  using (kind = 'device'
     and digest = decode(nullif(current_setting('carillon.key_digest', true), ''), 'hex'));

create table report_page (
  tenant_id       uuid not null,
  color           text not null default '',
  image_url       text not null default '',
  learn_more_url  text not null default '',
  constraint report_page_pkey primary key (tenant_id),
  constraint report_page_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint report_page_color_form check (color = '' or color ~ '^#[0-9a-f]{6}$'),
  constraint report_page_urls_form
    check ((image_url = '' or image_url ~ '^https://') and (learn_more_url = '' or learn_more_url ~ '^https://')
       and length(image_url) <= 1000 and length(learn_more_url) <= 1000)
);
comment on table report_page is
  'How the hosted page for self-reports looks for a health authority. Empty means as Carillon has it.';

create table report_text (
  tenant_id  uuid not null,
  language   text not null,
  agency     text not null default '',
  intro      text not null default '',
  date       text not null default '',
  phone      text not null default '',
  success    text not null default '',
  constraint report_text_pkey primary key (tenant_id, language),
  constraint report_text_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint report_text_language_form check (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$'),
  constraint report_text_lengths
    check (length(agency) <= 200 and length(intro) <= 2000 and length(date) <= 500
       and length(phone) <= 500 and length(success) <= 2000)
);
comment on table report_text is
  'What the hosted page says in a language, in a health authority''s own words. Empty means as Carillon has it.';

alter table report_page enable row level security;
alter table report_page force  row level security;
alter table report_text enable row level security;
alter table report_text force  row level security;
create policy tenant_only on report_page using (tenant_id = current_tenant());
create policy tenant_only on report_text using (tenant_id = current_tenant());
grant select on report_page, report_text to carillon_report, carillon_portal, carillon_operator;
grant insert, update, delete on report_page, report_text to carillon_operator;

-- An operator may free a telephone number, which ends its unclaimed code.
grant select (tenant_id, code_id, phone_mac), delete on user_report to carillon_operator;
grant select (tenant_id, code_id, claimed_at, expires_at, long_expires_at),
      update (expires_at, long_expires_at) on verification_code to carillon_operator;
