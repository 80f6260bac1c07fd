package service

import (
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/member"
)

// approvals is where staff decide about what takes two people. Acts that are not listed are
// done by whoever asked, after they were approved.
func (s *Service) approvals(db *tenant.DB, policies *authz.Policies, members *member.Staff) *approval.Desk {
	return approval.NewDesk(approval.DeskConfig{
		DB: db, Policies: policies, Now: s.config.Now,
		Acts: map[approval.Kind]approval.Act{approval.OwnerChange: members.CarryOutOwner},
	})
}
