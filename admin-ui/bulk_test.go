package adminui_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"mime/multipart"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/batch/sheet"
	"carillon/tenant/key"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/outbox"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

const bulkPath = "/portal/north-shore/bulk"

// bulkWorld is a portal with real batches, and a worker that works when it is told.
type bulkWorld struct {
	*staffWorld
	worker *batch.Worker
	sms    *messagetest.Sender
}

const (
	casey = "case@north.example"
	otis  = "otis@north.example"
)

func newBulkWorld(t *testing.T) *bulkWorld {
	t.Helper()
	db, sms := tenanttest.New(t), &messagetest.Sender{}
	w := &bulkWorld{sms: sms}
	w.staffWorld = staffWorldOf(t, db, func(c *adminui.Config) {
		codes := func(handle *tenant.DB) (*verification.Service, *key.Ring) {
			keys := key.NewRing(handle, db.Root)
			return verification.New(verification.Config{
				DB: handle, Keys: keys, Policies: c.Policies, Sender: sms, Outbox: outbox.New(keys, c.Now), Now: c.Now, Rand: rand.Reader,
			}), keys
		}
		issuing, keys := codes(db.Portal)
		batches := batch.New(batch.Config{DB: db.Portal, Keys: keys, Policies: c.Policies, Codes: issuing, Now: c.Now})
		c.Batches = batches
		c.Sheets = sheet.NewDesk(sheet.Config{DB: db.Portal, Keys: keys, Codes: issuing, Batches: batches, Now: c.Now})
		working, ring := codes(db.Issuer)
		w.worker = batch.NewWorker(batch.WorkerConfig{
			DB: db.Issuer, Keys: ring, Directory: tenant.NewDirectory(db.Issuer), Codes: working, Log: slog.New(slog.DiscardHandler), Now: c.Now,
		})
	})
	w.sql(`update tenant_setting set test_types = '{confirmed,likely}', require_date = true, sms_enabled = true, sms_country = 'US',
	       sms_template = 'Code [longcode]', batch_issue = true, code_seconds = 900`)
	w.hire(casey, "Casey", authz.Caseworker)
	w.hire(otis, "Otis", authz.Caseworker)
	w.hire("ana@north.example", "Ana", authz.Analyst)
	return w
}

func (w *bulkWorld) sql(statement string) {
	w.t.Helper()
	if _, err := w.db.Database.Super().ExecContext(w.t.Context(), statement); err != nil {
		w.t.Fatal(err)
	}
}

