-- +goose Up

-- What a health authority says of roles itself: one row for each that it made, and for
-- each built-in one that it widened or narrowed.
create table staff_role (
  tenant_id    uuid    not null,
  name         text    not null,
  description  text    not null,
  allowed      text[]  not null,
  denied       text[]  not null,
  version      uuid    not null,
  constraint staff_role_pkey primary key (tenant_id, name),
  constraint staff_role_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint staff_role_name_form check (name ~ '^[a-z](-?[a-z0-9]){1,39}$'),
  constraint staff_role_owner_fixed check (name <> 'owner'),
  constraint staff_role_description_length check (length(description) <= 200),
  constraint staff_role_rules_present check (cardinality(allowed) + cardinality(denied) between 1 and 100),
  constraint staff_role_rules_agree check (not allowed && denied)
);
comment on table staff_role is
  'A tenant''s own rules: what a role allows and denies besides what is built in. A version names one state of a row and is never used again, so that nobody overwrites what she has not seen.';

alter table staff_role enable row level security;
alter table staff_role force  row level security;
create policy tenant_only on staff_role using (tenant_id = current_tenant());

-- Whoever decides reads the rules; only staff write them.
grant select on staff_role to carillon_device, carillon_issuer, carillon_report, carillon_portal, carillon_operator;
grant insert, delete on staff_role to carillon_portal;
grant update (description, allowed, denied, version) on staff_role to carillon_portal;

create trigger tell_change after insert or update or delete on staff_role for each row execute function tell_change();
