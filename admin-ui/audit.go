package adminui

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"carillon/tenant/audit"
)

// The fields of the form that chooses entries of the audit log.
const (
	fieldWho    = "who"
	fieldAction = "action"
	fieldTarget = "target"
	fieldFrom   = "from"
	fieldUntil  = "until"
	fieldBefore = "before"
)

// auditPageSize is how many entries a page shows.
const auditPageSize = 50

// auditPage shows the form and what it has found.
type auditPage struct {
	Action                       string
	Who, Kind, Target            field
	From, Until                  field
	Entries                      []auditRow
	Filtered                     bool
	All, Newest, Older, Download string // paths; empty where there is nothing
}

// auditRow is an entry as people read it.
type auditRow struct {
	No                    int64
	At                    moment
	Who, WhoID            string
	Action, Target        string
	Details               []auditDetail
	Request, Because, Via string
}

type auditDetail struct{ Name, Value string }

// auditQuery is what was asked for, as it stands in the URL.
type auditQuery struct {
	values url.Values
	filter audit.Filter
	wrong  []string // fields that are no dates
}

// readAuditQuery reads dates as days in UTC, the last one included.
func readAuditQuery(values url.Values) auditQuery {
	q := auditQuery{values: values}
	q.filter = audit.Filter{
		Who: q.text(fieldWho), Action: q.text(fieldAction), Target: q.text(fieldTarget),
		From: q.day(fieldFrom), Until: q.day(fieldUntil),
	}
	if !q.filter.Until.IsZero() {
		q.filter.Until = q.filter.Until.AddDate(0, 0, 1)
	}
	q.filter.Before, _ = strconv.ParseInt(values.Get(fieldBefore), 10, 64) // nonsense means the newest
	return q
}

// longestSearch is longer than anything that an entry could hold.
const longestSearch = 200

func (q *auditQuery) text(name string) string {
	text := strings.ReplaceAll(strings.TrimSpace(q.values.Get(name)), "\x00", "")
	return strings.ToValidUTF8(text[:min(len(text), longestSearch)], "")
}

func (q *auditQuery) day(name string) time.Time {
	text := strings.TrimSpace(q.values.Get(name))
	if text == "" {
		return time.Time{}
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		q.wrong = append(q.wrong, name)
	}
	return day
}

// chosen are the parts of the URL that choose entries.
func (q *auditQuery) chosen() url.Values {
	chosen := url.Values{}
	for _, name := range []string{fieldWho, fieldAction, fieldTarget, fieldFrom, fieldUntil} {
		if v := strings.TrimSpace(q.values.Get(name)); v != "" {
			chosen.Set(name, v)
		}
	}
	return chosen
}

func (s *Server) showAudit(v *visit) (answer, error) {
	q := readAuditQuery(v.r.URL.Query())
	page := s.auditForm(v, &q)
	a := answer{page: "audit", heading: s.words.text("audit.heading"), data: page}
	if len(q.wrong) > 0 {
		return s.wrongDates(a, page, q.wrong), nil
	}
	entries, err := s.config.Audit.Find(v.r.Context(), v.tenant, q.filter, auditPageSize+1)
	if err != nil {
		return answer{}, err
	}
	if len(entries) > auditPageSize {
		entries = entries[:auditPageSize]
		older := q.chosen()
		older.Set(fieldBefore, strconv.FormatInt(entries[auditPageSize-1].No, 10))
		page.Older = withQuery(page.Action, older)
	}
	for _, e := range entries {
		page.Entries = append(page.Entries, s.auditRow(v, e))
	}
	return a, nil
}

func (s *Server) auditForm(v *visit, q *auditQuery) *auditPage {
	path := v.path("/audit")
	chosen := q.chosen()
	page := &auditPage{Action: path, Filtered: len(chosen) > 0, Download: path + "/log"}
	if page.Filtered {
		page.All = path
	}
	if q.filter.Before > 0 {
		page.Newest = withQuery(path, chosen)
	}
	add := func(id, label, hint, kind string) field {
		return field{ID: id, Label: s.words.text(label), Hint: hint, Type: kind, Value: q.values.Get(id), Autocomplete: "off"}
	}
	page.Who = add(fieldWho, "audit.who", s.words.text("audit.who.hint"), "search")
	page.Kind = add(fieldAction, "audit.action", s.words.text("audit.action.hint"), "search")
	page.Target = add(fieldTarget, "audit.target", s.words.text("audit.target.hint"), "search")
	page.From = add(fieldFrom, "audit.from", "", "date")
	page.Until = add(fieldUntil, "audit.until", "", "date")
	return page
}

func (s *Server) wrongDates(a answer, page *auditPage, wrong []string) answer {
	text := s.words.text("issue.error.unreadable")
	for _, f := range []*field{&page.From, &page.Until} {
		if slices.Contains(wrong, f.ID) {
			f.Error = text
			a.problems = append(a.problems, problem{Field: f.ID, Text: text})
		}
	}
	a.status = http.StatusUnprocessableEntity
	return a
}

func withQuery(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

func (s *Server) auditRow(v *visit, e audit.Entry) auditRow {
	return auditRow{
		No: e.No, At: s.words.moment(e.At, v.anyDay()), Who: cmp.Or(e.ActorName, e.ActorID), WhoID: e.ActorID,
		Action: e.Action, Target: e.Target, Details: details(e.Detail),
		Request: e.Request, Because: e.Because, Via: s.words.actorKind(e.ActorKind),
	}
}

// details lists the texts of an entry by name.
func details(object json.RawMessage) []auditDetail {
	var texts map[string]string
	if err := json.Unmarshal(object, &texts); err != nil {
		return nil
	}
	var list []auditDetail
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		list = append(list, auditDetail{name, texts[name]})
	}
	return list
}

// exportAudit sends the whole log as a file, which may be long.
func (s *Server) exportAudit(v *visit) (answer, error) {
	now := s.config.Now()
	return answer{download: &download{
		name: fmt.Sprintf("audit-%s-%s.jsonl", v.tenant.Slug, now.UTC().Format("20060102-1504")),
		kind: "application/x-ndjson",
		write: func(to io.Writer) error {
			return s.config.Audit.Export(v.r.Context(), v.tenant, now, to)
		},
	}}, nil
}
