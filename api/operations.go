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
		c.JSON(http.StatusInternalServerError, errorBody{Error: "Internal Server Error"})
		return
	}
	c.JSON(http.StatusOK, gin.H{"maintenance_mode": false, "status": "ok"})
}

// ready says whether requests should be sent here.
func (s *Server) ready(c *gin.Context) {
	if !s.works(c) {
		c.JSON(http.StatusServiceUnavailable, gin.H{"status": "the database does not answer"})
		return
	}
	c.JSON(http.StatusOK, gin.H{"status": "ok"})
}

func (s *Server) works(c *gin.Context) bool {
	ctx, cancel := context.WithTimeout(c.Request.Context(), pingTimeout)
	defer cancel()
	return s.config.Ready(ctx) == nil
}

// metrics count; none has a label that names a tenant, a caller or a code.
type metrics struct {
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	chaff    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_requests_total", Help: "Requests by method, route and status.",
		}, []string{"method", "route", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "carillon_request_seconds", Help: "Time to answer by method and route.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 12),
		}, []string{"method", "route"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_credentials_refused_total", Help: "API keys that are unknown at the URL they were sent to: typing errors, and attempts to cross from one tenant to another.",
		}, []string{"credential"}),
		chaff: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carillon_chaff_total", Help: "Cover traffic answered.",
		}),
	}
	r.MustRegister(m.requests, m.latency, m.refused, m.chaff)
	return m
}
