-- +goose Up

-- A foreign key to the directory makes every insert lock the tenant's row there: a
-- write to a row that all requests share, and the more of them at once, the longer
-- the list of lockers that each must copy. A row's tenant is the one its transaction
-- is bound to (policy tenant_only), which was read from the directory.
alter table verification_code  drop constraint verification_code_tenant_fkey;
alter table verification_token drop constraint verification_token_tenant_fkey;
alter table exposure           drop constraint exposure_tenant_fkey;
