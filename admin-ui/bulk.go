package adminui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/batch/sheet"
	"carillon/tenant/verification"
)

// Sheets takes in tables of codes to issue. The promises and errors are those of
// [sheet.Desk].
type Sheets interface {
	Upload(ctx context.Context, t *tenant.Tenant, by authz.Subject, file []byte) (uuid.UUID, *batch.Batch, error)
	File(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*sheet.File, error)
	Try(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string, m sheet.Mapping) (*sheet.Check, error)
	Order(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (uuid.UUID, bool, error)
	Drop(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) error
}

// bulkRoutes are for those who issue many codes at once.
func (s *Server) bulkRoutes() []route {
	may := func(pattern string, h handler) route { return staffed(pattern, authz.CodeBulkIssue, limitPortal, h) }
	const file, one = "/portal/:tenant/bulk/files/:id", "/portal/:tenant/bulk/batches/:id"
	return []route{
		may("GET /portal/:tenant/bulk", s.showBatches),
		may("GET /portal/:tenant/bulk/new", s.newBatch),
		ofTable(may("POST /portal/:tenant/bulk/new", s.uploadTable)),
		may("GET "+file, s.showTable),
		patient(may("POST "+file, s.tryTable)),
		may("GET "+file+"/check", s.showCheck),
		patient(may("POST "+file+"/order", s.orderTable)),
		may("POST "+file+"/drop", s.dropTable),
		may("GET "+one, s.showBatch),
		unattended(may("GET "+one+"/state", s.showBatchState)),
		may("POST "+one+"/pause", s.pauseBatch),
		may("POST "+one+"/resume", s.resumeBatch),
		may("POST "+one+"/retry", s.retryBatch),
		may("GET "+one+"/cancel", s.askCancelBatch),
		may("POST "+one+"/cancel", s.cancelBatch),
		may("GET "+one+"/results", s.takeResults),
	}
}

// bulkPageSize is how many batches a page shows.
const bulkPageSize = 25

// bulkPage lists the batches.
type bulkPage struct {
	// New is the path to a new one; empty while the authority has none, and then Switch is
	// the path to turning them on, for who may.
	New, Switch string
	Rows        []bulkRow
	// Older and Newest are paths; empty where there is nothing.
	Older, Newest string
}

type bulkRow struct {
	Path, Codes, State, By string
	At                     moment
}

func (s *Server) showBatches(v *visit) (answer, error) {
	var before uuid.NullUUID
	before.Valid = before.UUID.UnmarshalText([]byte(v.r.URL.Query().Get(fieldBefore))) == nil // nonsense means the newest
	list, err := s.config.Batches.List(v.r.Context(), v.tenant, v.by, before, bulkPageSize+1)
	if err != nil {
		return answer{}, err
	}
	var p bulkPage
	switch {
	case v.tenant.Settings.BatchIssue:
		p.New = v.path("/bulk/new")
	case v.may(authz.SettingsWrite):
		p.Switch = v.path("/settings/codes")
	}
	if before.Valid {
		p.Newest = v.path("/bulk")
	}
	if len(list) > bulkPageSize {
		list = list[:bulkPageSize]
		p.Older = v.path("/bulk?" + url.Values{fieldBefore: {list[bulkPageSize-1].ID.String()}}.Encode())
	}
	now := s.now(v)
	for _, b := range list {
		p.Rows = append(p.Rows, bulkRow{
			Path: v.batchPath(b.ID), Codes: s.words.counted("bulk.rows.one", "bulk.rows.other", b.Rows),
			State: s.words.batchState(b.State), By: s.words.orderer(b), At: s.words.moment(b.CreatedAt, now),
		})
	}
	return answer{page: "bulk", heading: s.words.text("bulk.heading"), data: p}, nil
}

// orderer is who ordered a batch.
func (c *catalogue) orderer(b batch.Batch) string {
	if b.IssuerKind == authz.APIKey {
		return c.text("bulk.by.key", "name", b.IssuerName)
	}
	return b.IssuerName
}

func (v *visit) batchPath(id uuid.UUID) string { return v.path("/bulk/batches/" + id.String()) }

func (v *visit) tablePath(id string) string { return v.path("/bulk/files/" + id) }

// bulkNewPage asks for a file.
type bulkNewPage struct {
	Action, Back, Most string
	File               field
}

func (s *Server) newBatch(v *visit) (answer, error) {
	if !v.tenant.Settings.BatchIssue {
		return answer{}, verification.ErrBatchDisabled
	}
	return s.newBatchForm(v, known{}, ""), nil
}

func (s *Server) newBatchForm(v *visit, k known, text string) answer {
	p := bulkNewPage{
		Action: v.path("/bulk/new"), Back: v.path("/bulk"),
		Most: s.words.text("bulk.most", "rows", s.words.number(batch.MaxRows), "size", s.words.number(sheet.MaxBytes>>20)),
		File: field{ID: fieldFile, Label: s.words.text("bulk.file"), Hint: s.words.text("bulk.file.hint"), Type: "file", Wide: true, Error: text},
	}
	a := answer{page: "bulk_new", heading: s.words.text("bulk.new.heading"), data: p}
	if text != "" {
		a.status, a.problems = k.status, []problem{{Field: fieldFile, Text: text}}
	}
	return a
}

func (s *Server) uploadTable(v *visit) (answer, error) {
	file, err := tableOf(v)
	var id uuid.UUID
	var earlier *batch.Batch
	if err == nil {
		id, earlier, err = s.config.Sheets.Upload(v.r.Context(), v.tenant, v.by, file)
	}
	switch k, _ := lookUp(err); {
	case k.field == fieldFile:
		return s.newBatchForm(v, k, s.tableProblem(err, k)), nil
	case err != nil:
		return answer{}, err
	case earlier != nil:
		s.sessions.Put(v.r.Context(), noticeKey, s.words.text("bulk.same"))
		return redirect(v.batchPath(earlier.ID))
	}
	return redirect(v.tablePath(id.String()))
}

// tableProblem says what is wrong with a file, and in which row.
func (s *Server) tableProblem(err error, k known) string {
	var at *sheet.FormError
	if errors.As(err, &at) {
		return s.words.text("bulk.error.row", "row", s.words.number(at.Row)) + " " + s.words.text(k.message)
	}
	return s.words.text(k.message)
}

// tableOf is the form's file, read as it comes: the library would put a long one on the
// disk. The rest of one that is too long is read, so that the browser shows the answer.
func tableOf(v *visit) ([]byte, error) {
	form, err := v.r.MultipartReader()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errForm, err)
	}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, sheet.ErrEmpty
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errForm, err)
		}
		if part.FormName() != fieldFile {
			continue
		}
		file, err := io.ReadAll(io.LimitReader(part, sheet.MaxBytes+1))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errForm, err)
		}
		if len(file) > sheet.MaxBytes {
			_, _ = io.Copy(io.Discard, part) // what cannot be read is refused as well
			return nil, sheet.ErrSize
		}
		return file, nil
	}
}

