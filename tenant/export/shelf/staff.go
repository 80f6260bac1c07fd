package shelf

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// Why an act of staff is refused.
var (
	ErrNoPlan = errors.New("no such export configuration, or no such window of it")
	ErrSound  = errors.New("no file of this window is missing or altered")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrNoPlan, ErrSound} }

// Staff is what was published as the staff of tenants see it: each act is checked.
type Staff struct {
	db       *tenant.DB
	policies *authz.Policies
	now      func() time.Time
}

// NewStaff returns it through db, a handle under carillon_portal.
func NewStaff(db *tenant.DB, policies *authz.Policies, now func() time.Time) *Staff {
	return &Staff{db: db, policies: policies, now: now}
}

// View is a tenant's configurations, and the windows of one of them.
type View struct {
	Plans   []Plan
	Plan    Plan
	Batches []Batch
}

// Look returns at most limit windows of the configuration with a path that begin before a
// time, the newest first: [ErrNoPlan] if there is none, [authz.ErrForbidden] for whoever
// may not.
func (s *Staff) Look(ctx context.Context, t *tenant.Tenant, by authz.Subject, path string, before time.Time, limit int) (v View, err error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.ExportRead); err != nil {
		return View{}, err
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if v.Plans, err = Plans(ctx, tx, s.now()); err != nil {
			return err
		}
		if v.Plan, err = planOf(v.Plans, path); err != nil {
			return err
		}
		v.Batches, err = Batches(ctx, tx, v.Plan.ID, before, limit)
		return err
	})
	return v, err
}

func planOf(plans []Plan, path string) (Plan, error) {
	for _, p := range plans {
		if p.Path == path {
			return p, nil
		}
	}
	return Plan{}, ErrNoPlan
}

const (
	askSQL = `
update export_file f
   set remake = 'asked'
  from export_config c
 where c.config_id = f.config_id
   and c.path = $1
   and f.starts_at = $2
   and f.state = 'published'
   and f.finding in ('missing', 'altered')
returning f.name`

	windowSQL = `
select count(*)
  from export_batch b
  join export_config c using (tenant_id, config_id)
 where c.path = $1
   and b.starts_at = $2`
)

// Regenerate has the files of a window written again that are missing from the store or
// altered there: [ErrSound] if there are none, [ErrNoPlan] if there is no such window,
// [authz.ErrForbidden] for whoever may not.
// The jobs process does it within minutes, and writes the published bytes or nothing. Asking
// twice is asking once.
func (s *Staff) Regenerate(ctx context.Context, t *tenant.Tenant, by authz.Subject, path string, start time.Time) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.ExportRegenerate); err != nil {
		return err
	}
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var names []string
		if err := tx.Select(ctx, &names, askSQL, path, start.UTC()); err != nil {
			return err
		}
		if len(names) == 0 {
			return nothingToAsk(ctx, tx, path, start)
		}
		return audit.Record(ctx, tx, s.now(), by, string(authz.ExportRegenerate), path+names[0], map[string]string{"files": strings.Join(names, " ")})
	})
	if err != nil {
		return fmt.Errorf("regenerate export files: %w", err)
	}
	return nil
}

func nothingToAsk(ctx context.Context, tx *tenant.Tx, path string, start time.Time) error {
	var windows int
	if err := tx.Get(ctx, &windows, windowSQL, path, start.UTC()); err != nil {
		return err
	}
	if windows == 0 {
		return ErrNoPlan
	}
	return ErrSound
}
