package leaving

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/letter"
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
		text, err := s.reminder(to, t, l)
		if err != nil {
			return err
		}
		err = s.Mail.Send(ctx, text)
		if err != nil && !errors.Is(err, mail.ErrRecipient) {
			return fmt.Errorf("letter about leaving: %w", err)
		}
	}
	return s.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, toldSQL, due)
		return err
	})
}

func (s *Service) reminder(to string, t *tenant.Tenant, l Leave) (mail.Letter, error) {
	return letter.Of(t).Write(to, letter.Leaving{
		Closes: l.Closes, Erases: l.Erases, Page: s.BaseURL + "/portal/" + string(t.Slug) + "/leaving",
	})
}

// certificateLetter is in every language: nobody knows any more which was the authority's.
func certificateLetter(to, slug, statement string) (mail.Letter, error) {
	all := mail.Letter{To: to}
	for _, language := range letter.Languages() {
		l, err := letter.Reader{Authority: slug, Language: language}.Write(to, letter.Erased{Statement: statement})
		if err != nil {
			return mail.Letter{}, err
		}
		if all.Subject == "" {
			all.Subject, all.Text = l.Subject, l.Text
		} else {
			all.Text += "\n" + l.Subject + "\n\n" + l.Text
		}
	}
	return all, nil
}
