package sheet_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/batch/sheet"
	"carillon/tenant/key"
	"carillon/tenant/member"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/outbox"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

// fixture is a tenant with a desk and a worker, each in the role that it has in a service.
type fixture struct {
	world      *tenanttest.World
	north      *tenant.Tenant
	robin, sam authz.Subject
	desk       *sheet.Desk
	batches    *batch.Service
	worker     *batch.Worker
	dispatcher *outbox.Dispatcher
	sms        *messagetest.Sender
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{world: w, sms: &messagetest.Sender{}}
	f.north = w.Create("north")
	f.do(t, `
update tenant_setting
   set test_types = '{confirmed,likely,user-report}', require_date = true, sms_enabled = true, sms_country = 'US',
       sms_template = 'Code [longcode]', batch_issue = true, time_zone = 'America/Los_Angeles'`)
	f.north = f.read(t)
	f.robin, f.sam = f.hire(t, "robin"), f.hire(t, "sam")
	codes := f.codes(w.Portal)
	keys := key.NewRing(w.Portal, w.Root)
	f.batches = batch.New(batch.Config{DB: w.Portal, Keys: keys, Policies: authz.NewPolicies(nil), Codes: codes, Now: w.Now})
	f.desk = sheet.NewDesk(sheet.Config{DB: w.Portal, Keys: keys, Codes: codes, Batches: f.batches, Now: w.Now})
	issuing := key.NewRing(w.Issuer, w.Root)
	f.worker = batch.NewWorker(batch.WorkerConfig{
		DB: w.Issuer, Keys: issuing, Directory: tenant.NewDirectory(w.Issuer), Codes: f.codes(w.Issuer), Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
	f.dispatcher = outbox.NewDispatcher(outbox.Config{
		DB: w.Issuer, Keys: issuing, Directory: tenant.NewDirectory(w.Issuer), Sender: f.sms, Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
	return f
}

// read is north as its settings are now.
func (f *fixture) read(t *testing.T) *tenant.Tenant {
	t.Helper()
	north, err := tenant.NewDirectory(f.world.Portal).ByID(t.Context(), f.north.ID)
	if err != nil {
		t.Fatal(err)
	}
	return north
}

func (f *fixture) codes(db *tenant.DB) *verification.Service {
	keys := key.NewRing(db, f.world.Root)
	return verification.New(verification.Config{
		DB: db, Keys: keys, Policies: authz.NewPolicies(nil), Sender: f.sms, Outbox: outbox.New(keys, f.world.Now), Now: f.world.Now, Rand: rand.Reader,
	})
}

func (f *fixture) hire(t *testing.T, name string) authz.Subject {
	t.Helper()
	who := oidc.Identity{Issuer: "https://login.example", Subject: name, Email: name + "@north.example"}
	err := f.world.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		return member.Add(t.Context(), tx, member.Member{Issuer: who.Issuer, Email: who.Email, Name: name, Roles: []authz.Role{authz.Caseworker}})
	})
	if err != nil {
		t.Fatal(err)
	}
	by, err := member.Authenticate(t.Context(), f.world.Portal, f.north, who)
	if err != nil {
		t.Fatal(err)
	}
	return by
}

func (f *fixture) do(t *testing.T, statement string) {
	t.Helper()
	if _, err := f.world.Database.Super().ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) count(t *testing.T, query string) (n int) {
	t.Helper()
	if err := f.world.Database.Super().QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (f *fixture) upload(t *testing.T, file []byte) string {
	t.Helper()
	id, earlier, err := f.desk.Upload(t.Context(), f.north, f.robin, file)
	if err != nil || earlier != nil {
		t.Fatalf("upload: earlier %v, %v", earlier, err)
	}
	return id.String()
}

// ordered uploads a table with guessed columns and orders its batch.
func (f *fixture) ordered(t *testing.T, file []byte) string {
	t.Helper()
	id := f.upload(t, file)
	kept, err := f.desk.File(t.Context(), f.north, f.robin, id)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := f.desk.Try(t.Context(), f.north, f.robin, id, sheet.Guess(kept.Columns)); err != nil || c.Problems > 0 {
		t.Fatalf("try: %+v, %v", c, err)
	}
	b, created, err := f.desk.Order(t.Context(), f.north, f.robin, id)
	if err != nil || !created {
		t.Fatalf("order: new %t, %v", created, err)
	}
	return b.String()
}

// work issues and sends all there is.
func (f *fixture) work(t *testing.T) {
	t.Helper()
	for {
		n, err := f.worker.Turn(t.Context(), f.north)
		if err != nil {
			t.Fatal(err)
		}
		sent, err := f.dispatcher.Turn(t.Context(), f.north)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 && sent == 0 {
			return
		}
	}
}

// today is a day that dates may be; tenanttest's clock stands in November 2026.
func (f *fixture) today() string { return f.world.Now().Format(time.DateOnly) }

func TestFromFileToMessages(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	day := f.today()
	file := table("Name,Result,Test date,Phone", "Ana,confirmed,"+day+",206 555 0100", "Bo,Likely,"+day+",", "Cy,confirmed,"+day+",+1 (206) 555-0100")
	id := f.upload(t, file)
	kept, err := f.desk.File(t.Context(), f.north, f.robin, id)
	if err != nil || kept.Count != 3 || kept.Check != nil || len(kept.First) != 3 || kept.First[0][0] != "Ana" {
		t.Fatalf("the file: %+v, %v", kept, err)
	}
	if _, _, err := f.desk.Order(t.Context(), f.north, f.robin, id); !errors.Is(err, sheet.ErrUnchecked) {
		t.Errorf("order before it was tried: %v", err)
	}
	c, err := f.desk.Try(t.Context(), f.north, f.robin, id, sheet.Guess(kept.Columns))
	if err != nil {
		t.Fatal(err)
	}
	want := sheet.Check{
		Mapping: sheet.Guess(kept.Columns), Codes: 2, Messages: 1, Duplicates: 1,
		Findings: []sheet.Finding{{Row: 4, Field: sheet.Phone, DuplicateOf: 2}},
	}
	if diff := cmp.Diff(&want, c); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := f.count(t, `select count(*) from verification_code`); n != 0 {
		t.Errorf("a dry run has issued %d codes", n)
	}
	b, created, err := f.desk.Order(t.Context(), f.north, f.robin, id)
	if err != nil || !created {
		t.Fatalf("order: new %t, %v", created, err)
	}
	f.work(t)
	p, err := f.batches.Get(t.Context(), f.north, f.robin, b.String())
	if err != nil || p.State != batch.Done || p.Counts[batch.Issued] != 2 || p.Counts[batch.Duplicate] != 1 || !p.OrderedBy(f.robin) {
		t.Errorf("the batch: %+v, %v", p, err)
	}
	if sent := f.sms.Delivered(); len(sent) != 1 {
		t.Errorf("%d messages", len(sent))
	}

	// Once more, from the same page or by the same file, in whatever form.
	if again, created, err := f.desk.Order(t.Context(), f.north, f.robin, id); err != nil || created || again != b {
		t.Errorf("a second click: %v, new %t, %v", again, created, err)
	}
	resaved := append([]byte("\ufeff"), bytes.ReplaceAll(bytes.ReplaceAll(file, []byte(","), []byte(";")), []byte("\n"), []byte("\r\n"))...)
	for name, again := range map[string][]byte{"the same": file, "saved by another program": resaved} {
		_, earlier, err := f.desk.Upload(t.Context(), f.north, f.sam, again)
		if err != nil || earlier == nil || earlier.ID != b {
			t.Errorf("%s: %v, %v", name, earlier, err)
		}
	}
	f.work(t)
	if sent := f.sms.Delivered(); len(sent) != 1 {
		t.Errorf("%d messages after the same file again", len(sent))
	}
	for action, want := range map[string]int{"batch:upload": 1, "batch:check": 1, "code:bulk-issue": 1, "batch:finish": 1, "code:issue": 0} {
		if n := f.count(t, `select count(*) from audit_entry where action = '`+action+`'`); n != want {
			t.Errorf("%d entries %s, want %d", n, action, want)
		}
	}
}

func TestDryRunTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	day := f.today()
	id := f.upload(t, table("type,symptom,test date,phone",
		"confirmed,,"+day+",",
		"positive,,"+day+",",
		"confirmed,,"+day+",nonsense",
		"confirmed,,2020-01-01,",
		"confirmed,2020-01-01,"+day+",",
		"confirmed,yesterday,"+day+",",
		"confirmed,,,",
		"",
		"user-report,,"+day+",",
		"negative,,"+day+",",
	))
	c, err := f.desk.Try(t.Context(), f.north, f.robin, id, sheet.Mapping{
		Columns: map[sheet.Field]int{sheet.TestType: 0, sheet.SymptomDate: 1, sheet.TestDate: 2, sheet.Phone: 3}, Dates: sheet.YearFirst,
	})
	if err != nil {
		t.Fatal(err)
	}
	type found struct {
		row   int
		field sheet.Field
		cause error
	}
	want := []found{
		{3, sheet.TestType, verification.ErrInvalidTestType},
		{4, sheet.Phone, verification.ErrPhoneInvalid},
		{5, sheet.TestDate, verification.ErrInvalidDate},
		{6, sheet.SymptomDate, verification.ErrInvalidDate},
		{7, sheet.SymptomDate, verification.ErrUnparsable},
		{8, sheet.TestDate, verification.ErrMissingDate},
		{9, sheet.TestType, nil},
		{10, sheet.Phone, verification.ErrMissingPhone},
		{11, sheet.TestType, verification.ErrUnsupportedTestType},
	}
	if c.Codes != 1 || c.Problems != len(want) || len(c.Findings) != len(want) {
		t.Fatalf("%+v", c)
	}
	for i, w := range want {
		got := c.Findings[i]
		if got.Row != w.row || got.Field != w.field || !errors.Is(got.Cause(), w.cause) {
			t.Errorf("finding %d: %+v, want %+v", i, got, w)
		}
	}
	if _, _, err := f.desk.Order(t.Context(), f.north, f.robin, id); !errors.Is(err, sheet.ErrUnchecked) {
		t.Errorf("order: %v", err)
	}
	if n := f.count(t, `select count(*) from batch`); n != 0 {
		t.Errorf("%d batches", n)
	}
}

// What a dry run lets pass is issued, and what it does not would fail: they ask the same rules.
func TestDryRunAgreesWithTheWorker(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	day := f.today()
	for _, row := range []string{
		"confirmed,," + day + ",", "confirmed,,,", "likely," + day + ",,2065550100", "nonsense,," + day + ",", "negative,," + day + ",",
		"confirmed,," + day + ",12", "confirmed,1999-01-01,,", "user-report,," + day + ",", "user-report,," + day + ",2065550101",
	} {
		m := sheet.Mapping{Columns: map[sheet.Field]int{sheet.TestType: 0, sheet.SymptomDate: 1, sheet.TestDate: 2, sheet.Phone: 3}, Dates: sheet.YearFirst}
		c, err := f.desk.Try(t.Context(), f.north, f.robin, f.upload(t, table("a,b,c,d", row)), m)
		if err != nil {
			t.Fatal(err)
		}
		cells := bytes.Split([]byte(row), []byte(","))
		o := batch.Order{TestType: string(cells[0]), SymptomDate: string(cells[1]), TestDate: string(cells[2]), Phone: string(cells[3])}
		b, _, err := f.batches.Create(t.Context(), f.north, f.robin, uuid.NewString(), func(yield func(batch.Order, error) bool) { yield(o, nil) })
		if err != nil {
			t.Fatal(err)
		}
		f.work(t)
		p, err := f.batches.Get(t.Context(), f.north, f.robin, b.ID.String())
		if err != nil || (p.Counts[batch.Issued] == 1) != (c.Problems == 0) {
			t.Errorf("%s: the dry run has %d problems, the worker issued %d, %v", row, c.Problems, p.Counts[batch.Issued], err)
		}
	}
}

func TestMappings(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	at := func(pairs ...any) map[sheet.Field]int {
		m := map[sheet.Field]int{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(sheet.Field)] = pairs[i+1].(int)
		}
		return m
	}
	now := f.world.Now()
	for name, c := range map[string]struct {
		row      string
		mapping  sheet.Mapping
		err      error
		problems int
	}{
		"month first":          {now.Format("01/02/2006"), sheet.Mapping{Columns: at(sheet.TestDate, 0), Dates: sheet.MonthFirst, Type: "confirmed"}, nil, 0},
		"day first":            {now.Format("2.1.2006"), sheet.Mapping{Columns: at(sheet.TestDate, 0), Dates: sheet.DayFirst, Type: "confirmed"}, nil, 0},
		"year first":           {now.Format("2006/1/2"), sheet.Mapping{Columns: at(sheet.TestDate, 0), Dates: sheet.YearFirst, Type: "confirmed"}, nil, 0},
		"other order":          {now.Format("2006-01-02"), sheet.Mapping{Columns: at(sheet.TestDate, 0), Dates: sheet.DayFirst, Type: "confirmed"}, nil, 0},
		"no such date":         {"31.02.2026", sheet.Mapping{Columns: at(sheet.TestDate, 0), Dates: sheet.DayFirst, Type: "confirmed"}, nil, 1},
		"no type":              {"x", sheet.Mapping{Columns: at(sheet.TestDate, 0), Dates: sheet.YearFirst}, sheet.ErrColumns, 0},
		"a type that is none":  {"x", sheet.Mapping{Columns: at(sheet.TestDate, 0), Dates: sheet.YearFirst, Type: "x"}, sheet.ErrColumns, 0},
		"one column twice":     {"x", sheet.Mapping{Columns: at(sheet.TestDate, 0, sheet.TestType, 0), Dates: sheet.YearFirst}, sheet.ErrColumns, 0},
		"a column beyond":      {"x", sheet.Mapping{Columns: at(sheet.TestType, 1), Dates: sheet.YearFirst}, sheet.ErrColumns, 0},
		"a negative column":    {"x", sheet.Mapping{Columns: at(sheet.TestType, -1), Dates: sheet.YearFirst}, sheet.ErrColumns, 0},
		"no order of the days": {"x", sheet.Mapping{Columns: at(sheet.TestType, 0)}, sheet.ErrColumns, 0},
	} {
		t.Run(name, func(t *testing.T) {
			check, err := f.desk.Try(t.Context(), f.north, f.robin, f.upload(t, table("x", c.row)), c.mapping)
			if !errors.Is(err, c.err) || (err == nil && check.Problems != c.problems) {
				t.Errorf("%+v, %v", check, err)
			}
		})
	}
}

func TestAFileIsHersAlone(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.upload(t, table("type,test date", "confirmed,"+f.today()))
	for name, id := range map[string]string{"hers": id, "nobody's": uuid.NewString(), "nonsense": "nonsense"} {
		_, fileErr := f.desk.File(t.Context(), f.north, f.sam, id)
		_, tryErr := f.desk.Try(t.Context(), f.north, f.sam, id, sheet.Mapping{})
		_, _, orderErr := f.desk.Order(t.Context(), f.north, f.sam, id)
		dropErr := f.desk.Drop(t.Context(), f.north, f.sam, id)
		for i, err := range []error{fileErr, tryErr, orderErr, dropErr} {
			if !errors.Is(err, sheet.ErrNotFound) {
				t.Errorf("question %d about %s: %v", i, name, err)
			}
		}
	}
	// The same person at another tenant is somebody else.
	south := f.world.Create("south")
	f.do(t, `update tenant_setting set batch_issue = true`)
	other := tenant.NewDirectory(f.world.Portal)
	south, err := other.ByID(t.Context(), south.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.desk.File(t.Context(), south, f.robin, id); !errors.Is(err, sheet.ErrNotFound) {
		t.Errorf("at another tenant: %v", err)
	}
	if err := f.desk.Drop(t.Context(), f.north, f.robin, id); err != nil {
		t.Fatal(err)
	}
	if _, err := f.desk.File(t.Context(), f.north, f.robin, id); !errors.Is(err, sheet.ErrNotFound) {
		t.Errorf("after she dropped it: %v", err)
	}
}

func TestWhoMayNotUpload(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	analyst := f.robin
	analyst.Roles = []authz.Role{authz.Analyst}
	if _, _, err := f.desk.Upload(t.Context(), f.north, analyst, table("type", "confirmed")); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("an analyst: %v", err)
	}
	f.do(t, `update tenant_setting set batch_issue = false`)
	if _, _, err := f.desk.Upload(t.Context(), f.read(t), f.robin, table("type", "confirmed")); !errors.Is(err, verification.ErrBatchDisabled) {
		t.Errorf("while batches are off: %v", err)
	}
}

// Two clicks at once order one batch.
func TestTwoClicksAreOne(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.upload(t, table("type,test date", "confirmed,"+f.today()))
	if _, err := f.desk.Try(t.Context(), f.north, f.robin, id, sheet.Guess([]string{"type", "test date"})); err != nil {
		t.Fatal(err)
	}
	var together sync.WaitGroup
	var mu sync.Mutex
	ids, news := map[uuid.UUID]bool{}, 0
	for range 4 {
		together.Go(func() {
			b, created, err := f.desk.Order(t.Context(), f.north, f.robin, id)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[b] = true
			if created {
				news++
			}
		})
	}
	together.Wait()
	if len(ids) != 1 || news != 1 {
		t.Errorf("%d batches, %d of them new", len(ids), news)
	}
}

// The same table with other columns is no second batch either.
func TestOtherColumnsAreRefused(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	file := table("type,a,b", "confirmed,"+f.today()+","+f.today())
	first, second := f.upload(t, file), f.upload(t, file)
	for id, column := range map[string]int{first: 1, second: 2} {
		m := sheet.Mapping{Columns: map[sheet.Field]int{sheet.TestType: 0, sheet.TestDate: column}, Dates: sheet.YearFirst}
		if column == 2 {
			m.Columns = map[sheet.Field]int{sheet.TestType: 0, sheet.SymptomDate: column}
		}
		if _, err := f.desk.Try(t.Context(), f.north, f.robin, id, m); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.desk.Order(t.Context(), f.north, f.robin, first); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.desk.Order(t.Context(), f.north, f.robin, second); !errors.Is(err, batch.ErrKeyUsed) {
		t.Errorf("with other columns: %v", err)
	}
}

// Nothing of a file is in the clear, and nothing is left of it in the end.
func TestRowsAreSealedAndForgotten(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	waiting := f.upload(t, table("type,phone,test date", "confirmed,206 555 0123,"+f.today()))
	f.ordered(t, table("type,phone,test date", "confirmed,206 555 0124,"+f.today()))
	const clear = `select count(*) from batch_file where position('555'::bytea in sealed_head || coalesce(sealed_body, '') || coalesce(sealed_check, '')) > 0`
	if n := f.count(t, clear); n != 0 {
		t.Errorf("%d files can be read", n)
	}
	if n := f.count(t, `select count(*) from batch_file where sealed_body is not null`); n != 1 {
		t.Errorf("%d files have their rows, want the one that waits", n)
	}
	clean := func(after time.Duration, left int) {
		t.Helper()
		if err := sheet.Cleanup(t.Context(), f.world.Jobs, f.north.ID, f.world.Now().Add(after)); err != nil {
			t.Fatal(err)
		}
		if n := f.count(t, `select count(*) from batch_file`); n != left {
			t.Errorf("%d files after %v, want %d", n, after, left)
		}
	}
	clean(sheet.Keep-time.Minute, 2)
	clean(sheet.Keep+time.Minute, 0)
	if _, err := f.desk.File(t.Context(), f.north, f.robin, waiting); !errors.Is(err, sheet.ErrNotFound) {
		t.Errorf("a forgotten file: %v", err)
	}
}

// Somebody who uploads again and again keeps her newest files only.
func TestFilesMakeRoom(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for i := range 8 {
		f.world.Advance(time.Second)
		f.upload(t, table("type", "confirmed"+string(rune('a'+i))))
	}
	if n := f.count(t, `select count(*) from batch_file`); n != 5 {
		t.Errorf("%d files wait", n)
	}
}
