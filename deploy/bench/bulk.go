//go:build !release

package bench

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"carillon/authz"
	"carillon/tenant"
	staff "carillon/tenant/member"
)

// BulkOptions say how many codes to issue from a table.
type BulkOptions struct {
	// Dir, PostgresBin and Out are as in [Options].
	Dir, PostgresBin string
	Out              io.Writer
	// Server is the program and arguments that call [BulkServer].
	Server []string
	// Rows is how many rows the table has; every second has a telephone number.
	Rows int
}

// RunBulk brings a table to the portal as a caseworker does, orders its codes, kills the
// server process half-way by SIGKILL, starts another, and waits for the end. It prints how
// long each step takes and the most memory of each process, and fails unless each row has
// its code once. Messages that were being sent when the process died are counted: nobody
// knows of these whether they went, so they are not sent again.
func RunBulk(ctx context.Context, o BulkOptions) error {
	s, err := startStore(ctx, Options{Dir: o.Dir, PostgresBin: o.PostgresBin, Out: o.Out})
	if err != nil {
		return err
	}
	defer s.stop(ctx)
	fmt.Fprint(o.Out, machine(ctx, s))
	r := &bulkRun{options: o, stack: s}
	if r.super, err = sql.Open("postgres", s.dsn("")); err != nil {
		return err
	}
	defer r.super.Close()
	stop, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	defer stop()
	defer r.end()
	return r.issue(ctx)
}

// bulkRun is a run under way.
type bulkRun struct {
	options BulkOptions
	stack   *stack
	super   *sql.DB
	issuer  string
	server  *exec.Cmd
	guest   *guest
	order   string // the path of the batch's page
	began   time.Time
}

// prepare makes a health authority with a caseworker, and the provider at which she signs
// in.
func (r *bulkRun) prepare(ctx context.Context) (stop func(), err error) {
	if err := os.Mkdir(r.stack.files(), 0o700); err != nil {
		return nil, err
	}
	if r.stack.tenants, err = r.stack.grow(ctx, 1); err != nil {
		return nil, err
	}
	_, err = r.super.ExecContext(ctx, `
update tenant_setting
   set batch_issue = true, sms_enabled = true, sms_country = 'US', sms_template = 'Code [longcode]', test_types = '{confirmed}', require_date = true`)
	if err != nil {
		return nil, err
	}
	if r.issuer, stop, err = startProvider(ownerName); err != nil {
		return nil, err
	}
	return stop, r.hire(ctx)
}

func (r *bulkRun) hire(ctx context.Context) error {
	db, err := tenant.Open(ctx, tenant.Config{DSN: r.stack.dsn("carillon_operator")})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.In(ctx, r.stack.tenants[0].id, func(tx *tenant.Tx) error {
		return staff.Add(ctx, tx, staff.Member{
			Issuer: r.issuer, Email: ownerName + "@people.example", Name: "Caseworker", Roles: []authz.Role{authz.Caseworker},
		})
	})
}

// sentFile is where the server notes to whom it sent.
func (r *bulkRun) sentFile() string { return filepath.Join(r.stack.dir, "sent") }

// start runs a server process and signs in there.
func (r *bulkRun) start(ctx context.Context) (err error) {
	if r.stack.address, err = freeAddress(); err != nil {
		return err
	}
	orders, err := json.Marshal(BulkServerOrders{
		DSN: r.stack.dsn("ROLE"), Root: r.stack.rootFile(), Files: r.stack.files(), Issuer: r.issuer, Address: r.stack.address, Sent: r.sentFile(),
	})
	if err != nil {
		return err
	}
	r.server = exec.CommandContext(ctx, r.options.Server[0], r.options.Server[1:]...)
	r.server.Stdin, r.server.Stderr = bytes.NewReader(orders), os.Stderr
	if err := r.server.Start(); err != nil {
		return err
	}
	r.stack.exited = make(chan struct{}) // closed by nobody: the process is waited for here
	if err := r.stack.await(ctx); err != nil {
		return err
	}
	r.stack.exited = nil
	r.guest, err = signIn(ctx, httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.stack.address}), ownerName)
	return err
}

