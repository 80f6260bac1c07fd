package custody

import (
	"time"

	"carillon/signing"
	"carillon/tenant/key"
)

// AlarmKind is what can be wrong with a purpose's key.
type AlarmKind string

// The kinds.
const (
	// Late: something that the clock asks for was not done for [LateAfter].
	Late AlarmKind = "late"
	// Old: people should rotate a key that is older than its period.
	Old AlarmKind = "old"
	// Waiting: a guided rotation has waited for people for [WaitingAfter].
	Waiting AlarmKind = "waiting"
	// Failed: a rotation could not go on.
	Failed AlarmKind = "failed"
	// Missing: no version is active.
	Missing AlarmKind = "missing"
)

const (
	// LateAfter is how late the jobs process may be without an alarm.
	LateAfter = time.Hour
	// WaitingAfter is how long Apple, Google and the custodians may take before somebody is
	// reminded. Neither names a time of its own.
	WaitingAfter = 14 * 24 * time.Hour
)

// Alarm is something that is wrong now.
type Alarm struct {
	Purpose signing.Purpose
	Kind    AlarmKind
	// Since is when it became so.
	Since time.Time
}

// Raised is an alarm as the jobs process has noted it.
type Raised struct {
	Purpose  signing.Purpose
	Kind     AlarmKind
	RaisedAt time.Time `db:"raised_at"`
	// ToldAt is when the custodians were told by mail; nil if they were not.
	ToldAt *time.Time `db:"told_at"`
}

// Alarms tells what is wrong at a time. A page asks this and not what was noted: the
// process that notes may be what is wrong.
func (b *Book) Alarms(now time.Time) []Alarm {
	var all []Alarm
	for _, p := range signing.Purposes() {
		add := func(k AlarmKind, since time.Time) { all = append(all, Alarm{p, k, since}) }
		active := b.In(p, key.Active)
		if active == nil {
			add(Missing, now)
			continue
		}
		if due := b.Due(p); due.Act != "" && now.Sub(due.At) >= LateAfter {
			add(Late, due.At)
		}
		r, running := b.Running(p)
		if end := active.Ends(b.Period(p)); key.Rule(p).Guided && !running && !now.Before(end) {
			add(Old, end)
		}
		if running && r.Begun() && r.Failure != "" {
			add(Failed, *r.FailedAt)
		}
		if running && r.Begun() && key.Rule(p).Guided && now.Sub(r.RequestedAt) >= WaitingAfter {
			add(Waiting, r.RequestedAt.Add(WaitingAfter))
		}
	}
	return all
}
