-- +goose Up

-- Whoever issues the codes of a person's batch looks, at each step, whether she still may.
grant select (state, roles) on member to carillon_issuer;
grant select (tenant_id, group_id, role) on staff_group to carillon_issuer;
grant select (tenant_id, group_id, member_id) on staff_group_member to carillon_issuer;

comment on column batch.issuer_roles is
  'Of a key, its roles. Of a person, only those that her identity provider gave her when she ordered, which count for twelve hours: her other roles are read when codes are issued.';
update batch set issuer_roles = '{}' where issuer_kind = 'person';
