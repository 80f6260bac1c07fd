-- +goose Up

-- What a health authority may choose beyond codes and certificates (verification
-- protocol §11.1): who may come in from where, self-report, quotas, how messages are
-- signed and when they may be sent.
alter table tenant_setting
  add column maintenance           boolean      not null default false,
  add column generate_sms          boolean      not null default false,
  add column batch_issue           boolean      not null default false,
  add column self_report           boolean      not null default false,
  add column self_report_page      boolean      not null default false,
  add column self_report_block_seconds integer  not null default 7776000,
  add column self_report_free_seconds  integer  not null default 3600,
  add column device_networks       cidr[]       not null default '{}',
  add column admin_networks        cidr[]       not null default '{}',
  add column portal_networks       cidr[]       not null default '{}',
  add column quota_enforced        boolean      not null default false,
  add column quota_factor          numeric(6,2) not null default 1.00,
  add column sms_signing           text         not null default 'off',
  add column language              text         not null default 'en',
  add column time_zone             text         not null default 'UTC',
  add column quiet_from            smallint     not null default 0,
  add column quiet_until           smallint     not null default 0,
  add column enx                   boolean      not null default false,
  add constraint tenant_setting_self_report_block_range
    check (self_report_block_seconds between 2592000 and 7776000),
  add constraint tenant_setting_self_report_free_range
    check (self_report_free_seconds between 3600 and 5400),
  add constraint tenant_setting_self_report_page_needs_self_report
    check (self_report or not self_report_page),
  add constraint tenant_setting_networks_number
    check (cardinality(device_networks) <= 100 and cardinality(admin_networks) <= 100 and cardinality(portal_networks) <= 100),
  add constraint tenant_setting_quota_factor_range check (quota_factor between 0.10 and 100),
  add constraint tenant_setting_sms_signing_known check (sms_signing in ('off', 'open', 'closed')),
  add constraint tenant_setting_language_form check (language ~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$'),
  add constraint tenant_setting_time_zone_form check (time_zone ~ '^[A-Za-z0-9_+/-]{1,64}$'),
  add constraint tenant_setting_quiet_from_range check (quiet_from between 0 and 1439 and quiet_until between 0 and 1439);
