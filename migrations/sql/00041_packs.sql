-- +goose Up

-- What Apple and Google are given of a health authority: what staff enter, what was made
-- of it, whom it was handed to, and what was sent to Apple.
create table pack_section (
  tenant_id   uuid        not null,
  section     text        not null,
  version     integer     not null,
  content     jsonb       not null,
  changed_at  timestamptz not null,
  changed_by  text        not null,
  constraint pack_section_pkey primary key (tenant_id, section),
  constraint pack_section_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint pack_section_section_form check (section ~ '^[a-z]+(-[A-Za-z0-9-]{2,35})?$' and length(section) <= 50),
  constraint pack_section_version_positive check (version > 0),
  constraint pack_section_content_object check (jsonb_typeof(content) = 'object'),
  constraint pack_section_content_size check (octet_length(content::text) <= 1000000),
  constraint pack_section_changed_by_length check (length(changed_by) <= 250)
);
comment on table pack_section is
  'The draft of a configuration: each step of the wizard, texts by language, with a version so that nobody overwrites what she has not seen.';

create table pack (
  tenant_id   uuid        not null,
  pack_id     uuid        not null,
  number      integer     not null,
  state       text        not null default 'asked',
  config      jsonb       not null,
  sms_keys    jsonb       not null,
  signed      boolean     not null,
  asked_at    timestamptz not null,
  asked_by    text        not null,
  asked_by_id text        not null,
  made_at     timestamptz,
  failure     text        not null default '',
  sha256      bytea,
  body        bytea,
  constraint pack_pkey primary key (tenant_id, pack_id),
  constraint pack_tenant_fkey foreign key (tenant_id) references tenant_directory,
  constraint pack_number_key unique (tenant_id, number),
  constraint pack_number_positive check (number > 0),
  constraint pack_state_known check (state in ('asked', 'made', 'failed')),
  constraint pack_made_whole check ((state = 'made') = (body is not null) and (state = 'made') = (sha256 is not null)
                                and (state = 'asked') = (made_at is null)),
  constraint pack_sha256_length check (octet_length(sha256) = 32),
  constraint pack_body_size check (octet_length(body) <= 8000000),
  constraint pack_config_size check (octet_length(config::text) <= 8000000),
  constraint pack_texts_length check (length(failure) <= 2000 and length(asked_by) <= 250 and length(asked_by_id) <= 100)
);
comment on table pack is
  'Configuration packs, numbered from 1. asked: the portal wants it, and the process that has the keys will make it; after that nothing of it changes.';
comment on column pack.config is 'What was entered when it was asked for; once made, with the key that it names.';
comment on column pack.signed is 'It holds the signed request to Apple: whoever has that can change the region at Apple until the key is another.';

create table pack_hand_over (
  tenant_id    uuid        not null,
  hand_over_id uuid        not null,
  pack_id      uuid        not null,
  recipient    text        not null,
  person       text        not null,
  handed_at    timestamptz not null,
  handed_by    text        not null,
  constraint pack_hand_over_pkey primary key (tenant_id, hand_over_id),
  constraint pack_hand_over_pack_fkey foreign key (tenant_id, pack_id) references pack,
  constraint pack_hand_over_recipient_known check (recipient in ('apple', 'google', 'other')),
  constraint pack_hand_over_texts_length check (length(person) between 1 and 200 and length(handed_by) <= 250)
);
comment on table pack_hand_over is 'To whom a pack was given, and by whom.';
create index pack_hand_over_at_idx on pack_hand_over (tenant_id, handed_at);

create table pack_push (
  tenant_id   uuid        not null,
  push_id     uuid        not null,
  pack_id     uuid        not null,
  state       text        not null default 'waiting',
  changes     jsonb       not null,
  asked_at    timestamptz not null,
  asked_by    text        not null,
  asked_by_id text        not null,
  attempts    integer     not null default 0,
  due_at      timestamptz not null,
  ended_at    timestamptz,
  outcome     text        not null default '',
  differ      text[]      not null default '{}',
  constraint pack_push_pkey primary key (tenant_id, push_id),
  constraint pack_push_pack_fkey foreign key (tenant_id, pack_id) references pack,
  constraint pack_push_state_known check (state in ('waiting', 'reading', 'taken', 'refused')),
  constraint pack_push_ended check ((state in ('waiting', 'reading')) = (ended_at is null)),
  constraint pack_push_changes_size check (octet_length(changes::text) <= 4000000),
  constraint pack_push_texts_length check (length(outcome) <= 500 and length(asked_by) <= 250 and length(asked_by_id) <= 100)
);
comment on table pack_push is
  'Changes sent to Apple, one at a time for a region. waiting: not taken yet; reading: taken, and Apple is asked what it delivers now. due_at is when the next attempt begins, or, while one is under way, when its worker is taken for dead.';
comment on column pack_push.differ is 'Keys that Apple delivered otherwise when it was asked after the change.';
create unique index pack_push_one_open on pack_push (tenant_id) where state in ('waiting', 'reading');

alter table pack_section   enable row level security;
alter table pack_section   force  row level security;
alter table pack           enable row level security;
alter table pack           force  row level security;
alter table pack_hand_over enable row level security;
alter table pack_hand_over force  row level security;
alter table pack_push      enable row level security;
alter table pack_push      force  row level security;
create policy tenant_only on pack_section   using (tenant_id = current_tenant());
create policy tenant_only on pack           using (tenant_id = current_tenant());
create policy tenant_only on pack_hand_over using (tenant_id = current_tenant());
create policy tenant_only on pack_push      using (tenant_id = current_tenant());
-- What was made, or has ended, is never another.
create policy made_once  on pack      as restrictive for update to carillon_jobs using (state = 'asked') with check (true);
create policy ended_once on pack_push as restrictive for update to carillon_jobs using (state in ('waiting', 'reading')) with check (true);

grant select, insert on pack_section to carillon_portal, carillon_operator;
grant update (version, content, changed_at, changed_by) on pack_section to carillon_portal, carillon_operator;
grant select on pack, pack_hand_over, pack_push to carillon_portal, carillon_jobs, carillon_operator;
grant insert (tenant_id, pack_id, number, config, sms_keys, signed, asked_at, asked_by, asked_by_id) on pack to carillon_portal;
grant update (state, config, made_at, failure, sha256, body) on pack to carillon_jobs;
grant insert on pack_hand_over to carillon_portal;
grant insert (tenant_id, push_id, pack_id, changes, asked_at, asked_by, asked_by_id, due_at) on pack_push to carillon_portal;
grant update (state, attempts, due_at, ended_at, outcome, differ) on pack_push to carillon_jobs;
-- Sizes of text messages stand in the pack.
grant select on message_template to carillon_jobs;
