package job

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/tenant"
)

// metrics count runs of this process. None has a label that names a tenant.
type metrics struct {
	runs *prometheus.CounterVec
	took *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_job_runs_total", Help: "Runs of background jobs that this process ended, by job and result.",
		}, []string{"job", "result"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "carillon_job_run_seconds", Help: "How long a run for one health authority took.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 9),
		}, []string{"job"}),
	}
	r.MustRegister(m.runs, m.took)
	return m
}

func (m *metrics) ran(job, class string, took time.Duration) {
	result := "success"
	if class != "" {
		result = "failure"
	}
	m.runs.WithLabelValues(job, result).Inc()
	m.took.WithLabelValues(job).Observe(took.Seconds())
}

// survey tells how all jobs stand, whichever process does them, when somebody asks.
type survey struct {
	db                 *tenant.DB
	now                func() time.Time
	lag, late, failing *prometheus.Desc
}

// NewSurvey returns a collector of what [Summarise] says through db.
func NewSurvey(db *tenant.DB, now func() time.Time) prometheus.Collector {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, []string{"job"}, nil) }
	return &survey{
		db: db, now: now,
		lag:     desc("carillon_job_lag_seconds", "The longest lag of a background job, over all health authorities."),
		late:    desc("carillon_job_late", "Health authorities for which a background job is late."),
		failing: desc("carillon_job_failing", "Health authorities for which the last run of a background job failed."),
	}
}

func (s *survey) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.lag, s.late, s.failing} {
		to <- d
	}
}

const surveyTimeout = 2 * time.Second

// Collect tells nothing if the database does not answer: what else there is to tell
// must not wait for it.
func (s *survey) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), surveyTimeout) //nolint:forbidigo // the interface has no context
	defer cancel()
	all, err := Summarise(ctx, s.db, s.now())
	if err != nil {
		return
	}
	for _, j := range all {
		to <- prometheus.MustNewConstMetric(s.lag, prometheus.GaugeValue, j.LagSeconds, j.Job)
		to <- prometheus.MustNewConstMetric(s.late, prometheus.GaugeValue, float64(j.Late), j.Job)
		to <- prometheus.MustNewConstMetric(s.failing, prometheus.GaugeValue, float64(j.Failing), j.Job)
	}
}
