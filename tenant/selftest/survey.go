package selftest

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/tenant"
	"carillon/tenant/job"
)

// survey tells how many tenants pass, when somebody asks: no label names one.
type survey struct {
	db      *tenant.DB
	now     func() time.Time
	tenants *prometheus.Desc
}

// NewSurvey returns a collector of how many tenants' last self-test passed, failed, or is
// missing because none has ended yet. db is a handle that may read the schedule.
func NewSurvey(db *tenant.DB, now func() time.Time) prometheus.Collector {
	return &survey{db: db, now: now, tenants: prometheus.NewDesc("carillon_selftest_tenants",
		"Health authorities by how their last self-test ended.", []string{"state"}, nil)}
}

func (s *survey) Describe(to chan<- *prometheus.Desc) { to <- s.tenants }

const surveyTimeout = 2 * time.Second

// Collect tells nothing if the database does not answer.
func (s *survey) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), surveyTimeout)
	defer cancel()
	list, err := job.List(ctx, s.db, job.Filter{Job: JobName}, s.now())
	if err != nil {
		return
	}
	count := map[string]float64{"passing": 0, "failing": 0, "untried": 0}
	for _, of := range list {
		switch {
		case of.Failures > 0:
			count["failing"]++
		case of.SucceededAt != nil:
			count["passing"]++
		default:
			count["untried"]++
		}
	}
	for state, n := range count {
		to <- prometheus.MustNewConstMetric(s.tenants, prometheus.GaugeValue, n, state)
	}
}
