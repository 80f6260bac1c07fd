-- +goose Up

-- A pack says which versions of keys it carries, and a guided rotation which pack with its
-- version Apple and Google were given.
alter table pack
  add column export_versions integer[] not null default '{}',
  add column sms_versions    integer[] not null default '{}';
comment on column pack.export_versions is 'The versions of export keys whose public halves are in it, once made; of packs that were made before this was noted, none.';

alter table key_rotation
  add column apple_pack_id   uuid,
  add column apple_given_at  timestamptz,
  add column google_pack_id  uuid,
  add column google_given_at timestamptz,
  add constraint key_rotation_apple_pack_fkey  foreign key (tenant_id, apple_pack_id)  references pack,
  add constraint key_rotation_google_pack_fkey foreign key (tenant_id, google_pack_id) references pack,
  add constraint key_rotation_given_whole
    check ((apple_pack_id is null) = (apple_given_at is null) and (google_pack_id is null) = (google_given_at is null));
comment on column key_rotation.apple_pack_id is 'The pack with its version that Apple was given last.';

grant update (export_versions, sms_versions) on pack to carillon_jobs;
grant update (apple_pack_id, apple_given_at, google_pack_id, google_given_at) on key_rotation to carillon_portal;
