-- +goose Up

create table platform_operator (
  operator_id  uuid        not null,
  issuer       text        not null,
  email        text        not null,
  subject      text,
  name         text        not null,
  role         text        not null,
  created_at   timestamptz not null default now(),
  disabled_at  timestamptz,
  constraint platform_operator_pkey primary key (operator_id),
  constraint platform_operator_login_key unique (issuer, email),
  constraint platform_operator_email_form check (email = lower(email) and email like '%_@_%' and length(email) <= 250),
  constraint platform_operator_name_length check (length(name) between 1 and 100),
  constraint platform_operator_role_known check (role in ('operator', 'support'))
);
comment on table platform_operator is
  'Who runs the platform. subject is bound at the first sign-in through issuer with this e-mail address, and must match ever after.';
grant select, insert on platform_operator to carillon_operator;
grant update (subject, name, role, disabled_at) on platform_operator to carillon_operator;

-- Operators sign in where a process of their own serves their pages, too.
grant select, insert, update, delete on login_session to carillon_operator;
