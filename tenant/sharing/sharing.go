// Package sharing lets health authorities share exposure keys: a donor offers its keys
// to a recipient, all of them or those of travelers alone; the recipient accepts; and
// from then on keys that arrive at the donor are published by the recipient too, under
// the recipient's signature (key server protocol §10.1 between tenants).
//
// An offer names its recipient by slug and waits for it, whether or not there is such
// a tenant: nobody learns by offering who exists. It is answered once. Either side ends
// a share at any time, and then nothing crosses any more; what has crossed stays.
// Terms never change: other terms are another offer.
//
// Each side writes rows of its own and sees the other's. Every act writes its audit
// entry in the same transaction, on both sides: on the own one with who did it, on the
// other one with the name of the health authority alone.
//
// Shared keys arrive at the recipient like those of its own phones: see [Receive].
package sharing

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// Why an act is refused.
var (
	// ErrRecipient means that a name cannot be a health authority's, is one's own, or is
	// of another kind than one's own: sandboxes share with sandboxes only.
	ErrRecipient = errors.New("not the name of another health authority")
	// ErrRegions means that the terms list something that is no region, or too many.
	ErrRegions = errors.New("not a list of regions")
	// ErrOffered means that an offer to this recipient stands already.
	ErrOffered = errors.New("an offer to this health authority stands already")
	// ErrOften means that this recipient was made too many offers within a day.
	ErrOften = errors.New("too many offers to this health authority within a day")
	// ErrNoOffer means that there is no such offer, or none in a state that the act
	// could change.
	ErrNoOffer = errors.New("no such offer")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrRecipient, ErrRegions, ErrOffered, ErrOften, ErrNoOffer} }

// Terms say which of a donor's keys are shared.
type Terms struct {
	// TravelersOnly leaves out the keys of people who have not traveled.
	TravelersOnly bool
	// Regions are ISO 3166 codes, at most 50: only keys of one of them are shared. None
	// means keys of any region.
	Regions []string
}

const maxRegions = 50

// ParseRegions reads codes that are separated by spaces or commas: [ErrRegions] if one
// is none.
func ParseRegions(text string) ([]string, error) {
	list := []string{}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		region, err := tenant.ParseRegion(word)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRegions, err)
		}
		list = append(list, region)
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) > maxRegions {
		return nil, ErrRegions
	}
	return list, nil
}

// detail is what the audit log says of the terms.
func (t Terms) detail() map[string]string {
	keys := "all"
	if t.TravelersOnly {
		keys = "travelers"
	}
	return map[string]string{"keys": keys, "regions": strings.Join(t.Regions, " ")}
}

const (
	// An offer that was declined or ended by its recipient makes way for the next one.
	supersedeSQL = `
update share_offer o
   set withdrawn_at = $2
 where o.tenant_id = current_tenant()
   and o.recipient = $1
   and o.withdrawn_at is null
   and exists (select
                 from share_answer a
                where a.donor = o.tenant_id
                  and a.offer_id = o.offer_id
                  and (not a.accepted or a.ended_at is not null))`

	offerSQL = `
insert into share_offer (tenant_id, offer_id, recipient, travelers_only, regions, offered_at)
select current_tenant(), $1, $2, $3, $4, $5
 where (select count(*)
          from share_offer o
         where o.tenant_id = current_tenant()
           and o.recipient = $2
           and o.offered_at > $5::timestamptz - interval '1 day') < $6`
)

// maxOffersPerDay are the offers that one recipient gets from a donor: each is an entry
// in its audit log.
const maxOffersPerDay = 10

// Offer offers keys of us to the health authority with the slug to, in tx, which is
// bound to us and of no further use afterwards. It is [ErrRecipient], [ErrRegions],
// [ErrOffered] or [ErrOften] if it cannot be, and never tells whether that authority exists. The
// caller has checked who asks.
func Offer(ctx context.Context, tx *tenant.Tx, us *tenant.Tenant, by authz.Subject, to string, terms Terms, now time.Time) (uuid.UUID, error) {
	slug, err := tenant.ParseSlug(to)
	if err != nil || slug == us.Slug {
		return uuid.Nil, ErrRecipient
	}
	if terms.Regions, err = ParseRegions(strings.Join(terms.Regions, " ")); err != nil {
		return uuid.Nil, err
	}
	id := uuid.New()
	if _, err := tx.Exec(ctx, supersedeSQL, slug, now.UTC()); err != nil {
		return uuid.Nil, fmt.Errorf("replace an offer: %w", err)
	}
	made, err := tx.Exec(ctx, offerSQL, id, slug, terms.TravelersOnly, pq.Array(terms.Regions), now.UTC(), maxOffersPerDay)
	switch {
	case tenant.Violates(err, "share_offer_standing"):
		return uuid.Nil, ErrOffered
	case tenant.Violates(err, "share_offer_one_kind"):
		return uuid.Nil, ErrRecipient // a sandbox, or from one
	case err != nil:
		return uuid.Nil, fmt.Errorf("offer keys: %w", err)
	case made == 0:
		return uuid.Nil, ErrOften
	}
	return id, record(ctx, tx, us, by, slug, act{"sharing:offer", terms.detail(), now})
}

