package reportpage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carillon/authz"
	"carillon/tenant"
)

// ErrChanged means that somebody else has changed the same meanwhile.
var ErrChanged = errors.New("patients' pages were changed by somebody else")

// Staff is patients' pages as the staff of tenants see them: each act is checked.
type Staff struct {
	db       *tenant.DB
	policies *authz.Policies
	now      func() time.Time
}

// NewStaff returns them through db, a handle under carillon_portal.
func NewStaff(db *tenant.DB, policies *authz.Policies, now func() time.Time) *Staff {
	return &Staff{db: db, policies: policies, now: now}
}

// Board returns what is there: [authz.ErrForbidden] for whoever may not read settings.
func (s *Staff) Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (Branding, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SettingsRead); err != nil {
		return Branding{}, err
	}
	return read(ctx, s.db, t.ID)
}

// lockSQL lets one person at a time change the pages.
const lockSQL = `select 1 from tenant_setting for update`

// SetLook changes the look that the person has seen. The errors are [authz.ErrForbidden],
// [ErrChanged] if it is another one by now, and those of the function of the same name.
func (s *Staff) SetLook(ctx context.Context, t *tenant.Tenant, by authz.Subject, seen, l Look) error {
	return s.change(ctx, t, by, func(tx *tenant.Tx, now Branding) error {
		if now.Look != seen {
			return ErrChanged
		}
		return SetLook(ctx, tx, by, l, s.now())
	})
}

// SetText changes a text that the person has seen; the errors are as for [Staff.SetLook].
func (s *Staff) SetText(ctx context.Context, t *tenant.Tenant, by authz.Subject, seen, text Text) error {
	return s.change(ctx, t, by, func(tx *tenant.Tx, now Branding) error {
		seen.Language = text.Language
		if now.Text(text.Language) != seen {
			return ErrChanged
		}
		return SetText(ctx, tx, by, text, s.now())
	})
}

func (s *Staff) change(ctx context.Context, t *tenant.Tenant, by authz.Subject, act func(*tenant.Tx, Branding) error) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SettingsWrite); err != nil {
		return err
	}
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, lockSQL); err != nil {
			return err
		}
		now, err := inside(ctx, tx)
		if err != nil {
			return err
		}
		return act(tx, now)
	})
	if err != nil {
		return fmt.Errorf("change patients' pages: %w", err)
	}
	return nil
}
