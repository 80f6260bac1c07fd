package ceremony

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/platform"
)

// ErrRehearsal means that a transcript is of a rehearsal, of which no log tells.
var ErrRehearsal = errors.New("this is the transcript of a rehearsal: it proves nothing")

// Verified is what a transcript that was verified says.
type Verified struct {
	Title        string
	Participants []string
	File         string // SHA-256 digest of the ceremony's file
	Steps, Done  int
	// Aborted and Ended tell how far it came; neither, that it can be resumed.
	Aborted, Ended bool
}

// Verify compares a transcript with the platform's audit log, and with those of the health
// authorities that it is about: [ErrTranscript] if they do not agree in every record. db is
// a handle under the role carillon_operator.
func Verify(ctx context.Context, db *tenant.DB, path string) (Verified, error) {
	t, err := readTranscript(path)
	if err != nil {
		return Verified{}, err
	}
	first, last := t.records[0], t.records[len(t.records)-1]
	if first.Rehearsal {
		return Verified{}, ErrRehearsal
	}
	if err := check(ctx, db, t); err != nil {
		return Verified{}, err
	}
	return Verified{
		Title: first.Title, Participants: first.Participants, File: first.File, Steps: len(first.Steps), Done: t.done(),
		Aborted: last.Record == recordAbort, Ended: last.Record == recordEnd,
	}, nil
}

// check compares a transcript with the logs.
func check(ctx context.Context, db *tenant.DB, t *transcript) error {
	logged, err := platform.Ceremony(ctx, db, t.records[0].Ceremony)
	if err != nil {
		return err
	}
	if len(logged) != len(t.records) {
		return fmt.Errorf("%w: it has %d records, the audit log %d", ErrTranscript, len(t.records), len(logged))
	}
	for i, r := range t.records {
		e := logged[i]
		if e.Detail["sha256"] != t.hashes[i] || e.Action != "ceremony:"+r.Record || e.Target != r.Tenant || !e.At.Equal(r.At) {
			return fmt.Errorf("%w: record %d is not what the audit log says", ErrTranscript, i+1)
		}
		if r.Tenant == "" {
			continue
		}
		if err := checkTenant(ctx, db, r.Tenant, t.records[0].Ceremony, t.hashes[i]); err != nil {
			return fmt.Errorf("record %d: %w", i+1, err)
		}
	}
	return nil
}

// checkTenant looks for a digest in the log of a tenant.
func checkTenant(ctx context.Context, db *tenant.DB, slug, ceremony, hash string) error {
	t, err := tenant.NewDirectory(db).BySlug(ctx, slug)
	if err != nil {
		return fmt.Errorf("%s: %w", slug, err)
	}
	var entries []audit.Entry
	err = db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		entries, err = audit.Find(ctx, tx, audit.Filter{Action: "ceremony:", Target: ceremony}, maxSteps)
		return err
	})
	if err != nil {
		return err
	}
	for _, e := range entries {
		var detail map[string]string
		if json.Unmarshal(e.Detail, &detail) == nil && detail["sha256"] == hash {
			return nil
		}
	}
	return fmt.Errorf("%w: the audit log of %s does not have it", ErrTranscript, slug)
}
