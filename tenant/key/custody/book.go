// Package custody is what the people of a health authority know of its keys and do with
// them: which versions there are and what comes next, rotations by hand, and the guided
// rotation of the keys that Apple and Google must be told of.
//
// A guided rotation goes in steps that can lie weeks apart:
//
//	requested   the jobs process makes the version and tries it
//	made        people hand the public half over, and note who confirmed it
//	activating  two people have agreed; the jobs process tries it again and puts it to use
//	active      of export keys: the old version signs as well
//	retiring    the jobs process ends the old version's signing
//	done        or cancelled, before the version was put to use
//
// Nothing here touches a secret: what is asked for is done by package keeping, in the jobs
// process, within a second or two.
package custody

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
)

// Job is the background job that does what is asked for.
const Job = "keys"

// Step is how far a rotation is.
type Step string

// The steps.
const (
	Requested  Step = "requested"
	Made       Step = "made"
	Activating Step = "activating"
	InUse      Step = "active"
	Retiring   Step = "retiring"
	Done       Step = "done"
	Cancelled  Step = "cancelled"
)

// Rotation is one that somebody asked for.
type Rotation struct {
	ID      uuid.UUID `db:"rotation_id"`
	Purpose signing.Purpose
	Step    Step
	// Version is what it brings; nil before it is made.
	Version *int
	// AtOnce: it does not wait for the purpose's lead. Reason says why it was asked for.
	AtOnce      bool `db:"at_once"`
	Reason      string
	RequestedAt time.Time `db:"requested_at"`
	RequestedBy string    `db:"requested_by"`
	// TestedAt is when a file signed by it and the old version verified.
	TestedAt     *time.Time `db:"tested_at"`
	HandedOverAt *time.Time `db:"handed_over_at"`
	HandedOverBy string     `db:"handed_over_by"`
	// ApplePack and GooglePack are the packs with its version that they were given last; nil
	// if that was not noted with a pack.
	ApplePack     *uuid.UUID `db:"apple_pack_id"`
	AppleGivenAt  *time.Time `db:"apple_given_at"`
	GooglePack    *uuid.UUID `db:"google_pack_id"`
	GoogleGivenAt *time.Time `db:"google_given_at"`
	// Apple and Google tell who confirmed that phones know the version.
	AppleAt       *time.Time `db:"apple_at"`
	AppleContact  string     `db:"apple_contact"`
	AppleNotedBy  string     `db:"apple_noted_by"`
	GoogleAt      *time.Time `db:"google_at"`
	GoogleContact string     `db:"google_contact"`
	GoogleNotedBy string     `db:"google_noted_by"`
	// RehearsedAt is when the same was done in the sandbox RehearsedIn.
	RehearsedAt *time.Time `db:"rehearsed_at"`
	RehearsedIn string     `db:"rehearsed_in"`
	ActivatedAt *time.Time `db:"activated_at"`
	EndedAt     *time.Time `db:"ended_at"`
	// Failure is why the last attempt to go on failed, in a few fixed words.
	Failure  string
	FailedAt *time.Time `db:"failed_at"`
}

// Open reports whether something of it is still to be done.
func (r Rotation) Open() bool { return r.Step != Done && r.Step != Cancelled }

// Begun reports whether its version is not in use yet, so that no other can begin.
func (r Rotation) Begun() bool {
	return slices.Contains([]Step{Requested, Made, Activating}, r.Step)
}

// Book is all that is known of a tenant's keys.
type Book struct {
	// Versions are those of each purpose, the oldest first.
	Versions map[signing.Purpose][]key.Version
	// Rotations are the newest hundred, the newest first, and all that are open.
	Rotations []Rotation
	// Raised are the alarms that the jobs process has noted.
	Raised  []Raised
	periods map[signing.Purpose]time.Duration
}

const (
	periodsSQL = `
select purpose, period_seconds
  from key_schedule`

	rotationColumns = `rotation_id, purpose, step, version, at_once, reason, requested_at, requested_by, tested_at,
         handed_over_at, handed_over_by, apple_pack_id, apple_given_at, google_pack_id, google_given_at,
         apple_at, apple_contact, apple_noted_by, google_at, google_contact, google_noted_by,
         rehearsed_at, rehearsed_in, activated_at, ended_at, failure, failed_at`

	rotationsSQL = `
  select ` + rotationColumns + `
    from key_rotation
order by ended_at is null desc, requested_at desc, rotation_id
   limit 100`

	raisedSQL = `
  select purpose, kind, raised_at, told_at
    from key_alarm
order by purpose, kind`
)

// Read reads the book, under a role that may: see [tenant.DB.InKeyList] and
// [tenant.DB.InKeeping].
func Read(ctx context.Context, tx *tenant.Tx) (*Book, error) {
	b := &Book{periods: map[signing.Purpose]time.Duration{}}
	var own []struct {
		Purpose signing.Purpose
		Seconds int `db:"period_seconds"`
	}
	var err error
	if b.Versions, err = key.Versions(ctx, tx); err != nil {
		return nil, err
	}
	if err := tx.Select(ctx, &own, periodsSQL); err != nil {
		return nil, fmt.Errorf("read schedule of keys: %w", err)
	}
	for _, o := range own {
		b.periods[o.Purpose] = time.Duration(o.Seconds) * time.Second
	}
	if err := tx.Select(ctx, &b.Rotations, rotationsSQL); err != nil {
		return nil, fmt.Errorf("read rotations: %w", err)
	}
	if err := tx.Select(ctx, &b.Raised, raisedSQL); err != nil {
		return nil, fmt.Errorf("read alarms of keys: %w", err)
	}
	return b, nil
}

// Period is how long versions of a purpose are used.
func (b *Book) Period(p signing.Purpose) time.Duration {
	if own, is := b.periods[p]; is {
		return own
	}
	return key.Rule(p).Period
}

// Due is what the clock asks for next: see [key.NextDue].
func (b *Book) Due(p signing.Purpose) key.Due {
	return key.NextDue(key.Rule(p), b.Period(p), b.Versions[p])
}

// Find returns a version, nil if there is none.
func (b *Book) Find(p signing.Purpose, no int) *key.Version {
	i := slices.IndexFunc(b.Versions[p], func(v key.Version) bool { return v.No == no })
	if i < 0 {
		return nil
	}
	return &b.Versions[p][i]
}

// In returns the newest version of a purpose in a state, nil if there is none.
func (b *Book) In(p signing.Purpose, s key.State) *key.Version {
	for i := len(b.Versions[p]) - 1; i >= 0; i-- {
		if v := &b.Versions[p][i]; v.State == s {
			return v
		}
	}
	return nil
}

// Rotation returns a rotation: [ErrNoRotation] if there is none.
func (b *Book) Rotation(id uuid.UUID) (Rotation, error) {
	i := slices.IndexFunc(b.Rotations, func(r Rotation) bool { return r.ID == id })
	if i < 0 {
		return Rotation{}, ErrNoRotation
	}
	return b.Rotations[i], nil
}

// Running returns the rotation of a purpose that is open, the newest if there are several.
func (b *Book) Running(p signing.Purpose) (Rotation, bool) {
	i := slices.IndexFunc(b.Rotations, func(r Rotation) bool { return r.Purpose == p && r.Open() })
	if i < 0 {
		return Rotation{}, false
	}
	return b.Rotations[i], true
}
