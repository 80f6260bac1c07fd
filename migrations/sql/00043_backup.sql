-- +goose Up

-- +goose StatementBegin
do $$
begin
  create role carillon_backup login nosuperuser nocreatedb nocreaterole nobypassrls;
exception when duplicate_object or unique_violation then
  null;
end
$$;
-- +goose StatementEnd

-- Whoever makes backups reads every row, one tenant at a time like everybody, and writes
-- none. What later steps make is read without asking again, since a table that a backup
-- leaves out by accident would be noticed when it is missed.
grant usage on schema public to carillon_backup;
grant select on all tables in schema public to carillon_backup;
alter default privileges in schema public grant select on tables to carillon_backup;
create policy backed_up on platform_operator for select to carillon_backup using (true);
