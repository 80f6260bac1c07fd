package adminui

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/batch/sheet"
)

// Batches tells how orders for many codes stand, and steers them. The promises and errors
// are those of [batch.Service].
type Batches interface {
	List(ctx context.Context, t *tenant.Tenant, by authz.Subject, before uuid.NullUUID, limit int) ([]batch.Batch, error)
	Get(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*batch.Progress, error)
	Pause(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*batch.Batch, error)
	Resume(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*batch.Batch, error)
	Cancel(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*batch.Batch, error)
	Retry(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*batch.Batch, error)
	Results(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string, tell func(batch.Row) error) error
}

// batchPage shows how a batch stands. Paths are empty for what cannot be done.
type batchPage struct {
	Live      batchLive
	Source    string // where scripts ask how it stands
	Facts     []bulkFact
	By        string
	At        moment
	Ended     *moment
	Pause     string
	Resume    string
	Cancel    string
	Retry     string
	RetryText string
	Results   string
	Others    string // whose result it is, if it is not hers
	Life      string // how long codes without a message serve
	Failures  []bulkFinding
	More      string
	List      string
}

// batchLive is what changes while a batch runs: the page shows it, and scripts ask for it
// again.
type batchLive struct {
	// Phase tells whether the page offers other things now.
	Phase string `json:"phase"`
	Label string `json:"label"`
	Why   string `json:"why"`
	Done  int    `json:"done"`
	Of    int    `json:"of"`
	// Text is how many are done of how many, Pace how fast it goes and when it ends.
	Text    string `json:"text"`
	Pace    string `json:"pace"`
	Issued  string `json:"issued"`
	Failed  string `json:"failed"`
	Repeats string `json:"repeats"`
	Left    string `json:"left"`
	Stopped string `json:"stopped"`
	// Over says that it will not change by itself any more.
	Over bool `json:"over"`
}

func (c *catalogue) batchState(s batch.State) string {
	switch s {
	case batch.Running:
		return c.text("bulk.state.running")
	case batch.Paused:
		return c.text("bulk.state.paused")
	case batch.Done:
		return c.text("bulk.state.done")
	case batch.Cancelled:
		return c.text("bulk.state.cancelled")
	case batch.Pending, batch.Issued, batch.Failed, batch.Duplicate:
	}
	return string(s)
}

// hold says why a batch waits, and what to do.
func (c *catalogue) hold(h batch.Hold) string {
	switch h {
	case batch.QuietHours:
		return c.text("bulk.hold.quiet")
	case batch.Messages:
		return c.text("bulk.hold.messages")
	case batch.Quota:
		return c.text("bulk.hold.quota")
	case batch.Forbidden:
		return c.text("bulk.hold.forbidden")
	case batch.Maintenance:
		return c.text("bulk.hold.maintenance")
	case batch.Fault:
		return c.text("bulk.hold.fault")
	}
	return ""
}

func (c *catalogue) rowState(s batch.State) string {
	switch s {
	case batch.Pending:
		return c.text("bulk.row.pending")
	case batch.Issued:
		return c.text("bulk.row.issued")
	case batch.Failed:
		return c.text("bulk.row.failed")
	case batch.Duplicate:
		return c.text("bulk.row.duplicate")
	case batch.Cancelled:
		return c.text("bulk.row.cancelled")
	case batch.Running, batch.Paused, batch.Done:
	}
	return string(s)
}

func (s *Server) live(v *visit, p *batch.Progress) batchLive {
	left := p.Counts[batch.Pending]
	l := batchLive{
		Phase: string(p.State), Label: s.words.batchState(p.State), Why: s.words.hold(p.HeldBecause),
		Done: p.Rows - left, Of: p.Rows, Over: p.State != batch.Running,
		Text:   s.words.text("bulk.progress", "done", s.words.number(p.Rows-left), "rows", s.words.number(p.Rows)),
		Issued: s.words.number(p.Counts[batch.Issued]), Failed: s.words.number(p.Counts[batch.Failed]),
		Repeats: s.words.number(p.Counts[batch.Duplicate]), Left: s.words.number(left), Stopped: s.words.number(p.Counts[batch.Cancelled]),
	}
	if p.State == batch.Running && p.HeldUntil != nil && p.HeldUntil.After(s.config.Now()) {
		l.Why += " " + s.words.text("bulk.hold.until", "time", s.words.moment(*p.HeldUntil, s.now(v)).Text)
	}
	if p.EndsAt != nil {
		l.Pace = s.words.text("bulk.pace", "rate", s.words.number(int(p.PerMinute)), "time", s.words.moment(*p.EndsAt, s.now(v)).Text)
	}
	return l
}

