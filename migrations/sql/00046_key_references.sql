-- +goose Up

-- Who makes a key says where it is kept. A key that is kept outside is destroyed there as
-- well, for which the jobs role reads the reference to it: that is no secret.
grant select (provider), insert (provider) on signing_key to carillon_keeping;
alter policy jobs_keys on signing_key using (purpose in ('export', 'audit') or provider <> 'sealed');
