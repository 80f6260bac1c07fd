package exposure

import (
	"context"
	"fmt"

	"carillon/tenant"
)

// RehearsalMark is what the keys of rehearsals begin with. A constraint keeps keys that do
// out of the table of which exports are made, and those that do not out of the other.
const RehearsalMark = "rehearse"

// marked reports whether a key is a rehearsal's.
func (r record) marked() bool { return string(r.tek[:len(RehearsalMark)]) == RehearsalMark }

const rehearseSQL = `
insert into rehearsal_key
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, days_since_onset)
select current_tenant(), k.tek, k.rolling_start, k.rolling_period, k.risk, k.days
  from unnest($1::bytea[], $2::integer[], $3::smallint[], $4::smallint[], $5::smallint[])
    as k (tek, rolling_start, rolling_period, risk, days)`

// rehearse stores the keys of a rehearsal, where no export is made of them. It counts for
// no statistics.
func (s *Service) rehearse(ctx context.Context, t *tenant.Tenant, in *intake) (*Receipt, error) {
	c := columnsOf(in.records)
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, rehearseSQL, c.teks, c.starts, c.periods, c.risks, c.days)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store keys of a rehearsal: %w", err)
	}
	return &Receipt{Inserted: len(in.records), Warnings: texts(in.warnings)}, nil
}
