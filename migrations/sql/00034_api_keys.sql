-- +goose Up

alter table api_key drop constraint api_key_kind_known;
alter table api_key add constraint api_key_kind_known check (kind in ('device', 'admin', 'stats', 'scim'));
comment on table api_key is
  'Credentials of phones, back ends and identity providers. Only a digest is stored; preview is the first six characters of what is secret.';
