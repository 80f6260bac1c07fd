package stats

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"carillon/tenant"
)

// Overview is what a tenant's programme did, as it was counted last: see [Rollup]. What
// phones do without leaving a row is in it after some seconds.
type Overview struct {
	// Counted is when; the zero time if nothing ever was.
	Counted time.Time
	// Days are all from the first one that was asked for until today, the newest first.
	Days []OverviewDay
	// Delays and the rest are of the span alone.
	Delays Delays
	// OnsetAges has uploads by the age of the onset in days; the last class takes the rest.
	OnsetAges []int64
	// Types are the codes' test types, Channels how codes were told: by text message
	// ("sms"), by e-mail ("email"), or not by Carillon ("none"). Both are in the order of their names.
	Types, Channels []Path
	// Systems are iOS, Android and the unknown.
	Systems []SystemPath
	// Issuers are who issued codes, External in whose name; those of the most codes first.
	Issuers, External []IssuerSum
	// Failures are the classes of messages that failed in the end, Errors the numbers by
	// which providers reported errors, also of attempts; the most frequent first.
	Failures, Errors []Reason
}

// OverviewDay is a UTC day. What became of its codes, uploads and keys counts on their day,
// whenever it came to pass.
type OverviewDay struct {
	Day                                   time.Time
	Issued, Sent, Delivered               int64 // codes and their messages
	Claimed, Certified                    int64 // of these codes
	Published                             int64 // uploads with a certificate of the day
	KeysExported                          int64 // keys that arrived on the day, without padding
	CodesRefused                          ByPlatform
	TokensRefused                         int64
	Uploads                               ByPlatform // that arrived on the day
	KeysUploaded, Revisions, MissingOnset int64
	FilesPublished                        int64
	// HeldBack says that nobody but the tenant learns yet how many uploads there were.
	HeldBack bool
}

// Empty reports whether nothing happened on the day and nothing became of it.
func (d OverviewDay) Empty() bool {
	return d.Issued|d.Claimed|d.Certified|d.Published|d.KeysExported|d.CodesRefused.Total()|d.TokensRefused|d.Uploads.Total()|d.FilesPublished == 0
}

// Delays are distributions over the [Classes], each of a stage since the one before: see
// [FunnelDay].
type Delays struct{ Delivered, Claimed, Certified, Published, Exported []int64 }

// Path is how far codes of one kind came. Certified is not known of channels.
type Path struct {
	Name                       string
	Issued, Claimed, Certified int64
}

// SystemPath is what phones of one operating system did.
type SystemPath struct {
	Platform                              Platform
	Claimed, Certified, Uploaded, Refused int64
}

// IssuerKind is who issues codes.
type IssuerKind string

// The kinds. Nobody is told apart from the others of the last kind.
const (
	ByPerson     IssuerKind = "person"
	ByKey        IssuerKind = "api-key"
	ByThemselves IssuerKind = "self" // people who report themselves
)

// IssuerSum is how many codes somebody issued.
type IssuerSum struct {
	Kind IssuerKind
	// ID is that of a member or an API key, or an externalIssuerID.
	ID string
	// Name is empty for one who is gone, and for an externalIssuerID.
	Name  string
	Codes int64
}

// Reason is why something failed, and how often.
type Reason struct {
	Name  string
	Count int64
}

// Span is some UTC days, First and Last among them.
type Span struct{ First, Last time.Time }

// Names come to what is added up already.
const overviewSQL = `
  select series, subject, '' as name, day, cohort, 0 as class, sum(quantity)::bigint as quantity
    from (select day, series, subject, cohort, quantity
            from statistic_day
           where day >= $1::date
             and series = any($2)
       union all
          select (hour at time zone 'UTC')::date, series, subject, cohort, quantity
            from statistic_tally
           where hour >= $1::timestamptz
             and series = any($2)) daily
group by series, subject, day, cohort
union all
  select sums.series, sums.subject, coalesce(m.name, k.name, ''), null, null, sums.class, sums.quantity
    from (select series, subject, class, sum(quantity)::bigint as quantity
            from (select series, subject, cohort, class, quantity
                    from statistic_day
                   where day >= $4::date
                     and series = any($3)
               union all
                  select series, subject, cohort, class, quantity
                    from statistic_tally
                   where hour >= $4::timestamptz
                     and series = any($3)) since
           where cohort between $4::date and $5::date
        group by since.series, subject, class) sums
    left join member m on m.member_id = case when sums.series = 'issued-by-person' and sums.subject ~ '^[0-9a-f-]{36}$' then sums.subject::uuid end
    left join api_key k on k.api_key_id = case when sums.series = 'issued-by-key' and sums.subject ~ '^[0-9a-f-]{36}$' then sums.subject::uuid end
union all
  select $6, error_code, '', null, null, 0, sum(count)
    from message_error
   where day between $4::date and $5::date
group by error_code
union all
  select $7, '', '', null, null, 0, extract(epoch from counted_at)::bigint
    from statistic_horizon
   where counted_at is not null`