// kill ends the server process by SIGKILL: nothing deferred runs, no transaction is closed.
func (r *bulkRun) kill() (peak int64) {
	if r.server == nil {
		return 0
	}
	_ = r.server.Process.Kill() // unless it has ended
	_ = r.server.Wait()         // it was killed
	if usage, ok := r.server.ProcessState.SysUsage().(*syscall.Rusage); ok {
		peak = usage.Maxrss << 10 // Linux, getrusage(2): kilobytes
	}
	r.server = nil
	return peak
}

func (r *bulkRun) end() { r.kill() }

var errBulk = errors.New("the run is not as it should be")

func (r *bulkRun) say(format string, args ...any) {
	fmt.Fprintf(r.options.Out, "%6.1f s  "+format+"\n", append([]any{time.Since(r.began).Seconds()}, args...)...)
}

func (r *bulkRun) issue(ctx context.Context) error {
	r.began = time.Now()
	if err := r.start(ctx); err != nil {
		return err
	}
	file := r.table()
	r.say("the server is up and she has signed in; the table has %d rows and %.1f MB", r.options.Rows, float64(len(file))/(1<<20))
	if err := r.bring(ctx, file); err != nil {
		return err
	}
	if err := r.until(ctx, r.options.Rows/2); err != nil {
		return err
	}
	done, err := r.issued(ctx)
	if err != nil {
		return err
	}
	peak := r.kill()
	r.say("killed by SIGKILL with about %d codes issued; it used %d MB of memory at most", done, peak>>20)
	if err := r.start(ctx); err != nil {
		return err
	}
	r.say("another server is up")
	if err := r.until(ctx, r.options.Rows); err != nil {
		return err
	}
	r.say("every row is done")
	if err := r.results(ctx); err != nil {
		return err
	}
	again := time.Now()
	answer := r.post(ctx, r.portal("/bulk/new"), file)
	if to := answer.header.Get("Location"); to != r.order {
		return fmt.Errorf("%w: the same file again leads to %q, with status %d", errBulk, to, answer.status)
	}
	r.say("the same file again, known in %.1f s, leads to the same order", time.Since(again).Seconds())
	if err := r.sent(ctx); err != nil {
		return err
	}
	r.say("no message waits; the second server used %d MB of memory at most", r.kill()>>20)
	return r.verify(ctx)
}

func (r *bulkRun) portal(path string) string {
	return "/portal/" + r.stack.tenants[0].slug + path
}

// table is the file: names, and every second row has a number of its own.
func (r *bulkRun) table() []byte {
	var file bytes.Buffer
	day := time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	file.WriteString("Name,Result,Test date,Phone\r\n")
	for i := range r.options.Rows {
		phone := ""
		if i%2 == 1 {
			phone = fmt.Sprintf("+1206%07d", 2_000_000+i)
		}
		fmt.Fprintf(&file, "Person %d,confirmed,%s,%s\r\n", i, day, phone)
	}
	return file.Bytes()
}

// bring uploads the table, says what its columns mean, and orders the codes.
func (r *bulkRun) bring(ctx context.Context, file []byte) error {
	step := func(what string, send func() shown) (string, error) {
		began := time.Now()
		answer := send()
		to := answer.header.Get("Location")
		if answer.status != http.StatusSeeOther || to == "" {
			return "", fmt.Errorf("%w: %s is answered %d", errBulk, what, answer.status)
		}
		r.say("%s, in %.1f s", what, time.Since(began).Seconds())
		return to, nil
	}
	table, err := step("the table is uploaded", func() shown { return r.post(ctx, r.portal("/bulk/new"), file) })
	if err != nil {
		return err
	}
	columns := url.Values{"test_type": {"1"}, "test_date": {"2"}, "symptom_date": {"none"}, "phone": {"3"}, "dates": {"ymd"}}
	if _, err = step("all rows are tried", func() shown { return r.form(ctx, table, columns) }); err != nil {
		return err
	}
	r.order, err = step("the codes are ordered", func() shown { return r.form(ctx, table+"/order", nil) })
	return err
}