// turn lets the worker take one turn.
func (w *bulkWorld) turn() {
	w.t.Helper()
	now, err := tenant.NewDirectory(w.db.Issuer).ByID(w.t.Context(), w.at.ID)
	if err == nil {
		_, err = w.worker.Turn(w.t.Context(), now)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// uploadTable sends a file as the form does.
func (w *bulkWorld) uploadTable(file string) *page {
	w.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "table.csv")
	if err == nil {
		_, err = part.Write([]byte(file))
	}
	if err = errors.Join(err, form.Close()); err != nil {
		w.t.Fatal(err)
	}
	return w.multipart(bulkPath+"/new", form.FormDataContentType(), &body)
}

const (
	tableHeading = "Say what the columns mean"
	checkHeading = "What would happen"
	batchHeading = "Order of many codes"
)

// columns is the form that says what the columns mean.
func columns(pairs ...string) url.Values {
	form := url.Values{"test_type": {"none"}, "test_date": {"none"}, "symptom_date": {"none"}, "phone": {"none"}, "dates": {"ymd"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

const goodTable = "Name,Result,Test date,Phone\nAna,confirmed,2026-11-25,206 555 0142\nשרה,Likely,2026-11-24,\n🙂,confirmed,2026-11-25,+1 206 555 0142\n"

// order takes a table all the way to its order.
func (w *bulkWorld) order(table string) *page {
	w.t.Helper()
	p := w.uploadTable(table).wants(200, tableHeading)
	p = w.post(p.url.Path, columns("test_type", "1", "test_date", "2", "phone", "3")).wants(200, checkHeading)
	return w.post(strings.TrimSuffix(p.url.Path, "/check")+"/order", nil).wants(200, batchHeading)
}

func TestManyCodesFromATable(t *testing.T) {
	t.Parallel()
	w := newBulkWorld(t)
	w.signIn(casey)
	p := w.get(bulkPath).wants(200, "Issue many codes").contains("Nobody has ordered many codes")
	w.get(p.link("Upload a table")).wants(200, "Upload a table").contains("Up to 50000 rows and 10 MB")
	p = w.uploadTable(goodTable).wants(200, tableHeading).contains("3 rows.").contains("שרה").contains("206 555 0142")
	p.marks(`<option value="1" selected>Result</option>`).marks(`<option value="2" selected>Test date</option>`).marks(`<option value="3" selected>Phone</option>`)
	file := p.url.Path
	p = w.post(file, columns("test_type", "1", "test_date", "2", "phone", "3")).wants(200, checkHeading)
	p.contains("All rows can be used").contains("It has the telephone number of row 2").contains("15 minutes").lacks("0142")
	w.get(file).wants(200, tableHeading).contains("See what the last try found")

	p = w.post(file+"/order", nil).wants(200, batchHeading).contains("The codes are being issued").contains("1 of 3 rows are done").contains("Casey")
	again := w.post(file+"/order", nil).wants(200, batchHeading)
	if again.url.Path != p.url.Path {
		t.Errorf("a second click leads to %s, the first to %s", again.url.Path, p.url.Path)
	}
	w.get(file).wants(200, batchHeading)
	w.turn()
	w.turn()
	p = w.get(p.url.Path).wants(200, batchHeading).contains("3 of 3 rows are done").contains("Done").lacks("Pause").lacks("src=\"/portal")
	results := w.get(p.link("Download the results (CSV)"))
	lines := strings.Split(strings.TrimSpace(results.body), "\r\n")
	if len(lines) == 1 {
		lines = strings.Split(strings.TrimSpace(results.body), "\n")
	}
	if results.status != 200 || len(lines) != 4 || !strings.HasPrefix(lines[1], "2,issued,,2026-11-") || !strings.HasPrefix(lines[3], "4,same telephone number,,,,") {
		t.Errorf("results: %d, %q", results.status, lines)
	}
	if code := strings.Split(lines[2], ",")[2]; len(code) != 9 || code[4] != ' ' {
		t.Errorf("the code of the second row is %q", code)
	}
	p = w.uploadTable(strings.ReplaceAll(goodTable, "\n", "\r\n")).wants(200, batchHeading).contains("This table was used before. Nothing was issued")
	w.get(bulkPath).wants(200, "Issue many codes").contains("3 rows.").contains("Casey").contains("Done")

	// Others see how it stands, and no code.
	w.signIn(otis)
	p = w.get(p.url.Path).wants(200, batchHeading).contains("Only Casey can download the results").lacks("Download the results")
	w.get(p.url.Path+"/results").wants(403, "These results are somebody else’s")
	w.signIn("ana@north.example")
	w.get(bulkPath).wants(403, "You may not do this")
	w.get(p.url.Path).wants(403, "You may not do this")
	if log := w.log.String(); strings.Contains(log, "0142") || strings.Contains(log, "שרה") {
		t.Errorf("the log tells too much: %s", log)
	}
}

func TestTablesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newBulkWorld(t)
	w.signIn(casey)
	for name, c := range map[string]struct {
		file   string
		status int
		text   string
	}{
		"nothing":         {"", 422, "Choose a file that has at least one row"},
		"a picture":       {"\x89PNG\x00\x01", 422, "This is no text in UTF-8"},
		"Latin-1":         {"type\nconfirmed\nJos\xe9\n", 422, "Row 3: This is no text in UTF-8"},
		"an open quote":   {"type\n\"confirmed\n", 422, "Row 2: A quotation mark"},
		"no headings":     {"a,,b\n1,2,3\n", 422, "The first row must name each column"},
		"a row too many":  {"type\n" + strings.Repeat("confirmed\n", batch.MaxRows+1), 422, "more than 50,000 rows"},
		"a byte too many": {strings.Repeat("x", sheet.MaxBytes+1), 413, "larger than 10 MB"},
		"twenty MB":       {strings.Repeat("é;", 10<<20/3*2), 413, "larger than 10 MB"},
	} {
		p := w.uploadTable(c.file).wants(c.status, "Upload a table").contains(c.text)
		if !strings.Contains(p.body, `href="#file"`) {
			t.Errorf("%s: the summary does not lead to the file", name)
		}
	}
	w.multipart(bulkPath+"/new", "text/plain", bytes.NewBufferString("no form")).wants(400, "The form could not be read")
	// Other forms are as short as ever.
	w.post("/portal/north-shore/bulk/files/"+uuid.NewString(), url.Values{"dates": {strings.Repeat("x", 70<<10)}}).wants(400, "The form could not be read")
}

func TestRowsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	w := newBulkWorld(t)
	w.signIn(casey)
	p := w.uploadTable("type,when,tel\npositive,25/11/2026,\nconfirmed,11/25/2026,\nconfirmed,25/11/2026,junk😀\n\nconfirmed,25/11/2026,\n").wants(200, tableHeading)
	file := p.url.Path
	p = w.post(file, columns("test_type", "0", "test_date", "1", "phone", "2", "dates", "dmy")).wants(200, checkHeading)
	p.contains("4 rows cannot be used").contains("Write one of: confirmed, likely").contains("Write the date as you chose: Day, month, year").
		contains("junk😀").contains("Enter a telephone number").contains("The row is empty").lacks("/order")
	if !strings.HasPrefix(p.text("title"), "Error: ") {
		t.Errorf("title %q", p.text("title"))
	}
	w.post(file+"/order", nil).wants(200, checkHeading).contains("4 rows cannot be used")
	w.post(file, columns("test_date", "1", "dates", "dmy")).wants(422, tableHeading).contains("Choose a column for the test result").marks(`value="dmy" checked`)
	w.post(file, columns("test_type", "0", "test_date", "0")).wants(422, tableHeading).contains("Two have the same column")
	w.post(file, columns("test_type", "9")).wants(400, "The form could not be read")
	w.post(file, columns("test_type", "confirmed")).wants(400, "The form could not be read")
	w.post(file+"/drop", nil).wants(200, "Issue many codes").contains("The table was forgotten. Nothing was issued.")
	w.get(file).wants(404, "This table is not kept any more")
	w.signIn(otis)
	other := w.uploadTable("a,b\nconfirmed,c").url.Path
	w.signIn(casey)
	for _, path := range []string{other, other + "/check"} {
		w.get(path).wants(404, "This table is not kept any more")
	}
	for _, path := range []string{other, other + "/order", other + "/drop"} {
		w.post(path, columns("test_type", "0")).wants(404, "This table is not kept any more")
	}
}

// rows is a table of n rows without messages.
func rows(n int) string {
	var table strings.Builder
	table.WriteString("no,result,test date,phone\n")
	for i := range n {
		fmt.Fprintf(&table, "%d,confirmed,2026-11-25,\n", i)
	}
	return table.String()
}

func TestABatchIsSteered(t *testing.T) {
	t.Parallel()
	w := newBulkWorld(t)
	w.signIn(casey)
	p := w.order(rows(250)).contains("0 of 250 rows are done")
	path := p.url.Path
	w.turn()
	w.get(path).contains("100 of 250 rows are done").marks(`value="100"`).marks(`max="250"`)
	live := w.get(path + "/state").body
	if !strings.Contains(live, `"phase":"running"`) || !strings.Contains(live, `"done":100`) || !strings.Contains(live, "rows a minute") {
		t.Errorf("state: %s", live)
	}
	w.post(path+"/pause", nil).wants(200, batchHeading).contains("Paused").contains("Nothing more is issued until somebody resumes it").marks(path + "/resume").lacks(path + "/pause")
	w.turn()
	w.get(path).contains("100 of 250 rows are done")
	w.post(path+"/resume", nil).wants(200, batchHeading).contains("Being issued")
	w.turn()
	w.get(path+"/cancel").wants(200, "Cancel this order?").contains("50 rows are not done and will be forgotten").contains("200 codes are issued and stay")
	w.post(path+"/cancel", nil).wants(200, batchHeading).contains("The order was cancelled")
	w.get(path+"/cancel").wants(200, batchHeading)
	w.post(path+"/resume", nil).wants(409, "The order has ended")
	w.post(path+"/retry", nil).wants(409, "The order has ended")
	for _, act := range []string{"", "/state", "/cancel", "/results"} {
		w.get(bulkPath+"/batches/"+uuid.NewString()+act).wants(404, "There is no such order")
	}
	for _, act := range []string{"/pause", "/resume", "/cancel", "/retry"} {
		w.post(bulkPath+"/batches/"+uuid.NewString()+act, nil).wants(404, "There is no such order")
	}
}

// Whoever is suspended while her codes are issued issues no more, and the page says why.
func TestASuspendedPersonsBatchStops(t *testing.T) {
	t.Parallel()
	w := newBulkWorld(t)
	w.signIn(casey)
	path := w.order(rows(150)).url.Path
	w.turn()
	w.sql(`update member set state = 'suspended' where name = 'Casey'`)
	w.turn()
	w.signIn(otis)
	w.get(path).wants(200, batchHeading).contains("100 of 150 rows are done").contains("Paused").contains("It stopped because whoever ordered it may not issue codes now")
	w.post(path+"/resume", nil).wants(200, batchHeading)
	w.turn()
	w.get(path).contains("100 of 150 rows are done").contains("It stopped because whoever ordered it")
}

func TestRowsThatFailedAreTriedAgain(t *testing.T) {
	t.Parallel()
	w := newBulkWorld(t)
	w.signIn(casey)
	path := w.order(rows(3)).url.Path
	w.sql(`update tenant_setting set test_types = '{likely}'`) // after the dry run
	w.turn()
	w.turn()
	p := w.get(path).wants(200, batchHeading).contains("Rows that failed").contains("Choose a test result that your health authority uses").contains("kept for 24 hours")
	p.contains("Try 3 rows again")
	w.sql(`update tenant_setting set test_types = '{confirmed,likely}'`)
	w.post(path+"/retry", nil).wants(200, batchHeading).contains("The rows are being tried again").contains("0 of 3 rows are done")
	w.turn()
	w.turn()
	w.get(path).contains("3 of 3 rows are done").lacks("Rows that failed")
	w.post(path+"/retry", nil).wants(409, "No row can be tried again")
}

func TestBatchesAreOff(t *testing.T) {
	t.Parallel()
	w := newBulkWorld(t)
	w.sql(`update tenant_setting set batch_issue = false`)
	w.signIn(casey)
	w.get(bulkPath).wants(200, "Issue many codes").contains("An owner or administrator can turn it on").lacks(bulkPath + "/new").lacks("/settings/codes")
	w.get(bulkPath+"/new").wants(409, "Issuing many codes is turned off")
	w.uploadTable(goodTable).wants(409, "Issuing many codes is turned off")
	w.signIn(alex)
	w.get(bulkPath).wants(200, "Issue many codes").marks("/portal/north-shore/settings/codes")
}

func TestOrdersArePagedByKey(t *testing.T) {
	t.Parallel()
	w := newBulkWorld(t)
	w.signIn(casey)
	w.order(rows(1))
	w.sql(`
insert into batch (tenant_id, batch_id, idempotency_key, digest, state, row_count, created_at, finished_at, issuer_kind, issuer_id, issuer_name, issuer_roles)
select tenant_id, gen_random_uuid(), 'k' || i, digest, 'done', i, created_at - i * interval '1 minute', created_at, 'api-key', 'k', 'Lab <b>', '{}'
  from batch, generate_series(2, 60) i`)
	p := w.get(bulkPath).contains("1 row.").contains("25 rows.").contains("API key Lab <b>").lacks("26 rows.")
	p = w.get(p.link("Older")).contains("26 rows.").contains("50 rows.").lacks("25 rows.").lacks("51 rows.")
	p = w.get(p.link("Older")).contains("60 rows.").lacks(">Older<")
	w.get(p.link("Newest")).contains("1 row.")
	w.get(bulkPath+"?before="+uuid.NewString()).wants(200, "Issue many codes").contains("There is nothing older")
	w.get(bulkPath + "?before=junk").contains("1 row.")
}

// What the page tells does not take longer with the size of the table: it asks the database
// as often.
func TestAPageOfABatchIsFewRoundTrips(t *testing.T) {
	t.Parallel()
	w := newBulkWorld(t)
	w.signIn(casey)
	path := w.order(rows(300)).url.Path
	w.turn()
	for _, p := range []string{path, path + "/state", bulkPath} {
		w.get(p)
		if n := w.db.Trips(func() { w.get(p) }); n > 7 {
			t.Errorf("%s takes %d round trips", p, n)
		}
	}
}
