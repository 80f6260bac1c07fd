-- +goose Up

-- As in 00014: no insert of a phone's request locks the tenant's row in the directory.
alter table publish_receipt drop constraint publish_receipt_tenant_fkey;
alter table user_report     drop constraint user_report_tenant_fkey;
