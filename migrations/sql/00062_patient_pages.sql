-- +goose Up

-- Patients' pages say whom to ask. The page behind a link that no app opened has the same
-- look, and whoever answers links reads it. Staff change all of it.
alter table report_page
  add column contact_phone  text not null default '',
  add column contact_email  text not null default '',
  add constraint report_page_contact_form
    check (contact_phone ~ '^([+0-9(][0-9 ().+/-]{2,39})?$'
       and contact_email ~ '^([^[:space:]@]+@[^[:space:]@]+)?$' and length(contact_email) <= 254);
alter table report_text
  add column link  text not null default '',
  add constraint report_text_link_length check (length(link) <= 2000);
comment on table report_page is
  'How patients'' pages look for a health authority, and whom they can ask. Empty means as Carillon has it.';
comment on table report_text is
  'What patients'' pages say in a language, in a health authority''s own words. Empty means as Carillon has it.';
grant select on report_page, report_text to carillon_issuer, carillon_publish;
grant insert, update, delete on report_page, report_text to carillon_portal;

-- What staff are told when they sign in, whom an authority can be reached through, and how
-- it invites people (verification protocol §11.1).
alter table tenant_setting
  add column welcome        text    not null default '',
  add column contacts       text[]  not null default '{}',
  add column invite_letter  text    not null default '',
  add constraint tenant_setting_welcome_length check (length(welcome) <= 2000),
  add constraint tenant_setting_contacts_form
    check (cardinality(contacts) <= 10
       and array_to_string(contacts, ' ', '') ~ '^([^[:space:]@]{1,64}@[^[:space:]@]{1,189}( |$))*$'),
  add constraint tenant_setting_invite_letter_form
    check (invite_letter = '' or (position('[invitelink]' in invite_letter) > 0 and length(invite_letter) <= 2000));
grant update (welcome, contacts, invite_letter) on tenant_setting to carillon_portal;
