-- +goose Up

create table alert_rule (
  tenant_id    uuid        not null,
  rule_id      uuid        not null,
  figure       text        not null,
  threshold    integer     not null,
  emails       text[]      not null,
  webhook      text        not null default '',
  sealed       bytea,
  changed_at   timestamptz not null,
  checked_day  date        not null,
  constraint alert_rule_pkey primary key (tenant_id, rule_id),
  constraint alert_rule_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint alert_rule_figure_known
    check (figure in ('issued-above', 'issued-below', 'claimed-below', 'claimed-unusual', 'invalid-above')),
  constraint alert_rule_threshold_range check (threshold between 0 and 1000000),
  constraint alert_rule_emails_number check (cardinality(emails) <= 10),
  constraint alert_rule_told check (cardinality(emails) > 0 or webhook <> ''),
  constraint alert_rule_webhook_length check (octet_length(webhook) <= 2000),
  constraint alert_rule_webhook_signed check ((webhook <> '') = (sealed is not null))
);
comment on table alert_rule is
  'Bounds that an authority has set for its own figures of a UTC day, and whom to tell when a day is beyond one: addresses of its choice and a webhook, whose secret is sealed. checked_day is the last day that was looked at.';

create table alert_notice (
  tenant_id     uuid        not null,
  rule_id       uuid        not null,
  day           date        not null,
  channel       text        not null,
  figure        text        not null,
  threshold     integer     not null,
  value         integer     not null,
  raised_at     timestamptz not null,
  due_at        timestamptz,
  attempts      integer     not null default 0,
  delivered_at  timestamptz,
  constraint alert_notice_pkey primary key (tenant_id, rule_id, day, channel),
  constraint alert_notice_rule_fkey foreign key (tenant_id, rule_id) references alert_rule on delete cascade,
  constraint alert_notice_channel_length check (octet_length(channel) between 1 and 300)
);
comment on table alert_notice is
  'A day beyond a bound, for each of those who are told: an address, or the webhook. due_at is when to try next; none once it was delivered or given up. Kept 91 days.';
create index alert_notice_due_idx on alert_notice (tenant_id, due_at) where due_at is not null;

alter table alert_rule   enable row level security;
alter table alert_rule   force  row level security;
alter table alert_notice enable row level security;
alter table alert_notice force  row level security;
create policy tenant_only on alert_rule   using (tenant_id = current_tenant());
create policy tenant_only on alert_notice using (tenant_id = current_tenant());
grant select, insert, delete on alert_rule to carillon_portal;
grant select on alert_notice to carillon_portal;
grant select, update (checked_day) on alert_rule to carillon_jobs;
grant select, insert, delete, update (due_at, attempts, delivered_at) on alert_notice to carillon_jobs;
