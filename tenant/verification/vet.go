package verification

import (
	"carillon/authz"
	"carillon/tenant"
)

// Vet tells whether a request would be refused by a rule of §4.2 that asks neither
// the database nor the quota, as the [Problem] that Issue would return. It changes
// nothing and issues nothing.
func (s *Service) Vet(t *tenant.Tenant, by authz.Subject, r IssueRequest) error {
	o, err := s.newOrder(t, by, r)
	if err != nil {
		return err
	}
	if err := o.refuseType(); err != nil {
		return err
	}
	return o.refuseUnaddressed()
}
