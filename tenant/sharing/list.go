package sharing

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
)

// State is how an offer stands.
type State string

// The states of an offer. The last three are final.
const (
	// Waiting: it has not been answered.
	Waiting State = "waiting"
	// InForce: it was accepted, and keys cross.
	InForce State = "in-force"
	// Declined: the recipient does not want it.
	Declined State = "declined"
	// Ended: the recipient took its acceptance back.
	Ended State = "ended"
	// Withdrawn: the donor took it back.
	Withdrawn State = "withdrawn"
)

// Share is an offer and what became of it, as one of its two sides sees it.
type Share struct {
	Offer uuid.UUID `db:"offer_id"`
	// Incoming: it is seen from the recipient's side.
	Incoming bool
	// Peer is the other side. Its name is empty to a donor until the recipient has
	// answered: only then it is known to exist.
	Peer     tenant.Slug
	PeerName string `db:"peer_name"`

	TravelersOnly bool           `db:"travelers_only"`
	Regions       pq.StringArray `db:"regions"`

	OfferedAt time.Time  `db:"offered_at"`
	Answered  *time.Time `db:"answered_at"`
	Accepted  bool       `db:"accepted"`
	// Over is when either side ended it; nil while neither has.
	Over      *time.Time `db:"over_at"`
	Withdrawn bool       `db:"withdrawn"` // by the donor
}

// State tells how the offer stands.
func (s Share) State() State {
	switch {
	case s.Answered != nil && !s.Accepted:
		return Declined
	case s.Over != nil && s.Withdrawn:
		return Withdrawn
	case s.Over != nil:
		return Ended
	case s.Answered == nil:
		return Waiting
	}
	return InForce
}

// Given an ID, each finds that one alone. What was withdrawn before it was answered is
// over for its recipient, too: a donor that changes its mind often hides no other's offer.
const (
	outgoingSQL = `
   select o.offer_id, false as incoming, o.recipient as peer, coalesce(d.name, '') as peer_name, o.travelers_only, o.regions,
          o.offered_at, a.answered_at, coalesce(a.accepted, false) as accepted,
          least(o.withdrawn_at, a.ended_at) as over_at,
          (o.withdrawn_at is not null and o.withdrawn_at < coalesce(a.ended_at, 'infinity')) as withdrawn
     from share_offer o
left join share_answer a on a.donor = o.tenant_id and a.offer_id = o.offer_id
left join tenant_directory d on d.tenant = a.tenant_id
    where o.tenant_id = current_tenant()
      and ($1::uuid is null or o.offer_id = $1)
 order by o.offered_at desc, o.offer_id
    limit 200`

	incomingSQL = `
   select o.offer_id, true as incoming, d.slug as peer, d.name as peer_name, o.travelers_only, o.regions,
          o.offered_at, a.answered_at, coalesce(a.accepted, false) as accepted,
          least(o.withdrawn_at, a.ended_at) as over_at,
          (o.withdrawn_at is not null and o.withdrawn_at < coalesce(a.ended_at, 'infinity')) as withdrawn
     from share_offer o
     join tenant_directory d on d.tenant = o.tenant_id
left join share_answer a on a.tenant_id = current_tenant() and a.donor = o.tenant_id and a.offer_id = o.offer_id
    where o.tenant_id <> current_tenant()
      and (o.withdrawn_at is null or a.answered_at is not null)
      and ($1::uuid is null or o.offer_id = $1)
 order by o.offered_at desc, o.offer_id
    limit 200`
)

// Outgoing lists what tx's tenant has offered, the newest first; Incoming what was
// offered to it and not withdrawn before it was answered. Each ends after 200.
func Outgoing(ctx context.Context, tx *tenant.Tx) ([]Share, error) {
	return list(ctx, tx, outgoingSQL, uuid.NullUUID{})
}

// Incoming is the other direction of [Outgoing].
func Incoming(ctx context.Context, tx *tenant.Tx) ([]Share, error) {
	return list(ctx, tx, incomingSQL, uuid.NullUUID{})
}

// Find returns an offer of either direction, however old: [ErrNoOffer] if none has this
// ID that tx's tenant would find in a list.
func Find(ctx context.Context, tx *tenant.Tx, offer uuid.UUID) (Share, error) {
	for _, query := range []string{outgoingSQL, incomingSQL} {
		found, err := list(ctx, tx, query, uuid.NullUUID{UUID: offer, Valid: true})
		if err != nil {
			return Share{}, err
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	return Share{}, ErrNoOffer
}

func list(ctx context.Context, tx *tenant.Tx, query string, one uuid.NullUUID) (shares []Share, err error) {
	if err := tx.Select(ctx, &shares, query, one); err != nil {
		return nil, fmt.Errorf("list offers: %w", err)
	}
	return shares, nil
}

// Crossing is how many keys came from one side to the other at a time.
type Crossing struct {
	Peer tenant.Slug
	// From and Until bound when the keys arrived at the donor, as far as that is stored.
	From    time.Time `db:"from_at"`
	Until   time.Time `db:"until_at"`
	Keys    int       `db:"key_count"`
	Revised int       `db:"revised_count"`
}

// Publication is a window of a configuration of ours: who loads its files sees the keys.
type Publication struct {
	Path    string
	From    time.Time `db:"starts_at"`
	Until   time.Time `db:"ends_at"`
	Keys    int       `db:"key_count"`
	Revised int       `db:"revised_count"`
}

// Seen is who sees the keys of a tenant: counts, by window, the newest first.
type Seen struct {
	// Own are the windows of its own configurations; keys of others that it publishes,
	// and padding, are among their numbers.
	Own []Publication
	// Shared are its keys that went to other tenants.
	Shared []Crossing
}

const (
	publicationsSQL = `
  select c.path, b.starts_at, b.ends_at, f.key_count, f.revised_count
    from export_batch b
    join export_config c on c.tenant_id = b.tenant_id and c.config_id = b.config_id
    join lateral (select sum(f.key_count)::integer as key_count, sum(f.revised_count)::integer as revised_count
                    from export_file f
                   where f.tenant_id = b.tenant_id
                     and f.config_id = b.config_id
                     and f.starts_at = b.starts_at) f on f.key_count is not null
   where b.tenant_id = current_tenant()
     and b.state = 'published'
order by b.starts_at desc, c.path
   limit $1`

	crossingsSQL = `
  select d.slug as peer, c.from_at, c.until_at, c.key_count, c.revised_count
    from share_crossing c
    join tenant_directory d on d.tenant = c.tenant_id
   where c.donor = current_tenant()
order by c.until_at desc, d.slug
   limit $1`
)

// ReadSeen tells who sees the keys of tx's tenant, at most limit windows of each kind.
func ReadSeen(ctx context.Context, tx *tenant.Tx, limit int) (Seen, error) {
	var s Seen
	if err := tx.Select(ctx, &s.Own, publicationsSQL, limit); err != nil {
		return Seen{}, fmt.Errorf("list published windows: %w", err)
	}
	if err := tx.Select(ctx, &s.Shared, crossingsSQL, limit); err != nil {
		return Seen{}, fmt.Errorf("list shared keys: %w", err)
	}
	return s, nil
}
