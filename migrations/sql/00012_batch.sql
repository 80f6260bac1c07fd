-- +goose Up

create table batch (
  tenant_id        uuid        not null,
  batch_id         uuid        not null,
  idempotency_key  text,
  digest           bytea,
  state            text        not null default 'receiving',
  row_count        integer     not null default 0,
  created_at       timestamptz not null,
  finished_at      timestamptz,
  issuer_kind      text        not null,
  issuer_id        text        not null,
  issuer_name      text        not null,
  issuer_roles     text[]      not null,
  fence            bigint      not null default 0,
  leased_until     timestamptz,
  worked_at        timestamptz,
  held_until       timestamptz,
  held_because     text        not null default '',
  constraint batch_pkey primary key (tenant_id, batch_id),
  constraint batch_idempotency_key_key unique (tenant_id, idempotency_key),
  constraint batch_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint batch_idempotency_key_length check (length(idempotency_key) between 1 and 200),
  constraint batch_state_known check (state in ('receiving', 'running', 'paused', 'done', 'cancelled')),
  constraint batch_received_complete
    check ((state = 'receiving') = (idempotency_key is null) and (state = 'receiving') = (digest is null)),
  constraint batch_finished_complete check ((state in ('done', 'cancelled')) = (finished_at is not null)),
  constraint batch_row_count_range check (row_count between 0 and 50000),
  constraint batch_issuer_kind_known check (issuer_kind in ('person', 'api-key', 'system')),
  constraint batch_held_because_known
    check (held_because in ('', 'quiet-hours', 'messages', 'quota', 'forbidden', 'maintenance', 'fault'))
);
comment on table batch is
  'Orders for many codes at once, worked off in the background. digest tells whether an idempotency key came with the same content again; it is sealed under the data key, because a plain one of few telephone numbers could be guessed. Kept 14 days.';
create index batch_created_at_idx on batch (tenant_id, created_at);

create table batch_row (
  tenant_id     uuid        not null,
  batch_id      uuid        not null,
  row_number    integer     not null,
  code_id       uuid        not null,
  messaged      boolean     not null,
  state         text        not null default 'pending',
  sealed_order  bytea,
  sealed_result bytea,
  duplicate_of  integer,
  attempts      smallint    not null default 0,
  expires_at    timestamptz,
  done_at       timestamptz,
  constraint batch_row_pkey primary key (tenant_id, batch_id, row_number),
  constraint batch_row_batch_fkey foreign key (tenant_id, batch_id) references batch on delete cascade,
  constraint batch_row_number_range check (row_number between 1 and 50000),
  constraint batch_row_state_known check (state in ('pending', 'issued', 'failed', 'duplicate', 'cancelled')),
  constraint batch_row_order_dropped check ((state = 'pending') = (sealed_order is not null)),
  constraint batch_row_no_code_beside_a_message check (not (messaged and state = 'issued' and sealed_result is not null)),
  constraint batch_row_duplicate_complete check ((state = 'duplicate') = (duplicate_of is not null))
);
comment on table batch_row is
  'The codes that a batch orders. sealed_order holds the diagnosis and the telephone number until the row is worked on, and no longer; sealed_result a code that no message carries, until it expires, or the words of a refusal. Kept with the batch.';
create index batch_row_pending_idx on batch_row (tenant_id, batch_id, row_number) where state = 'pending';
create index batch_row_expires_at_idx on batch_row (tenant_id, expires_at)
 where state = 'issued' and sealed_result is not null;

alter table batch     enable row level security;
alter table batch     force  row level security;
alter table batch_row enable row level security;
alter table batch_row force  row level security;
create policy tenant_only on batch     using (tenant_id = current_tenant());
create policy tenant_only on batch_row using (tenant_id = current_tenant());

grant select, insert, delete on batch, batch_row to carillon_issuer;
grant update (idempotency_key, digest, state, row_count, finished_at, fence, leased_until, worked_at, held_until, held_because)
   on batch to carillon_issuer;
grant update (state, sealed_order, sealed_result, attempts, expires_at, done_at) on batch_row to carillon_issuer;
grant select, delete on batch, batch_row to carillon_jobs;
grant update (sealed_result) on batch_row to carillon_jobs;
