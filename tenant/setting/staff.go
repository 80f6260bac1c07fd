package setting

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"carillon/authz"
	"carillon/tenant"
)

// Why staff cannot change a setting.
var (
	// ErrChanged means that somebody else has changed a setting meanwhile.
	ErrChanged = errors.New("setting was changed by somebody else")
	// ErrLocked means that Exposure Notifications Express decides this setting.
	ErrLocked = errors.New("setting is bound by Exposure Notifications Express")
	// ErrOperator means that the platform decides this setting.
	ErrOperator = errors.New("setting is the platform's to change")
	// ErrSame means that nothing would be different.
	ErrSame = errors.New("no setting would be different")
)

// ofPlatform are settings that those who run the platform change (verification protocol
// §11.1); the text of messages has a page of its own.
func ofPlatform() []string { return []string{"maintenance", "generate-sms", "sms-template"} }

// express are the values to which Exposure Notifications Express binds codes: those of
// [bound] cannot be changed while it is on (§11.1).
func express() map[string]string {
	return map[string]string{
		"code-digits": "8", "code-life": "15m0s", "long-code-length": "16", "long-code-life": "24h0m0s", "test-types": "confirmed",
	}
}

// bound are the settings that stay as [express] has them. Report types may be widened later.
func bound() []string {
	return []string{"code-digits", "code-life", "long-code-length", "long-code-life"}
}

// Last is who changed a setting last, and when.
type Last struct {
	Name string
	At   time.Time
	By   string
}

// Board is every setting of a tenant.
type Board struct {
	Values map[string]string
	// Last has the settings that were ever changed.
	Last map[string]Last
}

// Difference is one setting that a change changes.
type Difference struct{ Name, Before, After string }

// Staff is settings as the staff of tenants see them: each act is checked.
type Staff struct {
	db       *tenant.DB
	policies *authz.Policies
	now      func() time.Time
}

// NewStaff returns them through db, a handle under carillon_portal.
func NewStaff(db *tenant.DB, policies *authz.Policies, now func() time.Time) *Staff {
	return &Staff{db: db, policies: policies, now: now}
}

const lastSQL = `
  select distinct on (name) substr(name, 2) as name, at, actor_name as by
    from audit_entry, jsonb_object_keys(detail) name
   where action = 'settings:write'
     and action in ('settings:write', 'message-template:test')
     and target = 'settings'
     and name like '+%'
order by name, entry_no desc`

// Board returns the settings: [authz.ErrForbidden] for whoever may not.
func (s *Staff) Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (b Board, err error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SettingsRead); err != nil {
		return b, err
	}
	var list []Last
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if b.Values, err = Read(ctx, tx); err != nil {
			return err
		}
		return tx.Select(ctx, &list, lastSQL)
	})
	if err != nil {
		return b, fmt.Errorf("settings: %w", err)
	}
	b.Last = map[string]Last{}
	for _, l := range list {
		b.Last[l.Name] = l
	}
	return b, nil
}

// errUndo takes back what was only tried.
var errUndo = errors.New("only tried")

// Plan tells what a change would change, with what follows from it, in the order of the
// list, and changes nothing. Its errors are those of [Staff.Change].
func (s *Staff) Plan(ctx context.Context, t *tenant.Tenant, by authz.Subject, seen, values map[string]string) (plan []Difference, err error) {
	err = s.change(ctx, t, by, seen, values, func(found []Difference) error {
		plan = found
		return errUndo
	})
	if errors.Is(err, errUndo) {
		return plan, nil
	}
	return nil, err
}

// Change sets settings, all or none, and what follows from them. seen is what the person
// was shown of the same settings. The errors are [authz.ErrForbidden], [ErrOperator],
// [ErrChanged] if a setting is not as it was seen, [ErrLocked], [ErrSame], and those of
// the function of the same name.
func (s *Staff) Change(ctx context.Context, t *tenant.Tenant, by authz.Subject, seen, values map[string]string) error {
	return s.change(ctx, t, by, seen, values, func([]Difference) error { return nil })
}

const lockSQL = `select 1 from tenant_setting for update`

func (s *Staff) change(ctx context.Context, t *tenant.Tenant, by authz.Subject, seen, values map[string]string, then func([]Difference) error) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SettingsWrite); err != nil {
		return err
	}
	for _, name := range ofPlatform() {
		if _, given := values[name]; given {
			return fmt.Errorf("%w: %s", ErrOperator, name)
		}
	}
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, lockSQL); err != nil {
			return err
		}
		before, err := Read(ctx, tx)
		if err != nil {
			return err
		}
		for name := range values {
			if before[name] != seen[name] {
				return fmt.Errorf("%w: %s", ErrChanged, name)
			}
		}
		values = consequences(before, values)
		if err := Change(ctx, tx, by, values, s.now()); err != nil {
			return err
		}
		after, err := Read(ctx, tx)
		if err != nil {
			return err
		}
		found := compare(before, after)
		if len(found) == 0 {
			return ErrSame
		}
		if err := unbound(after, found); err != nil {
			return err
		}
		return then(found)
	})
	if err != nil {
		return fmt.Errorf("change settings: %w", err)
	}
	return nil
}

// consequences adds what goes with switching Exposure Notifications Express on.
func consequences(before, values map[string]string) map[string]string {
	if before["enx"] == "on" || values["enx"] != "on" {
		return values
	}
	all := maps.Clone(values)
	maps.Copy(all, express())
	return all
}

// unbound refuses to change what Exposure Notifications Express binds.
func unbound(after map[string]string, found []Difference) error {
	if after["enx"] != "on" {
		return nil
	}
	fixed := express()
	for _, d := range found {
		if slices.Contains(bound(), d.Name) && d.After != fixed[d.Name] {
			return fmt.Errorf("%w: %s", ErrLocked, d.Name)
		}
	}
	return nil
}

func compare(before, after map[string]string) []Difference {
	var found []Difference
	for _, s := range List() {
		if before[s.Name] != after[s.Name] {
			found = append(found, Difference{s.Name, before[s.Name], after[s.Name]})
		}
	}
	return found
}
