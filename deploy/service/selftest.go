package service

import (
	"cmp"
	"strings"
	"time"

	run "carillon/deploy/selftest"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/selftest"
)

const (
	selfTestAtOnce  = 2
	selfTestTimeout = 90 * time.Second
)

// phonesURL is where simulated phones reach the service, without a trailing slash.
func (s *Service) phonesURL() string {
	return strings.TrimSuffix(cmp.Or(s.config.SelfTestURL, s.config.BaseURL), "/")
}

// wireSelfTest has tenants' servers try themselves, over the URLs that phones use.
func (s *Service) wireSelfTest(db *tenant.DB, directory *tenant.Directory, keys *key.Ring, exports *export.Service) {
	url := s.phonesURL()
	if s.config.SelfTestInterval == 0 || url == "" {
		return
	}
	runner := run.New(run.Config{
		DB: db, Directory: directory, Keys: keys, Exports: exports, URL: url, Metrics: s.metrics, Now: s.config.Now,
	})
	s.schedule(db, job.Job{
		Name: selftest.JobName, Every: s.config.SelfTestInterval, Bound: 3 * s.config.SelfTestInterval,
		AtOnce: selfTestAtOnce, Timeout: selfTestTimeout, Run: runner.Run,
	})
	s.metrics.MustRegister(selftest.NewSurvey(db, s.config.Now))
}
