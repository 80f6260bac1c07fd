// Package selftest walks a rehearsal through a tenant's servers, as a back end and a phone
// would, over the network: see package carillon/tenant/selftest for what it leaves.
package selftest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/deploy/phone"
	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/key"
	"carillon/tenant/selftest"
)

// Config is what a [Runner] needs.
type Config struct {
	// DB is a handle under the role carillon_jobs.
	DB        *tenant.DB
	Directory *tenant.Directory
	Keys      *key.Ring
	Exports   *export.Service
	// URL is where phones and back ends reach the service, https://host without a
	// trailing slash.
	URL string
	// HTTP makes the requests; nil is a client of its own.
	HTTP    *http.Client
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// Runner tries tenants' servers. It is safe for concurrent use.
type Runner struct {
	c     Config
	runs  *prometheus.CounterVec
	steps *prometheus.HistogramVec
}

// New returns a runner.
func New(c Config) *Runner {
	if c.HTTP == nil {
		c.HTTP = &http.Client{
			Timeout:       stepTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	r := &Runner{
		c: c,
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_selftest_runs_total", Help: "Self-tests that this process ended, by the step that failed; none if all passed.",
		}, []string{"failed_step"}),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "carillon_selftest_step_seconds", Help: "How long a step of a self-test took.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 8),
		}, []string{"step"}),
	}
	c.Metrics.MustRegister(r.runs, r.steps)
	return r
}

const (
	// stepTimeout bounds each step, runTimeout all of them. A pass is good for longer.
	stepTimeout = 10 * time.Second
	runTimeout  = 60 * time.Second

	testType = "confirmed"
	keys     = 2
	onsetAge = 48 * time.Hour
)

// ErrFailed means that a step failed; the history says which and why.
var ErrFailed = errors.New("the self-test failed")

// failure is the failure of a step, a class of its own to the schedule.
type failure struct {
	step   selftest.StepName
	reason selftest.Reason
}

func (f failure) Error() string { return fmt.Sprintf("%v at %s: %s", ErrFailed, f.step, f.reason) }

// Is makes it [ErrFailed].
func (failure) Is(target error) bool { return target == ErrFailed }

// Class says where it failed.
func (f failure) Class() string { return "failed at " + string(f.step) }

// Run tries one tenant and keeps what came of it: [ErrFailed] if a step failed,
// [selftest.ErrBusy] if another is at it. A tenant that is closed, because it is in
// maintenance, is not tried.
func (r *Runner) Run(ctx context.Context, id tenant.ID) error {
	t, err := r.c.Directory.ByID(ctx, id)
	if err != nil {
		return fmt.Errorf("find tenant: %w", err)
	}
	if t.ClosedForIssue() || t.ClosedForVerify() || t.ClosedForPublish() {
		return nil
	}
	run := selftest.Run{ID: uuid.New(), StartedAt: r.c.Now()}
	pass, err := selftest.Begin(ctx, r.c.DB, id, run.ID, run.StartedAt)
	if err != nil {
		return err
	}
	w := r.walk(t, run.ID, pass)
	w.all(ctx, &run, r)
	run.EndedAt = r.c.Now()
	if ctx.Err() != nil { // the process stops: that says nothing of the tenant
		return ctx.Err()
	}
	if err := selftest.End(ctx, r.c.DB, id, run); err != nil {
		return err
	}
	if run.Passed() {
		r.runs.WithLabelValues("none").Inc()
		return nil
	}
	r.runs.WithLabelValues(string(run.FailedStep)).Inc()
	return failure{run.FailedStep, run.Reason} // what an answer said may repeat what was sent
}

// walk is a rehearsal under way.
type walk struct {
	runner *Runner
	tenant *tenant.Tenant
	run    uuid.UUID
	phone  *phone.Phone
	issuer phone.Issuer
	trust  phone.Trust

	code  string
	token string
	keys  phone.Keys
	cert  string
	files []phone.Downloaded
	err   error // of the signature, from the download
}

func (r *Runner) walk(t *tenant.Tenant, run uuid.UUID, pass string) *walk {
	base := r.c.URL + "/t/" + string(t.Slug) + "/"
	files := base + "exports/" + export.RehearsalPath(run)
	return &walk{
		runner: r, tenant: t, run: run,
		phone: &phone.Phone{HTTP: r.c.HTTP, Now: r.c.Now, Server: phone.Server{
			DeviceBase: base, PublishURL: base + "v1/publish", IndexURL: files + export.IndexName, DownloadBase: files,
			DeviceKey: pass, HealthAuthorityID: t.HealthAuthorityID,
		}},
		issuer: phone.Issuer{Base: base, AdminKey: pass, HTTP: r.c.HTTP},
	}
}

