package verification

import (
	"context"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/message/template"
)

// sends reports whether the tenant's codes may go out by text message at all.
func (s *Service) sends(t *tenant.Tenant) bool {
	_, nobody := s.sender.(message.None)
	return !nobody && t.Settings.SMSEnabled
}

// Texts shows the messages that an issuer can choose from, the usual one first; none if
// the tenant sends no messages. Whoever may not issue codes is [authz.ErrForbidden].
func (s *Service) Texts(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]template.Sample, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.CodeIssue); err != nil {
		return nil, err
	}
	if !s.sends(t) {
		return nil, nil
	}
	return s.templates.Samples(ctx, t, s.redirectDomain)
}
