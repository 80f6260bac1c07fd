package guess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
)

// ReportInterval is the pause between two reports, and so how much of its counting a
// process that is killed takes along.
const ReportInterval = 5 * time.Second

const finalTimeout = 5 * time.Second

// Run reports until ctx ends, and once more then.
func (c *Counter) Run(ctx context.Context, log *slog.Logger) error {
	ticker := time.NewTicker(ReportInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := c.Report(ctx); err != nil && ctx.Err() == nil {
				log.ErrorContext(ctx, "unknown codes not reported", slog.Any("error", err))
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTimeout)
			defer cancel()
			return c.Report(last)
		}
	}
}

const reportSQL = `
insert into wrong_code_count (tenant_id, minute, count_id, wrong)
values (current_tenant(), $1, $2, $3)`

// Report appends what was counted since the last report. What fails is kept for the
// next one.
func (c *Counter) Report(ctx context.Context) error {
	c.mu.Lock()
	counts := c.unreported
	c.unreported = map[tenant.ID]int{}
	c.mu.Unlock()
	minute := c.now().UTC().Truncate(time.Minute)
	var failed []error
	for id, wrong := range counts {
		err := c.db.In(ctx, id, func(tx *tenant.Tx) error {
			_, err := tx.Exec(ctx, reportSQL, minute, uuid.NewString(), wrong)
			return err
		})
		if err != nil {
			failed = append(failed, err)
			c.mu.Lock()
			c.unreported[id] += wrong
			c.mu.Unlock()
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("report unknown codes: %w", errors.Join(failed...))
	}
	return nil
}