// all takes the steps until one fails.
func (w *walk) all(ctx context.Context, run *selftest.Run, r *Runner) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	for _, s := range []struct {
		name selftest.StepName
		do   func(context.Context) error
	}{
		{selftest.Issue, w.issue},
		{selftest.Verify, w.verify},
		{selftest.Certificate, w.certificate},
		{selftest.Publish, w.publish},
		{selftest.Export, w.export},
		{selftest.Download, w.download},
		{selftest.Signature, w.signature},
	} {
		began := time.Now() // how long it takes, whatever the clock shows
		err := s.do(ctx)
		took := time.Since(began)
		r.steps.WithLabelValues(string(s.name)).Observe(took.Seconds())
		run.Steps = append(run.Steps, selftest.Step{Name: s.name, Milliseconds: took.Milliseconds()})
		if err != nil {
			run.FailedStep, run.Reason = s.name, reason(s.name, err)
			return
		}
	}
}

func (w *walk) issue(ctx context.Context) error {
	code, err := w.issuer.Issue(ctx, testType, w.phone.Now().Add(-onsetAge))
	w.code = code.Code
	if err == nil && w.code == "" {
		err = errMismatch
	}
	return err
}

func (w *walk) verify(ctx context.Context) error {
	d, err := w.phone.Verify(ctx, w.code)
	if err == nil && d.TestType != testType {
		err = errMismatch
	}
	w.token = d.Token
	return err
}

func (w *walk) certificate(ctx context.Context) (err error) {
	if w.keys, err = marked(w.phone.NewKeys(keys, false)); err != nil {
		return err
	}
	w.cert, err = w.phone.Certificate(ctx, w.token, w.keys)
	return err
}

// marked makes keys such as only rehearsals have: random but for the mark.
func marked(k phone.Keys) (phone.Keys, error) {
	for i := range k.TEKs {
		raw, err := base64.StdEncoding.DecodeString(k.TEKs[i].Key)
		if err != nil {
			return k, err
		}
		copy(raw, exposure.RehearsalMark)
		k.TEKs[i].Key = base64.StdEncoding.EncodeToString(raw)
	}
	return k, nil
}

func (w *walk) publish(ctx context.Context) error {
	p, err := w.phone.Publish(ctx, w.keys, w.cert, "")
	if err == nil && p.Inserted != len(w.keys.TEKs) {
		err = errMismatch
	}
	return err
}

func (w *walk) export(ctx context.Context) error {
	return w.runner.c.Exports.Rehearse(ctx, w.tenant, w.run)
}

// download fetches the file, and leaves what is wrong with its signature to the next step.
func (w *walk) download(ctx context.Context) error {
	list, err := w.runner.c.Keys.Public(ctx, w.tenant.ID, signing.Export)
	if err != nil {
		return err
	}
	for _, public := range list {
		if public.State == key.Active {
			w.trust = phone.Trust{KeyID: public.KeyID, KeyVersion: public.Label, Key: public.Key}
			break
		}
	}
	w.files, err = w.phone.Download(ctx, w.trust, nil)
	if errors.Is(err, exportfile.ErrSignature) || errors.Is(err, exportfile.ErrMalformed) {
		w.err, err = err, nil
	}
	return err
}

func (w *walk) signature(context.Context) error {
	if w.err != nil {
		return w.err
	}
	if found, most := phone.Contains(w.files, w.keys.TEKs); found != len(w.keys.TEKs) || most != 1 {
		return errMismatch
	}
	return nil
}

// unreachable reports whether a request had no answer.
func unreachable(err error) bool {
	var failed net.Error
	return errors.As(err, &failed) || errors.Is(err, context.DeadlineExceeded)
}

// errMismatch is a success that says something else than it should.
var errMismatch = errors.New("the answer is not what was asked for")

// reason is the word for a failure.
func reason(step selftest.StepName, err error) selftest.Reason {
	var refused *phone.Refusal
	switch {
	case errors.As(err, &refused) && refused.Status >= http.StatusInternalServerError:
		return selftest.Broken
	case errors.As(err, &refused):
		return selftest.Refused
	case errors.Is(err, key.ErrNoKey), errors.Is(err, signing.ErrSealed):
		return selftest.NoKey
	case errors.Is(err, errMismatch), errors.Is(err, exportfile.ErrSignature), errors.Is(err, exportfile.ErrMalformed),
		errors.Is(err, export.ErrNothingRehearsed):
		return selftest.Mismatch
	case unreachable(err):
		return selftest.Unreachable
	case step == selftest.Export:
		return selftest.Storage
	default:
		return selftest.Broken
	}
}
