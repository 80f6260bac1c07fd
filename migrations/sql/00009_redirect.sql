-- +goose Up

create table mobile_app (
  tenant_id         uuid        not null,
  os                text        not null,
  name              text        not null,
  app_id            text        not null,
  store_url         text        not null default '',
  fingerprints      text[]      not null default '{}',
  disable_redirect  boolean     not null default false,
  headless          boolean     not null default false,
  created_at        timestamptz not null default now(),
  constraint mobile_app_pkey primary key (tenant_id, os, name),
  constraint mobile_app_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint mobile_app_os_known check (os in ('ios', 'android')),
  constraint mobile_app_name_length check (length(name) between 1 and 100),
  constraint mobile_app_app_id_form check (app_id ~ '^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$' and length(app_id) <= 255),
  constraint mobile_app_store_url_form
    check (store_url ~ '^https://[^[:space:][:cntrl:]]+$' and length(store_url) <= 1000
           or store_url = '' and (headless or disable_redirect)),
  constraint mobile_app_fingerprints_form
    check (case os when 'android'
           then array_to_string(fingerprints, ',', '?') ~ '^([0-9A-F]{2}:){31}[0-9A-F]{2}(,([0-9A-F]{2}:){31}[0-9A-F]{2}){0,9}$'
           else cardinality(fingerprints) = 0 end),
  constraint mobile_app_headless_android check (os = 'android' or not headless)
);
comment on table mobile_app is
  'Apps of a health authority: where its links lead, and which apps may open them. Public facts.';

alter table mobile_app enable row level security;
alter table mobile_app force  row level security;
create policy tenant_only on mobile_app using (tenant_id = current_tenant());

-- The redirector is played by the roles that have an address for everybody.
grant select on mobile_app to carillon_issuer, carillon_publish, carillon_operator;
grant insert, delete on mobile_app to carillon_operator;