// What [Service.Overview] reads beside the series that are counted.
const (
	providerErrors series = "provider-errors" // subject: the provider's number
	countedAt      series = "counted-at"      // quantity: Unix time
)

// daily are the series that an overview has for each day, spanned those that it has for
// its span.
func daily() []series {
	return []series{
		codesIssued, messages, codesClaimed, tokensClaimed, uploads, keysExported, filesExported,
		codesInvalid, tokensInvalid, uploadKeys, revisions, missingOnset,
	}
}

func spanned() []series {
	return []series{
		codesIssued, messages, codesClaimed, tokensClaimed, uploads, keysExported, onsetAges, issuedByPerson, issuedByKey,
		issuedExternal, channelIssued, channelClaimed, failures, systemClaimed, systemTokens, codesInvalid,
	}
}

type overviewRow struct {
	Series   series
	Subject  string
	Name     string
	Day      *time.Time // nil for those of the span
	Cohort   *time.Time
	Class    int
	Quantity int64
}

// Overview reads the days since the first one, and of the span what is not told by day.
func (s *Service) Overview(ctx context.Context, t *tenant.Tenant, first time.Time, of Span) (Overview, error) {
	first = dayOf(first)
	var rows []overviewRow
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &rows, overviewSQL, first, texts(daily()), texts(spanned()),
			dayOf(of.First), dayOf(of.Last), string(providerErrors), string(countedAt))
	})
	if err != nil {
		return Overview{}, fmt.Errorf("read overview of statistics: %w", err)
	}
	o := Overview{Days: s.daysSince(first)}
	days := map[time.Time]*OverviewDay{}
	for i := range o.Days {
		days[o.Days[i].Day] = &o.Days[i]
	}
	sums := newOverviewSums()
	for _, r := range rows {
		if r.Day == nil {
			sums.add(r)
			continue
		}
		r.countOn(days[r.Cohort.UTC()], days[r.Day.UTC()])
	}
	sums.into(&o)
	for i, d := range o.Days {
		o.Days[i].HeldBack = d.Uploads.Total() > 0 && heldBack(d.Day, d.Uploads.Total(), s.now())
	}
	return o, nil
}

func (s *Service) daysSince(first time.Time) []OverviewDay {
	var list []OverviewDay
	for d := dayOf(s.now()); !d.Before(first); d = d.AddDate(0, 0, -1) {
		list = append(list, OverviewDay{Day: d})
	}
	return list
}

// countOn adds a row to the day of its cohort and to that on which it happened; either is
// nil if it is not among those that are read.
func (r overviewRow) countOn(cohort, on *OverviewDay) {
	if cohort != nil {
		cohort.addCohort(r)
	}
	if on != nil {
		on.addEvent(r)
	}
}

func (d *OverviewDay) addCohort(r overviewRow) {
	//nolint:exhaustive // the others are counted on their own day
	switch r.Series {
	case codesIssued:
		d.Issued += r.Quantity
	case messages:
		if r.Subject == "sent" || r.Subject == "delivered" {
			d.Sent += r.Quantity
		}
		if r.Subject == "delivered" {
			d.Delivered += r.Quantity
		}
	case codesClaimed:
		d.Claimed += r.Quantity
	case tokensClaimed:
		d.Certified += r.Quantity
	case uploads:
		d.Published += r.Quantity
	case keysExported:
		d.KeysExported += r.Quantity
	}
}

func (d *OverviewDay) addEvent(r overviewRow) {
	//nolint:exhaustive // the others are counted on the day of their cohort
	switch r.Series {
	case codesInvalid:
		d.CodesRefused.add(Platform(r.Subject), r.Quantity)
	case tokensInvalid:
		d.TokensRefused += r.Quantity
	case uploads:
		d.Uploads.add(Platform(r.Subject), r.Quantity)
	case uploadKeys:
		d.KeysUploaded += r.Quantity
	case revisions:
		d.Revisions += r.Quantity
	case missingOnset:
		d.MissingOnset += r.Quantity
	case filesExported:
		d.FilesPublished += r.Quantity
	}
}

