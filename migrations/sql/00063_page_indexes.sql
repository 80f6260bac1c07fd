-- +goose Up

-- Pages that look for the codes of one day, and for what one person or API key has done.
-- Neither costs a request of a phone anything: rows come in the order of the first, and codes
-- that programs issue have no entry in the log.
create index verification_code_issued_at_idx on verification_code (tenant_id, issued_at);
create index audit_entry_actor_idx on audit_entry (tenant_id, actor_id, entry_no);
