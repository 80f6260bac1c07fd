package adminui

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"carillon/tenant"
	"carillon/tenant/stats"
)

// Figures counts what a health authority's programme does. It is [stats.Service].
type Figures interface {
	Funnel(ctx context.Context, t *tenant.Tenant) ([]stats.FunnelDay, error)
	Realm(ctx context.Context, t *tenant.Tenant) ([]stats.RealmDay, error)
	Uploads(ctx context.Context, t *tenant.Tenant) ([]stats.UploadDay, error)
	SMSErrors(ctx context.Context, t *tenant.Tenant) ([]stats.SMSErrorDay, error)
	Users(ctx context.Context, t *tenant.Tenant) ([]stats.IssuerDay, error)
}

// statisticsPage shows at a glance whether the programme works.
type statisticsPage struct {
	Periods []navItem
	Tiles   []tile
	Rates   []rate
	Figures []figure
}

// tile is a number, and how it stands to the period before.
type tile struct {
	Text, Value, Change string
}

// rate is how many of those who came so far went on.
type rate struct{ Text, Value, Meaning string }

const defaultPeriod = "week"

func (s *Server) showStatistics(v *visit) (answer, error) {
	name, chosen := periodOf(v.r.URL.Query())
	days, err := s.config.Figures.Funnel(v.r.Context(), v.tenant)
	if err != nil {
		return answer{}, err
	}
	p := statisticsPage{Tiles: s.tiles(days, chosen), Rates: s.rates(days, chosen)}
	for _, f := range s.figures() {
		made, err := f.make(v, chosen)
		if err != nil {
			return answer{}, fmt.Errorf("%s: %w", f.name, err)
		}
		file := func(form string) string {
			return v.path("/statistics/file?" + url.Values{"figure": {f.name}, "form": {form}, "period": {name}}.Encode())
		}
		made.Name, made.CSV, made.JSON = f.name, file(formCSV), file(formJSON)
		p.Figures = append(p.Figures, made)
	}
	for _, n := range []struct{ name, text string }{
		{"week", "statistics.period.week"}, {"month", "statistics.period.month"}, {"quarter", "statistics.period.quarter"},
	} {
		p.Periods = append(p.Periods, navItem{
			Text: s.words.text(n.text), Path: v.path("/statistics?period=" + n.name), Current: n.name == name,
		})
	}
	return answer{page: "statistics", heading: s.words.text("statistics.heading"), data: p}, nil
}

// exportStatistics gives one figure out as a file.
func (s *Server) exportStatistics(v *visit) (answer, error) {
	query := v.r.URL.Query()
	name, form := query.Get("figure"), query.Get("form")
	index := slices.IndexFunc(s.figures(), func(f source) bool { return f.name == name })
	if index < 0 || form != formCSV && form != formJSON {
		return answer{}, errNoPage
	}
	_, p := periodOf(query)
	f, err := s.figures()[index].make(v, p)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", name, err)
	}
	d := &download{name: string(v.tenant.Slug) + "-" + name + "." + form, kind: "text/csv; charset=utf-8", write: f.writeCSV}
	if form == formJSON {
		d.kind, d.write = "application/json", f.writeJSON
	}
	return answer{download: d}, nil
}

const (
	formCSV  = "csv"
	formJSON = "json"
)

// periodOf is the period that somebody chose, by name, or else the usual one.
func periodOf(query url.Values) (string, period) {
	name := query.Get("period")
	if p, known := periods()[name]; known {
		return name, p
	}
	return defaultPeriod, periods()[defaultPeriod]
}

// source makes a figure of a period.
type source struct {
	name string
	make func(*visit, period) (figure, error)
}

// figures are all there are, in the order of the page.
func (s *Server) figures() []source {
	return []source{
		{"funnel", s.funnelFigure},
		{"claim-age", s.claimAgeFigure},
		{"onset", s.onsetFigure},
		{"wrong-codes", s.wrongCodesFigure},
		{"uploads", s.uploadsFigure},
		{"messages", s.messagesFigure},
		{"issuers", s.issuersFigure},
	}
}

