// Package keeping does what the clock and the people of a health authority ask for with its
// keys: it makes the next version of each in time, puts it to use, retires the one before
// and destroys it when nothing that it signed or sealed is valid any more.
//
// It is one background job, named [Job], for every tenant. A run does one thing after
// another until nothing is due, each in a transaction of its own that decides again what is
// due: a run that is broken off anywhere, or two at once, do no harm. Then it sees to the
// alarms, and asks the schedule to come again exactly when the next thing is due. Whoever
// asks for something has the job come at once.
//
// Secrets are made in memory, sealed before they are stored, and never read here, except to
// try whether a new export key signs.
package keeping

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/mail"
)

// Every is the pause between two runs for a tenant if nothing is due before.
const Every = 15 * time.Minute

// Config is what a [Keeper] works with.
type Config struct {
	// DB is a handle under the role carillon_jobs.
	DB        *tenant.DB
	Keys      *key.Ring
	Directory *tenant.Directory
	// Policies say who is a custodian; Mail brings her the alarms.
	Policies *authz.Policies
	Mail     mail.Sender
	// BaseURL is where her browser reaches the portal, without a trailing slash.
	BaseURL string
	Metrics prometheus.Registerer
	Log     *slog.Logger
	Now     func() time.Time
}

// Keeper looks after the keys of all tenants. It is safe for concurrent use.
type Keeper struct {
	Config
	acts   *prometheus.CounterVec
	alarms *prometheus.CounterVec
}

// New returns a keeper.
func New(c Config) *Keeper {
	k := &Keeper{
		Config: c,
		acts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_key_acts_total", Help: "Versions of tenants' keys that were made, activated, retired and destroyed, by purpose.",
		}, []string{"purpose", "act"}),
		alarms: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_key_alarms_total", Help: "Alarms about tenants' keys that were raised, by purpose and kind.",
		}, []string{"purpose", "kind"}),
	}
	c.Metrics.MustRegister(k.acts, k.alarms)
	return k
}

// keeper is who the audit log says it was.
var keeper = authz.Subject{Kind: authz.System, ID: "keys", Name: "Key schedule"}

// work is one thing to do.
type work struct {
	act     act
	purpose signing.Purpose
	version *key.Version // nil for make
	// rotation is what asked for it; nil for the clock.
	rotation *custody.Rotation
}

type act string

const (
	makeNext act = "make"
	adopt    act = "adopt"    // give a rotation the version that is next already
	settle   act = "settle"   // a rotation's version is in use: it is done
	activate act = "activate" // by the clock, or by a guided rotation after a trial
	try      act = "try"      // whether a guided version signs
	retire   act = "retire"
	destroy  act = "destroy"
)

// maxSteps bounds a run. There are eight purposes, with few things to do for each.
const maxSteps = 100

// Run does all that is due for a tenant.
func (k *Keeper) Run(ctx context.Context, id tenant.ID) error {
	var failures error
	failed := map[work]bool{}
	for range maxSteps {
		w, err := k.find(ctx, id, failed)
		if err != nil {
			return errors.Join(failures, err)
		}
		if w == nil {
			break
		}
		if err := k.do(ctx, id, *w); err != nil {
			if ctx.Err() != nil {
				return err
			}
			failures = errors.Join(failures, fmt.Errorf("%s %s key: %w", w.act, w.purpose, err))
			failed[w.name()] = true // the others' keys do not wait for it
		}
	}
	return errors.Join(failures, k.forget(ctx, id), k.alarm(ctx, id), k.comeAgain(ctx, id))
}

// name is what a thing to do is known by in a run.
func (w work) name() work { return work{act: w.act, purpose: w.purpose} }

