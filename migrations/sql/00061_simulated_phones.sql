-- +goose Up

-- Staff of a sandbox rehearse with simulated phones. These use the sandbox's own addresses
-- as real phones would, so what they send is in the same tables; what they remember is
-- here. Both tables can have rows of sandboxes alone.
create table simulated_app (
  tenant_id   uuid  not null,
  kind        text  not null default 'sandbox',
  api_key_id  uuid  not null,
  sealed      bytea not null,
  constraint simulated_app_pkey primary key (tenant_id),
  constraint simulated_app_kind_fkey foreign key (tenant_id, kind) references tenant_directory (tenant, kind),
  constraint simulated_app_key_fkey foreign key (tenant_id, api_key_id) references api_key,
  constraint simulated_app_sandbox check (kind = 'sandbox')
);
comment on table simulated_app is
  'The API key of the app on a sandbox''s simulated phones, which is sealed here: of other keys only digests are kept.';

create table simulated_phones (
  tenant_id   uuid        not null,
  person      text        not null,
  kind        text        not null default 'sandbox',
  stage       text        not null,
  step        integer     not null,
  busy_until  timestamptz,
  sealed      bytea       not null,
  started_at  timestamptz not null,
  expires_at  timestamptz not null,
  constraint simulated_phones_pkey primary key (tenant_id, person),
  constraint simulated_phones_kind_fkey foreign key (tenant_id, kind) references tenant_directory (tenant, kind),
  constraint simulated_phones_sandbox check (kind = 'sandbox'),
  constraint simulated_phones_person_length check (length(person) between 1 and 250),
  constraint simulated_phones_stage_known check (stage in ('met', 'issued', 'redeemed', 'published', 'notified')),
  constraint simulated_phones_step_positive check (step > 0),
  constraint simulated_phones_life check (expires_at > started_at and expires_at <= started_at + interval '1 day')
);
comment on table simulated_phones is
  'Rehearsals with two simulated phones, one of each person: how far it is, and sealed what the phones remember. They are deleted after a day.';
comment on column simulated_phones.step is 'Counts the steps, so that a form that is sent twice takes one.';
comment on column simulated_phones.busy_until is 'Until when the process that takes a step has for it; none while nobody takes one.';
create index simulated_phones_expires_at_idx on simulated_phones (tenant_id, expires_at);

alter table simulated_app    enable row level security;
alter table simulated_app    force  row level security;
alter table simulated_phones enable row level security;
alter table simulated_phones force  row level security;
create policy tenant_only on simulated_app    using (tenant_id = current_tenant());
create policy tenant_only on simulated_phones using (tenant_id = current_tenant());

grant select, insert, update (api_key_id, sealed) on simulated_app to carillon_portal;
grant select, insert, update (stage, step, busy_until, sealed, started_at, expires_at) on simulated_phones to carillon_portal;
grant select (tenant_id, expires_at), delete on simulated_phones to carillon_jobs;