const (
	answerSQL = `
   insert into share_answer (tenant_id, donor, offer_id, accepted, answered_at, crossed_until)
   select current_tenant(), o.tenant_id, o.offer_id, $2, $3, $3
     from share_offer o
    where o.offer_id = $1
      and o.tenant_id <> current_tenant()
      and o.withdrawn_at is null
       on conflict do nothing
returning (select d.slug
             from tenant_directory d
            where d.tenant = donor)`

	withdrawSQL = `
   update share_offer
      set withdrawn_at = $2
    where tenant_id = current_tenant()
      and offer_id = $1
      and withdrawn_at is null
returning recipient`

	endSQL = `
   update share_answer
      set ended_at = $2
    where tenant_id = current_tenant()
      and offer_id = $1
      and accepted
      and ended_at is null
returning (select d.slug
             from tenant_directory d
            where d.tenant = donor)`
)

// Accept accepts an offer that was made to us: [ErrNoOffer] if there is none that waits
// for an answer. Transaction and caller are as for [Offer].
func Accept(ctx context.Context, tx *tenant.Tx, us *tenant.Tenant, by authz.Subject, offer uuid.UUID, now time.Time) error {
	return change(ctx, tx, us, by, act{"sharing:accept", nil, now}, answerSQL, offer, true, now.UTC())
}

// Decline declines one. Its errors are those of [Accept].
func Decline(ctx context.Context, tx *tenant.Tx, us *tenant.Tenant, by authz.Subject, offer uuid.UUID, now time.Time) error {
	return change(ctx, tx, us, by, act{"sharing:decline", nil, now}, answerSQL, offer, false, now.UTC())
}

// Withdraw takes back an offer of ours, whatever was answered: no key crosses any more.
// It is [ErrNoOffer] if none of ours with this ID stands.
func Withdraw(ctx context.Context, tx *tenant.Tx, us *tenant.Tenant, by authz.Subject, offer uuid.UUID, now time.Time) error {
	return change(ctx, tx, us, by, act{"sharing:withdraw", nil, now}, withdrawSQL, offer, now.UTC())
}

// End takes back our acceptance of an offer: no key comes any more. It is [ErrNoOffer]
// if we have accepted none with this ID, or have ended it before.
func End(ctx context.Context, tx *tenant.Tx, us *tenant.Tenant, by authz.Subject, offer uuid.UUID, now time.Time) error {
	return change(ctx, tx, us, by, act{"sharing:end", nil, now}, endSQL, offer, now.UTC())
}

const standingSQL = `
  select offer_id, true as ours
    from share_offer
   where tenant_id = current_tenant()
     and withdrawn_at is null
   union all
  select offer_id, false
    from share_answer
   where tenant_id = current_tenant()
     and accepted
     and ended_at is null
order by 1`

// EndAll takes back all offers of ours and all our acceptances, each in a transaction of
// its own with its entries. It may be interrupted, and repeated. db is a handle under
// carillon_jobs.
func EndAll(ctx context.Context, db *tenant.DB, us *tenant.Tenant, by authz.Subject, now time.Time) error {
	var standing []struct {
		Offer uuid.UUID `db:"offer_id"`
		Ours  bool
	}
	if err := db.In(ctx, us.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &standing, standingSQL) }); err != nil {
		return fmt.Errorf("find shares: %w", err)
	}
	for _, s := range standing {
		err := db.In(ctx, us.ID, func(tx *tenant.Tx) error {
			if s.Ours {
				return Withdraw(ctx, tx, us, by, s.Offer, now)
			}
			return End(ctx, tx, us, by, s.Offer, now)
		})
		if err != nil && !errors.Is(err, ErrNoOffer) { // somebody was faster
			return err
		}
	}
	return nil
}

// act is what the audit log says was done.
type act struct {
	action string
	detail map[string]string
	at     time.Time
}

// change runs a statement that changes one row or none, and tells whom it concerns.
func change(ctx context.Context, tx *tenant.Tx, us *tenant.Tenant, by authz.Subject, a act, query string, args ...any) error {
	var peer tenant.Slug
	err := tx.Get(ctx, &peer, query, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNoOffer
	}
	if err != nil {
		return fmt.Errorf("%s: %w", a.action, err)
	}
	return record(ctx, tx, us, by, peer, a)
}

const peerSQL = `select tenant from tenant_directory where slug = $1`

// entry is what one side's audit log gets.
type entry struct {
	of    tenant.ID
	by    authz.Subject
	about tenant.Slug
}

// record writes the audit entries of both sides. That the transaction ends up bound to
// either makes this the last thing in it. Entries of a tenant are written one after the
// other, so two acts between the same two would wait for each other if they did not
// write in the same order.
func record(ctx context.Context, tx *tenant.Tx, us *tenant.Tenant, by authz.Subject, peer tenant.Slug, a act) error {
	entries := []entry{{us.ID, by, peer}}
	var id tenant.ID
	switch err := tx.Get(ctx, &id, peerSQL, peer); {
	case err == nil:
		authority := authz.Subject{Kind: authz.System, ID: "authority " + string(us.Slug), Name: us.Name}
		entries = append(entries, entry{id, authority, us.Slug})
	case !errors.Is(err, sql.ErrNoRows): // an offer may wait for its recipient
		return fmt.Errorf("find the other health authority: %w", err)
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.of.String(), b.of.String()) })
	for _, e := range entries {
		if err := tx.Rebind(ctx, e.of); err != nil {
			return fmt.Errorf("turn to a side: %w", err)
		}
		if err := audit.Record(ctx, tx, a.at, e.by, a.action, string(e.about), a.detail); err != nil {
			return err
		}
	}
	return nil
}
