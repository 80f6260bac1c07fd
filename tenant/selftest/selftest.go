// Package selftest keeps how a tenant's servers stood when they tried themselves.
//
// A self-test is a rehearsal of a whole case: a code is issued, verified and swapped for a
// certificate, keys are published, exported, downloaded and checked, all over the URLs that
// phones and back ends use and with the tenant's own keys. What it leaves on its way is in
// tables and folders of rehearsals, which the database's constraints keep apart from
// everything that is people's, and is deleted by the next one.
//
// This package begins and ends rehearsals and has their history. Who walks the way is for
// the deployment to say: the domain does not know HTTP.
package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/client"
	"carillon/tenant/job"
)

// JobName is the job that tries tenants.
const JobName = "selftest"

// StepName is one of the steps of a rehearsal.
type StepName string

// The steps, in their order.
const (
	Issue       StepName = "issue"       // a code, as a back end asks for it
	Verify      StepName = "verify"      // the code for a token, as a phone does
	Certificate StepName = "certificate" // the token for a certificate
	Publish     StepName = "publish"     // keys with the certificate
	Export      StepName = "export"      // a signed file of them
	Download    StepName = "download"    // index and file, as phones fetch them
	Signature   StepName = "signature"   // the file, with the key that phones were given
)

// Steps lists them.
func Steps() []StepName {
	return []StepName{Issue, Verify, Certificate, Publish, Export, Download, Signature}
}

// Reason is why a step failed, as a word for which people are told what to do.
type Reason string

// The reasons.
const (
	Unreachable Reason = "unreachable" // no connection, or no answer in time
	Refused     Reason = "refused"     // an answer that is no success
	Broken      Reason = "broken"      // a server error, or an answer that makes no sense
	NoKey       Reason = "no-key"      // a signing key that cannot be used
	Mismatch    Reason = "mismatch"    // a success with other content
	Storage     Reason = "storage"     // the store of files, or the database
)

// Step is one that was taken.
type Step struct {
	Name StepName `json:"name"`
	// Milliseconds is how long it took.
	Milliseconds int64 `json:"ms"`
}

// Run is how one rehearsal ended.
type Run struct {
	ID        uuid.UUID `db:"run_id"`
	StartedAt time.Time `db:"started_at"`
	EndedAt   time.Time `db:"ended_at"`
	// FailedStep and Reason are empty if nothing failed.
	FailedStep StepName `db:"failed_step"`
	Reason     Reason   `db:"reason"`
	Steps      []Step   `db:"-"`
}

// Passed reports whether nothing failed.
func (r Run) Passed() bool { return r.FailedStep == "" }

// ErrBusy means that another rehearsal of the tenant is under way.
var ErrBusy = errors.New("another self-test of this tenant is under way")

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrBusy} }

// history is how many runs of a tenant are kept.
const history = 100

const (
	clearCodesSQL  = `delete from rehearsal_code`
	clearTokensSQL = `delete from rehearsal_token`
	clearKeysSQL   = `delete from rehearsal_key`
)

// Begin deletes what the last rehearsal has left and returns the pass of a new one:
// [ErrBusy] while another has one. db is a handle under carillon_jobs.
func Begin(ctx context.Context, db *tenant.DB, id tenant.ID, run uuid.UUID, now time.Time) (pass string, err error) {
	err = db.In(ctx, id, func(tx *tenant.Tx) error {
		var ok bool
		if pass, ok, err = client.MakePass(ctx, tx, run, now); err != nil {
			return err
		}
		if !ok {
			return ErrBusy
		}
		for _, statement := range []string{clearCodesSQL, clearTokensSQL, clearKeysSQL} {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return fmt.Errorf("clear the last rehearsal: %w", err)
			}
		}
		return nil
	})
	return pass, err
}

const (
	insertSQL = `
insert into selftest_run (tenant_id, run_id, started_at, ended_at, failed_step, reason, steps)
values (current_tenant(), $1, $2, $3, $4, $5, $6::jsonb)`

	forgetSQL = `
delete from selftest_run
 where run_id in (select run_id
                    from selftest_run
                order by started_at desc, run_id
                  offset $1)`
)

// End ends a rehearsal's pass and keeps how it ended.
func End(ctx context.Context, db *tenant.DB, id tenant.ID, r Run) error {
	steps, err := json.Marshal(append([]Step{}, r.Steps...))
	if err != nil {
		return err
	}
	err = db.In(ctx, id, func(tx *tenant.Tx) error {
		if err := client.EndPass(ctx, tx, r.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insertSQL, r.ID, r.StartedAt.UTC(), r.EndedAt.UTC(), string(r.FailedStep), string(r.Reason), string(steps)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, forgetSQL, history)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep self-test: %w", err)
	}
	return nil
}

const findSQL = `
  select run_id, started_at, ended_at, failed_step, reason, steps::text as steps
    from selftest_run
order by started_at desc, run_id
   limit $1`

// Find returns the newest runs of tx's tenant, the newest first.
func Find(ctx context.Context, tx *tenant.Tx, limit int) ([]Run, error) {
	var rows []struct {
		Run
		Text string `db:"steps"`
	}
	if err := tx.Select(ctx, &rows, findSQL, limit); err != nil {
		return nil, fmt.Errorf("find self-tests: %w", err)
	}
	runs := make([]Run, len(rows))
	for i, row := range rows {
		runs[i] = row.Run
		if err := json.Unmarshal([]byte(row.Text), &runs[i].Steps); err != nil {
			return nil, fmt.Errorf("steps of a self-test: %w", err)
		}
	}
	return runs, nil
}

// ask has the job run now, and says so in the audit log.
func ask(ctx context.Context, tx *tenant.Tx, by authz.Subject, now time.Time) error {
	if err := job.Hasten(ctx, tx, JobName, now, now); err != nil {
		return err
	}
	return audit.Record(ctx, tx, now, by, string(authz.SelfTestRun), "", nil)
}
