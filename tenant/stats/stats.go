// Package stats counts what a tenant's users do, per UTC day, and never who they
// are (verification protocol §8, key server protocol §9).
//
// What leaves a row is counted from the rows: codes issued and claimed, their ages,
// certificates, keys exported. [Rollup] turns them into a few counts per day before
// retention takes them, and the days that it has not settled yet are counted as they
// are read, so these numbers are exact. What leaves no row, as a wrong code or a
// publish request's platform, is counted in memory by a [Counter], which each process
// flushes every few seconds as rows of its own: no request waits for a counter, and
// no two share one. A process that is killed loses the counts since its last flush;
// nothing is ever counted twice.
//
// A tenant sees its own numbers exactly. Those that leave it are suppressed where
// they are small: see [Service.Shared].
package stats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"

	"carillon/tenant"
)

// series names what is counted. What subject, cohort and class of a count mean
// depends on it; where nothing is said they are empty, the day itself and 0.
type series string

// Series counted from rows. Subject is the test type unless said otherwise.
const (
	codesIssued    series = "codes-issued"
	issuedByPerson series = "issued-by-person" // subject: the member's ID
	issuedByKey    series = "issued-by-key"    // subject: the API key's ID
	issuedExternal series = "issued-external"  // subject: externalIssuerID
	codesClaimed   series = "codes-claimed"    // cohort: day of issue; class: age
	claimSeconds   series = "claim-seconds"    // sum of ages; no subject
	tokensClaimed  series = "tokens-claimed"   // cohort: day of the code's issue; class: delay since the claim
	keysExported   series = "keys-exported"    // cohort: day of arrival; class: delay since then; no subject
	filesExported  series = "files-exported"   // no subject
	messages       series = "messages"         // day: of the code's issue; subject: what became of it; class: delay until then
	failures       series = "message-failures" // day: the same; subject: the class of the failure
	channelIssued  series = "channel-issued"   // day: the same; subject: how the code was told
	channelClaimed series = "channel-claimed"  // the same
)

// Series that a [Counter] counts.
const (
	codesInvalid  series = "codes-invalid"      // subject: platform
	noncesInvalid series = "nonces-invalid"     // subject: platform
	systemClaimed series = "system-claimed"     // codes; subject: platform
	systemTokens  series = "system-tokens"      // certificates; subject: platform
	tokensInvalid series = "tokens-invalid"     //
	keyClaimed    series = "key-codes-claimed"  // subject: the API key's ID
	keyInvalid    series = "key-codes-invalid"  // the same
	keyTokens     series = "key-tokens-claimed" // the same
	keyBadTokens  series = "key-tokens-invalid" //nolint:gosec // the same; it is a name
	keyAnswers    series = "key-answers"        // subject: the API key's ID, a blank, the action; class: HTTP status
	keyRefused    series = "key-refused"        // subject: the API key's ID, a blank, the reason
	keyNetworks   series = "key-networks"       // subject: the API key's ID; class: see [Counter.KeyFrom]
	uploads       series = "uploads"            // subject: platform; cohort: day of the certificate; class: delay since then
	uploadKeys    series = "upload-keys"        // sum of keys
	revisions     series = "upload-revisions"   //
	missingOnset  series = "upload-no-onset"    //
	keyAges       series = "upload-key-age"     // class: days
	onsetAges     series = "upload-onset-age"   // class: days
)

// live are the series that a reader counts for itself on days that are not settled.
func live() []series {
	return []series{codesIssued, issuedByPerson, issuedByKey, issuedExternal, codesClaimed, claimSeconds, tokensClaimed}
}

// derived are all that [Rollup] counts from rows, but for those of messages.
func derived() []series { return append(live(), keysExported, filesExported) }

// ofMessages are those that it counts from codes and their messages.
func ofMessages() []series { return []series{messages, failures, channelIssued, channelClaimed} }

func texts(list []series) pq.StringArray {
	array := make(pq.StringArray, len(list))
	for i, s := range list {
		array[i] = string(s)
	}
	return array
}

// Days is how many days a report has, today included (§8.1).
const Days = 91

const day = 24 * time.Hour

// dayOf is the UTC midnight before t.
func dayOf(t time.Time) time.Time { return t.UTC().Truncate(day) }

// ErrUnknown means that the tenant has no such member or API key.
var ErrUnknown = errors.New("no such issuer")

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrUnknown, ErrUnauthorized, ErrLost} }

// Service reads statistics. It is safe for concurrent use.
type Service struct {
	db  *tenant.DB
	now func() time.Time
}

// New returns a service that reads through db: a handle under carillon_issuer or
// carillon_portal, or carillon_publish for [Service.Shared] alone.
func New(db *tenant.DB, now func() time.Time) *Service { return &Service{db: db, now: now} }

// count is a number of one series.
type count struct {
	Day      time.Time
	Series   series
	Subject  string
	Cohort   time.Time
	Class    int
	Quantity int64
}

const (
	storedSQL = `
select day, series, subject, cohort, class, sum(quantity)::bigint as quantity
  from (select day, series, subject, cohort, class, quantity
          from statistic_day
         where series = any($1)
           and day >= $2::date
           and (day < (select day from horizon) or not (series = any($4)))
     union all
        select (hour at time zone 'UTC')::date, series, subject, cohort, class, quantity
          from statistic_tally
         where series = any($1)
           and hour >= $2::timestamptz
           and hour < $3::timestamptz`
	liveSQL = `
     union all
        select day, series, subject, cohort, class, quantity
          from derived
         where series = any($1)
           and day >= $2::date`
	groupedSQL = `) counts
group by day, series, subject, cohort, class
order by day desc, series, subject, cohort, class`
)

// read returns the counts of some series since a day, the newest first. Hours of the
// [Counter]'s series from until on are left out. withRows also counts from rows the
// days that are not settled.
func (s *Service) read(ctx context.Context, id tenant.ID, since, until time.Time, withRows bool, list ...series) ([]count, error) {
	query := "with " + horizonSQL + storedSQL + groupedSQL
	if withRows {
		query = "with " + horizonSQL + codesSQL + derivedSQL + ")" + storedSQL + liveSQL + groupedSQL
	}
	var counts []count
	err := s.db.In(ctx, id, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &counts, query, texts(list), since.UTC(), until.UTC(), texts(live()))
	})
	if err != nil {
		return nil, fmt.Errorf("read statistics: %w", err)
	}
	return counts, nil
}

// recent reads the days of a report. Its counts include those of the current hour.
func (s *Service) recent(ctx context.Context, id tenant.ID, list ...series) ([]count, error) {
	return s.read(ctx, id, s.oldest(), s.now().Add(day), true, list...)
}

// oldest is the first day of a report.
func (s *Service) oldest() time.Time { return dayOf(s.now()).AddDate(0, 0, 1-Days) }

// days are those of a report, the newest first.
func (s *Service) days() []time.Time {
	list := make([]time.Time, Days)
	for i := range list {
		list[i] = dayOf(s.now()).AddDate(0, 0, -i)
	}
	return list
}

// byDay sorts counts by their day.
func byDay(counts []count) map[time.Time][]count {
	days := map[time.Time][]count{}
	for _, c := range counts {
		days[c.Day.UTC()] = append(days[c.Day.UTC()], c)
	}
	return days
}
