-- +goose Up

-- Staff ask for archives, too. These are made by a job and kept for a while, in sealed
-- parts in the store, for whoever asked.
alter table tenant_archive
  add column shelved    boolean     not null default false,
  add column requester  text        not null default '',
  add column attempts   integer     not null default 0,
  add column parts      integer     not null default 0,
  add column expires_at timestamptz,
  add column removed_at timestamptz,
  add constraint tenant_archive_counts check (attempts >= 0 and parts >= 0),
  add constraint tenant_archive_requester_length check (length(requester) <= 250),
  add constraint tenant_archive_shelved_expires check ((expires_at is not null) = (shelved and state = 'made')),
  add constraint tenant_archive_removed_ended check (removed_at is null or ended_at <= removed_at);
comment on table tenant_archive is
  'Archives of a tenant''s data: to whom their keys are sealed (empty for an archive without keys), and what came of them. While one is asked for, what belongs into it can be read. Those that staff ask for are shelved: kept in the store, in parts, until they expire.';
comment on column tenant_archive.attempts is 'How often a process began to make it; only the latest may store parts.';
comment on column tenant_archive.parts is 'How many parts are in the store.';
comment on column tenant_archive.removed_at is 'When its parts were deleted.';

-- One at a time for staff, and one for those who run the platform.
drop index tenant_archive_asked_idx;
create unique index tenant_archive_asked_idx on tenant_archive (tenant_id, shelved) where state = 'asked';

-- What has ended changes no more, but that it goes.
create policy ended_once on tenant_archive as restrictive for update to carillon_jobs
 using (state = 'asked' or shelved and removed_at is null) with check (true);

-- Staff ask for keys only while two of them have agreed that the tenant leaves.
create policy own_wish on tenant_archive as restrictive for insert to carillon_portal
  with check (shelved and state = 'asked' and (recipient = '' or exists (select from tenant_leaving where tenant_id = current_tenant())));

grant select on tenant_archive to carillon_portal;
grant insert (tenant_id, archive_id, shelved, recipient, asked_by, requester, asked_at) on tenant_archive to carillon_portal;
grant update (attempts, parts, expires_at, removed_at) on tenant_archive to carillon_jobs;

-- Staff who ask have the job begin now.
create policy own_archives on job_run to carillon_portal using (job = 'archives' and tenant = current_tenant());

-- A tenant that leaves shares no keys once its phones can publish none.
grant select (recipient), update (withdrawn_at) on share_offer to carillon_jobs;
grant select (tenant_id, donor, offer_id, accepted, ended_at), update (ended_at) on share_answer to carillon_jobs;
