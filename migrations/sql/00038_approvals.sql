-- +goose Up

-- An act that takes two people: what somebody asked for, and what somebody else said.
create table approval (
  tenant_id       uuid        not null,
  approval_id     uuid        not null,
  kind            text        not null,
  target          text        not null,
  detail          jsonb       not null default '{}',
  reason          text        not null,
  state           text        not null default 'pending',
  requested_by    uuid        not null,
  requester       text        not null,
  requested_at    timestamptz not null,
  expires_at      timestamptz not null,
  decided_by      uuid,
  decider         text        not null default '',
  decided_at      timestamptz,
  decided_reason  text        not null default '',
  ended_at        timestamptz,
  ended_by        text        not null default '',
  constraint approval_pkey primary key (tenant_id, approval_id),
  constraint approval_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint approval_kind_known check (kind in ('key:activate', 'owner:change', 'tenant:erase')),
  constraint approval_state_known check (state in ('pending', 'approved', 'refused', 'withdrawn', 'expired', 'spent')),
  constraint approval_two_people check (decided_by <> requested_by),
  constraint approval_decided check ((decided_by is null) = (decided_at is null)
                                     and (state not in ('approved', 'refused', 'spent') or decided_by is not null)),
  constraint approval_ended check ((state in ('withdrawn', 'expired', 'spent')) = (ended_at is not null)),
  constraint approval_time_boxed check (expires_at > requested_at and expires_at <= requested_at + interval '72 hours'),
  constraint approval_spent_in_time check (state <> 'spent' or ended_at < expires_at),
  constraint approval_target_length check (length(target) between 1 and 250),
  constraint approval_detail_size check (jsonb_typeof(detail) = 'object' and length(detail::text) <= 10000),
  constraint approval_reason_length check (length(reason) between 1 and 500 and length(decided_reason) <= 500)
);
comment on table approval is
  'Acts that take two people: requested by one member, decided by another, spent once in the transaction of the act. The members'' IDs and names stay when they leave.';
comment on column approval.detail is
  'All that matters of the act, as texts: what differs in anything is another act.';
comment on column approval.ended_by is
  'The name of who withdrew it, or in whose act it was spent.';
-- One request at a time for an act on one thing.
create unique index approval_open on approval (tenant_id, kind, target) where state in ('pending', 'approved');
create index approval_requested_idx on approval (tenant_id, requested_at);

-- Whatever has ended stays so, and what was decided is not decided again.
-- +goose StatementBegin
create function approval_goes_on() returns trigger
  language plpgsql as $$
begin
  if (old.state, new.state) in (
       ('pending', 'approved'), ('pending', 'refused'), ('pending', 'withdrawn'), ('pending', 'expired'),
       ('approved', 'spent'), ('approved', 'withdrawn'), ('approved', 'expired')) then
    return new;
  end if;
  raise exception 'an approval does not go back'
    using errcode = 'check_violation', table = 'approval', constraint = 'approval_goes_on';
end
$$;
-- +goose StatementEnd
create trigger approval_goes_on before update on approval
  for each row when (old is distinct from new) execute function approval_goes_on();

alter table approval enable row level security;
alter table approval force  row level security;
create policy tenant_only on approval using (tenant_id = current_tenant());

grant select, insert on approval to carillon_portal;
grant update (state, decided_by, decider, decided_at, decided_reason, ended_at, ended_by) on approval to carillon_portal;
grant select, delete on approval to carillon_jobs;
grant update (state, ended_at, ended_by) on approval to carillon_jobs;
-- Whoever spends an approval looks whether those who gave it still work here.
grant select (tenant_id, member_id, email, state) on member to carillon_jobs;
