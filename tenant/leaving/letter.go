package leaving

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/mail"
)

// reminders are how long before the erasure owners are written to, besides at once.
var reminders = []time.Duration{MaxCoolDown, 7 * 24 * time.Hour, 24 * time.Hour}

const (
	ownersSQL = `
  select distinct email
    from member
   where state = 'active'
     and 'owner' = any (roles)
order by email`

	toldSQL = `
update tenant_leaving
   set told = $1
 where told < $1`
)

// remind writes to the owners, once at the beginning, and twice before the end. A letter
// may come twice if the process dies after it was sent.
func (s *Service) remind(ctx context.Context, t *tenant.Tenant, l Leave, now time.Time) error {
	due := 0
	for i, before := range reminders {
		if !now.Before(l.Erases.Add(-before)) {
			due = i + 1
		}
	}
	if due <= l.Told {
		return nil
	}
	var owners []string
	if err := s.DB.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &owners, ownersSQL) }); err != nil {
		return fmt.Errorf("read owners: %w", err)
	}
	for _, to := range owners {
		err := s.Mail.Send(ctx, s.reminder(to, t, l))
		if err != nil && !errors.Is(err, mail.ErrRecipient) {
			return fmt.Errorf("letter about leaving: %w", err)
		}
	}
	return s.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, toldSQL, due)
		return err
	})
}

func (s *Service) reminder(to string, t *tenant.Tenant, l Leave) mail.Letter {
	day := l.Erases.Format("2 January 2006 15:04 UTC")
	return mail.Letter{To: to, Subject: "Your health authority will be erased on " + day, Text: fmt.Sprintf(`“%s” leaves Carillon: one of its people asked for it, and another one approved.

No codes are issued any more. Codes that are out can be used until %s.
After %s all its data is erased, for good: settings, staff, API keys,
signing keys, audit log, statistics and published files.

Until then you can download an archive of the data, and any owner can have it stay:

%s
`, t.Name, l.Closes.Format("2 January 15:04 UTC"), day, s.BaseURL+"/portal/"+string(t.Slug)+"/leaving")}
}

func certificateLetter(to, slug, statement string) mail.Letter {
	return mail.Letter{To: to, Subject: "The data of " + slug + " has been erased", Text: fmt.Sprintf(`The data of the health authority “%s” on Carillon has been erased. This is the
certificate: one line of text, signed by the platform. Keep it.

%s

“carillon tenant verify-erasure” reads and verifies it, without access to the platform,
with the platform's public key, which the platform gives to whoever asks.
`, slug, statement)}
}