// newFigure has no rows yet. heading and note are keys of messages; label and columns are
// names of [Server.columns].
func (s *Server) newFigure(heading, note string, kind plotKind, label string, columns ...string) figure {
	f := figure{Plot: kind, Heading: s.words.text(heading), Note: s.words.text(note), Label: s.words.column(label)}
	for _, c := range columns {
		f.Columns = append(f.Columns, s.words.column(c))
	}
	return f
}

func (s *Server) funnelFigure(v *visit, p period) (figure, error) {
	days, err := s.config.Figures.Funnel(v.r.Context(), v.tenant)
	f := s.newFigure("figure.funnel", "figure.funnel.note", plotLines, "day", stageNames()...)
	f.Rows = p.rows(len(days), func(i int) time.Time { return days[i].Day }, func(i int) []int64 { return stages(days[i]) }, s.words.day)
	return f, err
}

func stageNames() []string {
	return []string{"issued", "sent", "delivered", "claimed", "certificates", "uploads", "keys_exported"}
}

// stages are the numbers of a day, in the order of stageNames.
func stages(d stats.FunnelDay) []int64 {
	return []int64{
		d.Issued.Count, d.Sent.Count, d.Delivered.Count, d.Claimed.Count, d.Certified.Count, d.Published.Count, d.Exported.Count,
	}
}

func (s *Server) claimAgeFigure(v *visit, p period) (figure, error) {
	days, err := s.config.Figures.Realm(v.r.Context(), v.tenant)
	f := s.newFigure("figure.claim_age", "figure.claim_age.note", plotBars, "within", "claimed")
	sum := make([]int64, stats.Classes)
	for _, d := range days[:min(p.days, len(days))] {
		for i, n := range d.ClaimAges {
			sum[i] += n
		}
	}
	for i, bound := range stats.Bounds() {
		f.Rows = append(f.Rows, figureRow{Label: s.words.span(bound), Machine: bound.String(), Values: sum[i : i+1]})
	}
	return f, err
}

func (s *Server) onsetFigure(v *visit, p period) (figure, error) {
	days, err := s.config.Figures.Uploads(v.r.Context(), v.tenant)
	f := s.newFigure("figure.onset", "figure.onset.note", plotBars, "days", "uploads")
	var sum []int64
	since := s.since(p)
	for _, d := range days {
		if sum == nil {
			sum = make([]int64, len(d.OnsetAges))
		}
		if !d.Day.Before(since) {
			sum = added(sum, d.OnsetAges)
		}
	}
	for i, n := range sum {
		label := s.words.number(i)
		if i == len(sum)-1 {
			label = s.words.text("figure.more", "n", label)
		}
		f.Rows = append(f.Rows, figureRow{Label: label, Machine: label, Values: []int64{n}})
	}
	return f, err
}

func (s *Server) wrongCodesFigure(v *visit, p period) (figure, error) {
	days, err := s.config.Figures.Realm(v.r.Context(), v.tenant)
	f := s.newFigure("figure.wrong_codes", "figure.wrong_codes.note", plotLines, "day", "ios", "android", "unknown")
	f.Rows = p.rows(len(days), func(i int) time.Time { return days[i].Day },
		func(i int) []int64 { return systems(days[i].CodesInvalid) }, s.words.day)
	return f, err
}

func systems(b stats.ByPlatform) []int64 { return []int64{b.IOS, b.Android, b.Unknown} }

func (s *Server) uploadsFigure(v *visit, p period) (figure, error) {
	days, err := s.config.Figures.Uploads(v.r.Context(), v.tenant)
	f := s.newFigure("figure.uploads", "figure.uploads.note", plotLines, "day", "ios", "android", "unknown", "keys", "revisions", "missing_onset")
	at := map[time.Time]stats.UploadDay{}
	for _, d := range days {
		at[d.Day] = d
	}
	today := s.today()
	f.Rows = p.rows(stats.Days, func(i int) time.Time { return today.AddDate(0, 0, -i) }, func(i int) []int64 {
		d := at[today.AddDate(0, 0, -i)]
		return append(systems(d.Requests), d.Keys, d.Revisions, d.MissingOnset)
	}, s.words.day)
	return f, err
}

