-- +goose Up

-- Keys are the table that grows with an epidemic, so their rows are made narrow: a
-- type of four bytes instead of words, one region instead of an array of one, and the
-- columns in an order that leaves no gaps between them. A key of one region that was
-- never revised, as nearly all are, takes less than 200 bytes with its indexes.
--
-- Columns cannot be put in another order, so the rows move to a new table, in one
-- transaction. Row security binds the owner too, and would hide all rows from the move.
create type report_type as enum ('confirmed', 'likely', 'user-report', 'negative');
comment on type report_type is
  'What is known of a person''s infection (key server protocol §2.5). negative occurs only as a revision.';

alter table exposure no force row level security;
alter table exposure rename to exposure_before;
alter table exposure_before drop constraint exposure_pkey;
drop index exposure_created_at_idx;
drop index exposure_revised_at_idx;

create table exposure (
  tenant_id          uuid         not null,
  created_at         timestamptz  not null,
  rolling_start      integer      not null,
  report_type        report_type  not null,
  rolling_period     smallint     not null,
  transmission_risk  smallint     not null,
  days_since_onset   smallint,
  traveler           boolean      not null,
  generated          boolean      not null default false,
  tek                bytea        not null,
  region             text         not null,
  other_regions      text[],
  revised_at         timestamptz,
  revised_type       report_type,
  revised_days       smallint,
  revised_risk       smallint,
  import_no          smallint,
  constraint exposure_pkey primary key (tenant_id, tek),
  constraint exposure_tek_length check (octet_length(tek) = 16),
  constraint exposure_rolling_period_range check (rolling_period between 1 and 144),
  constraint exposure_transmission_risk_range
    check (transmission_risk between 0 and 8 and revised_risk between 0 and 8),
  constraint exposure_report_type_original check (report_type <> 'negative'),
  constraint exposure_revised_type_final check (revised_type <> 'user-report'),
  constraint exposure_days_since_onset_range
    check (days_since_onset between -14 and 14 and revised_days between -14 and 14),
  constraint exposure_revision_complete
    check ((revised_type is null) = (revised_at is null) and (revised_type is null) = (revised_risk is null))
);
comment on table exposure is
  'Temporary exposure keys. created_at and revised_at are cut to the tenant''s window: nothing here tells when, or together with what, a key arrived.';
comment on column exposure.region is 'Where the key was reported; empty if nowhere in particular.';
comment on column exposure.other_regions is
  'Further regions that the key is for, those of its revision or its import; null if there are none.';
comment on column exposure.import_no is
  'Which of the tenant''s imports brought the key from an outside key server; null for keys of its own phones, and then it takes no room. Padding has the number of the key that it imitates.';

insert into exposure
       (tenant_id, created_at, rolling_start, report_type, rolling_period, transmission_risk,
        days_since_onset, traveler, generated, tek, region, other_regions,
        revised_at, revised_type, revised_days, revised_risk)
  select tenant_id, created_at, rolling_start, report_type::report_type, rolling_period, transmission_risk,
         days_since_onset, traveler, generated, tek, coalesce(regions[1], ''), nullif(regions[2:], '{}'),
         revised_at, revised_type::report_type, revised_days, revised_risk
    from exposure_before
order by tenant_id, created_at, tek;
drop table exposure_before;

create index exposure_created_at_idx on exposure (tenant_id, created_at);
create index exposure_revised_at_idx on exposure (tenant_id, revised_at) where revised_at is not null;

alter table exposure enable row level security;
alter table exposure force  row level security;
create policy tenant_only on exposure using (tenant_id = current_tenant());
grant select, insert on exposure to carillon_publish, carillon_jobs;
grant update (other_regions, revised_type, revised_at, revised_days, revised_risk) on exposure to carillon_publish;
grant delete on exposure to carillon_jobs;
