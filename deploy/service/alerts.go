package service

import (
	"carillon/tenant"
	"carillon/tenant/alert"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/outbound"
	"carillon/tenant/stats"
)

// alertNetwork is where webhooks of alerts are.
func (s *Service) alertNetwork() *outbound.Network { return outbound.New(s.config.Loopback, 443) }

// alertJob tells authorities of figures beyond their bounds.
func (s *Service) alertJob(db *tenant.DB, keys *key.Ring, directory *tenant.Directory) job.Job {
	return upkeep("alerts", alert.New(alert.Config{
		DB: db, Directory: directory, Figures: stats.New(db, s.config.Now), Keys: keys, Mail: s.config.Mail,
		Hooks: outbound.NewFetcher(s.alertNetwork()), BaseURL: s.config.BaseURL, Log: s.config.Log, Now: s.config.Now,
	}).Turn)
}