// overviewSums adds up the rows of a span.
type overviewSums struct {
	counted            time.Time
	delays             Delays
	onsetAges          []int64
	issued             int64
	types, channels    map[string]*Path
	claimed, certified ByPlatform
	uploaded, refused  ByPlatform
	issuers, external  []IssuerSum
	failures, errors   []Reason
}

func newOverviewSums() *overviewSums {
	return &overviewSums{onsetAges: make([]int64, onsetAgeClasses), types: map[string]*Path{}, channels: map[string]*Path{}}
}

func pathOf(paths map[string]*Path, name string) *Path {
	if paths[name] == nil {
		paths[name] = &Path{Name: name}
	}
	return paths[name]
}

func (o *overviewSums) add(r overviewRow) {
	c := count{Class: r.Class, Quantity: r.Quantity}
	switch r.Series {
	case codesIssued:
		pathOf(o.types, r.Subject).Issued += r.Quantity
		o.issued += r.Quantity
	case codesClaimed:
		pathOf(o.types, r.Subject).Claimed += r.Quantity
		o.delays.Claimed = addTo(o.delays.Claimed, Classes, c)
	case tokensClaimed:
		pathOf(o.types, r.Subject).Certified += r.Quantity
		o.delays.Certified = addTo(o.delays.Certified, Classes, c)
	case messages:
		if r.Subject == "delivered" {
			o.delays.Delivered = addTo(o.delays.Delivered, Classes, c)
		}
	case uploads:
		o.uploaded.add(Platform(r.Subject), r.Quantity)
		o.delays.Published = addTo(o.delays.Published, Classes, c)
	case keysExported:
		o.delays.Exported = addTo(o.delays.Exported, Classes, c)
	case onsetAges:
		o.onsetAges = addTo(o.onsetAges, onsetAgeClasses, c)
	case channelIssued:
		pathOf(o.channels, r.Subject).Issued += r.Quantity
	case channelClaimed:
		pathOf(o.channels, r.Subject).Claimed += r.Quantity
	case systemClaimed:
		o.claimed.add(Platform(r.Subject), r.Quantity)
	case systemTokens:
		o.certified.add(Platform(r.Subject), r.Quantity)
	case codesInvalid:
		o.refused.add(Platform(r.Subject), r.Quantity)
	case countedAt:
		o.counted = time.Unix(r.Quantity, 0).UTC()
	default:
		o.addNamed(r)
	}
}

func (o *overviewSums) addNamed(r overviewRow) {
	//nolint:exhaustive // the others have no name
	switch r.Series {
	case issuedByPerson:
		o.issuers = append(o.issuers, IssuerSum{ByPerson, r.Subject, r.Name, r.Quantity})
	case issuedByKey:
		o.issuers = append(o.issuers, IssuerSum{ByKey, r.Subject, r.Name, r.Quantity})
	case issuedExternal:
		o.external = append(o.external, IssuerSum{ByKey, r.Subject, "", r.Quantity})
	case failures:
		o.failures = append(o.failures, Reason{r.Subject, r.Quantity})
	case providerErrors:
		o.errors = append(o.errors, Reason{r.Subject, r.Quantity})
	}
}

// into hands the sums over, in the order that they are promised in.
func (o *overviewSums) into(to *Overview) {
	to.Counted, to.Delays, to.OnsetAges = o.counted, o.delays, o.onsetAges
	to.Types, to.Channels = sortedPaths(o.types), sortedPaths(o.channels)
	to.Systems = []SystemPath{
		{IOS, o.claimed.IOS, o.certified.IOS, o.uploaded.IOS, o.refused.IOS},
		{Android, o.claimed.Android, o.certified.Android, o.uploaded.Android, o.refused.Android},
		{Unknown, o.claimed.Unknown, o.certified.Unknown, o.uploaded.Unknown, o.refused.Unknown},
	}
	self := o.issued
	for _, i := range o.issuers {
		self -= i.Codes
	}
	if self > 0 {
		o.issuers = append(o.issuers, IssuerSum{Kind: ByThemselves, Codes: self})
	}
	most := func(a, b IssuerSum) int { return cmp.Or(cmp.Compare(b.Codes, a.Codes), cmp.Compare(a.ID, b.ID)) }
	slices.SortFunc(o.issuers, most)
	slices.SortFunc(o.external, most)
	often := func(a, b Reason) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) }
	slices.SortFunc(o.failures, often)
	slices.SortFunc(o.errors, often)
	to.Issuers, to.External, to.Failures, to.Errors = o.issuers, o.external, o.failures, o.errors
}

func sortedPaths(paths map[string]*Path) []Path {
	var list []Path
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		list = append(list, *paths[name])
	}
	return list
}
