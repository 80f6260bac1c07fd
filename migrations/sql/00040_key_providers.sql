-- +goose Up

alter table signing_key
  add column provider text not null default 'sealed',
  add constraint signing_key_provider_known check (provider in ('sealed', 'pkcs11', 'aws-kms', 'vault')),
  add constraint signing_key_outside_signs check (provider = 'sealed' or purpose in ('certificate', 'export', 'sms'));
comment on column signing_key.provider is
  'Where the private half is. sealed: in this row. Otherwise sealed holds a reference to it, sealed likewise and bound to the provider.';

-- What is wrapped by a root key with a name begins with 2, the length of the name, the name.
alter table data_key
  add column root text not null
    generated always as (case when octet_length(wrapped) > 2 and get_byte(wrapped, 0) = 2
                              then encode(substring(wrapped from 3 for get_byte(wrapped, 1)), 'escape')
                              else '' end) stored;
comment on column data_key.root is
  'Which root key wrapped it. Empty for one in a file that was used before root keys had names, or for an erased key.';
