package stats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
)

// Counter counts in memory what leaves no row. Its methods cost a few map accesses;
// it is safe for concurrent use, and a nil Counter counts nothing.
type Counter struct {
	now func() time.Time

	mu      sync.Mutex
	pending map[tenant.ID]map[cell]int64
	cells   int // in pending
	lost    int64

	flushing sync.Mutex // held while frozen is in use
	frozen   map[tenant.ID]batch
}

// NewCounter returns a counter.
func NewCounter(now func() time.Time) *Counter {
	return &Counter{now: now, pending: map[tenant.ID]map[cell]int64{}, frozen: map[tenant.ID]batch{}}
}

// cell is what is counted together. Times are UTC.
type cell struct {
	series  series
	hour    time.Time
	subject string
	cohort  time.Time
	class   int16
}

// batch is what one flush of a tenant writes, however often it has to try.
type batch struct {
	id    uuid.UUID
	first time.Time
	cells map[cell]int64
}

const (
	// maxCells bounds the memory: some 20 MB.
	maxCells = 100_000
	// retryFor is how long a flush is tried. Nobody knows whether a try whose answer
	// was lost has counted, and the database remembers it only for moveAfter.
	retryFor = 10 * time.Minute
)

// Caller is who sent a device request: the API key's ID, and the operating system as
// the User-Agent tells it.
type Caller struct {
	APIKey   string
	Platform Platform
}

// CodeClaimed counts a code that a phone swapped for a token.
func (c *Counter) CodeClaimed(id tenant.ID, by Caller) {
	c.add(id, cell{series: keyClaimed, subject: by.APIKey}, cell{series: systemClaimed, subject: string(by.Platform)})
}

// CodeInvalid counts a code that was not found, expired, of a type that the phone
// cannot handle, or sent with a wrong nonce; not one that was claimed before (§8.2).
func (c *Counter) CodeInvalid(id tenant.ID, by Caller, wrongNonce bool) {
	cells := []cell{{series: codesInvalid, subject: string(by.Platform)}, {series: keyInvalid, subject: by.APIKey}}
	if wrongNonce {
		cells = append(cells, cell{series: noncesInvalid, subject: string(by.Platform)})
	}
	c.add(id, cells...)
}

// TokenClaimed counts a certificate.
func (c *Counter) TokenClaimed(id tenant.ID, by Caller) {
	c.add(id, cell{series: keyTokens, subject: by.APIKey}, cell{series: systemTokens, subject: string(by.Platform)})
}

// TokenInvalid counts a token that was no token of the tenant or expired; not one that
// was used before (§8.2).
func (c *Counter) TokenInvalid(id tenant.ID, by Caller) {
	c.add(id, cell{series: tokensInvalid}, cell{series: keyBadTokens, subject: by.APIKey})
}

// Upload is what statistics keep of a publish request that stored or changed
// something.
type Upload struct {
	Platform Platform
	// Certified is when the certificate was made.
	Certified time.Time
	// Inserted and Revised are numbers of keys.
	Inserted, Revised int
	// OldestDays is the age of the oldest key in days, OnsetDays that of the onset.
	OldestDays, OnsetDays int
	// MissingOnset: the onset was not known and a default was taken.
	MissingOnset bool
}

const (
	keyAgeClasses   = 16
	onsetAgeClasses = 30
)

// Uploaded counts a publish request. One that revises keys counts in the first three
// series only (key server protocol §9).
func (c *Counter) Uploaded(id tenant.ID, u Upload) {
	if c == nil {
		return
	}
	delay := max(0, c.now().Sub(u.Certified))
	c.addN(id, cell{series: uploadKeys}, int64(u.Inserted+u.Revised))
	c.add(id, cell{series: uploads, subject: string(u.Platform), cohort: dayOf(u.Certified), class: class(delay)})
	if u.Revised > 0 {
		c.add(id, cell{series: revisions})
		return
	}
	c.add(id,
		cell{series: keyAges, class: int16(min(max(0, u.OldestDays), keyAgeClasses-1))},
		cell{series: onsetAges, class: int16(min(max(0, u.OnsetDays), onsetAgeClasses-1))})
	if u.MissingOnset {
		c.add(id, cell{series: missingOnset})
	}
}

// Bounds are the upper bounds of the [Classes] of ages and delays, each inside its class.
// The last class takes the rest, too.
func Bounds() [Classes]time.Duration {
	return [Classes]time.Duration{
		time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour,
		2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, day, 14 * day,
	}
}

