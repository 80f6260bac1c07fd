package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"carillon/tenant"
	"carillon/tenant/alert"
	"carillon/tenant/approval"
	"carillon/tenant/audit/checkpoint"
	"carillon/tenant/batch"
	"carillon/tenant/batch/sheet"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/guess"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/member"
	"carillon/tenant/message/delivery"
	"carillon/tenant/quota"
	"carillon/tenant/rehearsal"
	"carillon/tenant/sharing"
	"carillon/tenant/stats"
	"carillon/tenant/support"
	"carillon/tenant/verification"
)

const (
	upkeepInterval = 5 * time.Minute
	// upkeepBound is late for what only tidies up: nobody waits for it, but what is kept
	// too long was promised to be gone.
	upkeepBound   = time.Hour
	upkeepTimeout = 10 * time.Minute
	upkeepAtOnce  = 2

	labResultsInterval = 15 * time.Minute

	// exportBound is what the protocol's alarms wait for at least: 12 minutes without a
	// finished batch (key server protocol §12).
	exportBound   = 12 * time.Minute
	exportTimeout = 10 * time.Minute
	exportAtOnce  = 4
)

// upkeep is a job that nobody waits for.
func upkeep(name string, run func(context.Context, tenant.ID) error) job.Job {
	return job.Job{
		Name: name, Every: upkeepInterval, Bound: upkeepBound, AtOnce: upkeepAtOnce, Timeout: upkeepTimeout, Run: run,
	}
}

// exportJob makes and retires the files of active tenants.
func (s *Service) exportJob(exports *export.Service) job.Job {
	return job.Job{
		Name: "export", Every: s.config.JobInterval, Bound: max(exportBound, 2*s.config.JobInterval),
		AtOnce: exportAtOnce, Timeout: exportTimeout, Run: exports.Turn, Behind: exports.Behind,
	}
}

// inspectJob looks whether what phones download is what was published.
func (s *Service) inspectJob(exports *export.Service) job.Job {
	j := upkeep("export-inspection", exports.Inspect)
	j.Every = min(upkeepInterval, 10*s.config.JobInterval)
	return j
}

// statisticsJob counts what rows say before they go: every five minutes, and sooner where
// all jobs go faster than usual.
func (s *Service) statisticsJob(db *tenant.DB) job.Job {
	j := upkeep("statistics", func(ctx context.Context, id tenant.ID) error {
		_, err := stats.Rollup(ctx, db, id, s.config.Now())
		return err
	})
	j.Every, j.Suspended = min(upkeepInterval, 10*s.config.JobInterval), true
	return j
}

// quotaJob models the limits of tenants that issue codes.
func (s *Service) quotaJob(db *tenant.DB) job.Job {
	return upkeep("quota", func(ctx context.Context, id tenant.ID) error { return quota.CloseDays(ctx, db, id, s.config.Now()) })
}

// checkpointJob signs how far tenants' audit logs have come.
func (s *Service) checkpointJob(db *tenant.DB, keys *key.Ring, directory *tenant.Directory) job.Job {
	signer := checkpoint.NewSigner(db, keys, s.config.Log, s.config.Now)
	j := upkeep("audit-checkpoint", func(ctx context.Context, id tenant.ID) error {
		t, err := directory.ByID(ctx, id)
		if err == nil {
			_, err = signer.Sign(ctx, t)
		}
		return err
	})
	j.Every, j.Suspended = checkpoint.Interval, true
	return j
}

// sessionJob forgets the sessions of browsers, which belong to no tenant.
func (s *Service) sessionJob(db *tenant.DB) job.Job {
	j := upkeep("sessions", func(ctx context.Context, _ tenant.ID) error { return member.DeleteExpired(ctx, db, s.config.Now()) })
	j.Platform = true
	return j
}

