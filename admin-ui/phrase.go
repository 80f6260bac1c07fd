package adminui

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/language"

	"carillon/tenant/message"
	"carillon/tenant/message/delivery"
)

// country names a country, an ISO 3166-1 code.
func (c *catalogue) country(code string) string {
	region, err := language.ParseRegion(code)
	if err != nil {
		return code
	}
	return c.countries.Name(region)
}

// language names a language, a BCP 47 tag.
func (c *catalogue) language(tag string) string {
	parsed, err := language.Parse(tag)
	if err != nil {
		return tag
	}
	return c.languages.Name(parsed)
}

// digitWords is a language for each line: the words for 0 to 9 as they are said to
// somebody who writes them down.
//
//go:embed messages/spoken.json
var digitWords []byte

func loadSpoken() (map[string][]string, error) {
	words := map[string][]string{}
	if err := json.Unmarshal(digitWords, &words); err != nil {
		return nil, fmt.Errorf("spoken digits: %w", err)
	}
	for tag, ten := range words {
		if len(ten) != 10 {
			return nil, fmt.Errorf("spoken digits: %s has %d", tag, len(ten))
		}
	}
	return words, nil
}

// spoken is a code in the words of a language that is not the page's own.
type spoken struct{ Tag, Language, Words string }

// spokenIn reads a code out in the language of a message: nothing if that is the page's
// own or one whose words nobody has written down.
func (c *catalogue) spokenIn(tag string, groups []string) spoken {
	base, _, _ := strings.Cut(strings.ToLower(tag), "-")
	words := c.spoken[base]
	if base == c.lang || words == nil {
		return spoken{}
	}
	return spoken{Tag: base, Language: c.language(base), Words: spell(groups, words)}
}

// day names a day in a plot or a table.
func (c *catalogue) day(t time.Time) string {
	return c.text("date.short", "day", c.number(t.Day()), "month", c.shortMonths[t.Month()-1])
}

// span names a class of delays by its upper bound.
func (c *catalogue) span(d time.Duration) string {
	switch {
	case d < time.Hour:
		return c.counted("span.minutes.one", "span.minutes.other", int(d/time.Minute))
	case d <= 24*time.Hour:
		return c.counted("span.hours.one", "span.hours.other", int(d/time.Hour))
	}
	return c.text("span.more")
}

// duration is a span of time in its greatest unit.
func (c *catalogue) duration(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return c.counted("duration.hours.one", "duration.hours.other", int(d/time.Hour))
	case d%time.Minute == 0:
		return c.counted("duration.minutes.one", "duration.minutes.other", int(d/time.Minute))
	}
	return c.counted("duration.seconds.one", "duration.seconds.other", int(d/time.Second))
}

// size is how much is downloaded.
func (c *catalogue) size(bytes int64) string {
	if bytes == 0 {
		return c.text("size.none")
	}
	return c.text("size.kilobytes", "n", c.number(int((bytes+999)/1000)))
}

// percent is a part in whole per cent.
func (c *catalogue) percent(part, of int64) string {
	return c.text("percent", "n", c.number(int(percentOf(part, of))))
}

// change says how a number stands to the one before it.
func (c *catalogue) change(now, before int64) string {
	switch {
	case now == before:
		return c.text("change.same")
	case before == 0:
		return c.text("change.none_before")
	case now > before:
		return c.text("change.more", "percent", c.percent(now-before, before), "before", c.number(int(before)))
	}
	return c.text("change.less", "percent", c.percent(before-now, before), "before", c.number(int(before)))
}

// column names what is counted. The name for programs comes in.
func (c *catalogue) column(name string) column {
	key := map[string]string{
		"day": "figure.label.day", "within": "figure.label.within", "days": "figure.label.days",
		"error": "figure.label.error", "issuer": "figure.label.issuer", "type": "figure.label.type",
		"channel": "figure.label.channel", "system": "figure.label.system", "external": "figure.label.external", "reason": "figure.label.reason",
		"issued": "figure.column.issued", "sent": "figure.column.sent", "delivered": "figure.column.delivered",
		"claimed": "figure.column.claimed", "certificates": "figure.column.certificates", "uploads": "figure.column.uploads",
		"keys_exported": "figure.column.keys_exported", "ios": "figure.column.ios", "android": "figure.column.android",
		"unknown": "figure.column.unknown", "keys": "figure.column.keys", "revisions": "figure.column.revisions",
		"missing_onset": "figure.column.missing_onset", "messages": "figure.column.messages", "files": "figure.column.files",
		"claimed_percent": "figure.column.claimed_percent", "refused": "figure.column.refused", "tokens_refused": "figure.column.tokens_refused",
	}[name]
	return column{name, c.text(key)}
}

// smsError names a provider's error, with what to do about the frequent ones.
func (c *catalogue) smsError(code string) string {
	advice := map[string]string{
		"21211": "sms_error.21211", "21408": "sms_error.21408", "21610": "sms_error.21610", "21611": "sms_error.21611",
		"21614": "sms_error.21614", "30003": "sms_error.30003", "30005": "sms_error.30005", "30006": "sms_error.30006",
		"30007": "sms_error.30007",
	}[code]
	if advice == "" {
		return c.text("sms_error.other", "code", code)
	}
	return c.text("sms_error", "code", code, "advice", c.text(advice))
}

// delivery says how far a message came.
func (c *catalogue) delivery(s delivery.State) string {
	switch s {
	case delivery.Queued:
		return c.text("delivery.queued")
	case delivery.Sent:
		return c.text("delivery.sent")
	case delivery.Delivered:
		return c.text("delivery.delivered")
	case delivery.Failed:
		return c.text("delivery.failed")
	}
	return string(s)
}

// failure says why a message did not arrive, and what a caseworker does about it.
func (c *catalogue) failure(class message.Class) string {
	switch class {
	case message.Invalid:
		return c.text("failure.number")
	case message.Address:
		return c.text("failure.address")
	case message.Landline:
		return c.text("failure.landline")
	case message.OptedOut:
		return c.text("failure.opted_out")
	case message.Unreachable:
		return c.text("failure.unreachable")
	case message.Filtered:
		return c.text("failure.filtered")
	case message.Region:
		return c.text("failure.region")
	case message.QueueFull, message.Unavailable, message.Other:
		return c.text("failure.later")
	case message.Rejected, message.NoProvider, message.Unsigned:
		return c.text("failure.setup")
	case message.Expired:
		return c.text("failure.expired")
	case message.Uncertain:
		return c.text("failure.uncertain")
	}
	return string(class)
}
