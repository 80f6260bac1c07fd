-- +goose Up

-- Processes keep what they read of a tenant's directory entry, settings and keys in
-- memory. Whoever changes it tells them all, on the channel carillon_change: the
-- tenant, or nothing for what concerns all of them.
-- +goose StatementBegin
create function tell_change() returns trigger
  language plpgsql
as $$
declare
  changed jsonb := to_jsonb(coalesce(new, old));
begin
  perform pg_notify('carillon_change', coalesce(changed ->> 'tenant_id', changed ->> 'tenant', ''));
  return null;
end
$$;
-- +goose StatementEnd

create trigger tell_change after insert or update or delete on tenant_directory for each row execute function tell_change();
create trigger tell_change after insert or update or delete on directory_host   for each row execute function tell_change();
create trigger tell_change after insert or update or delete on tenant_setting   for each row execute function tell_change();
create trigger tell_change after insert or update or delete on api_key          for each row execute function tell_change();
create trigger tell_change after insert or update or delete on data_key         for each row execute function tell_change();
create trigger tell_change after insert or update or delete on signing_key      for each row execute function tell_change();
create trigger tell_change after insert or update or delete on platform         for each row execute function tell_change();