func (s *Server) showBatch(v *visit) (answer, error) {
	b, err := s.config.Batches.Get(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	if err != nil {
		return answer{}, err
	}
	path, now := v.batchPath(b.ID), s.now(v)
	p := batchPage{
		Live: s.live(v, b), Source: path + "/state", By: s.words.orderer(b.Batch), At: s.words.moment(b.CreatedAt, now), List: v.path("/bulk"),
	}
	if b.FinishedAt != nil {
		m := s.words.moment(*b.FinishedAt, now)
		p.Ended = &m
	}
	s.steer(&p, b, path)
	if b.OrderedBy(v.by) {
		p.Results = path + "/results"
		p.Life = s.words.text("bulk.check.life", "life", s.words.minutes(v.tenant.Settings.CodeLife))
	} else {
		p.Others = s.words.text("bulk.results.others", "name", p.By)
	}
	for _, r := range b.Failures {
		p.Failures = append(p.Failures, bulkFinding{Row: s.words.number(sheet.RowNumber(r.Number - 1)), Advice: s.reason(r)})
	}
	p.More = s.more(b.Counts[batch.Failed] - len(b.Failures))
	return answer{page: "bulk_batch", heading: s.words.text("bulk.batch.heading"), data: p}, nil
}

// steer adds what can be done about a batch.
func (s *Server) steer(p *batchPage, b *batch.Progress, path string) {
	switch b.State {
	case batch.Running:
		p.Pause, p.Cancel = path+"/pause", path+"/cancel"
	case batch.Paused:
		p.Resume, p.Cancel = path+"/resume", path+"/cancel"
	case batch.Done, batch.Cancelled, batch.Pending, batch.Issued, batch.Failed, batch.Duplicate:
	}
	if b.Retryable > 0 && b.State != batch.Cancelled {
		p.Retry, p.RetryText = path+"/retry", s.words.counted("bulk.retry.one", "bulk.retry.other", b.Retryable)
	}
}

// reason says why a row failed.
func (s *Server) reason(r batch.Row) string {
	if k, found := lookUp(r.Err); found {
		return s.words.text(k.message)
	}
	return s.words.text("bulk.row.fault")
}

func (s *Server) showBatchState(v *visit) (answer, error) {
	b, err := s.config.Batches.Get(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	if err != nil {
		return answer{}, err
	}
	text, err := json.Marshal(s.live(v, b))
	if err != nil {
		return answer{}, fmt.Errorf("batch's state: %w", err)
	}
	return answer{json: string(text)}, nil
}

type batchChange = func(context.Context, *tenant.Tenant, authz.Subject, string) (*batch.Batch, error)

// changeBatch leads back to the batch, with what was done.
func (s *Server) changeBatch(v *visit, change batchChange, notice string) (answer, error) {
	b, err := change(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	if err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, notice)
	return redirect(v.batchPath(b.ID))
}

func (s *Server) pauseBatch(v *visit) (answer, error) {
	return s.changeBatch(v, s.config.Batches.Pause, s.words.text("bulk.paused"))
}

func (s *Server) resumeBatch(v *visit) (answer, error) {
	return s.changeBatch(v, s.config.Batches.Resume, s.words.text("bulk.resumed"))
}

func (s *Server) retryBatch(v *visit) (answer, error) {
	return s.changeBatch(v, s.config.Batches.Retry, s.words.text("bulk.retried"))
}

func (s *Server) cancelBatch(v *visit) (answer, error) {
	return s.changeBatch(v, s.config.Batches.Cancel, s.words.text("bulk.cancelled"))
}

// bulkCancelPage asks whether a batch is to end, and says what is lost.
type bulkCancelPage struct {
	Effects      []string
	Action, Back string
}

func (s *Server) askCancelBatch(v *visit) (answer, error) {
	b, err := s.config.Batches.Get(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	if err != nil {
		return answer{}, err
	}
	path := v.batchPath(b.ID)
	if b.State != batch.Running && b.State != batch.Paused {
		return redirect(path)
	}
	return answer{page: "bulk_cancel", heading: s.words.text("bulk.cancel.heading"), data: bulkCancelPage{
		Action: path + "/cancel", Back: path,
		Effects: []string{
			s.words.counted("bulk.cancel.left.one", "bulk.cancel.left.other", b.Counts[batch.Pending]),
			s.words.counted("bulk.cancel.issued.one", "bulk.cancel.issued.other", b.Counts[batch.Issued]),
			s.words.text("bulk.cancel.file"),
		},
	}}, nil
}

// takeResults makes the file in memory, because it has codes in it: some megabytes at most.
func (s *Server) takeResults(v *visit) (answer, error) {
	var file bytes.Buffer
	file.WriteString("\ufeff") // by which spreadsheets know the encoding
	w := csv.NewWriter(&file)
	heads := []string{
		s.words.text("bulk.results.row"), s.words.text("bulk.results.state"), s.words.text("bulk.results.code"),
		s.words.text("bulk.results.expires"), s.words.text("bulk.results.id"), s.words.text("bulk.results.reason"),
	}
	_ = w.Write(heads) // a buffer takes everything
	id := v.params.ByName("id")
	err := s.config.Batches.Results(v.r.Context(), v.tenant, v.by, id, func(r batch.Row) error { return w.Write(s.resultLine(r)) })
	if err != nil {
		return answer{}, err
	}
	w.Flush()
	return answer{download: &download{
		name: "codes-" + id + ".csv", kind: "text/csv; charset=utf-8", size: int64(file.Len()),
		write: func(to io.Writer) error { _, err := file.WriteTo(to); return err },
	}}, nil
}

// resultLine is a row of the file. The code has a space in it, so that no spreadsheet takes
// it for a number and drops its zeros.
func (s *Server) resultLine(r batch.Row) []string {
	line := []string{s.words.number(sheet.RowNumber(r.Number - 1)), s.words.rowState(r.State), "", "", "", ""}
	switch {
	case r.State == batch.Issued:
		line[3], line[4] = r.ExpiresAt.UTC().Format("2006-01-02 15:04Z"), r.ID.String()
	case r.DuplicateOf > 0:
		line[5] = s.words.text("bulk.finding.duplicate", "row", s.words.number(sheet.RowNumber(r.DuplicateOf-1)))
	case r.Err != nil:
		line[5] = s.reason(r)
	}
	if r.Code != "" {
		line[2] = strings.Join(groups(r.Code), " ")
	}
	return line
}
