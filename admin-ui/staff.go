package adminui

import (
	"context"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/member"
)

// NewStaff returns the [Staff] that the database knows, as reached under the
// portal's role.
func NewStaff(db *tenant.DB) Staff { return staff{db} }

type staff struct{ db *tenant.DB }

func (s staff) Memberships(ctx context.Context, who oidc.Identity) ([]member.Membership, error) {
	return member.Memberships(ctx, s.db, who)
}

func (s staff) Authenticate(ctx context.Context, t *tenant.Tenant, who oidc.Identity) (authz.Subject, error) {
	return member.Authenticate(ctx, s.db, t, who)
}
