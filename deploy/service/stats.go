package service

import (
	"context"
	"log/slog"
	"time"

	"carillon/tenant"
	"carillon/tenant/verification"
)

// countThrough lets the process's counter flush through a handle. The first one will do.
func (s *Service) countThrough(db *tenant.DB) {
	if s.counts != nil {
		return
	}
	s.counts = db
	s.jobs = append(s.jobs, func(ctx context.Context) error {
		s.counter.Run(ctx, db, func(err error) {
			s.config.Log.ErrorContext(ctx, "statistics not flushed", slog.Any("error", err))
		})
		return nil
	})
}

const lastFlushTimeout = 5 * time.Second

// flushCounts writes what was counted since the last flush, when no request is under
// way any more.
func (s *Service) flushCounts(ctx context.Context) error {
	if s.counts == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlushTimeout)
	defer cancel()
	return s.counter.Flush(ctx, s.counts)
}

// refusals remembers why phones were refused codes, and writes it through a handle.
func (s *Service) refusals(db *tenant.DB) *verification.Refusals {
	m := verification.NewRefusals()
	s.jobs = append(s.jobs, func(ctx context.Context) error {
		m.Run(ctx, db, func(err error) {
			s.config.Log.ErrorContext(ctx, "refusals not noted", slog.Any("error", err))
		})
		return nil
	})
	return m
}
