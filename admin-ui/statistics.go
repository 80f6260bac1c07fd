package adminui

import (
	"context"
	"net/url"
	"slices"
	"time"

	"carillon/tenant"
	"carillon/tenant/stats"
)

// Figures counts what a health authority's programme does. It is [stats.Service].
type Figures interface {
	Overview(ctx context.Context, t *tenant.Tenant, first time.Time, of stats.Span) (stats.Overview, error)
}

// statisticsPage shows at a glance whether the programme works.
type statisticsPage struct {
	Periods []navItem
	// Alone says why the period is not compared with the one before; empty if it is.
	Alone   string
	Counted *moment // when; nil if nothing ever was
	Tiles   []tile
	Rates   []rate
	// Quiet says that nothing happened in the period: then there are no figures.
	Quiet   bool
	Figures []figure
	// HeldBack is how many days of the period are not told to others yet; empty for none.
	HeldBack string
}

// tile is a number, and how it stands to the period before.
type tile struct {
	Text, Value, Change string
}

// rate is how many of those who came so far went on, in this period and the one before,
// and how long they took.
type rate struct{ Text, Value, Before, Delay, Meaning string }

func (s *Server) showStatistics(v *visit) (answer, error) {
	o, chosen, err := s.overview(v)
	if err != nil {
		return answer{}, err
	}
	p := statisticsPage{Tiles: s.tiles(o, chosen), Rates: s.rates(o, chosen), Quiet: quiet(chosen.days(o))}
	if chosen.alone != "" {
		p.Alone = s.words.text(chosen.alone)
	}
	if !o.Counted.IsZero() {
		m := s.words.moment(o.Counted, s.now(v))
		p.Counted = &m
	}
	if n := heldBack(o, chosen); n > 0 {
		p.HeldBack = s.words.counted("statistics.held.one", "statistics.held.other", n)
	}
	if !p.Quiet {
		p.Figures = s.allFigures(v, o, chosen)
	}
	for _, one := range periods() {
		p.Periods = append(p.Periods, navItem{
			Text: s.words.text(one.text), Path: v.path("/statistics?period=" + one.name), Current: one.name == chosen.name,
		})
	}
	return answer{page: "statistics", heading: s.words.text("statistics.heading"), data: p}, nil
}

func (s *Server) allFigures(v *visit, o stats.Overview, p period) []figure {
	var list []figure
	for _, f := range figures() {
		made := f.make(s, o, p)
		file := func(form string) string {
			return v.path("/statistics/file?" + url.Values{"figure": {f.name}, "form": {form}, "period": {p.name}}.Encode())
		}
		made.Name, made.CSV, made.JSON = f.name, file(formCSV), file(formJSON)
		if made.shorten() {
			made.Rest = s.words.text("figure.rest", "n", s.words.number(maxFigureRows))
		}
		list = append(list, made)
	}
	return list
}

// overview reads the period that was chosen, or else the last week. Who begins today has no
// whole day yet, and sees today.
func (s *Server) overview(v *visit) (stats.Overview, period, error) {
	name := v.r.URL.Query().Get("period")
	p, known := periodNamed(name)
	if !known {
		p, _ = periodNamed(defaultPeriod)
	}
	o, err := s.readOverview(v, p)
	if err != nil || known || !begunToday(o) {
		return o, p, err
	}
	p, _ = periodNamed(periodToday)
	o, err = s.readOverview(v, p)
	return o, p, err
}

func (s *Server) readOverview(v *visit, p period) (stats.Overview, error) {
	today := s.config.Now().UTC().Truncate(24 * time.Hour)
	return s.config.Figures.Overview(v.r.Context(), v.tenant, p.since(today), p.span(today))
}

func begunToday(o stats.Overview) bool {
	return quiet(o.Days[1:]) && !o.Days[0].Empty()
}

// quiet reports whether nothing happened on any of the days.
func quiet(days []stats.OverviewDay) bool {
	return !slices.ContainsFunc(days, func(d stats.OverviewDay) bool { return !d.Empty() })
}

// exportStatistics gives one figure out as a file.
func (s *Server) exportStatistics(v *visit) (answer, error) {
	query := v.r.URL.Query()
	name, form := query.Get("figure"), query.Get("form")
	index := slices.IndexFunc(figures(), func(f source) bool { return f.name == name })
	if index < 0 || form != formCSV && form != formJSON {
		return answer{}, errNoPage
	}
	o, p, err := s.overview(v)
	if err != nil {
		return answer{}, err
	}
	f := figures()[index].make(s, o, p)
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

// tiles add up a period's stages, beside those of the period before.
func (s *Server) tiles(o stats.Overview, p period) []tile {
	now, before := stagesOf(p.days(o)), stagesOf(p.before(o))
	var list []tile
	for i, name := range stageNames() {
		t := tile{Text: s.words.column(name).Text, Value: s.words.number(int(now[i]))}
		if p.alone == "" {
			t.Change = s.words.change(now[i], before[i])
		}
		list = append(list, t)
	}
	return list
}

func stageNames() []string {
	return []string{"issued", "sent", "delivered", "claimed", "certificates", "uploads", "keys_exported", "files"}
}

// stages are the numbers of a day, in the order of stageNames.
func stages(d stats.OverviewDay) []int64 {
	return []int64{d.Issued, d.Sent, d.Delivered, d.Claimed, d.Certified, d.Published, d.KeysExported, d.FilesPublished}
}

func stagesOf(days []stats.OverviewDay) []int64 {
	sum := stages(stats.OverviewDay{})
	for _, d := range days {
		sum = added(sum, stages(d))
	}
	return sum
}

// rates say where people are lost on the way, how long the rest took, and what that means.
func (s *Server) rates(o stats.Overview, p period) []rate {
	now, before := stagesOf(p.days(o)), stagesOf(p.before(o))
	var list []rate
	for _, r := range []struct {
		text, meaning string
		part, of      int // stages
		delays        []int64
	}{
		{"rate.delivered", "rate.delivered.meaning", 2, 1, o.Delays.Delivered},
		{"rate.claimed", "rate.claimed.meaning", 3, 0, o.Delays.Claimed},
		{"rate.certified", "rate.certified.meaning", 4, 3, o.Delays.Certified},
		{"rate.uploaded", "rate.uploaded.meaning", 5, 4, o.Delays.Published},
	} {
		if now[r.of] == 0 {
			continue
		}
		made := rate{
			Text: s.words.text(r.text), Value: s.words.percent(now[r.part], now[r.of]), Meaning: s.words.text(r.meaning),
			Delay: s.delay(r.delays),
		}
		if p.alone == "" && before[r.of] > 0 {
			made.Before = s.words.text("rate.before", "percent", s.words.percent(before[r.part], before[r.of]))
		}
		list = append(list, made)
	}
	return list
}

// delay says within which time half of a distribution's events came, and nine in ten.
func (s *Server) delay(classes []int64) string {
	half, most := within(classes, 1, 2), within(classes, 9, 10)
	if half < 0 {
		return ""
	}
	bounds := stats.Bounds()
	return s.words.text("rate.delay", "half", s.words.span(bounds[half]), "most", s.words.span(bounds[most]))
}

// within is the first class by the end of which a part of all events came; -1 if there
// are none.
func within(classes []int64, part, of int64) int {
	var all, sum int64
	for _, n := range classes {
		all += n
	}
	for i, n := range classes {
		sum += n
		if sum > 0 && of*sum >= part*all {
			return i
		}
	}
	return -1
}

func heldBack(o stats.Overview, p period) (n int) {
	for _, d := range p.days(o) {
		if d.HeldBack {
			n++
		}
	}
	return n
}