// post uploads a file as the form does.
func (r *bulkRun) post(ctx context.Context, path string, file []byte) shown {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "table.csv")
	if err == nil {
		_, err = part.Write(file)
	}
	if err = errors.Join(err, form.Close()); err != nil {
		return shown{}
	}
	return r.guest.post(ctx, path, form.FormDataContentType(), &body)
}

func (r *bulkRun) form(ctx context.Context, path string, values url.Values) shown {
	return r.guest.post(ctx, path, "application/x-www-form-urlencoded", strings.NewReader(values.Encode()))
}

// bulkLook is how often the page's script asks how far a batch is.
const bulkLook = 2 * time.Second

// until asks as the page does, until so many rows are done.
func (r *bulkRun) until(ctx context.Context, rows int) error {
	look := bulkLook
	if r.options.Rows < 10_000 {
		look /= 20
	}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		var state struct {
			Phase string
			Done  int
		}
		answer := r.guest.get(ctx, r.order+"/state")
		if err := json.Unmarshal([]byte(answer.text()), &state); err != nil {
			return fmt.Errorf("%w: the state is answered %d", errBulk, answer.status)
		}
		if state.Done >= rows && (rows < r.options.Rows || state.Phase == "done") {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

func (r *bulkRun) issued(ctx context.Context) (n int, err error) {
	err = r.super.QueryRowContext(ctx, `select count(*) from verification_code`).Scan(&n)
	return n, err
}

// sent waits until no message is to be sent any more: those that a dead process was sending
// are given up, because nobody knows whether they went.
func (r *bulkRun) sent(ctx context.Context) error {
	ticker := time.NewTicker(bulkLook / 10)
	defer ticker.Stop()
	for waiting := 1; ; {
		if err := r.super.QueryRowContext(ctx, `select count(*) from message_queue where state <> 'failed'`).Scan(&waiting); err != nil || waiting == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// results takes the file with the results, and looks at its lines.
func (r *bulkRun) results(ctx context.Context) error {
	began := time.Now()
	answer := r.guest.get(ctx, r.order+"/results")
	lines, err := csv.NewReader(strings.NewReader(answer.text())).ReadAll()
	if err != nil || len(lines) != r.options.Rows+1 {
		return fmt.Errorf("%w: the results have %d lines, status %d, %w", errBulk, len(lines), answer.status, err)
	}
	codes := map[string]bool{}
	for _, line := range lines[1:] {
		codes[line[4]] = true
	}
	if len(codes) != r.options.Rows {
		return fmt.Errorf("%w: the results have %d codes", errBulk, len(codes))
	}
	r.say("the results are taken in %.1f s: %.1f MB", time.Since(began).Seconds(), float64(len(answer.text()))/(1<<20))
	return nil
}

// verify counts in the database, and to whom messages went.
func (r *bulkRun) verify(ctx context.Context) error {
	var codes, rows, audits, uncertain int
	for query, to := range map[string]*int{
		`select count(*) from verification_code`: &codes,
		`select count(*) from batch_row r join verification_code c using (tenant_id, code_id) where r.state = 'issued'`: &rows,
		`select count(*) from message_delivery where class = 'uncertain'`:                                               &uncertain,
		`select count(*) from audit_entry where action in ('code:issue', 'code:bulk-issue', 'batch:finish')`:            &audits,
	} {
		if err := r.super.QueryRowContext(ctx, query).Scan(to); err != nil {
			return err
		}
	}
	told, err := os.ReadFile(r.sentFile())
	if err != nil {
		return err
	}
	numbers := map[string]int{}
	for to := range strings.FieldsSeq(string(told)) {
		numbers[to]++
	}
	twice := 0
	for _, n := range numbers {
		if n > 1 {
			twice++
		}
	}
	fmt.Fprintf(r.options.Out, "%d codes, one for each of %d rows; %d audit entries; %d numbers got a message, %d of them twice; %d were being sent at the kill\n",
		codes, rows, audits, len(numbers), twice, uncertain)
	if codes != r.options.Rows || rows != r.options.Rows || audits != 2 || twice > 0 || len(numbers)+uncertain < r.options.Rows/2 {
		return fmt.Errorf("%w: not each row has its code once, or a message is missing", errBulk)
	}
	return nil
}
