-- +goose Up

-- Staff change what their authority chooses: all but what the platform decides for it,
-- and what exports depend on.
grant update (test_types, require_date, issue_user_report, batch_issue, code_digits, code_seconds,
              long_code_length, long_code_seconds, enx, self_report, self_report_page,
              self_report_block_seconds, self_report_free_seconds,
              device_networks, admin_networks, portal_networks, quota_enforced, quota_factor,
              sms_enabled, sms_country, sms_signing, language, time_zone, quiet_from, quiet_until,
              certificate_seconds, token_seconds)
   on tenant_setting to carillon_portal;
grant insert, update, delete on message_template to carillon_portal;

-- Who changed a setting last is read from the audit log, which has an entry for each code too.
create index audit_entry_setting_idx on audit_entry (tenant_id, entry_no)
 where action in ('settings:write', 'message-template:test');
