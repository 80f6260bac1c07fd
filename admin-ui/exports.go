package adminui

import (
	"context"
	"net/url"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/export/shelf"
)

// Exports tells what was published. The promises are those of package shelf.
type Exports interface {
	Plans(ctx context.Context, t *tenant.Tenant) ([]shelf.Plan, error)
	Batches(ctx context.Context, t *tenant.Tenant, plan uuid.UUID, before time.Time, limit int) ([]shelf.Batch, error)
}

// exportsPage shows the windows of one configuration, the newest first.
type exportsPage struct {
	// Plans leads to the configurations, if there are several.
	Plans []navItem
	Index string // the URL that phones read
	Every string // how much time a file covers
	Next  *moment
	Late  *moment // since when a file is late
	Rows  []exportRow
	Older string // the path to older windows; empty if there are none
}

type exportRow struct {
	From, Until moment
	State       string
	Published   *moment
	Files, Keys string
	Revised     string
	Size        string
}

const exportsPerPage = 42 // a week of files of four hours

func (s *Server) showExports(v *visit) (answer, error) {
	plans, err := s.config.Exports.Plans(v.r.Context(), v.tenant)
	if err != nil {
		return answer{}, err
	}
	p := exportsPage{}
	query := v.r.URL.Query()
	chosen := -1
	for i, plan := range plans {
		if plan.Path == query.Get("path") {
			chosen = i
		}
		if len(plans) > 1 {
			p.Plans = append(p.Plans, navItem{
				Text: "/" + plan.Path, Path: v.path("/exports?" + url.Values{"path": {plan.Path}}.Encode()), Current: plan.Path == query.Get("path"),
			})
		}
	}
	if chosen < 0 {
		return answer{}, errNoPage
	}
	if err := s.fillExports(v, &p, plans[chosen]); err != nil {
		return answer{}, err
	}
	return answer{page: "exports", heading: s.words.text("exports.heading"), data: p}, nil
}

func (s *Server) fillExports(v *visit, p *exportsPage, plan shelf.Plan) error {
	now := s.now(v)
	before := now.Add(24 * time.Hour)
	if t, err := time.Parse(time.RFC3339, v.r.URL.Query().Get("before")); err == nil {
		before = t
	}
	batches, err := s.config.Exports.Batches(v.r.Context(), v.tenant, plan.ID, before, exportsPerPage+1)
	if err != nil {
		return err
	}
	if len(batches) > exportsPerPage {
		batches = batches[:exportsPerPage]
		last := batches[len(batches)-1].From.UTC().Format(time.RFC3339)
		p.Older = v.path("/exports?" + url.Values{"path": {plan.Path}, "before": {last}}.Encode())
	}
	p.Index = s.config.BaseURL + "/t/" + string(v.tenant.Slug) + "/exports/" + plan.Path + "index.txt"
	p.Every = s.words.duration(plan.Period)
	if plan.Ends == nil || plan.Ends.After(plan.Next) {
		m := s.words.moment(plan.Due, now)
		p.Next = &m
	}
	if plan.LateSince != nil {
		m := s.words.moment(*plan.LateSince, now)
		p.Late = &m
	}
	for _, b := range batches {
		p.Rows = append(p.Rows, s.exportRow(b, now))
	}
	return nil
}

func (s *Server) exportRow(b shelf.Batch, now time.Time) exportRow {
	r := exportRow{
		From: s.words.moment(b.From, now), Until: s.words.moment(b.Until, now),
		Files: s.words.number(b.Files), Keys: s.words.number(b.Keys), Revised: s.words.number(b.Revised), Size: s.words.size(b.Bytes),
	}
	if b.Published != nil {
		m := s.words.moment(*b.Published, now)
		r.Published = &m
	}
	switch {
	case b.Published == nil:
		r.State = s.words.text("exports.state.making")
	case b.Files == 0:
		r.State = s.words.text("exports.state.empty")
	case !b.Listed:
		r.State = s.words.text("exports.state.old")
	default:
		r.State = s.words.text("exports.state.listed")
	}
	return r
}
