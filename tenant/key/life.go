package key

import (
	"time"

	"carillon/signing"
)

// Life is the rule by which the versions of a purpose's key come and go.
//
//	next         published, and opened by who reads, for Lead before it is used
//	active       used for Period, until the version after it takes over
//	verify-only  for Overlap, in which all ends that it signed or sealed
//	destroyed    its secret is erased
type Life struct {
	// Period is how long a version is active, unless the tenant says otherwise, within
	// MinPeriod and MaxPeriod. Of guided keys it is after how long custodians are reminded.
	Period, MinPeriod, MaxPeriod time.Duration
	// Lead is how long a version is next at least: until whoever must know it does.
	Lead time.Duration
	// Overlap is the longest life, by any setting of a tenant, of what a version signed or
	// sealed, and some time for clocks that differ.
	Overlap time.Duration
	// Guided versions are known to others, who must be told by people: none is made or put
	// to use by the clock.
	Guided bool
	// Together: while the new version is learnt, the old one signs beside it.
	Together bool
	// Lasting: the public half is listed for ever, for what it signed is kept.
	Lasting bool
}

const day = 24 * time.Hour

// HandLead is how long a version is next when somebody who cannot wait rotates by hand:
// long enough for every process of this service to know it.
const HandLead = 3 * Age

// Rule is the life of a purpose's key. Where the protocols name a time, it is theirs:
// certificates, verification protocol §9; tokens, §1.4; digests, §6.3; messages, §7.3;
// exports and revision tokens, key server protocol §11.
func Rule(p signing.Purpose) Life {
	switch p {
	case signing.Certificate:
		// Other key servers fetch the list every few minutes and keep it for some more: an
		// hour before use, and an hour's certificate and a quarter of an hour after.
		return Life{Period: 30 * day, MinPeriod: day, MaxPeriod: 90 * day, Lead: time.Hour, Overlap: 75 * time.Minute}
	case signing.Token:
		// A token lives for 48 hours at most.
		return Life{Period: 30 * day, MinPeriod: day, MaxPeriod: 90 * day, Lead: 10 * time.Minute, Overlap: 60 * time.Hour}
	case signing.CodeMAC:
		// A code lives for a day at most, and is known to be expired for two more.
		return Life{Period: day, MinPeriod: 12 * time.Hour, MaxPeriod: 30 * day, Lead: 30 * time.Minute, Overlap: 3 * day}
	case signing.PhoneMAC:
		// A number may not report again for 90 days at most.
		return Life{Period: 30 * day, MinPeriod: 7 * day, MaxPeriod: 90 * day, Lead: 30 * time.Minute, Overlap: 92 * day}
	case signing.Revision:
		// A key can be revised for 15 days.
		return Life{Period: 7 * day, MinPeriod: day, MaxPeriod: 30 * day, Lead: 10 * time.Minute, Overlap: 15 * day}
	case signing.Audit:
		// Checkpoints are signed by the active key alone, and verified for ever.
		return Life{Period: 365 * day, MinPeriod: 30 * day, MaxPeriod: 730 * day, Lead: 10 * time.Minute, Overlap: day, Lasting: true}
	case signing.SMS:
		// A message is of use while its long code lives, a day at most.
		return Life{Period: 365 * day, MinPeriod: 30 * day, MaxPeriod: 730 * day, Overlap: 7 * day, Guided: true}
	case signing.Export:
		// A file is listed for 14 days.
		return Life{Period: 365 * day, MinPeriod: 30 * day, MaxPeriod: 730 * day, Overlap: 15 * day, Guided: true, Together: true, Lasting: true}
	case signing.Message, signing.Provider, signing.Batch, signing.Archive, signing.Rehearsal, signing.Erasure: // have no keys of their own
	}
	panic("unknown purpose " + p)
}

// ForgetAfter is how long the row of a destroyed version without a public half is kept.
const ForgetAfter = 90 * day

// Version is a version of a tenant's key, for those who manage it: never its secret.
type Version struct {
	Purpose signing.Purpose
	// No counts from 1; KeyID and Label are what the wire names it by.
	No    int    `db:"version"`
	KeyID string `db:"key_id"`
	Label string
	State State
	// DER is the public half as DER-encoded SPKI; nil for keys that have none.
	DER     []byte    `db:"public_der"`
	Created time.Time `db:"created_at"`
	// ActivateAt is when a version that is next will be used; nil if people decide.
	ActivateAt *time.Time `db:"activate_at"`
	Activated  *time.Time `db:"activated_at"`
	Retired    *time.Time `db:"retired_at"`
	// DestroyAt is when a version that is verify-only will be destroyed.
	DestroyAt *time.Time `db:"destroy_at"`
	Destroyed *time.Time `db:"destroyed_at"`
}

// Target names a version in the audit log and in approvals.
func (v Version) Target() string {
	if v.Label == "" {
		return string(v.Purpose) + " " + v.KeyID
	}
	return string(v.Purpose) + " " + v.KeyID + " " + v.Label
}

// Act is what is to be done with a version.
type Act string

// The acts.
const (
	Make     Act = "make"
	Activate Act = "activate"
	Destroy  Act = "destroy"
)

// Due is the next thing that a purpose's clock asks for: an act, the version it is about
// (nil for Make) and when. Without an act nothing will be due until somebody does something.
type Due struct {
	Act     Act
	Version *Version
	At      time.Time
}

// NextDue tells what is due next for a purpose whose versions are given, the oldest
// first, and whose active one is used for period. What is due at the same time is done in
// the order: activate, make, destroy.
func NextDue(rule Life, period time.Duration, versions []Version) Due {
	var first Due
	offer := func(a Act, v *Version, at time.Time) {
		if first.Act == "" || at.Before(first.At) {
			first = Due{a, v, at}
		}
	}
	var next, active *Version
	for i := range versions {
		switch v := &versions[i]; v.State {
		case Next:
			next = v
		case Active:
			active = v
		case VerifyOnly, Destroyed:
		}
	}
	if next != nil && next.ActivateAt != nil {
		offer(Activate, next, *next.ActivateAt)
	}
	if next == nil && active != nil && !rule.Guided {
		offer(Make, nil, active.since().Add(period-rule.Lead))
	}
	for i := range versions {
		if v := &versions[i]; v.State == VerifyOnly && v.DestroyAt != nil {
			offer(Destroy, v, *v.DestroyAt)
		}
	}
	return first
}

// since is when a version began to be used.
func (v Version) since() time.Time {
	if v.Activated == nil {
		return v.Created
	}
	return *v.Activated
}

// Ends is when a version's use ends by its period.
func (v Version) Ends(period time.Duration) time.Time { return v.since().Add(period) }