func (s *Server) messagesFigure(v *visit, p period) (figure, error) {
	days, err := s.config.Figures.SMSErrors(v.r.Context(), v.tenant)
	f := s.newFigure("figure.messages", "figure.messages.note", plotNone, "error", "messages")
	since := s.since(p)
	sum := map[string]int64{}
	for _, d := range days {
		if !d.Day.Before(since) && d.Quantity > 0 {
			sum[d.Code] += d.Quantity
		}
	}
	f.Rows = ranked(sum, s.words.smsError)
	return f, err
}

func (s *Server) issuersFigure(v *visit, p period) (figure, error) {
	days, err := s.config.Figures.Users(v.r.Context(), v.tenant)
	f := s.newFigure("figure.issuers", "figure.issuers.note", plotNone, "issuer", "issued")
	since := s.since(p)
	sum := map[string]int64{}
	for _, d := range days {
		if d.CodesIssued == 0 || d.Day.Before(since) {
			continue
		}
		name := d.Name
		if name == "" {
			name = s.words.text("figure.gone")
		}
		sum[name] += d.CodesIssued
	}
	f.Rows = ranked(sum, func(name string) string { return name })
	return f, err
}

// ranked lists things by their numbers, the greatest first.
func ranked(sum map[string]int64, label func(string) string) []figureRow {
	var rows []figureRow
	for name, n := range sum {
		rows = append(rows, figureRow{Label: label(name), Machine: name, Values: []int64{n}})
	}
	slices.SortFunc(rows, func(a, b figureRow) int {
		if a.Values[0] != b.Values[0] {
			return int(b.Values[0] - a.Values[0])
		}
		return strings.Compare(a.Machine, b.Machine)
	})
	return rows
}

// today is the day that reports begin with; since is the first of a period.
func (s *Server) today() time.Time { return s.config.Now().UTC().Truncate(24 * time.Hour) }

func (s *Server) since(p period) time.Time { return s.today().AddDate(0, 0, 1-p.days) }

// tiles add up a period's stages, beside those of the period before.
func (s *Server) tiles(days []stats.FunnelDay, p period) []tile {
	now, before := sumOf(days, 0, p.days), sumOf(days, p.days, p.days)
	var list []tile
	for i, name := range stageNames() {
		t := tile{Text: s.words.column(name).Text, Value: s.words.number(int(now[i]))}
		if p.comparable(len(days)) {
			t.Change = s.words.change(now[i], before[i])
		}
		list = append(list, t)
	}
	return list
}

// sumOf adds up the stages of n days, the newest of which is at first.
func sumOf(days []stats.FunnelDay, first, n int) []int64 {
	sum := stages(stats.FunnelDay{})
	for i := first; i < min(first+n, len(days)); i++ {
		sum = added(sum, stages(days[i]))
	}
	return sum
}

// rates say where people are lost on the way, and what that means.
func (s *Server) rates(days []stats.FunnelDay, p period) []rate {
	sum := sumOf(days, 0, p.days)
	var list []rate
	for _, r := range []struct {
		text, meaning string
		part, of      int64
	}{
		{"rate.claimed", "rate.claimed.meaning", sum[3], sum[0]},
		{"rate.certified", "rate.certified.meaning", sum[4], sum[3]},
		{"rate.uploaded", "rate.uploaded.meaning", sum[5], sum[4]},
	} {
		if r.of > 0 {
			list = append(list, rate{
				Text: s.words.text(r.text), Value: s.words.percent(r.part, r.of), Meaning: s.words.text(r.meaning),
			})
		}
	}
	return list
}
