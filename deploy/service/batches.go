package service

import (
	"context"
	"time"

	"carillon/api"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/key"
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
	surface.Batches = batch.New(batch.Config{
		DB: db, Keys: keys, Policies: surface.Policies, Codes: surface.Issuer, Wake: worker.Wake, Now: s.config.Now,
	})
	s.jobs = append(s.jobs, func(ctx context.Context) error { return worker.Run(ctx, batchPause) })
}
