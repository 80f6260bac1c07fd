-- +goose Up

-- Keys of other tenants are seen by one role only, which nobody can log in as: the
-- jobs role takes it on, by name, for the transaction that fetches shared keys, and has
-- none of its rights otherwise (noinherit).
-- +goose StatementBegin
do $$
begin
  begin
    create role carillon_sharing nologin nosuperuser nocreatedb nocreaterole nobypassrls;
  exception when duplicate_object or unique_violation then
    null;
  end;
  if not exists (select
                   from pg_auth_members
                  where roleid = 'carillon_sharing'::regrole
                    and member = 'carillon_jobs'::regrole) then
    alter role carillon_jobs noinherit;
    grant carillon_sharing to carillon_jobs;
  end if;
end
$$;
-- +goose StatementEnd
grant usage on schema public to carillon_sharing;

-- A donor offers its keys; a recipient, named by slug, answers. Each side writes rows
-- of its own and sees the other's: neither can speak for the other.
create table share_offer (
  tenant_id       uuid        not null,
  offer_id        uuid        not null,
  recipient       text        not null,
  travelers_only  boolean     not null,
  regions         text[]      not null default '{}',
  offered_at      timestamptz not null,
  withdrawn_at    timestamptz,
  settled_until   timestamptz not null default '-infinity',
  constraint share_offer_pkey primary key (tenant_id, offer_id),
  constraint share_offer_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint share_offer_recipient_form
    check (recipient ~ '^[a-z0-9](-?[a-z0-9])*$' and length(recipient) between 2 and 40),
  constraint share_offer_regions_number check (cardinality(regions) <= 50)
);
comment on table share_offer is
  'What a tenant offers to share, with whom: all keys or travelers'' alone, of some regions or (empty) of any. Terms never change; another offer replaces them. Whether the recipient exists is not looked at.';
comment on column share_offer.settled_until is
  'The donor''s horizon when shared keys were last fetched: no key is dated before it any more.';
create unique index share_offer_standing on share_offer (tenant_id, recipient) where withdrawn_at is null;

create table share_answer (
  tenant_id      uuid        not null,
  donor          uuid        not null,
  offer_id       uuid        not null,
  accepted       boolean     not null,
  answered_at    timestamptz not null,
  ended_at       timestamptz,
  crossed_until  timestamptz not null,
  constraint share_answer_pkey primary key (tenant_id, donor, offer_id),
  constraint share_answer_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint share_answer_to_another check (donor <> tenant_id),
  constraint share_answer_ended_if_accepted check (accepted or ended_at is null),
  constraint share_answer_crossed_after_answer check (crossed_until >= answered_at)
);
comment on table share_answer is
  'What a tenant said to an offer that was made to it, once. ended_at: it took its acceptance back.';
comment on column share_answer.crossed_until is
  'The donor''s keys that are dated before this have been fetched, as far as they are shared.';

create table share_crossing (
  tenant_id      uuid        not null,
  donor          uuid        not null,
  until_at       timestamptz not null,
  from_at        timestamptz not null,
  key_count      integer     not null,
  revised_count  integer     not null,
  constraint share_crossing_pkey primary key (tenant_id, donor, until_at),
  constraint share_crossing_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint share_crossing_forward check (from_at < until_at)
);
comment on table share_crossing is
  'How many keys of a donor, dated from from_at until before until_at, have come to the tenant. Counts only, kept as long as the keys.';
create index share_crossing_until_idx on share_crossing (tenant_id, until_at);

alter table share_offer    enable row level security;
alter table share_offer    force  row level security;
alter table share_answer   enable row level security;
alter table share_answer   force  row level security;
alter table share_crossing enable row level security;
alter table share_crossing force  row level security;
create policy tenant_only on share_offer    using (tenant_id = current_tenant());
create policy tenant_only on share_answer   using (tenant_id = current_tenant());
create policy tenant_only on share_crossing using (tenant_id = current_tenant());

create policy addressed on share_offer for select to carillon_portal, carillon_operator, carillon_sharing
  using (recipient = (select d.slug from tenant_directory d where d.tenant = current_tenant()));
create policy answers_us on share_answer for select to carillon_portal, carillon_operator
  using (donor = current_tenant());
create policy of_our_keys on share_crossing for select to carillon_portal, carillon_operator
  using (donor = current_tenant());

-- An answer is to a standing offer that was made to this tenant.
create policy to_an_offer on share_answer as restrictive for insert
  with check (exists (select
                        from share_offer o
                       where o.tenant_id = donor
                         and o.offer_id = share_answer.offer_id
                         and o.withdrawn_at is null));

-- share_in_force are the shares of which the tenant is the recipient.
create view share_in_force with (security_invoker = true) as
  select a.donor, a.offer_id, o.travelers_only, o.regions, a.answered_at, a.crossed_until, o.settled_until
    from share_answer a
    join share_offer o on o.tenant_id = a.donor and o.offer_id = a.offer_id
   where a.tenant_id = current_tenant()
     and a.accepted
     and a.ended_at is null
     and o.withdrawn_at is null;

alter table exposure add column shared_by uuid;
comment on column exposure.shared_by is
  'The tenant that shared this key with us; null for keys of our own phones, and then it takes no room.';

-- What crosses: a donor's own, real keys, dated (or revised) after the acceptance and
-- before what is settled, within the terms, while the share is in force. Nothing goes on
-- to a third tenant.
create policy through_a_share on exposure for select to carillon_sharing
  using (not generated
     and import_no is null
     and shared_by is null
     and exists (select
                   from share_in_force f
                  where f.donor = exposure.tenant_id
                    and (exposure.created_at >= f.answered_at or exposure.revised_at >= f.answered_at)
                    and exposure.created_at < f.settled_until
                    and (exposure.traveler or not f.travelers_only)
                    and (f.regions = '{}' or exposure.region = any (f.regions) or exposure.other_regions && f.regions)));

grant select, insert on share_offer, share_answer to carillon_portal, carillon_operator;
grant update (withdrawn_at) on share_offer to carillon_portal, carillon_operator;
grant update (ended_at) on share_answer to carillon_portal, carillon_operator;
grant select on share_crossing to carillon_portal, carillon_operator;

grant select (tenant_id, offer_id, withdrawn_at, settled_until), update (settled_until) on share_offer to carillon_jobs;
grant select (tenant_id, until_at), delete on share_crossing to carillon_jobs;

grant select on tenant_directory, export_horizon, share_offer, share_answer, share_in_force to carillon_sharing;
grant update (crossed_until) on share_answer to carillon_sharing;
grant insert on share_crossing to carillon_sharing;
grant select, insert on exposure to carillon_sharing;
grant update (other_regions, revised_type, revised_at, revised_days, revised_risk) on exposure to carillon_sharing;

-- Who sees our keys: what the tenant's own configurations have published.
grant select (tenant_id, config_id, starts_at, ends_at, state, published_at) on export_batch to carillon_portal;
grant select (tenant_id, config_id, starts_at, state, key_count, revised_count) on export_file to carillon_portal;
