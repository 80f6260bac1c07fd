-- +goose Up

-- One database role per process role. They may log in but have no password, so
-- that only a server that vouches for its local users (the development socket)
-- or an operator who sets one (`alter role … password …`) lets them in.
-- Roles belong to the cluster, not to the database: another database of the same
-- cluster may have made them already, even at this very moment.
-- +goose StatementBegin
do $$
declare
  name text;
begin
  foreach name in array array[
    'carillon_device', 'carillon_issuer', 'carillon_publish',
    'carillon_portal', 'carillon_jobs', 'carillon_operator']
  loop
    begin
      execute format('create role %I login nosuperuser nocreatedb nocreaterole nobypassrls', name);
    exception when duplicate_object or unique_violation then
      null;
    end;
  end loop;
end
$$;
-- +goose StatementEnd

revoke create on schema public from public;
grant usage on schema public
   to carillon_device, carillon_issuer, carillon_publish,
      carillon_portal, carillon_jobs, carillon_operator;

-- current_tenant is the tenant that this transaction is bound to, or null: then
-- every policy that compares with it refuses every row.
create function current_tenant() returns uuid
  language sql stable parallel safe
  return nullif(current_setting('carillon.tenant_id', true), '')::uuid;
