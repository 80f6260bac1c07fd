package service

import (
	"time"

	"carillon/tenant"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/key/keeping"
	"carillon/tenant/role"
)

// keysBound is how late the schedule of keys may be: within the lead of each of them.
const keysBound = 30 * time.Minute

// keysJob makes, activates, retires and destroys the versions of tenants' keys, also of
// those that are suspended: what was promised to be destroyed is.
func (s *Service) keysJob(db *tenant.DB, keys *key.Ring, directory *tenant.Directory) job.Job {
	keeper := keeping.New(keeping.Config{
		DB: db, Keys: keys, Directory: directory, Policies: role.NewPolicies(db), Mail: s.config.Mail, BaseURL: s.config.BaseURL,
		Metrics: s.metrics, Log: s.config.Log, Now: s.config.Now,
	})
	j := upkeep(custody.Job, keeper.Run)
	j.Every, j.Bound, j.Behind, j.Suspended = keeping.Every, keysBound, keeper.Behind, true
	return j
}
