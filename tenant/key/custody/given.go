package custody

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/signing"
	"carillon/tenant"
)

// Carried is what a configuration pack has of keys: numbers of versions.
type Carried struct{ Export, SMS pq.Int64Array }

// of lists the versions of a purpose.
func (c Carried) of(p signing.Purpose) pq.Int64Array {
	if p == signing.SMS {
		return c.SMS
	}
	return c.Export
}

const carriedSQL = `
  select ` + rotationColumns + `
    from key_rotation
   where purpose = 'export' and version = any ($1)
      or purpose = 'sms' and version = any ($2)
order by requested_at, rotation_id`

// Bringing lists the rotations that bring a version which a pack carries.
func Bringing(ctx context.Context, tx *tenant.Tx, c Carried) (list []Rotation, err error) {
	if err := tx.Select(ctx, &list, carriedSQL, c.Export, c.SMS); err != nil {
		return nil, fmt.Errorf("find rotations of a pack: %w", err)
	}
	return list, nil
}

const (
	appleGivenSQL = `
   update key_rotation
      set apple_pack_id = $3, apple_given_at = $4,
          handed_over_by = case when handed_over_at is null and google_given_at is not null then $5 else handed_over_by end,
          handed_over_at = case when google_given_at is not null then coalesce(handed_over_at, $4) else handed_over_at end
    where step = 'made'
      and purpose = $1
      and version = any ($2)
returning rotation_id`

	googleGivenSQL = `
   update key_rotation
      set google_pack_id = $3, google_given_at = $4,
          handed_over_by = case when handed_over_at is null and apple_given_at is not null then $5 else handed_over_by end,
          handed_over_at = case when apple_given_at is not null then coalesce(handed_over_at, $4) else handed_over_at end
    where step = 'made'
      and purpose = $1
      and version = any ($2)
returning rotation_id`
)

// Give notes with guided rotations, in the transaction that notes the hand-over of a pack,
// that a party was given the versions that it carries: what both were given is handed over.
// by is the name of whoever notes it. It returns the rotations that it counts for.
func Give(ctx context.Context, tx *tenant.Tx, to Party, pack uuid.UUID, c Carried, by string, now time.Time) (counts []uuid.UUID, err error) {
	query := appleGivenSQL
	if to == Google {
		query = googleGivenSQL
	}
	for _, p := range []signing.Purpose{signing.Export, signing.SMS} {
		var of []uuid.UUID
		if err := tx.Select(ctx, &of, query, string(p), c.of(p), pack, now, short(by)); err != nil {
			return nil, fmt.Errorf("note hand-over with rotations: %w", err)
		}
		counts = append(counts, of...)
	}
	return counts, nil
}