// The IDs of the form that says what the columns mean; the fields' own are theirs.
const (
	fieldDates   = "dates"
	fieldAllType = "all_type"
	noColumn     = "none"
)

// bulkTablePage shows the first rows and asks what the columns mean.
type bulkTablePage struct {
	Action, Drop, Check string // Check is the path to what the last dry run found, or empty
	Columns             []string
	First               [][]string
	Count, Shown        string
	Fields              []selection
	Dates               radios
	AllType             radios
}

func (s *Server) showTable(v *visit) (answer, error) {
	f, err := s.config.Sheets.File(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	if err != nil {
		return answer{}, err
	}
	if f.Batch != uuid.Nil {
		return redirect(v.batchPath(f.Batch))
	}
	m := sheet.Guess(f.Columns)
	if f.Check != nil {
		m = f.Check.Mapping
	}
	return s.tableForm(v, f, m), nil
}

func (s *Server) tableForm(v *visit, f *sheet.File, m sheet.Mapping) answer {
	path := v.tablePath(f.ID.String())
	p := bulkTablePage{
		Action: path, Drop: path + "/drop", Columns: f.Columns, First: f.First,
		Count:   s.words.counted("bulk.rows.one", "bulk.rows.other", f.Count),
		Shown:   s.words.counted("bulk.first.one", "bulk.first.other", len(f.First)),
		Dates:   radios{ID: fieldDates, Name: fieldDates, Label: s.words.text("bulk.dates")},
		AllType: s.allType(v, m.Type),
	}
	if f.Check != nil {
		p.Check = path + "/check"
	}
	for _, of := range sheet.Fields() {
		p.Fields = append(p.Fields, s.columnChoice(f.Columns, of, m))
	}
	for _, d := range sheet.AllDates() {
		p.Dates.Choices = append(p.Dates.Choices, choice{
			ID: "dates_" + string(d), Value: string(d), Label: s.words.dates(d), Chosen: d == m.Dates,
		})
	}
	return answer{page: "bulk_table", heading: s.words.text("bulk.table.heading"), data: &p}
}

// allType asks for the test type of all rows, in case that no column has it.
func (s *Server) allType(v *visit, chosen string) radios {
	r := radios{ID: fieldAllType + "_group", Name: fieldAllType, Label: s.words.text("bulk.all_type")}
	for _, c := range s.testTypes(v, chosen).Choices {
		r.Choices = append(r.Choices, choice{ID: fieldAllType + "_" + c.Value, Value: c.Value, Label: c.Label, Hint: c.Hint, Chosen: c.Value == chosen})
	}
	if len(r.Choices) > 0 { // the error summary leads to the first of them
		r.Choices[0].ID = fieldAllType
	}
	return r
}

// columnChoice offers the columns for a field.
func (s *Server) columnChoice(columns []string, of sheet.Field, m sheet.Mapping) selection {
	at, mapped := m.Columns[of]
	c := selection{ID: string(of), Label: s.words.sheetField(of)}
	c.Choices = append(c.Choices, choice{Value: noColumn, Label: s.words.text("bulk.no_column"), Chosen: !mapped})
	for i, name := range columns {
		c.Choices = append(c.Choices, choice{Value: strconv.Itoa(i), Label: name, Chosen: mapped && i == at})
	}
	return c
}

func (c *catalogue) sheetField(f sheet.Field) string {
	switch f {
	case sheet.TestType:
		return c.text("bulk.field.test_type")
	case sheet.TestDate:
		return c.text("bulk.field.test_date")
	case sheet.SymptomDate:
		return c.text("bulk.field.symptom_date")
	case sheet.Phone:
		return c.text("bulk.field.phone")
	}
	return string(f)
}

func (c *catalogue) dates(d sheet.Dates) string {
	switch d {
	case sheet.YearFirst:
		return c.text("bulk.dates.ymd")
	case sheet.MonthFirst:
		return c.text("bulk.dates.mdy")
	case sheet.DayFirst:
		return c.text("bulk.dates.dmy")
	}
	return string(d)
}

// readMapping is what the form says.
func readMapping(form url.Values) sheet.Mapping {
	m := sheet.Mapping{Columns: map[sheet.Field]int{}, Dates: sheet.Dates(form.Get(fieldDates)), Type: form.Get(fieldAllType)}
	for _, f := range sheet.Fields() {
		if text := form.Get(string(f)); text != noColumn && text != "" {
			at, err := strconv.Atoi(text)
			if err != nil {
				at = -1 // no column, which is refused
			}
			m.Columns[f] = at
		}
	}
	return m
}

func (s *Server) tryTable(v *visit) (answer, error) {
	id, m := v.params.ByName("id"), readMapping(v.r.PostForm)
	_, err := s.config.Sheets.Try(v.r.Context(), v.tenant, v.by, id, m)
	if errors.Is(err, sheet.ErrColumns) {
		return s.columnsRefused(v, id, m)
	}
	if err != nil {
		return answer{}, err
	}
	return redirect(v.tablePath(id) + "/check")
}

// columnsRefused shows the form again as it was sent.
func (s *Server) columnsRefused(v *visit, id string, m sheet.Mapping) (answer, error) {
	f, err := s.config.Sheets.File(v.r.Context(), v.tenant, v.by, id)
	if err != nil {
		return answer{}, err
	}
	a := s.tableForm(v, f, m)
	k, _ := lookUp(sheet.ErrColumns)
	a.status = k.status
	_, typed := m.Columns[sheet.TestType]
	p, _ := a.data.(*bulkTablePage)
	if !typed && m.Type == "" {
		p.AllType.Error = s.words.text("bulk.error.no_type")
		a.problems = []problem{{fieldAllType, p.AllType.Error}}
		return a, nil
	}
	for i := range p.Fields {
		at, mapped := m.Columns[sheet.Field(p.Fields[i].ID)]
		if mapped && repeats(m, at) {
			p.Fields[i].Error = s.words.text(k.message)
			a.problems = append(a.problems, problem{p.Fields[i].ID, p.Fields[i].Error})
		}
	}
	if len(a.problems) == 0 { // nothing that the form can send
		return answer{}, errForm
	}
	return a, nil
}

// repeats reports whether two fields have the same column.
func repeats(m sheet.Mapping, column int) bool {
	n := 0
	for _, at := range m.Columns {
		if at == column {
			n++
		}
	}
	return n > 1
}

// bulkCheckPage tells what would come of the rows.
type bulkCheckPage struct {
	Order, Drop, Columns, Another string // paths
	Facts                         []bulkFact
	Life                          string // how long codes without a message serve; empty if there are none
	Problems, Duplicates          []bulkFinding
	MoreProblems, MoreDuplicates  string // how many more there are; empty if none
	Good                          bool
	Button                        string
}

type bulkFact struct{ Name, Value string }

type bulkFinding struct{ Row, Column, Text, Advice string }

func (s *Server) showCheck(v *visit) (answer, error) {
	f, err := s.config.Sheets.File(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	switch {
	case err != nil:
		return answer{}, err
	case f.Batch != uuid.Nil:
		return redirect(v.batchPath(f.Batch))
	case f.Check == nil:
		return redirect(v.tablePath(f.ID.String()))
	}
	c := f.Check
	path := v.tablePath(f.ID.String())
	p := bulkCheckPage{
		Order: path + "/order", Drop: path + "/drop", Columns: path, Another: v.path("/bulk/new"),
		Good: c.Problems == 0 && c.Codes > 0, Button: s.words.counted("bulk.order.one", "bulk.order.other", c.Codes),
		Facts: []bulkFact{
			{s.words.text("bulk.check.codes"), s.words.number(c.Codes)},
			{s.words.text("bulk.check.messages"), s.words.number(c.Messages)},
			{s.words.text("bulk.check.duplicates"), s.words.number(c.Duplicates)},
			{s.words.text("bulk.check.problems"), s.words.number(c.Problems)},
		},
	}
	if c.Codes > c.Messages {
		p.Life = s.words.text("bulk.check.life", "life", s.words.minutes(v.tenant.Settings.CodeLife))
	}
	for _, found := range c.Findings {
		row := s.finding(v, f, found)
		if found.DuplicateOf > 0 {
			p.Duplicates = append(p.Duplicates, row)
		} else {
			p.Problems = append(p.Problems, row)
		}
	}
	p.MoreProblems, p.MoreDuplicates = s.more(c.Problems-len(p.Problems)), s.more(c.Duplicates-len(p.Duplicates))
	a := answer{page: "bulk_check", heading: s.words.text("bulk.check.heading"), data: p}
	if c.Problems > 0 {
		a.problems = []problem{{"wrong", s.words.counted("bulk.check.bad.one", "bulk.check.bad.other", c.Problems)}}
	}
	return a, nil
}

func (s *Server) more(n int) string {
	if n <= 0 {
		return ""
	}
	return s.words.counted("bulk.more.one", "bulk.more.other", n)
}

// finding says what is to be done about a row.
func (s *Server) finding(v *visit, f *sheet.File, found sheet.Finding) bulkFinding {
	row := bulkFinding{Row: s.words.number(found.Row), Column: s.words.sheetField(found.Field), Text: found.Text}
	if at, mapped := f.Check.Mapping.Columns[found.Field]; mapped && at < len(f.Columns) {
		row.Column = f.Columns[at]
	}
	switch k, known := lookUp(found.Cause()); {
	case found.DuplicateOf > 0:
		row.Advice = s.words.text("bulk.finding.duplicate", "row", s.words.number(found.DuplicateOf))
	case found.Kind == "":
		row.Advice = s.words.text("bulk.finding.empty")
	case found.Field == sheet.TestType:
		row.Advice = s.words.text("bulk.finding.test_type", "types", strings.Join(v.tenant.Settings.TestTypes, ", "))
	case errors.Is(found.Cause(), verification.ErrUnparsable):
		row.Advice = s.words.text("bulk.finding.date", "dates", s.words.dates(f.Check.Mapping.Dates))
	case known:
		row.Advice = s.words.text(k.message)
	}
	return row
}

func (s *Server) orderTable(v *visit) (answer, error) {
	id := v.params.ByName("id")
	b, _, err := s.config.Sheets.Order(v.r.Context(), v.tenant, v.by, id)
	if errors.Is(err, sheet.ErrUnchecked) { // settings have changed: the page says what is wrong now
		return redirect(v.tablePath(id) + "/check")
	}
	if err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("bulk.ordered"))
	return redirect(v.batchPath(b))
}

func (s *Server) dropTable(v *visit) (answer, error) {
	if err := s.config.Sheets.Drop(v.r.Context(), v.tenant, v.by, v.params.ByName("id")); err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("bulk.dropped"))
	return redirect(v.path("/bulk"))
}
