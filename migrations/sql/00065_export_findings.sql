-- +goose Up

-- A code that went to a mail address is told apart from one that went to a phone.
grant select (tenant_id, code_id, provider) on message_delivery to carillon_jobs;

alter table export_batch
  add column padding_keys  integer,
  add column received_keys integer,
  add constraint export_batch_counts_complete
    check (num_nulls(padding_keys, received_keys) in (0, 2) and padding_keys >= 0 and received_keys >= 0);
comment on column export_batch.padding_keys is
  'How many of the new keys in its files are generated; received_keys came from other authorities or servers. Empty for batches that an older release made, and for those without files.';

alter table export_file
  add column checked_at timestamptz,
  add column finding    text not null default '',
  add column remake     text not null default '',
  add constraint export_file_finding_known check (finding in ('', 'sound', 'missing', 'altered', 'unsigned')),
  add constraint export_file_finding_dated check ((finding = '') = (checked_at is null)),
  add constraint export_file_remake_known check (remake in ('', 'asked', 'refused'));
comment on column export_file.finding is
  'What the last look at the object in the store found, at checked_at: the bytes of the record with signatures of published keys, or what is wrong.';
comment on column export_file.remake is
  'Whether staff have asked for an object to be written again, or that turned out to be impossible.';

grant select (fence, leased_until, padding_keys, received_keys) on export_batch to carillon_portal;
grant select (name, checked_at, finding, remake), update (remake) on export_file to carillon_portal;
