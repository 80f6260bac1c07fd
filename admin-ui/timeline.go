package adminui

import (
	"time"

	"carillon/signing"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
)

// timeline is a picture of which version was, is and will be in which state. All that it
// shows is in the tables of the keys' own pages as well.
type timeline struct {
	Height int
	Marks  []timeMark
	Rows   []timeRow
	Now    int
}

// timeMark is a line at the beginning of a week.
type timeMark struct {
	X    int
	Text string
}

type timeRow struct {
	Y, Middle int
	Name      string
	Bars      []timeBar
}

// timeBar is a version in one state.
type timeBar struct {
	X, Y, Width, Height int
	Kind, Text          string
}

// The picture's measures, in its own units, and the time it covers.
const (
	lineLeft   = 190
	lineRight  = 990
	lineTop    = 30
	rowHeight  = 40
	laneHeight = 10
	lanes      = 3
	leastWidth = 2
	week       = 7 * 24 * time.Hour
	lineBefore = 5 * week
	lineAfter  = 9 * week
)

func (s *Server) timeline(b *custody.Book) timeline {
	now := s.config.Now().UTC()
	from := now.Add(-lineBefore)
	t := timeline{Height: lineTop + rowHeight*len(signing.Purposes()), Now: across(now, from)}
	for at := from.Truncate(week).Add(week); at.Before(now.Add(lineAfter)); at = at.Add(2 * week) {
		t.Marks = append(t.Marks, timeMark{across(at, from), at.Format("Jan 2")})
	}
	for i, p := range signing.Purposes() {
		row := timeRow{Y: lineTop + i*rowHeight, Name: s.words.keyName(p)}
		row.Middle = row.Y + rowHeight/2
		for n, v := range b.Versions[p] {
			top := row.Y + 4 + n%lanes*laneHeight
			row.Bars = append(row.Bars, s.bars(v, b.Period(p), top, from, now)...)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// across is where a time is in the picture, from left to right.
func across(at, from time.Time) int {
	share := float64(at.Sub(from)) / float64(lineBefore+lineAfter)
	return lineLeft + int(max(0, min(1, share))*(lineRight-lineLeft))
}

// bars are the states of a version, each as long as it was or will be.
func (s *Server) bars(v key.Version, period time.Duration, top int, from, now time.Time) (list []timeBar) {
	add := func(state key.State, kind string, begin time.Time, end *time.Time, otherwise time.Time) {
		if end == nil {
			end = &otherwise
		}
		if !end.After(from) || !end.After(begin) {
			return
		}
		x := across(begin, from)
		list = append(list, timeBar{
			X: x, Y: top, Width: max(leastWidth, across(*end, from)-x), Height: laneHeight - 2, Kind: kind,
			Text: s.words.text("keys.timeline.bar", "version", versionName(v), "state", s.words.keyState(state)),
		})
	}
	began := v.Activated
	if began == nil {
		began = v.ActivateAt
	}
	if v.State == key.Next || v.Activated != nil && v.Created.Before(*v.Activated) {
		add(key.Next, "next", v.Created, began, now)
	}
	if v.Activated != nil {
		ends := v.Ends(period)
		if ends.Before(now) {
			ends = now
		}
		add(key.Active, "active", *v.Activated, v.Retired, ends)
	}
	if v.Retired != nil {
		end := v.Destroyed
		if end == nil {
			end = v.DestroyAt
		}
		add(key.VerifyOnly, "verify", *v.Retired, end, now)
	}
	return list
}
