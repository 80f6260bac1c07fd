-- +goose Up

-- To be a member of carillon_sharing gives the jobs role nothing until it takes that role
-- on, by name. From PostgreSQL 16 on this is the grant's property, and before that the
-- role's. The roles are those of all databases of the cluster, so nothing is written that
-- holds already.
-- +goose StatementBegin
do $$
declare
  by_grant boolean := current_setting('server_version_num')::integer >= 160000;
begin
  if by_grant and (pg_has_role('carillon_jobs', 'carillon_sharing', 'usage')
                   or not pg_has_role('carillon_jobs', 'carillon_sharing', 'set')) then
    execute 'grant carillon_sharing to carillon_jobs with inherit false, set true';
  elsif not by_grant and pg_has_role('carillon_jobs', 'carillon_sharing', 'usage') then
    alter role carillon_jobs noinherit;
  end if;
  if pg_has_role('carillon_jobs', 'carillon_sharing', 'usage') then
    raise exception 'carillon_jobs has the rights of carillon_sharing without taking it on';
  end if;
end
$$;
-- +goose StatementEnd
