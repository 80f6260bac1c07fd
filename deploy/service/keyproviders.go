package service

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key/rootkey"
)

// checkRoot refuses to start with a root key that nothing may be wrapped by any more.
func (s *Service) checkRoot(ctx context.Context, db *tenant.DB) error {
	named, is := s.config.Root.Root.(interface{ Name() string })
	if !is {
		return nil
	}
	return rootkey.Check(ctx, db, named.Name())
}

// keyCalls counts and times what the providers of keys are asked for.
func (s *Service) keyCalls() func(signing.Call) {
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "carillon_key_provider_calls_total",
		Help: "Calls of providers of keys outside of the database, by result: ok, unavailable, reference (no such key), untrusted (a wrong answer), other.",
	}, []string{"provider", "operation", "result"})
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "carillon_key_provider_seconds", Help: "How long calls of providers of keys took, with all attempts.",
		Buckets: []float64{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10},
	}, []string{"provider", "operation"})
	s.metrics.MustRegister(calls, took)
	return func(c signing.Call) {
		calls.WithLabelValues(c.Provider, c.Operation, callResult(c.Err)).Inc()
		took.WithLabelValues(c.Provider, c.Operation).Observe(c.Took.Seconds())
	}
}

func callResult(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled):
		return "other" // whoever asked went away
	case errors.Is(err, signing.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, signing.ErrReference):
		return "reference"
	case errors.Is(err, signing.ErrUntrusted):
		return "untrusted"
	default:
		return "other"
	}
}
