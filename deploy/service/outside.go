package service

import (
	"time"

	"carillon/tenant"
	"carillon/tenant/importer"
	"carillon/tenant/issuer"
	"carillon/tenant/job"
	"carillon/tenant/outbound"
)

// outsideJobs ask the servers that tenants named: for the keys of verification servers,
// and for the files of key servers. Their bounds are those of the protocol's alarms
// (key server protocol §12).
func (s *Service) outsideJobs(db *tenant.DB, directory *tenant.Directory) []job.Job {
	fetcher := outbound.NewFetcher(outbound.New(s.config.Loopback, 443, 8443))
	keySets := issuer.NewRefresher(issuer.Config{DB: db, Fetcher: fetcher, Log: s.config.Log, Now: s.config.Now})
	imports := importer.New(importer.Config{DB: db, Directory: directory, Fetcher: fetcher, Log: s.config.Log, Now: s.config.Now})
	return []job.Job{
		{Name: issuer.JobName, Every: 2 * time.Minute, Bound: 35 * time.Minute, AtOnce: 8, Timeout: time.Minute, Run: keySets.Turn},
		{Name: importer.JobName, Every: 5 * time.Minute, Bound: 35 * time.Minute, AtOnce: 4, Timeout: 10 * time.Minute, Run: imports.Turn},
	}
}
