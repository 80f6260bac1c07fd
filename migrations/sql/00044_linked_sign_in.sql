-- +goose Up

-- Members who came with an account at the platform's own provider can go over to one at a
-- provider of their authority. The row stays; whose word it takes changes.
create table member_platform_login (
  tenant_id  uuid        not null,
  member_id  uuid        not null,
  issuer     text        not null,
  subject    text        not null,
  moved_at   timestamptz not null,
  constraint member_platform_login_pkey primary key (tenant_id, member_id),
  constraint member_platform_login_member_fkey foreign key (tenant_id, member_id) references member on delete cascade,
  constraint member_platform_login_issuer_length check (length(issuer) between 1 and 500),
  constraint member_platform_login_subject_length check (length(subject) between 1 and 1000)
);
comment on table member_platform_login is
  'The account at the platform''s own provider of a member who has gone over to one of her authority''s: it opens nothing, but she can be brought back to it.';
alter table member_platform_login enable row level security;
alter table member_platform_login force  row level security;
create policy tenant_only on member_platform_login using (tenant_id = current_tenant());
grant select, insert, update, delete on member_platform_login to carillon_portal;
grant update (issuer) on member to carillon_portal;

-- While an authority has an active provider of its own, one of its active owners signs in
-- elsewhere, so that a mistake in it locks nobody out. Whoever takes one away waits for
-- others who do, and for who makes a provider active, and then sees what they did.
-- +goose StatementBegin
create function keep_an_outside_owner() returns trigger
  language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('an owner of ' || old.tenant_id, 0));
  if exists (select
               from tenant_directory d
              where d.tenant = old.tenant_id
                and d.state = 'erased') then
    return null;
  end if;
  if not exists (select
                   from identity_provider p
                  where p.tenant_id = old.tenant_id
                    and p.state = 'active')
     or exists (select
                  from member m
                 where m.tenant_id = old.tenant_id
                   and m.state = 'active'
                   and 'owner' = any (m.roles)
                   and not exists (select
                                     from identity_provider p
                                    where p.tenant_id = m.tenant_id
                                      and p.issuer = m.issuer)) then
    return null;
  end if;
  raise exception 'the last owner who does not depend on the authority''s own provider stays'
    using errcode = 'check_violation', table = 'member', constraint = 'member_outside_owner_kept';
end
$$;
-- +goose StatementEnd
create constraint trigger member_outside_owner_kept
  after update of state, roles, issuer or delete on member
  deferrable initially deferred
  for each row when (old.state = 'active' and 'owner' = any (old.roles))
  execute function keep_an_outside_owner();
-- The trigger asks in the name of whoever changes a member.
grant select (tenant_id, issuer, state) on identity_provider to carillon_operator;

-- Some providers never say when somebody signed in.
alter table identity_provider add column trust_prompt boolean not null default false;
comment on column identity_provider.trust_prompt is
  'Somebody who was to sign in anew is taken to have done so if the provider does not say when she did. Without it she can do nothing that asks for that.';
