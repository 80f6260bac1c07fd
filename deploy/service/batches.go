package service

import (
	"context"
	"time"

	adminui "carillon/admin-ui"
	"carillon/api"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/batch/sheet"
	"carillon/tenant/key"
	"carillon/tenant/verification"
)

// batchPause is the batch worker's when no tenant has anything to do.
const batchPause = 2 * time.Second

// wireBatches takes in batches of codes, and issues them in the background.
func (s *Service) wireBatches(db *tenant.DB, surface *api.Config) {
	keys := key.NewRing(db, s.config.Root)
	worker := batch.NewWorker(batch.WorkerConfig{
		DB: db, Keys: keys, Directory: s.directory(db), Codes: surface.Issuer,
		Recorder: s.recorder(db, "batches"), Log: s.config.Log, Now: s.config.Now,
	})
	s.wakeBatches = worker.Wake
	surface.Batches = batch.New(batch.Config{
		DB: db, Keys: keys, Policies: surface.Policies, Codes: surface.Issuer, Wake: worker.Wake, Now: s.config.Now,
	})
	s.jobs = append(s.jobs, func(ctx context.Context) error { return worker.Run(ctx, batchPause) })
}

// wireSheets lets staff order batches in the portal. Without a worker in this process
// another's finds them within [batchPause].
func (s *Service) wireSheets(db *tenant.DB, policies *authz.Policies, codes *verification.Service, c *adminui.Config) {
	keys := key.NewRing(db, s.config.Root)
	batches := batch.New(batch.Config{DB: db, Keys: keys, Policies: policies, Codes: codes, Wake: s.wakeBatches, Now: s.config.Now})
	c.Batches = batches
	c.Sheets = sheet.NewDesk(sheet.Config{DB: db, Keys: keys, Codes: codes, Batches: batches, Now: s.config.Now})
}
