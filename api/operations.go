package api

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

const pingTimeout = time.Second

// health says that the process runs; asked for the database, whether that answers
// (verification protocol §0.1).
func (s *Server) health(c *gin.Context) {
	if c.Query("service") == "database" && !s.works(c) {
		s.sendJSON(c, http.StatusInternalServerError, newErrorBody(internalError, ""))
		return
	}
	s.sendJSON(c, http.StatusOK, struct {
		Maintenance bool   `json:"maintenance_mode"`
		Status      string `json:"status"`
	}{s.inMaintenance(c), "ok"})
}

// inMaintenance reports the platform's switch. A process that cannot read it still
// runs, and says that it knows of no maintenance.
func (s *Server) inMaintenance(c *gin.Context) bool {
	if s.config.Directory == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), pingTimeout)
	defer cancel()
	on, err := s.config.Directory.Maintenance(ctx)
	return err == nil && on
}

// ready says whether requests should be sent here.
func (s *Server) ready(c *gin.Context) {
	type body struct {
		Status string `json:"status"`
	}
	if !s.works(c) {
		s.sendJSON(c, http.StatusServiceUnavailable, body{"the database does not answer"})
		return
	}
	s.sendJSON(c, http.StatusOK, body{"ok"})
}

func (s *Server) works(c *gin.Context) bool {
	if s.config.Ready == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), pingTimeout)
	defer cancel()
	return s.config.Ready(ctx) == nil
}

// metrics count; none has a label that names a tenant, a caller or a code.
type metrics struct {
	requests   *prometheus.CounterVec
	latency    *prometheus.HistogramVec
	refused    *prometheus.CounterVec
	crossings  *prometheus.CounterVec
	outside    prometheus.Counter
	wrongCodes prometheus.Counter
	chaff      prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_requests_total", Help: "Requests by method, route and status.",
		}, []string{"method", "route", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "carillon_request_seconds", Help: "Time to answer by method and route.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}, []string{"method", "route"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_credentials_refused_total", Help: "API keys that are unknown at the URL they were sent to, for whatever reason.",
		}, []string{"credential"}),
		crossings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_crossing_attempts_total", Help: "Credentials that named one tenant at the URL of another; API keys only if this process has let them in before.",
		}, []string{"credential"}),
		outside: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carillon_outside_network_total", Help: "Requests with a good key from outside the tenant's allow-list.",
		}),
		wrongCodes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carillon_wrong_codes_total", Help: "Unknown or spent codes that phones sent.",
		}),
		chaff: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carillon_chaff_total", Help: "Cover traffic answered.",
		}),
	}
	r.MustRegister(m.requests, m.latency, m.refused, m.crossings, m.outside, m.wrongCodes, m.chaff)
	return m
}
