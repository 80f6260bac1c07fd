package adminui

import (
	"cmp"
	"strings"

	"carillon/tenant/message"
	"carillon/tenant/stats"
)

// source makes a figure of a period.
type source struct {
	name string
	make func(*Server, stats.Overview, period) figure
}

// figures are all there are, in the order of the page.
func figures() []source {
	return []source{
		{"funnel", (*Server).funnelFigure},
		{"claim-age", (*Server).claimAgeFigure},
		{"delays", (*Server).delaysFigure},
		{"onset", (*Server).onsetFigure},
		{"types", (*Server).typesFigure},
		{"channels", (*Server).channelsFigure},
		{"systems", (*Server).systemsFigure},
		{"issuers", (*Server).issuersFigure},
		{"external-issuers", (*Server).externalFigure},
		{"failures", (*Server).failuresFigure},
		{"provider-errors", (*Server).errorsFigure},
		{"wrong-codes", (*Server).wrongCodesFigure},
		{"uploads", (*Server).uploadsFigure},
		{"exports", (*Server).exportsFigure},
	}
}

// newFigure has no rows yet. heading and note are keys of messages; label and columns are
// names of [catalogue.column].
func (s *Server) newFigure(heading, note string, kind plotKind, label string, columns ...string) figure {
	f := figure{Plot: kind, Heading: s.words.text(heading), Note: s.words.text(note), Label: s.words.column(label)}
	for _, c := range columns {
		f.Columns = append(f.Columns, s.words.column(c))
	}
	return f
}

// overDays makes a figure with a row for each day or week. One day makes no line.
func (s *Server) overDays(f figure, o stats.Overview, p period, values func(stats.OverviewDay) []int64) figure {
	f.Rows = p.rows(o, values, s.words.day)
	if len(f.Rows) < 2 {
		f.Plot = plotNone
	}
	return f
}

func (s *Server) funnelFigure(o stats.Overview, p period) figure {
	names := stageNames()[:6] // keys and files are not codes, and many more
	f := s.newFigure("figure.funnel", "figure.funnel.note", plotLines, "day", names...)
	return s.overDays(f, o, p, func(d stats.OverviewDay) []int64 { return stages(d)[:len(names)] })
}

func (s *Server) claimAgeFigure(o stats.Overview, _ period) figure {
	f := s.newFigure("figure.claim_age", "figure.claim_age.note", plotBars, "within", "claimed")
	f.Rows = s.classes(o.Delays.Claimed)
	return f
}

func (s *Server) delaysFigure(o stats.Overview, _ period) figure {
	f := s.newFigure("figure.delays", "figure.delays.note", plotNone, "within", "delivered", "certificates", "uploads", "keys_exported")
	f.Rows = s.classes(o.Delays.Delivered, o.Delays.Certified, o.Delays.Published, o.Delays.Exported)
	return f
}

// classes is a row for each class of delays, with a number from each distribution.
func (s *Server) classes(distributions ...[]int64) []figureRow {
	var rows []figureRow
	for i, bound := range stats.Bounds() {
		row := figureRow{Label: s.words.span(bound), Machine: bound.String()}
		for _, d := range distributions {
			n := int64(0)
			if i < len(d) {
				n = d[i]
			}
			row.Values = append(row.Values, n)
		}
		rows = append(rows, row)
	}
	return rows
}

func (s *Server) onsetFigure(o stats.Overview, _ period) figure {
	f := s.newFigure("figure.onset", "figure.onset.note", plotBars, "days", "uploads")
	for i, n := range o.OnsetAges {
		label := s.words.number(i)
		if i == len(o.OnsetAges)-1 {
			label = s.words.text("figure.more", "n", label)
		}
		f.Rows = append(f.Rows, figureRow{Label: label, Machine: label, Values: []int64{n}})
	}
	return f
}

func (s *Server) typesFigure(o stats.Overview, _ period) figure {
	f := s.newFigure("figure.types", "figure.types.note", plotNone, "type", "issued", "claimed", "claimed_percent", "certificates")
	for _, p := range o.Types {
		f.Rows = append(f.Rows, figureRow{Label: s.words.testType(p.Name), Machine: p.Name, Values: []int64{p.Issued, p.Claimed, percentOf(p.Claimed, p.Issued), p.Certified}})
	}
	return f
}

func (s *Server) channelsFigure(o stats.Overview, _ period) figure {
	f := s.newFigure("figure.channels", "figure.channels.note", plotNone, "channel", "issued", "claimed", "claimed_percent")
	for _, p := range o.Channels {
		f.Rows = append(f.Rows, figureRow{Label: s.words.channel(p.Name), Machine: p.Name, Values: []int64{p.Issued, p.Claimed, percentOf(p.Claimed, p.Issued)}})
	}
	return f
}

// percentOf is a part in whole per cent; 0 of nothing.
func percentOf(part, of int64) int64 {
	if of == 0 {
		return 0
	}
	return (200*part + of) / (2 * of)
}

func (s *Server) systemsFigure(o stats.Overview, _ period) figure {
	f := s.newFigure("figure.systems", "figure.systems.note", plotNone, "system", "claimed", "certificates", "uploads", "refused")
	for _, p := range o.Systems {
		f.Rows = append(f.Rows, figureRow{
			Label: s.words.column(string(p.Platform)).Text, Machine: string(p.Platform),
			Values: []int64{p.Claimed, p.Certified, p.Uploaded, p.Refused},
		})
	}
	return f
}

