-- +goose Up

-- The portal shows statistics as they were counted last, and says when that was.
alter table statistic_horizon add column counted_at timestamptz;
comment on column statistic_horizon.counted_at is 'When the roll-up counted last.';

-- Why messages failed is counted, too.
grant select (tenant_id, code_id, class) on message_delivery to carillon_jobs;
