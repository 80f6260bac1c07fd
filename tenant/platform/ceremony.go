package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"carillon/tenant"
)

// Recorded is an entry with all that was recorded.
type Recorded struct {
	At             time.Time
	Action, Target string
	Detail         map[string]string
}

const ceremonySQL = `
  select at, action, target, detail
    from platform_entry
   where starts_with(action, 'ceremony:')
     and detail ->> 'ceremony' = $1
order by entry_no
   limit 1000`

// Ceremony lists the entries of a key ceremony, the oldest first.
func Ceremony(ctx context.Context, db *tenant.DB, id string) ([]Recorded, error) {
	var rows []struct {
		At             time.Time
		Action, Target string
		Detail         []byte
	}
	err := db.Platform(ctx, func(tx *tenant.Tx) error { return tx.Select(ctx, &rows, ceremonySQL, id) })
	if err != nil {
		return nil, fmt.Errorf("read entries of a ceremony: %w", err)
	}
	list := make([]Recorded, len(rows))
	for i, r := range rows {
		list[i] = Recorded{At: r.At, Action: r.Action, Target: r.Target}
		if err := json.Unmarshal(r.Detail, &list[i].Detail); err != nil {
			return nil, fmt.Errorf("read entries of a ceremony: %w", err)
		}
	}
	return list, nil
}
