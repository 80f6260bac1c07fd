-- +goose Up

create table platform_entry (
  entry_no    bigint      not null generated always as identity,
  at          timestamptz not null,
  actor_kind  text        not null,
  actor_id    text        not null,
  actor_name  text        not null,
  action      text        not null,
  detail      jsonb       not null default '{}',
  constraint platform_entry_pkey primary key (entry_no),
  constraint platform_entry_actor_kind_known check (actor_kind in ('person', 'api-key', 'system'))
);
comment on table platform_entry is
  'What people and programs did to all tenants at once. Append-only by grant: no role may change or remove an entry.';
grant select, insert on platform_entry to carillon_operator;
