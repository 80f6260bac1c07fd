-- +goose Up

alter table export_config add column include_imported boolean not null default true;
comment on column export_config.include_imported is
  'Whether keys that came from other key servers are exported too.';

-- Empty in batches that an older release opens: those are made by the configuration as
-- it stands.
alter table export_batch
  add column region            text,
  add column input_regions     text[],
  add column exclude_regions   text[],
  add column travelers         text,
  add column include_imported  boolean,
  add column min_records       integer,
  add column padding_range     integer,
  add column max_records       integer,
  add constraint export_batch_plan_complete
    check (num_nulls(region, input_regions, exclude_regions, travelers, include_imported,
                     min_records, padding_range, max_records) in (0, 8));
comment on column export_batch.region is
  'This and what follows: the configuration as it stood when the window was closed. The batch is made by that, whenever it is made.';

-- Rows go when their objects are gone.
alter table export_file drop constraint export_file_state_known;
alter table export_file add constraint export_file_state_known
  check (state in ('staged', 'published', 'unlisted'));

alter table exposure
  add column copy_of bytea,
  add constraint exposure_copy_of_length check (octet_length(copy_of) = 16),
  add constraint exposure_copy_is_generated check (copy_of is null or generated);
comment on column exposure.copy_of is
  'The real key whose facts a generated key has. When that is revised, so is this, or else a revision would tell which keys are real.';
create index exposure_copy_of_idx on exposure (tenant_id, copy_of) where copy_of is not null;
grant update (revised_type, revised_at, revised_days, revised_risk) on exposure to carillon_jobs;

-- While phones learn a new export key, files carry signatures of the old one too.
drop index signing_key_one_active;
create unique index signing_key_one_active on signing_key (tenant_id, purpose)
  where state = 'active' and purpose <> 'export';

-- Whoever changes a configuration asks whether a window of it was closed.
grant select (tenant_id, config_id) on export_batch to carillon_operator;
