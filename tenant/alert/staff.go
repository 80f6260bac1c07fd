package alert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
	"carillon/tenant/mail"
	"carillon/tenant/outbound"
)

// Why a rule is refused.
var (
	ErrFigure    = errors.New("no such figure")
	ErrThreshold = errors.New("a bound is 0 to 1,000,000, or 1 to 100 percent")
	ErrEmails    = errors.New("there are up to 10 mail addresses")
	ErrNobody    = errors.New("nobody would be told")
	ErrWebhook   = errors.New("webhook cannot be called")
	ErrSecret    = errors.New("a webhook's secret has 12 to 200 characters")
	ErrFull      = errors.New("there are as many rules as there may be")
	ErrUnknown   = errors.New("no such rule")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrFigure, ErrThreshold, ErrEmails, ErrNobody, ErrWebhook, ErrSecret, ErrFull, ErrUnknown}
}

// Terms are a rule that somebody makes. Secret signs what the webhook is told.
type Terms struct {
	Figure    Figure
	Threshold int
	Emails    []string
	Webhook   string
	Secret    string
}

const (
	maxRules     = 50
	noticesShown = 50
)

// Staff is alerts as the staff of tenants see them: each act is checked.
type Staff struct {
	db       *tenant.DB
	policies *authz.Policies
	keys     *key.Ring
	network  *outbound.Network
	now      func() time.Time
}

// NewStaff returns them through db, a handle under carillon_portal.
func NewStaff(db *tenant.DB, policies *authz.Policies, keys *key.Ring, n *outbound.Network, now func() time.Time) *Staff {
	return &Staff{db: db, policies: policies, keys: keys, network: n, now: now}
}

const newestSQL = `
  select rule_id, day, channel, figure, threshold, value, raised_at, due_at, attempts, delivered_at
    from alert_notice
order by raised_at desc, rule_id, channel
   limit $1`

// Board lists the rules, and the newest notices: [authz.ErrForbidden] for whoever may not.
func (s *Staff) Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (list []Rule, notices []Notice, err error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SettingsRead); err != nil {
		return nil, nil, err
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if list, err = rules(ctx, tx); err != nil {
			return err
		}
		return tx.Select(ctx, &notices, newestSQL, noticesShown)
	})
	return list, notices, err
}

func (s *Staff) check(terms Terms) error {
	var faults []error
	fault := func(found bool, err error) {
		if found {
			faults = append(faults, err)
		}
	}
	fault(!slices.Contains(Figures(), terms.Figure), ErrFigure)
	fault(terms.Threshold < 0 || terms.Threshold > 1_000_000 || terms.Figure == ClaimedBelow && (terms.Threshold < 1 || terms.Threshold > 100), ErrThreshold)
	wrong := slices.ContainsFunc(terms.Emails, func(a string) bool { return !mail.IsAddress(a) })
	fault(len(terms.Emails) > 10 || wrong, ErrEmails)
	fault(len(terms.Emails) == 0 && terms.Webhook == "", ErrNobody)
	if terms.Webhook != "" {
		_, err := s.network.ParseURL(terms.Webhook)
		fault(err != nil, ErrWebhook)
		fault(len(terms.Secret) < 12 || len(terms.Secret) > 200, ErrSecret)
	}
	return errors.Join(faults...)
}

const addSQL = `
insert into alert_rule (tenant_id, rule_id, figure, threshold, emails, webhook, sealed, changed_at, checked_day)
select current_tenant(), $1, $2, $3, $4, $5, $6, $7, $8
 where (select count(*) from alert_rule) < $9`

// Add makes a rule. It begins with the day that is under way. All that is wrong with the
// terms is in the error, which may also be [authz.ErrForbidden] or [ErrFull].
func (s *Staff) Add(ctx context.Context, t *tenant.Tenant, by authz.Subject, terms Terms) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SettingsWrite); err != nil {
		return err
	}
	slices.Sort(terms.Emails)
	terms.Emails = slices.Compact(terms.Emails)
	if err := s.check(terms); err != nil {
		return err
	}
	id, now := uuid.New(), s.now()
	var sealed []byte
	if terms.Webhook != "" {
		dk, err := s.keys.DataKey(ctx, t.ID)
		if err != nil {
			return err
		}
		if sealed, err = dk.Seal(binding(t.ID, id), []byte(terms.Secret)); err != nil {
			return err
		}
	}
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, addSQL, id.String(), string(terms.Figure), terms.Threshold, pq.StringArray(append([]string{}, terms.Emails...)), terms.Webhook, sealed,
			now.UTC(), dayOf(now).AddDate(0, 0, -1).Format(time.DateOnly), maxRules)
		if err != nil {
			return fmt.Errorf("add alert rule: %w", err)
		}
		if rows == 0 {
			return ErrFull
		}
		return audit.Record(ctx, tx, now, by, "alert:add", id.String(), map[string]string{
			"figure": string(terms.Figure), "threshold": strconv.Itoa(terms.Threshold), "addresses": strconv.Itoa(len(terms.Emails)), "webhook": strconv.FormatBool(terms.Webhook != ""),
		})
	})
}

const removeSQL = `delete from alert_rule where rule_id = $1`

// Remove deletes a rule and its notices: [authz.ErrForbidden] or [ErrUnknown].
func (s *Staff) Remove(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SettingsWrite); err != nil {
		return err
	}
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, removeSQL, id.String())
		if err != nil {
			return fmt.Errorf("remove alert rule: %w", err)
		}
		if rows == 0 {
			return ErrUnknown
		}
		return audit.Record(ctx, tx, s.now(), by, "alert:remove", id.String(), nil)
	})
}