// class is the class of a delay, as classOf has it.
func class(d time.Duration) int16 {
	for i, bound := range Bounds() {
		if d <= bound {
			return int16(i)
		}
	}
	return Classes - 1
}

func (c *Counter) add(id tenant.ID, cells ...cell) {
	for _, k := range cells {
		c.addN(id, k, 1)
	}
}

// addN adds to a cell of the current hour. A count for which there is no room is lost.
func (c *Counter) addN(id tenant.ID, k cell, n int64) {
	if c == nil || n == 0 {
		return
	}
	k.hour = c.now().UTC().Truncate(time.Hour)
	if k.cohort.IsZero() {
		k.cohort = dayOf(k.hour)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.pending[id]
	if of == nil {
		of = map[cell]int64{}
		c.pending[id] = of
	}
	if _, known := of[k]; !known {
		if c.cells >= maxCells {
			c.lost += n
			return
		}
		c.cells++
	}
	of[k] += n
}

// freeze takes what a flush will write. A tenant whose last flush has not come
// through keeps that one, and goes on counting beside it.
func (c *Counter) freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, cells := range c.pending {
		if _, busy := c.frozen[id]; busy {
			continue
		}
		c.frozen[id] = batch{id: uuid.New(), first: c.now().UTC(), cells: cells}
		c.cells -= len(cells)
		delete(c.pending, id)
	}
}

const tallySQL = `
insert into statistic_tally (tenant_id, flush_id, flushed_at, series, hour, subject, cohort, class, quantity)
select current_tenant(), $1::uuid, $2::timestamptz, t.series, t.hour, t.subject, t.cohort, t.class, t.quantity
  from unnest($3::text[], $4::timestamptz[], $5::text[], $6::date[], $7::smallint[], $8::bigint[])
    as t (series, hour, subject, cohort, class, quantity)`

// ErrLost means that counts were given up: the database did not take them in time, or
// there was no room for them.
var ErrLost = errors.New("counts of statistics lost")

// Flush writes what was counted, one insert for each tenant. What could not be written
// is tried again by the next flush, for ten minutes: [ErrLost] after that. db is a
// handle under carillon_device, carillon_issuer, carillon_publish or carillon_portal.
func (c *Counter) Flush(ctx context.Context, db *tenant.DB) error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.freeze()
	var errs []error
	for id, b := range c.frozen {
		if err := b.write(ctx, db, id); err != nil {
			errs = append(errs, fmt.Errorf("flush statistics: %w", err))
			if c.now().Sub(b.first) < retryFor {
				continue
			}
			c.lose(b)
		}
		delete(c.frozen, id)
	}
	if n := c.takeLost(); n > 0 {
		errs = append(errs, fmt.Errorf("%w: %d", ErrLost, n))
	}
	return errors.Join(errs...)
}

func (c *Counter) lose(b batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range b.cells {
		c.lost += n
	}
}

func (c *Counter) takeLost() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.lost
	c.lost = 0
	return n
}

// write inserts the batch, unless an earlier try has done so and only the answer was
// lost.
func (b batch) write(ctx context.Context, db *tenant.DB, id tenant.ID) error {
	var names, subjects, hours, cohorts pq.StringArray
	var classes pq.Int32Array
	var quantities pq.Int64Array
	for k, n := range b.cells {
		names, subjects = append(names, string(k.series)), append(subjects, k.subject)
		hours = append(hours, k.hour.Format(time.RFC3339))
		cohorts = append(cohorts, k.cohort.Format(time.DateOnly))
		classes, quantities = append(classes, int32(k.class)), append(quantities, n)
	}
	err := db.In(ctx, id, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, tallySQL, b.id.String(), b.first, names, hours, subjects, cohorts, classes, quantities)
		return err
	})
	if tenant.Violates(err, "statistic_tally_pkey") {
		return nil
	}
	return err
}

// FlushInterval is the pause between flushes.
const FlushInterval = 5 * time.Second

// Run flushes every few seconds until ctx ends, and tells report of what went wrong.
// Whoever stops the process flushes once more when no request is under way.
func (c *Counter) Run(ctx context.Context, db *tenant.DB, report func(error)) {
	ticker := time.NewTicker(FlushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := c.Flush(ctx, db); err != nil && ctx.Err() == nil {
				report(err)
			}
		}
	}
}
