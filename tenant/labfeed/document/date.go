package document

import (
	"strings"
	"time"
)

// Date is a day as the document wrote it, not shifted between time zones: the
// verification protocol (§4.2) takes the sender's own calendar.
type Date struct {
	// Day is YYYY-MM-DD; empty if there is none or it cannot be read.
	Day string `json:"day,omitempty"`
	// Offset is the distance from UTC in minutes that was written with it, if
	// HasOffset.
	Offset    int  `json:"offset,omitempty"`
	HasOffset bool `json:"hasOffset,omitempty"`
	// Unreadable says that something was there, but not a day.
	Unreadable bool `json:"unreadable,omitempty"`
}

const (
	hl7Day  = "20060102"
	isoDay  = time.DateOnly
	dayRoom = 10 // bytes of YYYY-MM-DD
)

// hl7Date reads YYYYMMDD[HHMM[SS[.S[S[S[S]]]]]][+/-ZZZZ]. A day is needed: a month
// or a year is not one.
func hl7Date(text string) Date {
	text = strings.TrimSpace(text)
	if text == "" || text == `""` { // the latter is HL7's explicit nothing
		return Date{}
	}
	if len(text) < len(hl7Day) {
		return Date{Unreadable: true}
	}
	return newDate(hl7Day, text[:len(hl7Day)], text[len(hl7Day):], "0123456789.")
}

// isoDate reads YYYY-MM-DD, alone or before T or a blank with a time.
func isoDate(text string) Date {
	text = strings.TrimSpace(text)
	if text == "" {
		return Date{}
	}
	if len(text) < dayRoom {
		return Date{Unreadable: true}
	}
	rest := text[dayRoom:]
	if rest != "" && rest[0] != 'T' && rest[0] != ' ' {
		return Date{Unreadable: true}
	}
	return newDate(isoDay, text[:dayRoom], strings.TrimLeft(rest, "T "), "0123456789.:")
}

func newDate(layout, day, clock, clockCharacters string) Date {
	parsed, err := time.Parse(layout, day)
	if err != nil {
		return Date{Unreadable: true}
	}
	d := Date{Day: parsed.Format(isoDay)}
	rest := strings.TrimLeft(clock, clockCharacters)
	if rest == "" {
		return d
	}
	for _, zone := range []string{"-0700", "-07:00", "Z"} {
		if z, err := time.Parse(zone, rest); err == nil {
			_, seconds := z.Zone()
			d.Offset, d.HasOffset = seconds/60, true
			return d
		}
	}
	return Date{Unreadable: true}
}

// or is the first of two that says anything.
func (d Date) or(other Date) Date {
	if d.Day == "" && !d.Unreadable {
		return other
	}
	return d
}
