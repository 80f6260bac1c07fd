-- +goose Up

-- A file has up to 16 MB, which are much for one value: sending one takes several times
-- its size in memory. Values are not compressed again.
create table export_part (
  tenant_id  uuid         not null,
  config_id  uuid         not null,
  starts_at  timestamptz  not null,
  fence      bigint       not null,
  file_no    integer      not null,
  part_no    integer      not null,
  body       bytea        not null,
  constraint export_part_pkey primary key (tenant_id, config_id, starts_at, fence, file_no, part_no),
  constraint export_part_batch_fkey foreign key (tenant_id, config_id, starts_at) references export_batch,
  constraint export_part_numbers_positive check (file_no > 0 and part_no > 0),
  constraint export_part_body_length check (octet_length(body) between 1 and 1048576)
);
alter table export_part alter column body set storage external;
comment on table export_part is
  'The exact bytes of staged files, in parts, from the commit point until the store has them. fence tells apart two workers that make the same file at once, of which one commits.';

-- Row security binds the owner too, and would hide all rows from this.
alter table export_file  no force row level security;
alter table export_batch no force row level security;
insert into export_part (tenant_id, config_id, starts_at, fence, file_no, part_no, body)
select f.tenant_id, f.config_id, f.starts_at, b.fence, f.file_no, n + 1, substr(f.body, 1 + n * 1048576, 1048576)
  from export_file f
  join export_batch b using (tenant_id, config_id, starts_at),
       generate_series(0, (octet_length(f.body) - 1) / 1048576) as n
 where octet_length(f.body) > 0;
alter table export_file  force row level security;
alter table export_batch force row level security;

alter table export_file drop constraint export_file_body_while_staged;
alter table export_file drop column body;
comment on table export_file is
  'Files of a batch, from the commit point on.';

alter table export_part enable row level security;
alter table export_part force  row level security;
create policy tenant_only on export_part using (tenant_id = current_tenant());
grant select, insert, delete on export_part to carillon_jobs;
