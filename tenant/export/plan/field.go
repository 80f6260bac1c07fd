package plan

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"carillon/tenant"
)

// Field is one thing that a configuration says.
type Field struct {
	// Name is what commands call it; Meaning is one line for people, with unit and
	// bounds.
	Name, Meaning string

	parse func(*Plan, string) bool
	show  func(Plan) string
}

// Fields lists what can be set, in the order in which people read it.
func Fields() []Field {
	return []Field{
		{
			"region", "what files name as their region, as US-WA",
			func(p *Plan, s string) bool {
				var err error
				p.Region, err = tenant.ParseRegion(s)
				return err == nil
			},
			func(p Plan) string { return p.Region },
		},
		{
			"regions", "regions whose keys are exported, separated by commas, up to 100; none means that of the files",
			func(p *Plan, s string) bool { return parseRegions(&p.Regions, s) },
			func(p Plan) string { return strings.Join(p.Regions, ",") },
		},
		{
			"exclude-regions", "regions whose keys are not exported, whatever else they are for",
			func(p *Plan, s string) bool { return parseRegions(&p.Excluded, s) },
			func(p Plan) string { return strings.Join(p.Excluded, ",") },
		},
		{
			"travelers", "region: keys of travelers like others; include: also those of other regions; exclude: none of travelers",
			func(p *Plan, s string) bool {
				p.Travelers = Travelers(s)
				return slices.Contains([]Travelers{ByRegion, Included, NotTaken}, p.Travelers)
			},
			func(p Plan) string { return string(p.Travelers) },
		},
		{
			"imported", "on or off: whether keys from other key servers are exported",
			func(p *Plan, s string) bool { p.Imported = s == "on"; return s == "on" || s == "off" },
			func(p Plan) string {
				if p.Imported {
					return "on"
				}
				return "off"
			},
		},
		{
			"period", "a window's length, 1s to 24h, which divides a day evenly",
			func(p *Plan, s string) bool {
				return parseLength(&p.Period, s) && p.Period >= time.Second && p.Period <= day && day%p.Period == 0
			},
			func(p Plan) string { return p.Period.String() },
		},
		{
			"min-age", "how long after its end a window is closed, 0s to 24h; the platforms ask for 2h",
			func(p *Plan, s string) bool { return parseLength(&p.MinAge, s) && p.MinAge >= 0 && p.MinAge <= day },
			func(p Plan) string { return p.MinAge.String() },
		},
		{
			"min-records", "how many new keys a file has at least, by padding; 0 means no padding",
			func(p *Plan, s string) bool { return parseCount(&p.MinRecords, s) && p.MinRecords >= 0 },
			func(p Plan) string { return strconv.Itoa(p.MinRecords) },
		},
		{
			"padding-range", "up to how many more it has at random, at least 1",
			func(p *Plan, s string) bool { return parseCount(&p.PaddingRange, s) && p.PaddingRange >= 1 },
			func(p Plan) string { return strconv.Itoa(p.PaddingRange) },
		},
		{
			"max-records", "how many keys a file has at most, 1 to 750000",
			func(p *Plan, s string) bool {
				return parseCount(&p.MaxRecords, s) && p.MaxRecords >= 1 && p.MaxRecords <= maxRecords
			},
			func(p Plan) string { return strconv.Itoa(p.MaxRecords) },
		},
		{
			"active-from", "from when keys are exported, as 2026-03-01T00:00:00Z",
			func(p *Plan, s string) bool { return parseTime(&p.From, s) },
			func(p Plan) string { return p.From.Format(time.RFC3339) },
		},
		{
			"active-thru", "until when, where a window ends, or never",
			func(p *Plan, s string) bool {
				if p.Thru = nil; s == never {
					return true
				}
				p.Thru = new(time.Time)
				return parseTime(p.Thru, s)
			},
			func(p Plan) string {
				if p.Thru == nil {
					return never
				}
				return p.Thru.Format(time.RFC3339)
			},
		},
	}
}

// Values are the texts of all fields by their names.
func (p Plan) Values() map[string]string {
	values := map[string]string{}
	for _, f := range Fields() {
		values[f.Name] = f.show(p)
	}
	return values
}

const (
	day        = 24 * time.Hour
	maxRecords = 750_000 // what the platforms take (§5.1)
	maxRegions = 100
	never      = "never"
)

var pathForm = regexp.MustCompile(`^([a-z0-9](-?[a-z0-9])*/)?$`)

const maxPath = 41 // with the slash

// set parses texts by the names of fields.
func (p *Plan) set(values map[string]string) error {
	for name, value := range values {
		fields := Fields()
		at := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
		if at < 0 {
			return &FieldError{name, value, "there is no such field"}
		}
		if !fields[at].parse(p, value) {
			return &FieldError{name, value, fields[at].Meaning}
		}
	}
	return nil
}

func (p Plan) refuse(field, rule string) error { return &FieldError{field, p.Values()[field], rule} }

// check looks whether fields go together.
func (p Plan) check() error {
	inputs := p.Regions
	if len(inputs) == 0 {
		inputs = []string{p.Region}
	}
	outside := func(r string) bool { return !slices.Contains(p.Excluded, r) }
	switch {
	case !pathForm.MatchString(p.Path) || len(p.Path) > maxPath:
		return &FieldError{"path", p.Path, "lower-case letters, digits and single hyphens, up to 40"}
	case !slices.ContainsFunc(inputs, outside) && p.Travelers != Included:
		return p.refuse("exclude-regions", "no region is left")
	case 2*p.MinRecords+p.PaddingRange > p.MaxRecords:
		return p.refuse("max-records", "padding needs room: it must be twice min-records and padding-range, or more")
	case p.Thru == nil:
		return nil
	case !p.Thru.After(p.From):
		return p.refuse("active-thru", "it must be after active-from")
	case !p.Thru.Truncate(p.Period).Equal(*p.Thru):
		return p.refuse("active-thru", "it must be where a window ends, a multiple of the period from midnight UTC")
	}
	return nil
}

// retention is how long keys are kept.
const retention = 14 * day

// checkBeginning refuses a beginning whose keys are deleted already.
func (p Plan) checkBeginning(now time.Time) error {
	if p.From.Before(now.Add(-retention)) {
		return p.refuse("active-from", "keys are kept for 14 days")
	}
	return nil
}

func parseRegions(to *[]string, s string) bool {
	*to = nil
	if s == "" {
		return true
	}
	for part := range strings.SplitSeq(s, ",") {
		r, err := tenant.ParseRegion(strings.TrimSpace(part))
		if err != nil || slices.Contains(*to, r) {
			return false
		}
		*to = append(*to, r)
	}
	return len(*to) <= maxRegions
}

func parseLength(to *time.Duration, s string) bool {
	d, err := time.ParseDuration(s)
	*to = d
	return err == nil && d == d.Truncate(time.Second)
}

func parseCount(to *int, s string) bool {
	n, err := strconv.ParseInt(s, 10, 32)
	*to = int(n)
	return err == nil
}

func parseTime(to *time.Time, s string) bool {
	t, err := time.Parse(time.RFC3339, s)
	*to = t.UTC()
	return err == nil && t.Equal(t.Truncate(time.Second))
}
