-- +goose Up

-- A file that somebody has uploaded waits here until she has said what its columns mean and
-- has seen what would come of it.
create table batch_file (
  tenant_id    uuid        not null,
  file_id      uuid        not null,
  member_id    text        not null,
  created_at   timestamptz not null,
  sealed_head  bytea       not null,
  sealed_body  bytea,
  sealed_check bytea,
  batch_id     uuid,
  constraint batch_file_pkey primary key (tenant_id, file_id),
  constraint batch_file_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint batch_file_dropped_when_ordered check ((batch_id is null) = (sealed_body is not null))
);
comment on table batch_file is
  'Lists of codes to issue that staff have uploaded, sealed under the data key: the headings with some first rows, all rows, and what a dry run found. Seen by the member who uploaded it. The rows go when the batch is ordered; the file goes after an hour.';
create index batch_file_created_at_idx on batch_file (tenant_id, created_at);

create table batch_secret (
  tenant_id  uuid  not null,
  sealed     bytea not null,
  constraint batch_secret_pkey primary key (tenant_id),
  constraint batch_secret_data_key_fkey foreign key (tenant_id) references data_key
);
comment on table batch_secret is
  'The key of the digests by which a file is known again, sealed under the tenant''s data key. It is not rotated: a file of yesterday would not be known.';

alter table batch_file   enable row level security;
alter table batch_file   force  row level security;
alter table batch_secret enable row level security;
alter table batch_secret force  row level security;
create policy tenant_only on batch_file   using (tenant_id = current_tenant());
create policy tenant_only on batch_secret using (tenant_id = current_tenant());
grant select, insert, delete, update (sealed_body, sealed_check, batch_id) on batch_file to carillon_portal;
grant select, insert on batch_secret to carillon_portal;
grant select (tenant_id, file_id, created_at), delete on batch_file to carillon_jobs;

-- A row that failed keeps its order for a day, so that it can be tried again.
alter table batch_row
  drop constraint batch_row_order_dropped,
  add constraint batch_row_order_dropped
    check (case state when 'pending' then sealed_order is not null when 'failed' then true else sealed_order is null end);
comment on table batch_row is
  'The codes that a batch orders. sealed_order holds the diagnosis and the telephone number until the row is worked on, and if it failed for a day after; sealed_result a code that no message carries, until it expires, or the words of a refusal. Kept with the batch.';
create index batch_row_failed_idx on batch_row (tenant_id, done_at) where state = 'failed' and sealed_order is not null;
grant update (sealed_order) on batch_row to carillon_jobs;

-- Staff order and steer batches in the portal.
grant select, insert, delete on batch, batch_row to carillon_portal;
grant update (idempotency_key, digest, state, row_count, finished_at, leased_until, held_until, held_because)
   on batch to carillon_portal;
grant update (state, sealed_order, sealed_result, attempts, done_at) on batch_row to carillon_portal;