// find decides what to do next, nil if nothing is, or only what has failed.
func (k *Keeper) find(ctx context.Context, id tenant.ID, failed map[work]bool) (found *work, err error) {
	err = k.DB.InKeeping(ctx, id, key.Rotating, func(tx *tenant.Tx) error {
		found, err = look(ctx, tx, k.Now(), failed)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at keys: %w", err)
	}
	return found, nil
}

func look(ctx context.Context, tx *tenant.Tx, now time.Time, failed map[work]bool) (*work, error) {
	book, err := custody.Read(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, w := range due(book, now) {
		if !failed[w.name()] {
			return &w, nil
		}
	}
	return nil, nil
}

// due lists what is to be done now: for each purpose the first thing that its clock asks
// for, then the first that its rotations do.
func due(b *custody.Book, now time.Time) []work {
	var all []work
	for _, p := range signing.Purposes() {
		if d := b.Due(p); d.Act != "" && !d.At.After(now) {
			all = append(all, work{act: act(d.Act), purpose: p, version: d.Version})
		}
		for _, r := range b.Rotations {
			if w := asked(b, r); r.Purpose == p && w != nil {
				all = append(all, *w)
			}
		}
	}
	return all
}

// asked is what a rotation asks for, nil for nothing.
func asked(b *custody.Book, r custody.Rotation) *work {
	w := &work{purpose: r.Purpose, rotation: &r}
	rule := key.Rule(r.Purpose)
	if r.Version != nil {
		w.version = b.Find(r.Purpose, *r.Version)
	}
	isNext := w.version != nil && w.version.State == key.Next
	switch r.Step {
	case custody.Requested:
		w.act, w.version = makeNext, b.In(r.Purpose, key.Next)
		if w.version != nil {
			w.act = adopt
		}
	case custody.Made:
		switch {
		case rule.Guided && isNext && r.TestedAt == nil:
			w.act = try
		case !isNext:
			w.act = settle
		}
	case custody.Activating:
		w.act = activate
	case custody.Retiring:
		w.act = retire
	case custody.Cancelled:
		if rule.Guided && isNext {
			w.act = destroy
		}
	case custody.InUse, custody.Done:
	}
	if w.act == "" {
		return nil
	}
	return w
}

// do does one thing. What is slow or remote comes before the transaction. Of a version that
// is destroyed its provider hears first: if that is all that happens, it happens again.
func (k *Keeper) do(ctx context.Context, id tenant.ID, w work) error {
	var fresh *material
	var trial, err error
	switch {
	case w.act == makeNext:
		fresh, err = k.generate(ctx, id, w.purpose)
	case w.act == destroy:
		err = k.Keys.DiscardVersion(ctx, id, w.purpose, w.version.No)
	case w.act == try, w.act == activate && w.rotation != nil:
		trial = k.trial(ctx, id, w)
	}
	if err != nil {
		return err
	}
	done := false
	err = k.DB.InKeeping(ctx, id, key.Rotating, func(tx *tenant.Tx) error {
		done, err = k.apply(ctx, tx, w, fresh, trial)
		return err
	})
	if fresh != nil && (err != nil || !done) {
		err = errors.Join(err, k.Keys.Discard(ctx, id, w.purpose, fresh.keyID, fresh.label, fresh.Stored))
	}
	if err != nil {
		return err
	}
	if done {
		k.acts.WithLabelValues(string(w.purpose), string(w.act)).Inc()
		k.Log.InfoContext(ctx, "key", slog.String("tenant", id.String()), slog.String("purpose", string(w.purpose)), slog.String("act", string(w.act)))
	}
	return trial
}

// apply does w if it is still what is to be done, and reports whether it was: another
// process may have done it.
func (k *Keeper) apply(ctx context.Context, tx *tenant.Tx, w work, fresh *material, trial error) (bool, error) {
	now := k.Now().UTC().Truncate(time.Microsecond)
	book, err := custody.Read(ctx, tx)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(due(book, now), w.same) || fresh != nil && !fresh.follows(book.Versions[w.purpose]) {
		return false, nil
	}
	switch w.act {
	case makeNext:
		err = store(ctx, tx, book, w, fresh, now)
	case adopt:
		err = hand(ctx, tx, w, now)
	case settle:
		err = note(ctx, tx, w.rotation.ID, settledSQL, now)
	case try:
		err = tried(ctx, tx, w, trial, now)
	case activate:
		err = start(ctx, tx, w, trial, now)
	case retire:
		err = stop(ctx, tx, book, w, now)
	case destroy:
		err = erase(ctx, tx, w, now)
	}
	return err == nil, err
}

// same reports whether two things to do are one.
func (w work) same(other work) bool {
	return w.act == other.act && w.purpose == other.purpose && w.number() == other.number() && w.asker() == other.asker()
}

func (w work) number() int {
	if w.version == nil {
		return 0
	}
	return w.version.No
}

func (w work) asker() uuid.UUID {
	if w.rotation == nil {
		return uuid.Nil
	}
	return w.rotation.ID
}

const forgetSQL = `
delete from signing_key
 where state = 'destroyed'
   and public_der is null
   and destroyed_at < $1`

// forget drops what is left of old secrets. The newest version is never among them, so
// that no number is used twice.
func (k *Keeper) forget(ctx context.Context, id tenant.ID) error {
	return k.DB.InKeeping(ctx, id, key.Rotating, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, forgetSQL, k.Now().Add(-key.ForgetAfter).UTC())
		return err
	})
}

// comeAgain has the next run come when the next thing is due, if that is before [Every].
func (k *Keeper) comeAgain(ctx context.Context, id tenant.ID) error {
	return k.DB.InKeeping(ctx, id, key.Rotating, func(tx *tenant.Tx) error {
		now := k.Now()
		book, err := custody.Read(ctx, tx)
		if err != nil {
			return err
		}
		soonest := now.Add(Every)
		for _, p := range signing.Purposes() {
			if d := book.Due(p); d.Act != "" && d.At.After(now) && d.At.Before(soonest) {
				soonest = d.At
			}
		}
		if !soonest.Before(now.Add(Every)) {
			return nil
		}
		return job.Hasten(ctx, tx, custody.Job, soonest, now)
	})
}

// Behind says since when something is due that was not done, for the schedule's own alarm:
// what only the platform's people can put right.
func (k *Keeper) Behind(ctx context.Context, id tenant.ID) (since time.Time, err error) {
	err = k.DB.InKeeping(ctx, id, key.Rotating, func(tx *tenant.Tx) error {
		book, err := custody.Read(ctx, tx)
		if err != nil {
			return err
		}
		for _, p := range signing.Purposes() {
			if d := book.Due(p); d.Act != "" && !d.At.After(k.Now()) && (since.IsZero() || d.At.Before(since)) {
				since = d.At
			}
		}
		return nil
	})
	return since, err
}

// record is for what no other entry tells.
func record(ctx context.Context, tx *tenant.Tx, v key.Version, detail map[string]string, now time.Time) error {
	return audit.Record(ctx, tx, now, keeper, string(authz.KeyApproveRotation), v.Target(), detail)
}
