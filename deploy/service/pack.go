package service

import (
	"cmp"
	"context"
	"fmt"
	"time"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/outbound"
	"carillon/tenant/outbound/apple"
	"carillon/tenant/pack"
)

// packPause is how long a pack waits at most of whose wish nobody has heard, and how often
// changes to Apple are looked after.
const packPause = 30 * time.Second

// packPlace is what packs say of this service.
func (s *Service) packPlace() pack.Place {
	return pack.Place{
		BaseURL: s.config.BaseURL, RedirectDomain: s.messageDomain(), Loopback: s.config.Loopback,
		AppleURL: cmp.Or(s.config.AppleURL, apple.DefaultURL),
	}
}

// packStaff is what staff do about packs.
func (s *Service) packStaff(db *tenant.DB, policies *authz.Policies) adminui.Packs {
	return pack.NewStaff(pack.StaffConfig{
		DB: db, Keys: key.NewRing(db, s.config.Root), Policies: policies, Place: s.packPlace(), Push: s.config.AppleURL != "", Now: s.config.Now,
	})
}

// makePacks makes what staff ask for, and sends changes to Apple if that is switched on.
func (s *Service) makePacks(db *tenant.DB, keys *key.Ring, directory *tenant.Directory) error {
	c := pack.MakerConfig{DB: db, Keys: keys, Directory: directory, Place: s.packPlace(), Recorder: s.recorder(db, "packs"), Now: s.config.Now}
	if s.config.AppleURL != "" {
		client, err := apple.New(outbound.New(s.config.Loopback, 443), s.config.AppleURL)
		if err != nil {
			return fmt.Errorf("service of Apple: %w", err)
		}
		c.Apple = client
	}
	maker := pack.NewMaker(c)
	s.jobs = append(s.jobs, func(ctx context.Context) error { return maker.Run(ctx, packPause) })
	return nil
}
