package issuer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/authz"
	"carillon/signing/jws"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/outbound"
)

// JobName is what the job is called whose work [Refresher.Turn] is.
const JobName = "key-sets"

const (
	// fetchTimeout bounds one fetch: a key set is small.
	fetchTimeout = 10 * time.Second
	// fetchesAtOnce keeps a server that is slow from holding up a tenant's others.
	fetchesAtOnce = 5
	maxFailure    = 300
)

// Config is what a [Refresher] works with.
type Config struct {
	// DB is a handle under the role carillon_jobs, or carillon_operator.
	DB *tenant.DB
	// Fetcher reaches the servers.
	Fetcher *outbound.Fetcher
	// Log is told what changed and what failed.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Refresher keeps the keys of accepted servers as their key sets list them. It may run
// in any number of processes.
type Refresher struct {
	db      *tenant.DB
	fetcher *outbound.Fetcher
	log     *slog.Logger
	now     func() time.Time
}

// NewRefresher returns a refresher.
func NewRefresher(c Config) *Refresher {
	return &Refresher{db: c.DB, fetcher: c.Fetcher, log: c.Log, now: c.Now}
}

// Check reports whether the URL of a key set may be asked: [outbound.ErrAddress] if not.
func (r *Refresher) Check(url string) error { return r.fetcher.Check(url) }

// claim is a key set that this process fetches now.
type claim struct {
	Issuer string
	URL    string `db:"jwks_url"`
	Fence  int64
}

const claimSQL = `
   update outside_issuer
      set fence = fence + 1
    where jwks_url is not null
      and ($1 = '' or issuer = $1)
returning issuer, jwks_url, fence`

// Turn fetches the key sets of one tenant, as the reference does every two minutes
// (§12). One that cannot be used is logged, and keeps the others from nothing.
func (r *Refresher) Turn(ctx context.Context, id tenant.ID) error {
	claims, err := r.claim(ctx, id, "")
	if err != nil {
		return err
	}
	errs := make([]error, len(claims))
	var group errgroup.Group
	group.SetLimit(fetchesAtOnce)
	for i, c := range claims {
		group.Go(func() error {
			var failure error
			if failure, errs[i] = r.refresh(ctx, id, c); failure != nil {
				r.log.WarnContext(ctx, "key set not refreshed", slog.String("tenant", id.String()),
					slog.String("issuer", c.Issuer), slog.Any("error", failure))
			}
			return nil
		})
	}
	_ = group.Wait() // each has its own error
	return errors.Join(errs...)
}

// Refresh fetches one key set at once: [ErrUnknown] if the tenant accepts no such server
// or has pinned its keys. Why nothing was changed is the error's text.
func (r *Refresher) Refresh(ctx context.Context, id tenant.ID, issuer string) error {
	claims, err := r.claim(ctx, id, issuer)
	if err != nil {
		return err
	}
	if len(claims) == 0 {
		return fmt.Errorf("%w with a key set", ErrUnknown)
	}
	failure, err := r.refresh(ctx, id, claims[0])
	return errors.Join(failure, err)
}

func (r *Refresher) claim(ctx context.Context, id tenant.ID, issuer string) (claims []claim, err error) {
	err = r.db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Select(ctx, &claims, claimSQL, issuer) })
	if err != nil {
		return nil, fmt.Errorf("claim key sets: %w", err)
	}
	return claims, nil
}

// errOvertaken means that another fetch, or a change by hand, came in between.
var errOvertaken = errors.New("key set was fetched anew meanwhile")

// refresh fetches a key set. A failure is why that changed nothing, and is noted.
func (r *Refresher) refresh(ctx context.Context, id tenant.ID, c claim) (failure, err error) {
	failure = r.take(ctx, id, c)
	if failure == nil || errors.Is(failure, errOvertaken) {
		return nil, nil
	}
	if ctx.Err() != nil { // it is not the server's fault
		return nil, ctx.Err()
	}
	return failure, r.fail(ctx, id, c, failure)
}

const (
	holdSQL = `
   select fence
     from outside_issuer
    where issuer = $1
      and fence = $2
      for update`

	refreshedSQL = `
update outside_issuer
   set refreshed_at = $2,
       failed_at    = null,
       failure      = ''
 where issuer = $1`
)

// keeper is who changes keys without being told to.
var keeper = authz.Subject{Kind: authz.System, ID: "key-sets", Name: "Carillon"}

// take fetches a key set and makes its keys the trusted ones.
func (r *Refresher) take(ctx context.Context, id tenant.ID, c claim) error {
	keys, err := r.fetch(ctx, c.URL)
	if err != nil {
		return err
	}
	var changed changes
	err = r.db.In(ctx, id, func(tx *tenant.Tx) (err error) {
		var fence int64
		if err := tx.Get(ctx, &fence, holdSQL, c.Issuer, c.Fence); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return errOvertaken
			}
			return err
		}
		now := r.now()
		if changed, err = trust(ctx, tx, c.Issuer, keys, now); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, refreshedSQL, c.Issuer, now.UTC()); err != nil || !changed.any() {
			return err
		}
		detail := map[string]string{}
		changed.describe(detail)
		return audit.Record(ctx, tx, now, keeper, "verification-server:keys", c.Issuer, detail)
	})
	if err == nil && changed.any() {
		r.log.InfoContext(ctx, "keys of a verification server changed", slog.String("tenant", id.String()),
			slog.String("issuer", c.Issuer), slog.Any("added", changed.added), slog.Any("revoked", changed.revoked))
	}
	return err
}

func (r *Refresher) fetch(ctx context.Context, url string) ([]jws.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	text, err := r.fetcher.Get(ctx, url, jws.MaxKeySet)
	if err != nil {
		return nil, err
	}
	return jws.ParseKeySet(text)
}

const failSQL = `
update outside_issuer
   set failed_at = $3,
       failure   = $4
 where issuer = $1
   and fence = $2`

// fail notes why a fetch changed nothing.
func (r *Refresher) fail(ctx context.Context, id tenant.ID, c claim, cause error) error {
	text := cause.Error()
	text = strings.ToValidUTF8(text[:min(len(text), maxFailure)], "")
	return r.db.In(ctx, id, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, failSQL, c.Issuer, c.Fence, r.now().UTC(), text)
		return err
	})
}
