package phone

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Plan is one run of [Phone.Flow].
type Plan struct {
	// Issuer issues the code and is asked whether it was claimed; unless there is a
	// Code already, which only somebody else can see to.
	Issuer Issuer
	Code   string
	// Own, if set, has the phone ask for the code itself, instead of the issuer.
	Own *Own
	// TestType is confirmed if empty; Onset is two days ago if zero.
	TestType string
	Onset    time.Time
	// Keys is how many keys to publish; zero means 14. Today lets the newest be
	// today's.
	Keys  int
	Today bool
	// Trust, if set, makes the phone wait for its own keys in the files, asking every
	// Pause, until its context ends. With Today that may be tomorrow.
	Trust *Trust
	Pause time.Duration
	// Done, if set, is told of each step as it ends.
	Done func(Step)
}

// Own is a report of one's own: which number the code is sent to, and where a
// development server shows the message.
type Own struct {
	Number string
	Inbox  Inbox
}

// Step is one thing that a phone has done.
type Step struct {
	Name string
	Took time.Duration
	// Err says why the step, and the run with it, failed.
	Err error
}

// Report is what came of a run.
type Report struct {
	Steps     []Step
	Diagnosis Diagnosis
	Keys      Keys
	Published Published
	Files     []Downloaded
}

const (
	defaultKeys = 14
	defaultType = "confirmed"
	onsetAge    = 48 * time.Hour
)

func (p Plan) withDefaults(now time.Time) Plan {
	if p.TestType == "" {
		p.TestType = defaultType
	}
	if p.Onset.IsZero() {
		p.Onset = now.Add(-onsetAge)
	}
	if p.Keys == 0 {
		p.Keys = defaultKeys
	}
	return p
}

// Flow takes a phone through everything: a code, verify, the code's status,
// certificate, publish, and the download of its own keys (verification protocol
// §12.2). It ends at the first step that fails, with that step's error; the report
// has what was done until then.
func (p *Phone) Flow(ctx context.Context, plan Plan) (Report, error) {
	r := &run{phone: p, plan: plan.withDefaults(p.Now())}
	for _, s := range r.steps() {
		began := time.Now()
		err := s.do(ctx)
		step := Step{Name: s.name, Took: time.Since(began), Err: err}
		r.report.Steps = append(r.report.Steps, step)
		if plan.Done != nil {
			plan.Done(step)
		}
		if err != nil {
			return r.report, err
		}
	}
	return r.report, nil
}

// run is a flow under way.
type run struct {
	phone  *Phone
	plan   Plan
	code   Code
	nonce  Nonce // of a self-report
	cert   string
	report Report
}

type step struct {
	name string
	do   func(context.Context) error
}

func (r *run) steps() []step {
	issued := r.plan.Code == "" && r.plan.Own == nil
	var steps []step
	add := func(wanted bool, name string, do func(context.Context) error) {
		if wanted {
			steps = append(steps, step{name, do})
		}
	}
	add(issued, "issue a code", r.issue)
	add(r.plan.Own != nil, "user-report: ask for a code", r.ask)
	add(r.plan.Own != nil, "read the text message", r.read)
	add(true, "verify: code to token", r.verify)
	add(issued, "the code is claimed", r.claimed)
	add(true, "certificate", r.certificate)
	add(true, fmt.Sprintf("publish %d keys", r.plan.Keys), r.publish)
	add(r.plan.Trust != nil, "download the keys, signatures valid", r.download)
	return steps
}

func (r *run) issue(ctx context.Context) (err error) {
	r.code, err = r.plan.Issuer.Issue(ctx, r.plan.TestType, r.plan.Onset)
	r.plan.Code = r.code.Code
	return err
}

func (r *run) ask(ctx context.Context) error {
	r.nonce = NewNonce()
	return r.phone.Report(ctx, r.plan.Own.Number, r.plan.Onset, r.nonce)
}

func (r *run) read(ctx context.Context) (err error) {
	r.plan.Code, err = r.plan.Own.Inbox.Code(ctx, r.plan.Own.Number)
	return err
}

func (r *run) verify(ctx context.Context) (err error) {
	r.report.Diagnosis, err = r.phone.VerifyReported(ctx, r.plan.Code, r.nonce)
	return err
}

func (r *run) claimed(ctx context.Context) error {
	claimed, err := r.plan.Issuer.Claimed(ctx, r.code.UUID)
	if err == nil && !claimed {
		err = errors.New("code status: it is not claimed")
	}
	return err
}

func (r *run) certificate(ctx context.Context) (err error) {
	r.report.Keys = r.phone.NewKeys(r.plan.Keys, r.plan.Today)
	r.cert, err = r.phone.Certificate(ctx, r.report.Diagnosis.Token, r.report.Keys)
	return err
}

func (r *run) publish(ctx context.Context) (err error) {
	r.report.Published, err = r.phone.Publish(ctx, r.report.Keys, r.cert, "")
	switch {
	case err != nil:
		return err
	case r.report.Published.Inserted != r.plan.Keys:
		return fmt.Errorf("publish: %d of %d keys were inserted", r.report.Published.Inserted, r.plan.Keys)
	case r.report.Published.RevisionToken == "":
		return errors.New("publish: the answer has no revision token")
	}
	return nil
}

func (r *run) download(ctx context.Context) (err error) {
	r.report.Files, err = r.phone.AwaitKeys(ctx, *r.plan.Trust, r.report.Keys.TEKs, r.plan.Pause)
	if err != nil {
		return err
	}
	if _, most := Contains(r.report.Files, r.report.Keys.TEKs); most > 1 {
		return fmt.Errorf("download: a key is in %d files", most)
	}
	return nil
}
