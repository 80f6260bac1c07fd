package job

import (
	"context"
	"time"

	"github.com/lib/pq"

	"carillon/tenant"
)

const renewSQL = `
   update job_run r
      set leased_until = $4
     from unnest($1::text[], $2::uuid[], $3::bigint[]) as held (job, tenant, fence)
    where (r.job, r.tenant, r.fence) = (held.job, held.tenant, held.fence)
returning r.job, r.tenant, r.fence`

// renewals keeps the leases of all runs until ctx ends.
func (s *Scheduler) renewals(ctx context.Context) {
	const each = 3 // renewals in the life of a lease
	ticker := time.NewTicker(s.c.Lease / each)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.renew(ctx, s.c.Lease/each)
		}
	}
}

// renew moves the ends of the leases, and ends the runs that have lost theirs: another
// process has it, or the database has not answered for as long as it lasted.
func (s *Scheduler) renew(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	held := s.held()
	if len(held) == 0 {
		return
	}
	var names, tenants pq.StringArray
	var fences pq.Int64Array
	for _, r := range held {
		names, tenants, fences = append(names, r.Job), append(tenants, r.Tenant.String()), append(fences, r.Fence)
	}
	var kept []run
	now := s.c.Now().UTC()
	end := now.Add(s.c.Lease)
	err := s.c.DB.Platform(ctx, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &kept, renewSQL, names, tenants, fences, end)
	})
	if err != nil {
		for _, r := range held {
			if s.over(r) {
				r.lose(errLost)
			}
		}
		return
	}
	type lease struct {
		place
		fence int64
	}
	ours := map[lease]bool{}
	for _, r := range kept {
		ours[lease{r.place, r.Fence}] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range held {
		if ours[lease{r.place, r.Fence}] {
			r.end = end
		} else {
			r.lose(errLost)
		}
	}
}

func (s *Scheduler) held() []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make([]*run, 0, len(s.running))
	for _, r := range s.running {
		held = append(held, r)
	}
	return held
}
