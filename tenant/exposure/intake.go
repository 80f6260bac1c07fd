package exposure

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"carillon/signing/certificate"
	"carillon/tenant"
)

const (
	keySize         = 16
	intervalSeconds = 600
	dayIntervals    = 144
	maxPeriod       = 144
	maxRisk         = 8
)

// interval is the 10-minute interval that contains an instant.
func interval(t time.Time) int64 { return floorDiv(t.Unix(), intervalSeconds) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// record is a key that will be stored.
type record struct {
	// index is the key's place in the request.
	index          int
	tek            [keySize]byte
	rollingStart   int32
	rollingPeriod  int32
	risk           int32
	daysSinceOnset int32
	// createdAt is when the key counts as arrived (§4).
	createdAt time.Time
}

func (r record) end() int64 { return int64(r.rollingStart) + int64(r.rollingPeriod) }

// like reports whether two records of one upload say the same of a key.
func (r record) like(other record) bool {
	return r.rollingStart == other.rollingStart && r.rollingPeriod == other.rollingPeriod && r.risk == other.risk
}

// drop is a key that will not be stored, and why.
type drop struct {
	index int
	text  string
}

func texts(drops []drop) []string {
	var all []string
	for _, d := range drops {
		all = append(all, d.text)
	}
	return all
}

// intake is what is left of an upload after validation.
type intake struct {
	reportType certificate.ReportType
	traveler   bool
	region     string
	// onset is the interval that keys are counted from; guessed: nobody gave it.
	onset   int64
	guessed bool
	// records have distinct keys, in the order of their bytes.
	records []record
	// failures are keys that were dropped as errors, warnings those that lie too
	// far from the onset, both in the order of the request.
	failures, warnings []drop
}

// transform validates an upload whose certificate is good (§1.4, §1.5) and dates
// its keys (§2.4 to §2.6, §4). It looks at nothing but its arguments.
func transform(u Upload, claims certificate.Claims, t *tenant.Tenant, l Limits, now time.Time) (*intake, error) {
	if len(u.Keys) == 0 {
		return nil, refuse(ErrBadKeys, "no exposure keys in publish request")
	}
	if len(u.Keys) > l.MaxKeys {
		return nil, refuse(ErrBadKeys, "too many exposure keys in publish: %d, max of %d is allowed", len(u.Keys), l.MaxKeys)
	}
	in := &intake{reportType: claims.ReportType, traveler: u.Traveler, region: t.Region}
	in.onset, in.guessed = onsetInterval(int64(u.SymptomOnsetInterval), int64(claims.SymptomOnsetInterval), l, now)
	for i, k := range u.Keys {
		in.take(i, k, claims.Rehearsal, t.Settings, l, now)
	}
	if len(in.records) == 0 && len(in.failures) > 0 {
		return nil, in.refuse(multiError(in.failures))
	}
	if text := conflict(in.records, l); text != "" {
		return nil, in.refuse(text)
	}
	in.dropRepeated()
	slices.SortFunc(in.records, func(a, b record) int { return bytes.Compare(a.tek[:], b.tek[:]) })
	return in, nil
}

func (in *intake) refuse(text string) error {
	return &Problem{Kind: ErrBadKeys, Text: text, Warnings: texts(in.warnings)}
}

// take validates one key; the first rule that it breaks drops it.
func (in *intake) take(i int, k UploadKey, rehearsal bool, set tenant.Settings, l Limits, now time.Time) {
	r, err := parseKey(k, l, now)
	if err != nil {
		in.fail(i, err.Error())
		return
	}
	if r.marked() != rehearsal {
		in.fail(i, "it is of a rehearsal and its certificate is not, or the other way round")
		return
	}
	days := floorDiv(int64(r.rollingStart), dayIntervals) - floorDiv(in.onset, dayIntervals)
	if distance := max(days, -days); distance > int64(l.MaxOnsetDays) {
		text := fmt.Sprintf("key %d symptom onset is too large, %d > %d - saving without this key", i, distance, l.MaxOnsetDays)
		in.warnings = append(in.warnings, drop{i, text})
		return
	}
	r.index, r.daysSinceOnset = i, int32(days)
	if r.risk == 0 {
		r.risk = defaultRisk(in.reportType)
	}
	r.createdAt = r.arrives(set, now)
	in.records = append(in.records, r)
}

func (in *intake) fail(i int, why string) {
	in.failures = append(in.failures, drop{i, fmt.Sprintf("key %d cannot be imported: %s", i, why)})
}

// parseKey applies the rules of §1.4 in their order.
func parseKey(k UploadKey, l Limits, now time.Time) (record, error) {
	raw, err := certificate.ParseBase64(k.Key)
	if err != nil {
		return record{}, err
	}
	if len(raw) != keySize {
		return record{}, fmt.Errorf("invalid key length, %d, must be %d", len(raw), keySize)
	}
	if k.RollingPeriod < 1 || k.RollingPeriod > maxPeriod {
		return record{}, fmt.Errorf("invalid interval count, %d, must be >= 1 && <= %d", k.RollingPeriod, maxPeriod)
	}
	r := record{
		tek: [keySize]byte(raw), rollingStart: k.RollingStart, rollingPeriod: k.RollingPeriod, risk: k.TransmissionRisk,
	}
	if oldest := interval(now.Add(-l.MaxAge)); r.end() < oldest {
		return record{}, fmt.Errorf("key expires before minimum window; %d + %d = %d which is too old, must be >= %d", k.RollingStart, k.RollingPeriod, r.end(), oldest)
	}
	if current := interval(now); int64(k.RollingStart) > current {
		return record{}, fmt.Errorf("interval number %d is in the future, must be <= %d", k.RollingStart, current)
	}
	if k.TransmissionRisk < 0 || k.TransmissionRisk > maxRisk {
		return record{}, fmt.Errorf("invalid transmission risk: %d, must be >= 0 && <= %d", k.TransmissionRisk, maxRisk)
	}
	return r, nil
}

// defaultRisk is what a key without a risk gets (§2.5).
func defaultRisk(r certificate.ReportType) int32 {
	switch r {
	case certificate.Confirmed:
		return 2
	case certificate.Likely:
		return 4
	case certificate.Negative:
		return 6
	case certificate.UserReport:
		return 0
	default:
		return 0
	}
}

// onsetInterval is the onset to count from: the phone's if it can be believed, else
// the certificate's, else a default, which is a guess (§2.6).
func onsetInterval(sent, claimed int64, l Limits, now time.Time) (onset int64, guessed bool) {
	oldest := interval(cut(now.Add(-l.MaxOnsetAge), day))
	for _, onset := range []int64{sent, claimed} {
		if oldest <= onset && onset < interval(now) {
			return onset, false
		}
	}
	return interval(now.Add(-l.DefaultOnsetAge)), true
}

// facts are what statistics keep, or nothing if nothing was stored or changed. A first
// negative report counts, though it stores no keys (§9).
func (in *intake) facts(done *outcome, claims certificate.Claims, now time.Time) *Facts {
	if len(done.inserted) == 0 && len(done.revised) == 0 && !done.firstNegative {
		return nil
	}
	today := floorDiv(interval(now), dayIntervals)
	oldest := int64(in.records[0].rollingStart)
	for _, r := range in.records {
		oldest = min(oldest, int64(r.rollingStart))
	}
	certified := claims.IssuedAt.Add(certificate.Backdate)
	if certified.Before(now.Add(-believed)) {
		certified = now
	}
	return &Facts{
		Certified: certified, MissingOnset: in.guessed,
		OldestDays: int(today - floorDiv(oldest, dayIntervals)),
		OnsetDays:  int(today - floorDiv(in.onset, dayIntervals)),
	}
}

// cut is the start of the window that contains t, in windows counted from a UTC
// midnight.
func cut(t time.Time, window time.Duration) time.Time { return t.UTC().Truncate(window) }

// arrives is when a key counts as arrived that comes now: one that is still in use does
// so after its end (§4).
func (r record) arrives(set tenant.Settings, now time.Time) time.Time {
	if r.end() > interval(now) && !set.ReleaseSameDay {
		return embargoed(r.end(), set.Truncate)
	}
	return cut(now, set.Truncate)
}

// embargoed is the first window boundary strictly after a key's end (§4).
func embargoed(end int64, window time.Duration) time.Time {
	return cut(time.Unix(end*intervalSeconds, 0).Add(window), window)
}

// conflict says what keeps the records from being one person's keys, if anything
// does: keys may overlap only if they start together, and only so many of them (§1.5).
func conflict(records []record, l Limits) string {
	rest := slices.Clone(records)
	slices.SortFunc(rest, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.rollingStart, b.rollingStart), cmp.Compare(a.rollingPeriod, b.rollingPeriod))
	})
	for longest := (record{}); len(rest) > 0; {
		start := rest[0].rollingStart
		if int64(start) < longest.end() {
			return fmt.Sprintf("exposure keys have non aligned overlapping intervals. %d overlaps with previous key that is good from %d to %d.", start, longest.rollingStart, longest.end())
		}
		n := sameStart(rest)
		if n > l.MaxSameStart {
			return fmt.Sprintf("too many overlapping keys for start interval: %d want: <= %d, got: %d", start, l.MaxSameStart, n)
		}
		longest, rest = rest[n-1], rest[n:]
	}
	return ""
}

