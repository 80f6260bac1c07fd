package service

import (
	"context"
	"time"

	"carillon/migrations"
	"carillon/tenant"
	"carillon/tenant/archive"
	"carillon/tenant/archive/shelf"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/leaving"
)

const (
	archivesTimeout = 2 * time.Hour
	archivesBound   = 3 * time.Hour
)

// leavingJobs close, remind and erase authorities that leave, and make the archives that
// staff ask for.
func (s *Service) leavingJobs(db *tenant.DB, directory *tenant.Directory, keys *key.Ring) []job.Job {
	l := leaving.New(leaving.Config{
		DB: db, Directory: directory, Custody: s.config.Root, Files: s.config.Files, Backups: s.config.BackupKeys,
		Mail: s.config.Mail, BaseURL: s.config.BaseURL, Log: s.config.Log, Now: s.config.Now,
	})
	leave := upkeep("leaving", l.Turn)
	leave.Suspended = true
	erase := upkeep("erasure", func(ctx context.Context, _ tenant.ID) error { return l.Erase(ctx) })
	erase.Every, erase.Platform = time.Minute, true
	maker := shelf.Maker{
		Maker:     archive.Maker{DB: db, Keys: keys, Files: s.config.Files, Schema: migrations.Newest()},
		Directory: directory, Now: s.config.Now,
	}
	archives := upkeep(shelf.JobName, maker.Turn)
	archives.Suspended, archives.AtOnce, archives.Timeout, archives.Bound = true, 1, archivesTimeout, archivesBound
	return []job.Job{leave, erase, archives}
}
