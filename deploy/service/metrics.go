package service

import (
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"carillon/tenant"
)

// countDatabase tells the metrics what the handle of a role costs and holds.
func (s *Service) countDatabase(r Role, db *tenant.DB) {
	label := prometheus.Labels{"role": string(r)}
	s.metrics.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "carillon_database_round_trips_total", ConstLabels: label,
			Help: "Times that a role waited for an answer of the database.",
		}, func() float64 { return float64(db.Stats().RoundTrips) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "carillon_database_connections", ConstLabels: label,
			Help: "Open connections to the database.",
		}, func() float64 { return float64(db.Stats().Open) }),
	)
}

// Operations serves what is for those who run the service, and not for the world.
func (s *Service) Operations() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	if s.scheduleDB != nil {
		mux.HandleFunc("GET /jobs", s.jobHealth)
	}
	if s.config.Profile {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	}
	return mux
}