// retentionJob deletes what is past its time, whatever became of the tenant. What fails
// for one kind of rows does not keep the others.
func (s *Service) retentionJob(db *tenant.DB, directory *tenant.Directory, exports *export.Service) job.Job {
	j := upkeep("retention", func(ctx context.Context, id tenant.ID) error {
		t, err := directory.ByID(ctx, id)
		if err != nil {
			return err
		}
		now := s.config.Now()
		return errors.Join(
			s.forgetCodes(ctx, db, t, now),
			stats.Forget(ctx, db, id, s.config.StatisticsRetention, now),
			delivery.Cleanup(ctx, db, id, now),
			guess.Cleanup(ctx, db, id, now),
			alert.Cleanup(ctx, db, id, now),
			quota.Cleanup(ctx, db, id, now),
			batch.Cleanup(ctx, db, id, now),
			sheet.Cleanup(ctx, db, id, now),
			sharing.Cleanup(ctx, db, id, now),
			member.Cleanup(ctx, db, id, now),
			support.Cleanup(ctx, db, id, now),
			approval.Cleanup(ctx, db, id, now),
			rehearsal.Cleanup(ctx, db, id, now),
			exposure.Cleanup(ctx, db, id, exposure.DefaultLimits(), now),
			tendSuspended(ctx, exports, t))
	})
	j.Suspended = true
	return j
}

// tendSuspended retires the files of tenants for which no export is run.
func tendSuspended(ctx context.Context, exports *export.Service, t *tenant.Tenant) error {
	if t.State == tenant.Active {
		return nil
	}
	return exports.Tend(ctx, t.ID)
}

// forgetCodes deletes a tenant's codes and tokens past their time. What statistics have
// not settled is kept, even if they cannot be rolled up at all.
func (s *Service) forgetCodes(ctx context.Context, db *tenant.DB, t *tenant.Tenant, now time.Time) error {
	settled, err := stats.Settled(ctx, db, t.ID)
	if err != nil {
		return err
	}
	if limit := settled.Add(verification.KeepTokens); now.After(limit) {
		now = limit
	}
	return verification.Cleanup(ctx, db, t, now)
}

// recorder tells the schedule of a job that leases its own work.
func (s *Service) recorder(db *tenant.DB, name string) *job.Recorder {
	return job.NewRecorder(db, name, s.holder, s.config.Log, s.config.Now)
}

// holder names this process to people.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

// schedule has jobs done through a handle. The first handle will do for all.
func (s *Service) schedule(db *tenant.DB, jobs ...job.Job) {
	if s.scheduleDB == nil {
		s.scheduleDB = db
	}
	s.scheduled = append(s.scheduled, jobs...)
}

// wireSchedule runs what the roles have scheduled.
func (s *Service) wireSchedule() error {
	if s.scheduleDB == nil {
		return nil
	}
	scheduler, err := job.NewScheduler(job.Config{
		DB: s.scheduleDB, Jobs: s.scheduled, Holder: s.holder, Lease: s.config.Lease,
		Metrics: s.metrics, Log: s.config.Log, Now: s.config.Now,
	})
	if err != nil {
		return err
	}
	s.metrics.MustRegister(job.NewSurvey(s.scheduleDB, s.config.Now))
	s.jobs = append(s.jobs, scheduler.Run)
	return nil
}

// jobHealth says how jobs stand: 200 if none is late, else 503 with those that are. It
// is no probe of this process: a restart would mend nothing that another process holds up.
func (s *Service) jobHealth(w http.ResponseWriter, r *http.Request) {
	var answer struct {
		Status string         `json:"status"`
		Jobs   []job.Summary  `json:"jobs"`
		Late   []job.Standing `json:"late"`
	}
	now := s.config.Now()
	jobs, err := job.Summarise(r.Context(), s.scheduleDB, now)
	if err == nil {
		answer.Late, err = job.List(r.Context(), s.scheduleDB, job.Filter{Late: true}, now)
	}
	status := http.StatusOK
	answer.Status, answer.Jobs = "ok", jobs
	switch {
	case err != nil:
		answer.Status, status = "the database does not answer", http.StatusServiceUnavailable
	case len(answer.Late) > 0:
		answer.Status, status = "late", http.StatusServiceUnavailable
	}
	body, err := json.Marshal(answer)
	if err != nil {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
