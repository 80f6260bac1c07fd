package service

import (
	"context"
	"time"

	"carillon/api"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/labfeed"
)

// labFeedPause is how long laboratory results wait at most that another process took
// in, or that are due to be tried again.
const labFeedPause = 15 * time.Second

// wireLabFeed takes in laboratory results and issues their codes with the issuer's
// own service.
func (s *Service) wireLabFeed(db *tenant.DB, surface *api.Config) {
	feed := labfeed.New(labfeed.Config{
		DB: db, Keys: key.NewRing(db, s.config.Root), Policies: surface.Policies, Codes: surface.Issuer,
		Directory: s.directory(db), Recorder: s.recorder(db, "lab-results"), Log: s.config.Log, Now: s.config.Now,
	})
	surface.LabFeed = feed
	erase := upkeep("lab-results-retention", feed.Clean)
	erase.Every, erase.Suspended = labResultsInterval, true
	s.schedule(db, erase)
	s.jobs = append(s.jobs, func(ctx context.Context) error { return feed.Run(ctx, labFeedPause) })
}
