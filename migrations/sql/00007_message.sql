-- +goose Up

create table message_provider (
  tenant_id   uuid        not null,
  position    smallint    not null,
  kind        text        not null,
  config      jsonb       not null,
  sealed      bytea,
  per_minute  integer     not null default 0,
  changed_at  timestamptz not null,
  constraint message_provider_pkey primary key (tenant_id, position),
  constraint message_provider_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint message_provider_position_range check (position between 1 and 2),
  constraint message_provider_kind_known check (kind in ('twilio', 'webhook', 'smtp')),
  constraint message_provider_per_minute_range check (per_minute between 0 and 60000)
);
comment on table message_provider is
  'Who delivers a tenant''s text messages, and who does if the first cannot. The secret is sealed under the data key; per_minute is the pace, 0 for none.';

create table message_template (
  tenant_id   uuid        not null,
  label       text        not null,
  language    text        not null,
  body        text        not null,
  changed_at  timestamptz not null,
  constraint message_template_pkey primary key (tenant_id, label, language),
  constraint message_template_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint message_template_label_length check (length(label) between 1 and 100),
  constraint message_template_language_form check (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$'),
  constraint message_template_body_length check (octet_length(body) between 1 and 800)
);
comment on table message_template is
  'Texts of messages by label and language. Where there is none, the text in tenant_setting or the built-in one is used.';

create table message_queue (
  tenant_id   uuid        not null,
  code_id     uuid        not null,
  purpose     text        not null,
  sealed      bytea       not null,
  state       text        not null default 'waiting',
  attempts    smallint    not null default 0,
  not_before  timestamptz not null,
  leased_until timestamptz,
  expires_at  timestamptz not null,
  constraint message_queue_pkey primary key (tenant_id, code_id),
  constraint message_queue_code_fkey foreign key (tenant_id, code_id)
    references verification_code on delete cascade,
  constraint message_queue_state_known check (state in ('waiting', 'sending', 'failed')),
  constraint message_queue_purpose_known check (purpose in ('EN Report', 'User Report')),
  constraint message_queue_lease_complete check ((state = 'sending') = (leased_until is not null))
);
comment on table message_queue is
  'Messages that are to be sent, sealed under the data key. A row goes when its message was sent or its code ended; a failed one stays for sending again.';
create index message_queue_waiting_idx on message_queue (tenant_id, not_before) where state = 'waiting';
create index message_queue_expires_at_idx on message_queue (tenant_id, expires_at);

create table message_delivery (
  tenant_id         uuid        not null,
  code_id           uuid        not null,
  provider          text        not null default '',
  reference_digest  bytea,
  state             text        not null,
  class             text        not null default '',
  queued_at         timestamptz not null,
  changed_at        timestamptz not null,
  constraint message_delivery_pkey primary key (tenant_id, code_id),
  constraint message_delivery_reference_key unique (tenant_id, reference_digest),
  constraint message_delivery_code_fkey foreign key (tenant_id, code_id)
    references verification_code on delete cascade,
  constraint message_delivery_reference_length check (octet_length(reference_digest) = 32),
  constraint message_delivery_state_known check (state in ('queued', 'sent', 'delivered', 'failed'))
);
comment on table message_delivery is
  'What became of each code''s last message: never to which number. Goes with its code, 14 days after expiry.';

create table message_error (
  tenant_id   uuid    not null,
  day         date    not null,
  error_code  text    not null,
  count       integer not null,
  constraint message_error_pkey primary key (tenant_id, day, error_code),
  constraint message_error_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint message_error_code_form check (error_code ~ '^[0-9]{1,6}$')
);
comment on table message_error is
  'How often a provider reported each error on a day. Kept 91 days.';

alter table message_provider enable row level security;
alter table message_provider force  row level security;
alter table message_template enable row level security;
alter table message_template force  row level security;
alter table message_queue    enable row level security;
alter table message_queue    force  row level security;
alter table message_delivery enable row level security;
alter table message_delivery force  row level security;
alter table message_error    enable row level security;
alter table message_error    force  row level security;
create policy tenant_only on message_provider using (tenant_id = current_tenant());
create policy tenant_only on message_template using (tenant_id = current_tenant());
create policy tenant_only on message_queue    using (tenant_id = current_tenant());
create policy tenant_only on message_delivery using (tenant_id = current_tenant());
create policy tenant_only on message_error    using (tenant_id = current_tenant());

grant select on message_provider, message_template to carillon_issuer, carillon_portal, carillon_operator;
grant insert, update, delete on message_provider, message_template to carillon_operator;

-- Whoever issues codes puts messages into the queue; the issuer alone sends them.
grant select, insert, update on message_queue to carillon_issuer, carillon_portal;
grant delete on message_queue to carillon_issuer;
grant select (tenant_id, expires_at), delete on message_queue to carillon_jobs;
grant select, insert, update on message_delivery to carillon_issuer, carillon_portal;
grant select, insert, update (count) on message_error to carillon_issuer;
grant select on message_error to carillon_portal;
grant select, delete on message_error to carillon_jobs;

-- Sending a message again gives its code fresh digits.
grant update (short_mac, long_mac) on verification_code to carillon_issuer, carillon_portal;
