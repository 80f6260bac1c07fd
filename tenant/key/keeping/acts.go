package keeping

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
)

// material is a version that is not stored yet.
type material struct {
	after        int // the version before it
	keyID, label string
	signing.Stored
}

// follows reports whether it is the version after the newest of a list.
func (m *material) follows(list []key.Version) bool {
	return len(list) > 0 && list[len(list)-1].No == m.after
}

// generate makes the secret of a purpose's next version.
func (k *Keeper) generate(ctx context.Context, id tenant.ID, p signing.Purpose) (*material, error) {
	var list []key.Version
	err := k.DB.InKeeping(ctx, id, key.Rotating, func(tx *tenant.Tx) error {
		all, err := key.Versions(ctx, tx)
		list = all[p]
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: %w", p, key.ErrNoKey)
	}
	last := list[len(list)-1]
	m := &material{after: last.No}
	m.keyID, m.label = key.NextName(last)
	m.Stored, err = k.Keys.Generate(ctx, id, p, m.keyID, m.label)
	return m, err
}

const (
	storeSQL = `
insert into signing_key (tenant_id, purpose, version, key_id, label, state, provider, sealed, public_der, created_at, activate_at)
values (current_tenant(), $1, $2, $3, $4, 'next', $5, $6, $7, $8, $9)`

	madeSQL = `
update key_rotation
   set step = 'made', version = $2
 where rotation_id = $1
   and step = 'requested'`

	settledSQL = `
update key_rotation
   set step = 'done', activated_at = coalesce(activated_at, $2), ended_at = $2
 where rotation_id = $1
   and step = 'made'`
)

// store stores a version that was made, as next.
func store(ctx context.Context, tx *tenant.Tx, b *custody.Book, w work, m *material, now time.Time) error {
	by := keeper
	if w.rotation != nil {
		by.Because = "asked for by " + w.rotation.RequestedBy
	}
	v := key.Version{Purpose: w.purpose, No: m.after + 1, KeyID: m.keyID, Label: m.label}
	_, err := tx.Exec(ctx, storeSQL, string(w.purpose), v.No, v.KeyID, v.Label, m.Provider, m.Sealed, m.PublicDER, now, activation(b, w, now))
	if err != nil {
		return fmt.Errorf("store key: %w", err)
	}
	if w.rotation != nil {
		if err := note(ctx, tx, w.rotation.ID, madeSQL, v.No); err != nil {
			return err
		}
	}
	return audit.Record(ctx, tx, now, by, string(authz.KeyRequestRotation), v.Target(), nil)
}

// activation is when a new version will be used, nil if people decide.
func activation(b *custody.Book, w work, now time.Time) *time.Time {
	rule := key.Rule(w.purpose)
	if rule.Guided {
		return nil
	}
	at := now.Add(rule.Lead)
	switch active := b.In(w.purpose, key.Active); {
	case w.rotation != nil && w.rotation.AtOnce:
		at = now.Add(min(rule.Lead, key.HandLead))
	case w.rotation == nil && active != nil:
		if end := active.Ends(b.Period(w.purpose)); end.After(at) {
			at = end
		}
	}
	return &at
}

const soonerSQL = `
update signing_key
   set activate_at = least(activate_at, $3)
 where purpose = $1
   and version = $2
   and state = 'next'`

// hand gives a rotation the version that is next already.
func hand(ctx context.Context, tx *tenant.Tx, w work, now time.Time) error {
	rule := key.Rule(w.purpose)
	if !rule.Guided {
		at := w.version.Created.Add(rule.Lead)
		if quick := now.Add(key.HandLead); w.rotation.AtOnce && quick.Before(at) {
			at = quick
		}
		if at.Before(now) {
			at = now
		}
		if _, err := tx.Exec(ctx, soonerSQL, string(w.purpose), w.version.No, at); err != nil {
			return fmt.Errorf("bring activation forward: %w", err)
		}
	}
	return note(ctx, tx, w.rotation.ID, madeSQL, w.version.No)
}

// note changes a rotation. That it is no longer at the step is an error: the transaction
// has changed something else for it.
func note(ctx context.Context, tx *tenant.Tx, rotation uuid.UUID, query string, args ...any) error {
	rows, err := tx.Exec(ctx, query, append([]any{rotation}, args...)...)
	if err != nil {
		return fmt.Errorf("note rotation: %w", err)
	}
	if rows == 0 {
		return custody.ErrStep
	}
	return nil
}

// errTrial is what went wrong when a version was tried, for the log alone.
var errTrial = job.Failure("the new key does not sign")

// sample is what a new export key is tried with: a file of one generated key, of a time
// long past.
var sample = exportfile.File{
	Start: time.Unix(0, 0).UTC(), End: time.Unix(3600, 0).UTC(), Region: "ZZ",
	Keys: []exportfile.Key{{RollingPeriod: 144, ReportType: exportfile.Confirmed}},
}

// trial signs a file with the new key and those that are active, and verifies all
// signatures. Keys of other purposes cannot be opened by this process, and are not tried.
func (k *Keeper) trial(ctx context.Context, id tenant.ID, w work) error {
	if w.purpose != signing.Export || w.version == nil {
		return nil
	}
	keys, err := k.Keys.Trial(ctx, id, w.purpose, w.version.No)
	if err != nil {
		return errors.Join(errTrial, err)
	}
	signers := make([]exportfile.Signer, len(keys))
	for i, s := range keys {
		signers[i] = exportfile.Signer{KeyID: s.KeyID, KeyVersion: s.Label, Key: s.Key}
	}
	file, err := exportfile.Encode(sample, signers)
	if err == nil {
		_, _, err = exportfile.Check(file, signers)
	}
	if err != nil {
		return errors.Join(errTrial, err)
	}
	return nil
}

const (
	testedSQL = `
update key_rotation
   set tested_at = $2, failure = ''
 where rotation_id = $1
   and step = 'made'`

	// Who wants to go on asks again.
	failedSQL = `
update key_rotation
   set step = 'made', failure = left($3, 100), failed_at = $2,
       tested_at = case when $4 then null else tested_at end
 where rotation_id = $1
   and step in ('made', 'activating')`

	inUseSQL = `
update key_rotation
   set step = $3, activated_at = $2, failure = '', ended_at = case when $3 = 'done' then $2::timestamptz end
 where rotation_id = $1
   and step = 'activating'`
)

func tried(ctx context.Context, tx *tenant.Tx, w work, trial error, now time.Time) error {
	if trial != nil {
		return note(ctx, tx, w.rotation.ID, failedSQL, now, job.Class(trial), true)
	}
	return note(ctx, tx, w.rotation.ID, testedSQL, now)
}

// start puts a version to use.
func start(ctx context.Context, tx *tenant.Tx, w work, trial error, now time.Time) error {
	if w.rotation == nil {
		_, err := key.Begin(ctx, tx, keeper, w.purpose, w.version.No, nil, now)
		return err
	}
	if trial != nil {
		return note(ctx, tx, w.rotation.ID, failedSQL, now, job.Class(trial), true)
	}
	_, err := key.Begin(ctx, tx, keeper, w.purpose, *w.rotation.Version, map[string]string{"rotation": w.rotation.ID.String()}, now)
	switch {
	case errors.Is(err, key.ErrTooManyKeys), errors.Is(err, key.ErrNoVersion):
		return note(ctx, tx, w.rotation.ID, failedSQL, now, err.Error(), false)
	case err != nil:
		return err
	}
	step := custody.Done
	if key.Rule(w.purpose).Together {
		step = custody.InUse
	}
	return note(ctx, tx, w.rotation.ID, inUseSQL, now, string(step))
}

// stop ends the signing of all versions before a rotation's.
func stop(ctx context.Context, tx *tenant.Tx, b *custody.Book, w work, now time.Time) error {
	for _, v := range b.Versions[w.purpose] {
		if v.State == key.Active && v.No < *w.rotation.Version {
			if _, err := key.End(ctx, tx, keeper, w.purpose, v.No, now); err != nil {
				return err
			}
		}
	}
	return key.EndRotations(ctx, tx, now)
}

const eraseSQL = `
update signing_key
   set state = 'destroyed', sealed = null, activate_at = null, destroyed_at = $3
 where purpose = $1
   and version = $2
   and state in ('verify-only', 'next')`

// erase destroys a version's secret.
func erase(ctx context.Context, tx *tenant.Tx, w work, now time.Time) error {
	rows, err := tx.Exec(ctx, eraseSQL, string(w.purpose), w.version.No, now)
	if err != nil {
		return fmt.Errorf("destroy key: %w", err)
	}
	if rows == 0 {
		return key.ErrNoVersion
	}
	return record(ctx, tx, *w.version, map[string]string{"state": string(key.Destroyed), "version": strconv.Itoa(w.version.No)}, now)
}
