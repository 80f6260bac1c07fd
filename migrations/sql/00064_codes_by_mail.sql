-- +goose Up

-- An authority decides whether codes go to mail addresses, too.
alter table tenant_setting
  add column email_enabled boolean not null default false;
comment on column tenant_setting.email_enabled is 'Whether staff may send a code by e-mail, through the platform''s mail server.';

grant update (email_enabled) on tenant_setting to carillon_portal;
