package guess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/job"
	"carillon/tenant/sweep"
)

// Action is how the audit log names an alarm.
const Action = "code:guessing-noticed"

// Watch raises the alarm when somebody guesses codes: a line in the log, a metric, and
// one audit entry for each tenant and UTC day, however many processes watch.
type Watch struct {
	db        *tenant.DB
	directory *tenant.Directory
	recorder  *job.Recorder
	log       *slog.Logger
	now       func() time.Time
	alarms    prometheus.Counter
	guessed   prometheus.Gauge
}

// NewWatch watches through db, a handle under the role carillon_jobs.
func NewWatch(db *tenant.DB, directory *tenant.Directory, recorder *job.Recorder, metrics prometheus.Registerer, log *slog.Logger, now func() time.Time) *Watch {
	w := &Watch{
		db: db, directory: directory, recorder: recorder, log: log, now: now,
		alarms: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carillon_guessing_alarms_total", Help: "Alarms about guessed codes, one for each tenant and day.",
		}),
		guessed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "carillon_guessed_tenants", Help: "Tenants whose new codes are longer because somebody guessed codes in the last day.",
		}),
	}
	metrics.MustRegister(w.alarms, w.guessed)
	return w
}

const watchInterval = time.Minute

// Run looks at every tenant, once a minute, until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		_ = w.Look(ctx) // the recorder knows
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Look looks at every tenant once. One that cannot be looked at does not hide the
// others.
func (w *Watch) Look(ctx context.Context) error {
	guessed, failed := 0, []error(nil)
	err := w.directory.Each(ctx, func(id tenant.ID) error {
		suspicious, err := w.look(ctx, id)
		w.recorder.Note(ctx, id, err)
		if err != nil {
			failed = append(failed, err)
		}
		if suspicious {
			guessed++
		}
		return ctx.Err()
	})
	w.recorder.Note(ctx, job.Platform, err)
	w.guessed.Set(float64(guessed))
	return errors.Join(append(failed, err)...)
}

const alarmSQL = `
insert into guessing_alarm (tenant_id, day, wrong, digits)
values (current_tenant(), $1, $2, $3)
    on conflict do nothing`

var system = authz.Subject{Kind: authz.System, ID: "guess", Name: "Guessing watch"}

func (w *Watch) look(ctx context.Context, id tenant.ID) (suspicious bool, err error) {
	t, err := w.directory.ByID(ctx, id)
	if err != nil {
		return false, err
	}
	var s Sighting
	var raised int64
	now := w.now().UTC()
	err = w.db.In(ctx, id, func(tx *tenant.Tx) error {
		if s, err = See(ctx, tx, now); err != nil || !s.Suspicious() {
			return err
		}
		digits := s.Digits(t.Settings.CodeDigits)
		if raised, err = tx.Exec(ctx, alarmSQL, now.Format(time.DateOnly), s.Wrong, digits); err != nil || raised == 0 {
			return err
		}
		return audit.Record(ctx, tx, now, system, Action, string(t.Slug), map[string]string{
			"unknown codes in a day": strconv.FormatInt(s.Wrong, 10), "digits of new codes": strconv.Itoa(digits),
		})
	})
	if err != nil {
		return false, fmt.Errorf("watch guessing: %w", err)
	}
	if raised > 0 {
		w.alarms.Inc()
		w.log.WarnContext(ctx, "somebody guesses codes: new ones are longer",
			slog.String("tenant", string(t.Slug)), slog.Int64("unknown", s.Wrong), slog.Int("digits", s.Digits(t.Settings.CodeDigits)))
	}
	return s.Suspicious(), nil
}

const (
	// Keep is how long counts are kept.
	Keep = 48 * time.Hour
	// KeepAlarms is how long alarms are.
	KeepAlarms = 91 * 24 * time.Hour

	deleteCountsSQL = `
delete from wrong_code_count
 where minute <= (select max(old.minute)
                    from (select minute
                            from wrong_code_count
                           where minute < $1
                        order by minute
                           limit $2) old)`

	deleteAlarmsSQL = `
delete from guessing_alarm
 where (tenant_id, day) in (select tenant_id, day
                              from guessing_alarm
                             where day < $1
                             limit $2)`
)

// Cleanup forgets what is past its time. db is a handle under the role carillon_jobs.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	err := errors.Join(
		sweep.Run(ctx, db, id, deleteCountsSQL, now.UTC().Add(-Keep)),
		sweep.Run(ctx, db, id, deleteAlarmsSQL, now.UTC().Add(-KeepAlarms).Format(time.DateOnly)))
	if err != nil {
		return fmt.Errorf("forget guessing: %w", err)
	}
	return nil
}
