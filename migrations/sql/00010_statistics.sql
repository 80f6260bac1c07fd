-- +goose Up

-- Statistics name a tenant by a number (verification protocol §8.2). It is given
-- once, in the order of arrival, and never used again.
alter table tenant_directory
  add column number bigint generated always as identity,
  add constraint tenant_directory_number_key unique (number);

-- What the funnel needs to know of a token: nothing that tells one person from another.
alter table verification_token
  add column code_day       date,
  add column test_type      text,
  add column seconds_to_use integer,
  add constraint verification_token_test_type_known
    check (test_type in ('confirmed', 'likely', 'negative', 'user-report')),
  add constraint verification_token_seconds_to_use_positive check (seconds_to_use >= 0);
comment on column verification_token.code_day is 'The UTC day on which the code was issued.';
comment on column verification_token.seconds_to_use is 'From the claim of the code to the first use of the token.';

create table statistic_tally (
  tenant_id   uuid        not null,
  flush_id    uuid        not null,
  series      text        not null,
  hour        timestamptz not null,
  subject     text        not null,
  cohort      date        not null,
  class       smallint    not null,
  quantity    bigint      not null,
  flushed_at  timestamptz not null,
  constraint statistic_tally_pkey primary key (tenant_id, flush_id, series, hour, subject, cohort, class),
  constraint statistic_tally_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint statistic_tally_hour_whole check (hour = date_trunc('hour', hour, 'UTC')),
  constraint statistic_tally_quantity_positive check (quantity > 0)
);
comment on table statistic_tally is
  'Counts of what leaves no row of its own, as processes flush them every few seconds. Append-only for those processes; the roll-up moves them into statistic_day. flushed_at is when a flush was first tried, and flush_id lets one that is tried again count once.';

create table statistic_day (
  tenant_id  uuid     not null,
  day        date     not null,
  series     text     not null,
  subject    text     not null,
  cohort     date     not null,
  class      smallint not null,
  quantity   bigint   not null,
  constraint statistic_day_pkey primary key (tenant_id, day, series, subject, cohort, class),
  constraint statistic_day_tenant_fkey foreign key (tenant_id) references tenant_directory
);
comment on table statistic_day is
  'A tenant''s counts per UTC day of the event. subject says of whom or what, cohort on which day the thing began, class in which class of an age or delay it falls. Kept 91 days.';

create table statistic_horizon (
  tenant_id      uuid not null,
  settled_until  date not null,
  constraint statistic_horizon_pkey primary key (tenant_id),
  constraint statistic_horizon_tenant_fkey foreign key (tenant_id) references tenant_directory
);
comment on table statistic_horizon is
  'Days before this one are final in statistic_day, and the rows that they were counted from may go.';

alter table statistic_tally   enable row level security;
alter table statistic_tally   force  row level security;
alter table statistic_day     enable row level security;
alter table statistic_day     force  row level security;
alter table statistic_horizon enable row level security;
alter table statistic_horizon force  row level security;
create policy tenant_only on statistic_tally   using (tenant_id = current_tenant());
create policy tenant_only on statistic_day     using (tenant_id = current_tenant());
create policy tenant_only on statistic_horizon using (tenant_id = current_tenant());

grant update (seconds_to_use) on verification_token to carillon_device;
grant insert on statistic_tally to carillon_device, carillon_issuer, carillon_publish, carillon_portal;
grant select on statistic_tally, statistic_day, statistic_horizon
   to carillon_issuer, carillon_publish, carillon_portal;
grant select, delete on statistic_tally to carillon_jobs;
grant select, insert, update, delete on statistic_day to carillon_jobs;
grant select, insert, update on statistic_horizon to carillon_jobs;
-- The current day is counted as it is read.
grant select (tenant_id, expires_at, used_at, code_day, test_type, seconds_to_use) on verification_token
   to carillon_issuer, carillon_portal;
-- Names of those who issued codes.
grant select (tenant_id, member_id, name, email) on member to carillon_issuer;
-- How many messages were sent and delivered.
grant select (tenant_id, code_id, state, queued_at, changed_at) on message_delivery to carillon_jobs;