func (s *Server) issuersFigure(o stats.Overview, _ period) figure {
	f := s.newFigure("figure.issuers", "figure.issuers.note", plotNone, "issuer", "issued")
	for _, i := range o.Issuers {
		f.Rows = append(f.Rows, figureRow{Label: s.words.issuer(i), Machine: issuerName(i), Values: []int64{i.Codes}})
	}
	return f
}

// issuerName is what programs call an issuer.
func issuerName(i stats.IssuerSum) string {
	name := cmp.Or(i.Name, i.ID)
	if i.Kind == stats.ByPerson {
		return name
	}
	return strings.TrimSpace(string(i.Kind) + " " + name)
}

func (s *Server) externalFigure(o stats.Overview, _ period) figure {
	f := s.newFigure("figure.external", "figure.external.note", plotNone, "external", "issued")
	for _, i := range o.External {
		f.Rows = append(f.Rows, figureRow{Label: i.ID, Machine: i.ID, Values: []int64{i.Codes}})
	}
	return f
}

func (s *Server) failuresFigure(o stats.Overview, _ period) figure {
	f := s.newFigure("figure.failures", "figure.failures.note", plotNone, "reason", "messages")
	for _, r := range o.Failures {
		f.Rows = append(f.Rows, figureRow{Label: s.words.reason(message.Class(r.Name)), Machine: r.Name, Values: []int64{r.Count}})
	}
	return f
}

func (s *Server) errorsFigure(o stats.Overview, _ period) figure {
	f := s.newFigure("figure.errors", "figure.errors.note", plotNone, "error", "messages")
	for _, r := range o.Errors {
		f.Rows = append(f.Rows, figureRow{Label: s.words.smsError(r.Name), Machine: r.Name, Values: []int64{r.Count}})
	}
	return f
}

func (s *Server) wrongCodesFigure(o stats.Overview, p period) figure {
	f := s.newFigure("figure.wrong_codes", "figure.wrong_codes.note", plotLines, "day", "ios", "android", "unknown", "tokens_refused")
	return s.overDays(f, o, p, func(d stats.OverviewDay) []int64 { return append(systems(d.CodesRefused), d.TokensRefused) })
}

func systems(b stats.ByPlatform) []int64 { return []int64{b.IOS, b.Android, b.Unknown} }

func (s *Server) uploadsFigure(o stats.Overview, p period) figure {
	f := s.newFigure("figure.uploads", "figure.uploads.note", plotLines, "day", "ios", "android", "unknown", "revisions", "missing_onset")
	return s.overDays(f, o, p, func(d stats.OverviewDay) []int64 {
		return append(systems(d.Uploads), d.Revisions, d.MissingOnset)
	})
}

func (s *Server) exportsFigure(o stats.Overview, p period) figure {
	f := s.newFigure("figure.exports", "figure.exports.note", plotLines, "day", "keys", "keys_exported", "files")
	return s.overDays(f, o, p, func(d stats.OverviewDay) []int64 {
		return []int64{d.KeysUploaded, d.KeysExported, d.FilesPublished}
	})
}

// testType names a type of test.
func (c *catalogue) testType(name string) string {
	for _, t := range c.testTypes() {
		if t.value == name {
			return t.label
		}
	}
	return name
}

// channel says how codes were told.
func (c *catalogue) channel(name string) string {
	switch name {
	case "sms":
		return c.text("channel.sms")
	case "email":
		return c.text("channel.email")
	case "none":
		return c.text("channel.none")
	}
	return name
}

// issuer names whoever issued codes.
func (c *catalogue) issuer(i stats.IssuerSum) string {
	switch {
	case i.Kind == stats.ByThemselves:
		return c.text("figure.themselves")
	case i.Kind == stats.ByKey && i.Name == "":
		return c.text("figure.gone_key")
	case i.Kind == stats.ByKey:
		return c.text("figure.by_key", "name", i.Name)
	case i.Name == "":
		return c.text("figure.gone")
	}
	return i.Name
}

// reason says why messages failed, and what an administrator does about it.
func (c *catalogue) reason(class message.Class) string {
	switch class {
	case message.Invalid:
		return c.text("reason.number")
	case message.Address:
		return c.text("reason.address")
	case message.Landline:
		return c.text("reason.landline")
	case message.OptedOut:
		return c.text("reason.opted_out")
	case message.Unreachable:
		return c.text("reason.unreachable")
	case message.Filtered:
		return c.text("reason.filtered")
	case message.Region:
		return c.text("reason.region")
	case message.QueueFull:
		return c.text("reason.queue_full")
	case message.Unavailable:
		return c.text("reason.unavailable")
	case message.Rejected:
		return c.text("reason.rejected")
	case message.NoProvider:
		return c.text("reason.no_provider")
	case message.Unsigned:
		return c.text("reason.unsigned")
	case message.Expired:
		return c.text("reason.expired")
	case message.Uncertain:
		return c.text("reason.uncertain")
	case message.Other:
		return c.text("reason.other")
	}
	return string(class)
}
