package service

import (
	"context"
	"time"

	"carillon/tenant"
	"carillon/tenant/job"
	"carillon/tenant/leaving"
)

// leavingJobs close, remind and erase authorities that leave.
func (s *Service) leavingJobs(db *tenant.DB, directory *tenant.Directory) []job.Job {
	l := leaving.New(leaving.Config{
		DB: db, Directory: directory, Custody: s.config.Root, Files: s.config.Files, Backups: s.config.BackupKeys,
		Mail: s.config.Mail, BaseURL: s.config.BaseURL, Log: s.config.Log, Now: s.config.Now,
	})
	leave := upkeep("leaving", l.Turn)
	leave.Suspended = true
	erase := upkeep("erasure", func(ctx context.Context, _ tenant.ID) error { return l.Erase(ctx) })
	erase.Every, erase.Platform = time.Minute, true
	return []job.Job{leave, erase}
}
