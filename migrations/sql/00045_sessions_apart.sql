-- +goose Up

-- Staff and those who run the platform are signed in apart: neither process can read a
-- session that the other keeps, nor make one that the other would take for its own.
alter table login_session add column kept_by name not null default 'carillon_portal';
alter table login_session alter column kept_by set default current_user;
comment on column login_session.kept_by is
  'The role of the process that keeps the session. No other role sees it but that which deletes expired ones.';

alter table login_session enable row level security;
alter table login_session force  row level security;
create policy ones_own on login_session to carillon_portal, carillon_operator
  using (kept_by = current_user) with check (kept_by = current_user);
create policy expired on login_session to carillon_jobs using (true);

-- Who keeps a session is nothing that a process may say.
revoke insert, update on login_session from carillon_portal, carillon_operator;
grant insert (token_digest, data, expires_at, ends_at, provider_id, person, session),
      update (data, expires_at, ends_at, provider_id, person, session, ended_at)
   on login_session to carillon_portal, carillon_operator;
