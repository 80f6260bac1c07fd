-- +goose Up

-- Copies cross with their originals: whoever compares the files of both tenants would
-- otherwise find that what they have in common is real.
alter policy through_a_share on exposure
  using ((not generated or copy_of is not null)
     and import_no is null
     and shared_by is null
     and exists (select
                   from share_in_force f
                  where f.donor = exposure.tenant_id
                    and (exposure.created_at >= f.answered_at or exposure.revised_at >= f.answered_at)
                    and exposure.created_at < f.settled_until
                    and (exposure.traveler or not f.travelers_only)
                    and (f.regions = '{}' or exposure.region = any (f.regions) or exposure.other_regions && f.regions)));