// sameStart is how many of the first records, which are sorted, start together.
func sameStart(sorted []record) int {
	n := slices.IndexFunc(sorted, func(r record) bool { return r.rollingStart != sorted[0].rollingStart })
	if n < 0 {
		return len(sorted)
	}
	return n
}

// dropRepeated keeps the first of several records with the same key (§1.5). Only a
// repetition that says something else is a failure.
func (in *intake) dropRepeated() {
	first := map[[keySize]byte]record{}
	in.records = slices.DeleteFunc(in.records, func(r record) bool {
		before, repeated := first[r.tek]
		if !repeated {
			first[r.tek] = r
			return false
		}
		if !r.like(before) {
			in.fail(r.index, fmt.Sprintf("it is key %d with other values", before.index))
		}
		return true
	})
	slices.SortFunc(in.failures, func(a, b drop) int { return cmp.Compare(a.index, b.index) })
}

// multiError words a list of failures as phones' tools know it (§1.4).
func multiError(failures []drop) string {
	var b strings.Builder
	noun := "errors"
	if len(failures) == 1 {
		noun = "error"
	}
	fmt.Fprintf(&b, "%d %s occurred:\n", len(failures), noun)
	for _, f := range failures {
		fmt.Fprintf(&b, "\t* %s\n", f.text)
	}
	return b.String()
}
