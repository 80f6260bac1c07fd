package stats

import (
	"context"
	"fmt"
	"time"

	"carillon/tenant"
)

// SMSErrorDay is how often a provider reported an error on a day.
type SMSErrorDay struct {
	Day      time.Time
	Code     string
	Quantity int64
}

const smsErrorsSQL = `
  select day, error_code as code, count as quantity
    from message_error
   where day >= $1::date
order by error_code`

// SMSErrors returns the providers' errors, for each day of the report and each error
// that there was in it: the newest day first, then by code. No errors: nothing.
func (s *Service) SMSErrors(ctx context.Context, t *tenant.Tenant) ([]SMSErrorDay, error) {
	var found []SMSErrorDay
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &found, smsErrorsSQL, s.oldest()) })
	if err != nil {
		return nil, fmt.Errorf("read message errors: %w", err)
	}
	type key struct {
		day  time.Time
		code string
	}
	quantity := map[key]int64{}
	var codes []string // in order
	for _, e := range found {
		if len(codes) == 0 || codes[len(codes)-1] != e.Code {
			codes = append(codes, e.Code)
		}
		quantity[key{e.Day.UTC(), e.Code}] = e.Quantity
	}
	var report []SMSErrorDay
	for _, d := range s.days() {
		for _, code := range codes {
			report = append(report, SMSErrorDay{Day: d, Code: code, Quantity: quantity[key{d, code}]})
		}
	}
	return report, nil
}
