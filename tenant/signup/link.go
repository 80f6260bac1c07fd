package signup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/mail"
)

// How long links are good for. A browser forgets that it asked for one after 20 minutes.
const (
	AddressLinkLife = 20 * time.Minute
	DomainLinkLife  = 3 * day
)

// purpose is what a link is for.
type purpose string

const (
	ofAddress purpose = "address" // confirms who applies
	ofDomain  purpose = "domain"  // proves a domain
)

const tokenBytes = 32

// newToken returns what stands in a link, and its digest, which alone is stored.
func newToken() (token string, digest []byte) {
	random := make([]byte, tokenBytes)
	rand.Read(random)
	token = base64.RawURLEncoding.EncodeToString(random)
	return token, digestOf(token)
}

func digestOf(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// SendLink sends a link to an address, by which whoever reads letters there confirms
// it, in the browser that holds the secret browser. It answers alike and at once for every
// address, known or not, and also when no letter is sent because the address has had too
// many of them. [ErrAddress] if it is none, [ErrBusy] if everybody together has had too
// many.
func (s *Service) SendLink(ctx context.Context, typed, browser string) error {
	to, err := address(typed)
	if err != nil {
		return err
	}
	token, digest := newToken()
	now := s.now()
	send := false
	err = s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		hour, err := s.count(ctx, tx, to, now)
		if err != nil || hour >= s.Limits.LettersAnHour {
			return err
		}
		send = true
		_, err = tx.Exec(ctx, addLinkSQL, digest, string(ofAddress), to, nil, digestOf(browser), now, now.Add(AddressLinkLife))
		return err
	})
	if errors.Is(err, ErrBusy) {
		return err
	}
	if err != nil {
		return fmt.Errorf("confirm address: %w", err)
	}
	if send {
		s.sendLater(ctx, addressLetter(to, s.BaseURL+"/signup/link/"+token))
	}
	return nil
}

const (
	countSQL = `
select count(*) as everybody,
       count(*) filter (where email = $1 and created_at > $2) as hour
  from signup_link
 where created_at > $3`

	addLinkSQL = `
insert into signup_link (digest, purpose, email, application_id, browser, created_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7)`
)

// count returns how many letters an address has had within the hour: [ErrBusy] if
// everybody together has had a day's worth.
func (s *Service) count(ctx context.Context, tx *tenant.Tx, to string, now time.Time) (int, error) {
	if err := lockSignup(ctx, tx); err != nil {
		return 0, err
	}
	var sent struct{ Everybody, Hour int }
	if err := tx.Get(ctx, &sent, countSQL, to, now.Add(-time.Hour), now.Add(-day)); err != nil {
		return 0, err
	}
	if sent.Everybody >= s.Limits.LettersADay {
		return 0, ErrBusy
	}
	return sent.Hour, nil
}

const (
	letterTimeout = 30 * time.Second
)

// sendLater sends a letter while the page is shown already, so that the answer takes as
// long whether or not there is a letter. Who waits in vain asks for another one.
func (s *Service) sendLater(ctx context.Context, l mail.Letter) {
	s.letters.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), letterTimeout)
		defer cancel()
		if err := s.Mail.Send(ctx, l); err != nil {
			s.Log.WarnContext(ctx, "a letter about a sign-up was not sent", "error", err)
		}
	})
}

const (
	lookSQL = `
select l.purpose, l.email, l.browser, l.expires_at, l.used_at, l.application_id
  from signup_link l
 where l.digest = $1
   and l.purpose = $2`

	useSQL = `
update signup_link
   set used_at = $2
 where digest = $1
   and used_at is null`
)

// link is a row of signup_link.
type link struct {
	Purpose     purpose
	Email       string
	Browser     []byte
	ExpiresAt   time.Time  `db:"expires_at"`
	UsedAt      *time.Time `db:"used_at"`
	Application *uuid.UUID `db:"application_id"`
}

// look finds a link that is good.
func (s *Service) look(ctx context.Context, tx *tenant.Tx, token string, p purpose, now time.Time) (link, error) {
	var l link
	err := tx.Get(ctx, &l, lookSQL, digestOf(token), string(p))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return l, ErrLink
	case err != nil:
		return l, err
	case l.UsedAt != nil:
		return l, ErrLinkUsed
	case !now.Before(l.ExpiresAt):
		return l, ErrLinkExpired
	}
	return l, nil
}

// use spends a link; of two who try at once, one does.
func (s *Service) use(ctx context.Context, tx *tenant.Tx, token string, now time.Time) error {
	rows, err := tx.Exec(ctx, useSQL, digestOf(token), now)
	if err == nil && rows == 0 {
		return ErrLinkUsed
	}
	return err
}

// ConfirmAddress spends a link of [Service.SendLink] and returns whom it confirms, in the
// browser that asked for it: [ErrLink], [ErrLinkUsed], [ErrLinkExpired] or
// [ErrOtherBrowser] if it does not.
func (s *Service) ConfirmAddress(ctx context.Context, token, browser string) (Applicant, error) {
	now := s.now()
	var l link
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) (err error) {
		if l, err = s.look(ctx, tx, token, ofAddress, now); err != nil {
			return err
		}
		if !equal(l.Browser, digestOf(browser)) {
			return ErrOtherBrowser
		}
		return s.use(ctx, tx, token, now)
	})
	if err != nil {
		return Applicant{}, linkFailed(err)
	}
	return Applicant{Email: l.Email, Confirmed: ByLink}, nil
}

// CheckAddress reports what [Service.ConfirmAddress] would answer, and spends nothing.
func (s *Service) CheckAddress(ctx context.Context, token, browser string) error {
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		l, err := s.look(ctx, tx, token, ofAddress, s.now())
		if err == nil && !equal(l.Browser, digestOf(browser)) {
			err = ErrOtherBrowser
		}
		return err
	})
	if err != nil {
		return linkFailed(err)
	}
	return nil
}

// linkFailed keeps the errors that callers tell apart as they are.
func linkFailed(err error) error {
	for _, known := range []error{ErrLink, ErrLinkUsed, ErrLinkExpired, ErrOtherBrowser, ErrState} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("follow link: %w", err)
}
