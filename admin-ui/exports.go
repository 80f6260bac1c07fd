package adminui

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/export/shelf"
)

// Exports tells what was published. The promises and errors are those of [shelf.Staff].
type Exports interface {
	Look(ctx context.Context, t *tenant.Tenant, by authz.Subject, path string, before time.Time, limit int) (shelf.View, error)
	Regenerate(ctx context.Context, t *tenant.Tenant, by authz.Subject, path string, start time.Time) error
}

// exportsPage shows the windows of one configuration, the newest first.
type exportsPage struct {
	// Plans leads to the configurations, if there are several.
	Plans  []navItem
	Index  string // the URL that phones read
	Every  string // how much time a file covers
	Listed string // what a phone downloads that is new
	Next   *moment
	Late   *moment // since when a file is late
	Why    string  // what it waits for, and what to do
	Rows   []exportRow
	Older  string // the path to older windows; empty if there are none
}

type exportRow struct {
	From, Until                         moment
	State                               string
	Published                           *moment
	Files, Keys, Own, Received, Padding string
	Revised, Size                       string
	Finding                             string
	Checked                             *moment
	// Regenerate is the path to having its files written again; empty if that makes no sense,
	// or she may not.
	Regenerate string
}

const (
	exportsPerPage = 42 // a week of files of four hours
	fieldPath      = "path"
)

func (s *Server) showExports(v *visit) (answer, error) {
	query := v.r.URL.Query()
	before := s.config.Now().Add(24 * time.Hour)
	if t, err := time.Parse(time.RFC3339, query.Get(fieldBefore)); err == nil {
		before = t
	}
	view, err := s.config.Exports.Look(v.r.Context(), v.tenant, v.by, query.Get(fieldPath), before, exportsPerPage+1)
	if errors.Is(err, shelf.ErrNoPlan) {
		return answer{}, errNoPage
	}
	if err != nil {
		return answer{}, err
	}
	p := s.exportsPage(v, view)
	if len(view.Plans) > 1 {
		for _, plan := range view.Plans {
			p.Plans = append(p.Plans, navItem{
				Text: "/" + plan.Path, Path: v.path("/exports?" + url.Values{fieldPath: {plan.Path}}.Encode()), Current: plan.Path == view.Plan.Path,
			})
		}
	}
	return answer{page: "exports", heading: s.words.text("exports.heading"), data: p}, nil
}

func (s *Server) exportsPage(v *visit, view shelf.View) exportsPage {
	plan, batches, now := view.Plan, view.Batches, s.now(v)
	p := exportsPage{
		Index: s.config.BaseURL + "/t/" + string(v.tenant.Slug) + "/exports/" + plan.Path + "index.txt",
		Every: s.words.duration(plan.Period),
		Listed: s.words.text("exports.listed.text",
			"files", s.words.counted("exports.files.one", "exports.files.other", plan.Listed), "size", s.words.size(plan.ListedBytes)),
	}
	if len(batches) > exportsPerPage {
		batches = batches[:exportsPerPage]
		last := batches[len(batches)-1].From.UTC().Format(time.RFC3339)
		p.Older = v.path("/exports?" + url.Values{fieldPath: {plan.Path}, fieldBefore: {last}}.Encode())
	}
	if plan.Ends == nil || plan.Ends.After(plan.Next) {
		m := s.words.moment(plan.Due, now)
		p.Next = &m
	}
	if plan.LateSince != nil {
		m := s.words.moment(*plan.LateSince, now)
		p.Late, p.Why = &m, s.words.lateWhy(plan.Why)
	}
	for _, b := range batches {
		row := s.exportRow(b, now)
		if b.Finding.Remakable() && b.Remake != shelf.Asked && v.may(authz.ExportRegenerate) {
			row.Regenerate = regeneratePath(v, plan.Path, b.From)
		}
		p.Rows = append(p.Rows, row)
	}
	return p
}

func regeneratePath(v *visit, path string, start time.Time) string {
	to := v.path("/exports/" + strconv.FormatInt(start.Unix(), 10) + "/regenerate")
	if path == "" {
		return to
	}
	return to + "?" + url.Values{fieldPath: {path}}.Encode()
}

