package alert

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/letter"
	"carillon/tenant/mail"
	"carillon/tenant/outbound"
	"carillon/tenant/stats"
)

// Config is what a [Service] works with.
type Config struct {
	// DB is a handle under carillon_jobs.
	DB        *tenant.DB
	Directory *tenant.Directory
	Figures   *stats.Service
	Keys      *key.Ring
	Mail      mail.Sender
	// Hooks reaches webhooks.
	Hooks *outbound.Fetcher
	// BaseURL is how browsers reach the portal, without a trailing slash.
	BaseURL string
	Log     *slog.Logger
	Now     func() time.Time
}

// Service looks at figures and delivers notices.
type Service struct{ Config }

// New returns a service.
func New(c Config) *Service { return &Service{c} }

const (
	dueSQL = `
  select rule_id, day, channel, figure, threshold, value, raised_at, due_at, attempts, delivered_at
    from alert_notice
   where due_at <= $1
order by due_at
   limit $2`

	deliveredSQL = `
update alert_notice
   set delivered_at = $4, due_at = null, attempts = attempts + 1
 where rule_id = $1 and day = $2 and channel = $3`

	laterSQL = `
update alert_notice
   set due_at = $4, attempts = attempts + 1
 where rule_id = $1 and day = $2 and channel = $3`

	// atOnce bounds the notices of one turn.
	atOnce = 50
	// patience is how long a notice is tried; the pause between two tries doubles, up to an
	// hour.
	patience = 24 * time.Hour
	longest  = time.Hour
	timeout  = 10 * time.Second
)

func (s *Service) deliver(ctx context.Context, t *tenant.Tenant, now time.Time) error {
	var due []Notice
	var list []Rule
	err := s.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		err := tx.Select(ctx, &due, dueSQL, now.UTC(), atOnce)
		if err == nil && len(due) > 0 {
			list, err = rules(ctx, tx)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	of := map[uuid.UUID]Rule{}
	for _, r := range list {
		of[r.ID] = r
	}
	for _, n := range due {
		if err := s.note(ctx, t, n, s.send(ctx, t, of[n.Rule], n, now), now); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) note(ctx context.Context, t *tenant.Tenant, n Notice, outcome error, now time.Time) error {
	day := n.Day.Format(time.DateOnly)
	statement, at := deliveredSQL, any(now.UTC())
	if outcome != nil {
		s.Log.WarnContext(ctx, "alert not delivered", slog.String("tenant", string(t.Slug)), slog.Any("error", outcome))
		statement, at = laterSQL, any(n.next(outcome, now))
	}
	err := s.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, statement, n.Rule.String(), day, n.Channel, at)
		return err
	})
	if err != nil {
		return fmt.Errorf("note alert: %w", err)
	}
	return nil
}

// next is when to try again; nil if there is no use in it.
func (n Notice) next(outcome error, now time.Time) *time.Time {
	at := now.UTC().Add(min(longest, time.Minute<<min(n.Attempts, 6)))
	if errors.Is(outcome, mail.ErrRecipient) || at.Sub(n.RaisedAt) > patience {
		return nil
	}
	return &at
}

func (s *Service) send(ctx context.Context, t *tenant.Tenant, r Rule, n Notice, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if n.Channel == WebhookChannel {
		return s.call(ctx, t, r, n, now)
	}
	text, err := s.letter(t, n)
	if err != nil {
		return err
	}
	return s.Mail.Send(ctx, text)
}

// body is what a webhook gets.
type body struct {
	ID        string `json:"id"`
	Authority string `json:"authority"`
	Figure    Figure `json:"figure"`
	Day       string `json:"day"`
	Value     int    `json:"value"`
	Threshold int    `json:"threshold"`
	Raised    string `json:"raised"`
}

// SignatureHeader has `t=<Unix time>,v1=<hex>`: the HMAC-SHA-256, under the rule's secret,
// of the time in decimal, a full stop and the body.
const SignatureHeader = "Carillon-Signature"

// Sign is the value of [SignatureHeader].
func Sign(secret, body []byte, at time.Time) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// call gives a notice to the webhook. Its errors do not repeat the address.
func (s *Service) call(ctx context.Context, t *tenant.Tenant, r Rule, n Notice, now time.Time) error {
	dk, err := s.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return err
	}
	secret, err := dk.Open(binding(t.ID, r.ID), r.Sealed)
	if err != nil {
		return err
	}
	text, err := json.Marshal(body{
		ID: n.ID(), Authority: string(t.Slug), Figure: n.Figure, Day: n.Day.Format(time.DateOnly),
		Value: n.Value, Threshold: n.Threshold, Raised: n.RaisedAt.UTC().Format(time.RFC3339),
	})
	if err != nil {
		return err
	}
	return s.Hooks.Post(ctx, r.Webhook, SignatureHeader, Sign(secret, text, now), text)
}

// binding binds the secret to its rule.
func binding(id tenant.ID, rule uuid.UUID) signing.Binding {
	return signing.Binding{Tenant: id.String(), Purpose: signing.Provider, KeyID: "alert/" + rule.String()}
}

func (s *Service) letter(t *tenant.Tenant, n Notice) (mail.Letter, error) {
	portal := s.BaseURL + "/portal/" + string(t.Slug)
	return letter.Of(t).Write(n.Channel, letter.Alert{
		Figure: string(n.Figure), Value: n.Value, Threshold: n.Threshold, Day: n.Day,
		Statistics: portal + "/statistics", Alerts: portal + "/alerts",
	})
}

const forgetSQL = `delete from alert_notice where raised_at < $1`

// Keep is how long notices are kept.
const Keep = 91 * 24 * time.Hour

// Cleanup forgets notices that are past their time. db is a handle under carillon_jobs.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	return db.In(ctx, id, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, forgetSQL, now.Add(-Keep).UTC())
		return err
	})
}
