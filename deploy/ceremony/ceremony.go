// Package ceremony conducts acts on key material that two people do together, by a file that
// says beforehand what is done.
//
// Each participant chooses a secret word at the beginning, which the other does not know;
// every step takes both words. What was done is written to a transcript: times, the program
// and its digest, the file's digest, fingerprints, and never a secret. The SHA-256 digest of
// the transcript up to and with each record stands in the platform's audit log, and in a
// health authority's own for a step about its key, in the transaction of the act. So whoever
// changes, leaves out or adds a record contradicts the log ([Verify]).
//
// A ceremony can stop anywhere, by power loss as well, and is resumed by both words; or it
// is aborted, which the transcript and the log tell. A step that was interrupted is done
// again: files that it left are replaced, and nobody else's are.
//
// That the participants are the people they say they are, and two, is for them and their
// witnesses: the program knows words, not faces.
package ceremony

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/platform"
)

var (
	// ErrPaused means that nobody answered: the ceremony can be resumed.
	ErrPaused = errors.New("the ceremony stopped: run the same command to resume it, or to abort it")
	// ErrAborted means that the ceremony has ended before its last step.
	ErrAborted = errors.New("the ceremony was aborted")
	// ErrSamePerson means that both participants have one word.
	ErrSamePerson = errors.New("both participants have the same word: they are to be two people")
	// ErrWord means that a word was wrong too often.
	ErrWord = errors.New("the word was wrong three times")
	// ErrOver means that a transcript is of a ceremony that has ended.
	ErrOver = errors.New("this ceremony is over")
	// ErrEdited means that the ceremony's file is not the one that it was begun with.
	ErrEdited = errors.New("the ceremony's file was changed after it had begun")
)

// Config is what a ceremony works with.
type Config struct {
	// DB is a handle under the role carillon_operator; nil for a rehearsal, which has keys
	// in a folder that is thrown away and writes to no audit log.
	DB *tenant.DB
	// Custody opens the root key and the services that keep private keys, for steps that
	// make a tenant's keys: [ErrNoRoot] if it was not said which. An earlier step may have
	// made what it opens.
	Custody func() (signing.Custody, error)
	Console *Console
	// Program is this program's version, Binary the SHA-256 digest of its file.
	Program, Binary string
	Now             func() time.Time
	// Rounds are the iterations of PBKDF2 that keep a secret word; zero means 600 000.
	Rounds int
}

// Ceremony is one that is conducted.
type Ceremony struct {
	Config
	plan   Plan
	folder string // of a rehearsal
	id     string
	t      *transcript
	state  *state
}

// state is what is kept beside the transcript until the ceremony is over.
type state struct {
	path  string
	Words []sealedWord `json:"words"`
	// Begun is the number of the step that was begun last.
	Begun int `json:"begun"`
	// Pending is a record that was about to be committed.
	Pending []byte `json:"pending,omitempty"`
}

// save replaces the file whole.
func (s *state) save() error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	part := s.path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(part, text); err != nil {
		return err
	}
	return os.Rename(part, s.path)
}

// Conduct begins a ceremony by its file, or resumes it if there is a transcript. When ctx
// ends, it stops at the next question: [ErrPaused].
func Conduct(ctx context.Context, c Config, file []byte, transcriptPath string) error {
	plan, err := ReadPlan(file)
	if err != nil {
		return err
	}
	run := &Ceremony{Config: c, plan: plan, t: &transcript{path: transcriptPath}, state: &state{path: transcriptPath + ".state"}}
	c.Console.stop = ctx.Done()
	if c.Rounds > 0 {
		c.Console.rounds = c.Rounds
	}
	if c.DB == nil {
		if run.folder, err = os.MkdirTemp("", "rehearsal-"); err != nil {
			return err
		}
		defer os.RemoveAll(run.folder)
	}
	if _, err = os.Lstat(transcriptPath); errors.Is(err, fs.ErrNotExist) {
		err = run.begin(ctx)
	} else if err == nil {
		err = run.resume(ctx)
	}
	if err == nil {
		err = run.steps(ctx)
	}
	return run.finish(ctx, err)
}

// finish ends what was aborted.
func (c *Ceremony) finish(ctx context.Context, err error) error {
	if !errors.Is(err, errAborted) && !errors.Is(err, ErrWord) || len(c.t.records) == 0 {
		return err
	}
	r := Record{Record: recordAbort, Reason: err.Error(), Confirmed: []string{}}
	if err := c.commit(ctx, r, nil, nil); err != nil {
		return err
	}
	c.Console.say("The ceremony is aborted. What was done until now stays done; the transcript says what.")
	return errors.Join(ErrAborted, os.Remove(c.state.path))
}