func (s *Server) exportRow(b shelf.Batch, now time.Time) exportRow {
	r := exportRow{
		From: s.words.moment(b.From, now), Until: s.words.moment(b.Until, now), State: s.words.windowState(b),
		Files: s.words.number(b.Files), Keys: s.words.number(b.Keys), Revised: s.words.number(b.Revised), Size: s.words.size(b.Bytes),
	}
	if b.Published != nil {
		m := s.words.moment(*b.Published, now)
		r.Published = &m
	}
	if own, known := b.Own(); known {
		r.Own, r.Received, r.Padding = s.words.number(own), s.words.number(*b.Received), s.words.number(*b.Padding)
	}
	if b.Listed {
		r.Finding = s.words.finding(b)
	}
	if b.Listed && b.Checked != nil {
		m := s.words.moment(*b.Checked, now)
		r.Checked = &m
	}
	return r
}

// windowState says how far the files of a window have come.
func (c *catalogue) windowState(b shelf.Batch) string {
	switch {
	case b.Published == nil:
		return c.text("exports.state.making")
	case b.Files == 0:
		return c.text("exports.state.empty")
	case !b.Listed:
		return c.text("exports.state.old")
	}
	return c.text("exports.state.listed")
}

// finding says whether files are in the store as they were published.
func (c *catalogue) finding(b shelf.Batch) string {
	if b.Remake == shelf.Asked {
		return c.text("exports.finding.asked")
	}
	switch b.Finding {
	case shelf.Sound:
		return c.text("exports.finding.sound")
	case shelf.Missing:
		return c.text("exports.finding.missing") + c.refusedToo(b)
	case shelf.Altered:
		return c.text("exports.finding.altered") + c.refusedToo(b)
	case shelf.Unsigned:
		return c.text("exports.finding.unsigned")
	case shelf.Unchecked:
	}
	return c.text("exports.finding.unchecked")
}

func (c *catalogue) refusedToo(b shelf.Batch) string {
	if b.Remake == shelf.Refused {
		return " " + c.text("exports.finding.refused")
	}
	return ""
}

// lateWhy says what a late file waits for, and what to do.
func (c *catalogue) lateWhy(w shelf.Why) string {
	switch w {
	case shelf.NotClosed:
		return c.text("exports.late.not_closed")
	case shelf.Storing:
		return c.text("exports.late.storing")
	case shelf.Making:
		return c.text("exports.late.making")
	case shelf.Failing:
		return c.text("exports.late.failing")
	case shelf.Waiting:
		return c.text("exports.late.waiting")
	}
	return ""
}

// regeneratePage asks before files are written again.
type regeneratePage struct {
	Action, Back, Path string
	Row                exportRow
}

// askRegenerate says what will happen.
func (s *Server) askRegenerate(v *visit) (answer, error) {
	path, start, err := windowOf(v, v.r.URL.Query())
	if err != nil {
		return answer{}, err
	}
	view, err := s.config.Exports.Look(v.r.Context(), v.tenant, v.by, path, start.Add(time.Second), 1)
	if errors.Is(err, shelf.ErrNoPlan) || err == nil && (len(view.Batches) == 0 || !view.Batches[0].From.Equal(start)) {
		return answer{}, errNoPage
	}
	if err != nil {
		return answer{}, err
	}
	if !view.Batches[0].Finding.Remakable() {
		return answer{}, shelf.ErrSound
	}
	return answer{page: "regenerate", heading: s.words.text("regenerate.heading"), data: regeneratePage{
		Action: regeneratePath(v, "", start), Back: exportsOf(v, path), Path: path, Row: s.exportRow(view.Batches[0], s.now(v)),
	}}, nil
}

func (s *Server) regenerate(v *visit) (answer, error) {
	path, start, err := windowOf(v, v.r.PostForm)
	if err != nil {
		return answer{}, err
	}
	err = s.config.Exports.Regenerate(v.r.Context(), v.tenant, v.by, path, start)
	if errors.Is(err, shelf.ErrNoPlan) {
		return answer{}, errNoPage
	}
	if err != nil {
		return answer{}, err
	}
	return s.platformDone(v, "regenerate.done", exportsOf(v, path))
}

// exportsOf leads to a configuration.
func exportsOf(v *visit, path string) string {
	if path == "" {
		return v.path("/exports")
	}
	return v.path("/exports?" + url.Values{fieldPath: {path}}.Encode())
}

// windowOf is the configuration and the beginning of the window that a request is about.
func windowOf(v *visit, values url.Values) (path string, start time.Time, err error) {
	seconds, err := strconv.ParseInt(v.params.ByName("window"), 10, 64)
	if err != nil {
		return "", time.Time{}, errNoPage
	}
	return values.Get(fieldPath), time.Unix(seconds, 0).UTC(), nil
}
