package leaving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/export"
	"carillon/tenant/key"
	"carillon/tenant/mail"
	"carillon/tenant/platform"
	"carillon/tenant/sharing"
)

// BackupKeys is where data keys are kept for backups, which have none themselves.
type BackupKeys interface {
	// Destroy destroys what is kept for a tenant, for good. That there is nothing is no error.
	Destroy(ctx context.Context, id tenant.ID, now time.Time) error
}

// Config is what a [Service] works with.
type Config struct {
	// DB is a handle under the role carillon_jobs.
	DB        *tenant.DB
	Directory *tenant.Directory
	// Custody opens data keys, and destroys private keys that are kept elsewhere.
	Custody signing.Custody
	// Files are all that the platform keeps for tenants.
	Files export.Store
	// Backups is nil for a platform that keeps no keys for backups.
	Backups BackupKeys
	Mail    mail.Sender
	// BaseURL is where browsers reach the portal, without a trailing slash.
	BaseURL string
	Log     *slog.Logger
	Now     func() time.Time
}

// Service does what leaving authorities come to: it closes them, writes to their owners,
// and erases them. All of it may be interrupted anywhere and is gone on with. It is safe
// for concurrent use, also with that of other processes.
type Service struct {
	Config
	keys *key.Ring
	// step is called after each change that another process could see; tests stop there.
	step func(name string) error
}

// New returns a service.
func New(c Config) *Service {
	return &Service{Config: c, keys: key.NewRing(c.DB, c.Custody), step: func(string) error { return nil }}
}

// system is who acts when the time has come.
var system = authz.Subject{Kind: authz.System, ID: "leaving", Name: "Carillon"}

const closeSQL = `
update tenant_directory
   set winding_down = false
 where tenant = $1
   and state = 'leaving'
   and winding_down`

// Turn does what is due for a tenant that leaves, and nothing for any other. When its time
// has come, it is erased by [Service.Erase] from then on.
func (s *Service) Turn(ctx context.Context, id tenant.ID) error {
	t, err := s.Directory.ByID(ctx, id)
	if errors.Is(err, tenant.ErrUnknown) {
		return nil // it was erased meanwhile
	}
	if err != nil || t.State != tenant.Leaving {
		return err
	}
	now := s.Now().UTC().Truncate(time.Second)
	var l Leave
	err = s.DB.In(ctx, id, func(tx *tenant.Tx) error {
		if l, err = Find(ctx, tx); err != nil || now.Before(l.Closes) {
			return err
		}
		n, err := tx.Exec(ctx, closeSQL, id)
		if err == nil && n > 0 {
			err = audit.Record(ctx, tx, now, system, "tenant:close", string(t.Slug), nil)
		}
		return err
	})
	if errors.Is(err, ErrNotLeaving) {
		return nil // it came back
	}
	if err != nil {
		return err
	}
	if !now.Before(l.Closes) {
		if err := sharing.EndAll(ctx, s.DB, t, system, now); err != nil {
			return fmt.Errorf("end shares: %w", err)
		}
	}
	if now.Before(l.Erases) {
		return s.remind(ctx, t, l, now)
	}
	return s.decide(ctx, t, now)
}

const (
	erasedSQL = `
update tenant_directory
   set state = 'erased', winding_down = false, name = slug, state_reason = '', state_since = $2
 where tenant = $1
   and state = 'leaving'`

	dueSQL = `
insert into erasure (tenant, slug, begun_at, decided_at, addresses)
select current_tenant(), $2, l.begun_at, $1,
       array(select distinct m.email from member m where m.state = 'active' and 'owner' = any (m.roles) order by m.email)
  from tenant_leaving l
 where l.erase_after <= $1`
)

// decide is the decision that cannot be taken back: the tenant is as if it had never been,
// for every process, and its rows are open to the role that deletes them.
func (s *Service) decide(ctx context.Context, t *tenant.Tenant, now time.Time) error {
	err := s.DB.InRole(ctx, t.ID, tenant.Eraser, func(tx *tenant.Tx) error {
		if err := change(ctx, tx, erasedSQL, t.ID, now); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, dueSQL, now, string(t.Slug))
		if err == nil && n == 0 {
			return errNotDue
		}
		if err != nil {
			return err
		}
		return platform.Record(ctx, tx, system, platform.Entry{At: now, Action: "tenant:erase", Target: string(t.Slug)})
	})
	if errors.Is(err, ErrState) || errors.Is(err, errNotDue) {
		return nil // it came back, or another process was faster
	}
	if err != nil {
		return fmt.Errorf("begin erasure: %w", err)
	}
	return s.step("decided")
}
