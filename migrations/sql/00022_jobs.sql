-- +goose Up

create table job_run (
  job             text        not null,
  tenant          uuid        not null,
  every_seconds   double precision not null,
  bound_seconds   double precision not null,
  when_suspended  boolean     not null,
  created_at      timestamptz not null,
  due_at          timestamptz,
  fence           bigint      not null default 0,
  holder          text        not null default '',
  leased_until    timestamptz,
  started_at      timestamptz,
  ended_at        timestamptz,
  succeeded_at    timestamptz,
  failures        integer     not null default 0,
  error_class     text        not null default '',
  behind_since    timestamptz,
  constraint job_run_pkey primary key (job, tenant),
  constraint job_run_job_form check (job ~ '^[a-z]+(-[a-z]+)*$' and length(job) <= 40),
  constraint job_run_durations_positive check (every_seconds > 0 and bound_seconds > 0),
  constraint job_run_error_class_length check (length(error_class) <= 100)
) with (fillfactor = 50);
comment on table job_run is
  'The schedule: when each background job did and will do its work for each health authority, and who is at it. The nil tenant stands for the platform. due_at is null for jobs that are at work all the time. Times, counts and error classes only.';
comment on column job_run.bound_seconds is 'The lag beyond which somebody should look.';
comment on column job_run.fence is 'Grows with each lease, so that whoever was taken for dead cannot tell of an end.';
comment on column job_run.behind_since is 'Since when work has been due that is not done, as the job itself says after a run.';

-- Whoever runs jobs takes what is due for any tenant before it is bound to one.
grant select, insert, update on job_run to carillon_jobs, carillon_issuer;
grant select, update (due_at) on job_run to carillon_operator;
