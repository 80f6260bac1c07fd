-- +goose Up

-- One row for what holds for every health authority at once.
create table platform (
  one_row      boolean not null default true,
  maintenance  boolean not null default false,
  constraint platform_pkey primary key (one_row),
  constraint platform_one_row check (one_row)
);
comment on table platform is
  'What holds for all health authorities: maintenance makes every one read-only (no codes are issued or verified).';
insert into platform default values;
grant select on platform
   to carillon_device, carillon_issuer, carillon_report, carillon_publish,
      carillon_portal, carillon_jobs, carillon_operator;
grant update (maintenance) on platform to carillon_operator;

-- A guessed code must stay unlikely to hit, so codes may need to be longer than people
-- like to type.
alter table tenant_setting drop constraint tenant_setting_code_digits_range;
alter table tenant_setting add constraint tenant_setting_code_digits_range check (code_digits between 6 and 12);

create table wrong_code_count (
  tenant_id  uuid        not null,
  minute     timestamptz not null,
  count_id   uuid        not null,
  wrong      integer     not null,
  constraint wrong_code_count_pkey primary key (tenant_id, minute, count_id),
  constraint wrong_code_count_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint wrong_code_count_minute_cut check (date_trunc('minute', minute, 'UTC') = minute),
  constraint wrong_code_count_wrong_positive check (wrong > 0)
);
comment on table wrong_code_count is
  'How many unknown codes phones have sent: numbers that each process appends every few seconds, kept two days. They decide how long new codes are.';

create table guessing_alarm (
  tenant_id  uuid    not null,
  day        date    not null,
  wrong      bigint  not null,
  digits     integer not null,
  constraint guessing_alarm_pkey primary key (tenant_id, day),
  constraint guessing_alarm_tenant_fkey foreign key (tenant_id) references tenant_directory
);
comment on table guessing_alarm is
  'Days on which somebody guessed codes: how many unknown ones had come when it was noticed, and how long new codes were from then on. One alarm a day.';

create table quota_day (
  tenant_id  uuid    not null,
  day        date    not null,
  issued     integer not null,
  base       integer not null,
  constraint quota_day_pkey primary key (tenant_id, day),
  constraint quota_day_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint quota_day_issued_positive check (issued > 0),
  constraint quota_day_base_range check (base between 10 and 20000)
);
comment on table quota_day is
  'Codes issued on each complete day that had any, and the daily limit that the model then gave for the days after it. Kept 91 days.';

create table quota_entry (
  tenant_id  uuid    not null,
  day        date    not null,
  entry_id   uuid    not null,
  kind       text    not null,
  codes      integer not null,
  constraint quota_entry_pkey primary key (tenant_id, day, entry_id),
  constraint quota_entry_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint quota_entry_kind_known check (kind in ('share', 'burst')),
  constraint quota_entry_codes_positive check (codes > 0)
);
comment on table quota_entry is
  'What happened to the budget of codes of each day: shares that processes took for themselves, and bursts that were added. Kept 91 days.';

alter table wrong_code_count enable row level security;
alter table wrong_code_count force  row level security;
alter table guessing_alarm   enable row level security;
alter table guessing_alarm   force  row level security;
alter table quota_day        enable row level security;
alter table quota_day        force  row level security;
alter table quota_entry      enable row level security;
alter table quota_entry      force  row level security;
create policy tenant_only on wrong_code_count using (tenant_id = current_tenant());
create policy tenant_only on guessing_alarm   using (tenant_id = current_tenant());
create policy tenant_only on quota_day        using (tenant_id = current_tenant());
create policy tenant_only on quota_entry      using (tenant_id = current_tenant());

grant insert on wrong_code_count to carillon_device;
grant select on wrong_code_count to carillon_issuer, carillon_report, carillon_portal, carillon_jobs, carillon_operator;
grant delete on wrong_code_count to carillon_jobs;
grant select on guessing_alarm to carillon_portal, carillon_jobs, carillon_operator;
grant insert, delete on guessing_alarm to carillon_jobs;
grant select on quota_day to carillon_issuer, carillon_report, carillon_portal, carillon_jobs, carillon_operator;
grant insert, delete on quota_day to carillon_jobs;
grant select on quota_entry to carillon_issuer, carillon_report, carillon_portal, carillon_jobs, carillon_operator;
grant insert on quota_entry to carillon_issuer, carillon_report, carillon_portal, carillon_operator;
grant delete on quota_entry to carillon_jobs;
