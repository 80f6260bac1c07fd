-- +goose Up

-- Why a phone was last refused a code, for the person who is asked on the telephone.
alter table verification_code
  add column refused_at timestamptz,
  add column refused_as text,
  add constraint verification_code_refusal_whole check ((refused_at is null) = (refused_as is null)),
  add constraint verification_code_refusal_known check (refused_as in ('expired', 'used', 'type', 'nonce'));
comment on column verification_code.refused_at is
  'When a phone was last refused the code, and refused_as why; noted some seconds later. Goes with the row.';

grant update (refused_at, refused_as) on verification_code to carillon_device;