func (c *Ceremony) begin(ctx context.Context) error {
	c.id = uuid.NewString()
	c.Console.say("%s\nParticipants: %s and %s", c.plan.Title, c.plan.Participants[0], c.plan.Participants[1])
	if c.DB == nil {
		c.Console.say("This is a rehearsal: nothing of it is used, and no audit log tells of it.")
	}
	r := Record{
		Record: recordBegin, Confirmed: c.plan.Participants, Ceremony: c.id, Title: c.plan.Title, Rehearsal: c.DB == nil,
		Participants: c.plan.Participants, File: c.plan.digest, Program: c.Program, Binary: c.Binary,
	}
	for i, s := range c.plan.Steps {
		r.Steps = append(r.Steps, s.String())
		c.Console.say("  %d. %s", i+1, s)
	}
	c.Console.say("SHA-256 of the file: %s\nSHA-256 of the program: %s", c.plan.digest, c.Binary)
	var err error
	if c.state.Words, err = c.Console.enrol(c.plan.Participants); err != nil {
		return err
	}
	return c.commit(ctx, r, nil, nil)
}

func (c *Ceremony) resume(ctx context.Context) error {
	t, err := readTranscript(c.t.path)
	if err != nil {
		return err
	}
	c.t, c.id = t, t.records[0].Ceremony
	switch {
	case t.over(len(t.records)):
		return ErrOver
	case t.records[0].File != c.plan.digest:
		return ErrEdited
	case t.records[0].Rehearsal != (c.DB == nil) || c.DB == nil:
		return fmt.Errorf("%w: a rehearsal is begun anew", ErrOver)
	}
	text, err := os.ReadFile(c.state.path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, c.state); err != nil || len(c.state.Words) != 2 {
		return fmt.Errorf("%s: %w", c.state.path, ErrTranscript)
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	if c.t.over(len(c.t.records)) {
		return errors.Join(ErrOver, os.Remove(c.state.path))
	}
	if err := check(ctx, c.DB, c.t); err != nil {
		return err
	}
	c.Console.say("%s: %d of %d steps are done.", c.plan.Title, c.t.done(), len(c.plan.Steps))
	if err := c.Console.confirm(c.plan.Participants, c.state.Words); err != nil {
		return err
	}
	return c.commit(ctx, Record{Record: recordResume, Confirmed: c.plan.Participants}, nil, nil)
}

// settle finds out whether the record that was about to be committed has been.
func (c *Ceremony) settle(ctx context.Context) error {
	if c.state.Pending == nil {
		return nil
	}
	var r Record
	if err := json.Unmarshal(c.state.Pending, &r); err != nil {
		return ErrTranscript
	}
	logged, err := platform.Ceremony(ctx, c.DB, c.id)
	if err != nil {
		return err
	}
	hash := c.t.with(c.state.Pending)
	if len(c.t.hashes) < len(logged) && logged[len(c.t.hashes)].Detail["sha256"] == hash {
		if err := c.t.append(r, c.state.Pending); err != nil {
			return err
		}
	}
	c.state.Pending = nil
	return c.state.save()
}

// by is who acts: both.
func (c *Ceremony) by() authz.Subject {
	return authz.Subject{
		Kind: authz.System, ID: "ceremony", Name: c.plan.Participants[0] + " and " + c.plan.Participants[1],
		Because: "key ceremony " + c.id,
	}
}

// commit does an act and records it, in one transaction with the digest of the transcript
// that includes it. The record is written down before, so that it is known after a power
// loss which digest to look for, and to the transcript after.
func (c *Ceremony) commit(ctx context.Context, r Record, t *tenant.Tenant, act func(*tenant.Tx, time.Time) (outcome, error)) error {
	r.At = c.Now().UTC().Truncate(time.Second)
	var line []byte
	write := func(tx *tenant.Tx) (err error) {
		if act != nil {
			if r.Outcome, err = act(tx, r.At); err != nil {
				return err
			}
		}
		if line, err = r.line(); err != nil {
			return err
		}
		if err := c.log(ctx, tx, t, r, c.t.with(line)); err != nil {
			return err
		}
		c.state.Pending = line
		return c.state.save()
	}
	if err := c.in(ctx, t, write); err != nil {
		return err
	}
	if err := c.t.append(r, line); err != nil {
		return err
	}
	c.state.Pending = nil
	return c.state.save()
}

func (c *Ceremony) in(ctx context.Context, t *tenant.Tenant, fn func(*tenant.Tx) error) error {
	switch {
	case c.DB == nil:
		return fn(nil)
	case t == nil:
		return c.DB.Platform(ctx, fn)
	}
	return c.DB.In(ctx, t.ID, fn)
}

// log enters a record in the platform's audit log, and in the tenant's if it is about one.
func (c *Ceremony) log(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, r Record, hash string) error {
	if tx == nil {
		return nil
	}
	detail := map[string]string{"ceremony": c.id, "sha256": hash, "reason": c.plan.Title}
	if r.Step > 0 {
		detail["step"], detail["do"] = strconv.Itoa(r.Step), string(r.Do)
	}
	target := ""
	if t != nil {
		target = string(t.Slug)
		if err := audit.Record(ctx, tx, r.At, c.by(), "ceremony:"+r.Record, c.id, detail); err != nil {
			return err
		}
	}
	return platform.Record(ctx, tx, c.by(), platform.Entry{At: r.At, Action: "ceremony:" + r.Record, Target: target, Detail: detail})
}

// steps does those that are left, and ends the ceremony.
func (c *Ceremony) steps(ctx context.Context) error {
	for no := c.t.done() + 1; no <= len(c.plan.Steps); no++ {
		if err := c.step(ctx, no); err != nil {
			return err
		}
	}
	if err := c.commit(ctx, Record{Record: recordEnd, Confirmed: c.plan.Participants}, nil, nil); err != nil {
		return err
	}
	c.Console.say("The ceremony is over. SHA-256 of the transcript: %s", c.t.hashes[len(c.t.hashes)-1])
	return os.Remove(c.state.path)
}

func (c *Ceremony) step(ctx context.Context, no int) error {
	s := c.plan.Steps[no-1]
	c.Console.say("\nStep %d of %d: %s", no, len(c.plan.Steps), s)
	if err := c.Console.confirm(c.plan.Participants, c.state.Words); err != nil {
		return err
	}
	r := Record{Record: recordStep, Step: no, Do: s.Do, Tenant: s.Tenant, Confirmed: c.plan.Participants}
	t, err := c.tenantOf(ctx, s)
	if err != nil {
		return err
	}
	if c.folder != "" {
		s = s.rehearsed(c.folder)
	}
	again := c.state.Begun == no
	if !again {
		// Only from here on are files of these names this step's own.
		if err := s.fresh(); err != nil {
			return fmt.Errorf("step %d: %w", no, err)
		}
		c.state.Begun = no
		if err := c.state.save(); err != nil {
			return err
		}
	}
	act, err := c.prepare(ctx, s, t, again)
	if err != nil {
		return fmt.Errorf("step %d: %w", no, err)
	}
	if err := c.commit(ctx, r, t, act); err != nil {
		return fmt.Errorf("step %d: %w", no, err)
	}
	c.report()
	return nil
}

// report shows what came of the last record.
func (c *Ceremony) report() {
	out := c.t.records[len(c.t.records)-1].Outcome
	for _, name := range slices.Sorted(maps.Keys(out)) {
		c.Console.say("  %s: %s", name, out[name])
	}
}

func (c *Ceremony) tenantOf(ctx context.Context, s Step) (*tenant.Tenant, error) {
	if s.Tenant == "" || c.DB == nil {
		return nil, nil //nolint:nilnil // a step about no tenant
	}
	t, err := tenant.NewDirectory(c.DB).BySlug(ctx, s.Tenant)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Tenant, err)
	}
	return t, nil
}

// prepare does what of a step is done outside the database, and returns the rest.
func (c *Ceremony) prepare(ctx context.Context, s Step, t *tenant.Tenant, again bool) (act func(*tenant.Tx, time.Time) (outcome, error), err error) {
	if s.Do == MakeExportKey {
		return func(tx *tenant.Tx, at time.Time) (outcome, error) { return c.exportKey(ctx, tx, t, at) }, nil
	}
	var out outcome
	switch s.Do {
	case CheckExportKey:
		out, err = c.findExportKey(ctx, t, s.Version)
	case Destroy:
		out, err = c.destroyRoot(ctx, s, again)
	default:
		out, err = files(s, again)
	}
	if err == nil && (s.Do == CheckRoot || s.Do == CheckExportKey) && c.DB != nil {
		err = c.compare(out)
	}
	return func(*tenant.Tx, time.Time) (outcome, error) { return out, nil }, err
}
