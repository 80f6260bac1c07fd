package exposure

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/certificate"
	"carillon/tenant"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// testKey is a key of a chosen first byte.
func testKey(first byte, start, period int32) UploadKey {
	data := [keySize]byte{first, 0xfb, 0xff}
	return UploadKey{Key: base64.StdEncoding.EncodeToString(data[:]), RollingStart: start, RollingPeriod: period}
}

func testTenant() *tenant.Tenant {
	return &tenant.Tenant{Region: "XA-BC", Settings: tenant.Settings{Truncate: time.Hour}}
}

// take transforms keys at a time, with an onset on the same day.
func take(t *testing.T, now time.Time, keys ...UploadKey) (*intake, error) {
	t.Helper()
	claims := certificate.Claims{
		ReportType:           certificate.Confirmed,
		SymptomOnsetInterval: uint32(interval(now) - 1),
	}
	return transform(Upload{Keys: keys}, claims, testTenant(), DefaultLimits(), now)
}

// The rules of the key server protocol §1.4, in their order.
func TestKeyRules(t *testing.T) {
	t.Parallel()
	now := at(t, "2021-03-10T15:04:05Z")
	current := int32(interval(now))
	oldest := int32(interval(now.Add(-15 * day)))
	good := testKey(1, current-144, 144)
	change := func(f func(*UploadKey)) UploadKey {
		k := good
		f(&k)
		return k
	}
	tests := []struct {
		name string
		key  UploadKey
		want string // of the error; empty if the key is good
	}{
		{"good", good, ""},
		{"not base64", change(func(k *UploadKey) { k.Key = "???" }), "not base64"},
		{"empty", change(func(k *UploadKey) { k.Key = "" }), "invalid key length, 0, must be 16"},
		{"15 bytes", change(func(k *UploadKey) { k.Key = base64.StdEncoding.EncodeToString(make([]byte, 15)) }), "invalid key length, 15, must be 16"},
		{"17 bytes", change(func(k *UploadKey) { k.Key = base64.StdEncoding.EncodeToString(make([]byte, 17)) }), "invalid key length, 17, must be 16"},
		{"URL alphabet", change(func(k *UploadKey) { k.Key = strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(k.Key) }), ""},
		{"period 0", change(func(k *UploadKey) { k.RollingPeriod = 0 }), "invalid interval count, 0, must be >= 1 && <= 144"},
		{"period 1", change(func(k *UploadKey) { k.RollingPeriod = 1 }), ""},
		{"period 145", change(func(k *UploadKey) { k.RollingPeriod = 145 }), "invalid interval count, 145, must be >= 1 && <= 144"},
		{"ends at the minimum", change(func(k *UploadKey) { k.RollingStart = oldest - 144 }), ""},
		{"ends before the minimum", change(func(k *UploadKey) { k.RollingStart = oldest - 145 }), fmt.Sprintf("key expires before minimum window; %d + 144 = %d which is too old, must be >= %d", oldest-145, oldest-1, oldest)},
		{"negative start", change(func(k *UploadKey) { k.RollingStart = math.MinInt32 }), "too old"},
		{"starts now", change(func(k *UploadKey) { k.RollingStart = current }), ""},
		{"starts later", change(func(k *UploadKey) { k.RollingStart = current + 1 }), fmt.Sprintf("interval number %d is in the future, must be <= %d", current+1, current)},
		{"latest start", change(func(k *UploadKey) { k.RollingStart = math.MaxInt32 }), "in the future"},
		{"risk 8", change(func(k *UploadKey) { k.TransmissionRisk = 8 }), ""},
		{"risk 9", change(func(k *UploadKey) { k.TransmissionRisk = 9 }), "invalid transmission risk: 9, must be >= 0 && <= 8"},
		{"risk -1", change(func(k *UploadKey) { k.TransmissionRisk = -1 }), "invalid transmission risk: -1, must be >= 0 && <= 8"},
		{"two faults", UploadKey{Key: good.Key, RollingPeriod: 145, TransmissionRisk: 9}, "invalid interval count"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, err := parseKey(test.key, DefaultLimits(), now)
			if test.want == "" {
				if err != nil || r.rollingStart != test.key.RollingStart || r.rollingPeriod != test.key.RollingPeriod {
					t.Errorf("parseKey: %v, %v", r.rollingStart, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("parseKey: %v, want %q", err, test.want)
			}
		})
	}
}

// The outcome matrix of §1.4: kept keys, failures and warnings.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	now := at(t, "2021-03-10T15:04:05Z")
	current := int32(interval(now))
	good := testKey(1, current-144, 144)
	bad := testKey(2, current-300, 0)
	far := testKey(3, int32(interval(at(t, "2021-02-23T00:00:00Z"))), 144)
	warning := []string{"key 0 symptom onset is too large, 15 > 14 - saving without this key"}
	tests := []struct {
		name               string
		keys               []UploadKey
		kept               int
		failures, warnings []string
		refusal            string
	}{
		{name: "all good", keys: []UploadKey{good}, kept: 1},
		{
			name: "some bad", keys: []UploadKey{bad, good}, kept: 1,
			failures: []string{"key 0 cannot be imported: invalid interval count, 0, must be >= 1 && <= 144"},
		},
		{
			name: "all bad", keys: []UploadKey{bad, bad},
			refusal: "2 errors occurred:\n\t* key 0 cannot be imported: invalid interval count, 0, must be >= 1 && <= 144\n\t* key 1 cannot be imported: invalid interval count, 0, must be >= 1 && <= 144\n",
		},
		{
			name: "bad and far", keys: []UploadKey{far, bad},
			refusal:  "1 error occurred:\n\t* key 1 cannot be imported: invalid interval count, 0, must be >= 1 && <= 144\n",
			warnings: warning,
		},
		{name: "all far", keys: []UploadKey{far}, warnings: warning},
		{name: "none", keys: nil, refusal: "no exposure keys in publish request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in, err := take(t, now, test.keys...)
			if test.refusal != "" {
				var p *Problem
				if !errors.As(err, &p) || !errors.Is(err, ErrBadKeys) || p.Text != test.refusal {
					t.Fatalf("transform: %#v, want %q", err, test.refusal)
				}
				if diff := cmp.Diff(test.warnings, p.Warnings); diff != "" {
					t.Errorf("warnings (-want +got):\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(in.records) != test.kept {
				t.Errorf("%d kept, want %d", len(in.records), test.kept)
			}
			if diff := cmp.Diff(test.failures, texts(in.failures)); diff != "" {
				t.Errorf("failures (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.warnings, texts(in.warnings)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// Set validation, §1.5.
func TestKeysTogether(t *testing.T) {
	t.Parallel()
	now := at(t, "2021-03-10T15:04:05Z")
	start := int32(interval(at(t, "2021-03-08T00:00:00Z")))
	many := func(n int) []UploadKey {
		keys := make([]UploadKey, n)
		for i := range keys {
			keys[i] = testKey(byte(i), start+int32(i), 1)
		}
		return keys
	}
	tests := []struct {
		name string
		keys []UploadKey
		want string
	}{
		{"30", many(30), ""},
		{"31", many(31), "too many exposure keys in publish: 31, max of 30 is allowed"},
		{"side by side", []UploadKey{testKey(1, start+144, 144), testKey(2, start, 144)}, ""},
		{"gap", []UploadKey{testKey(1, start+150, 144), testKey(2, start, 144)}, ""},
		{
			"overlap by one",
			[]UploadKey{testKey(1, start+143, 144), testKey(2, start, 144)},
			fmt.Sprintf("exposure keys have non aligned overlapping intervals. %d overlaps with previous key that is good from %d to %d.", start+143, start, start+144),
		},
		{
			"overlap with the longest of a group",
			[]UploadKey{testKey(1, start, 100), testKey(2, start, 20), testKey(3, start+50, 10)},
			fmt.Sprintf("exposure keys have non aligned overlapping intervals. %d overlaps with previous key that is good from %d to %d.", start+50, start, start+100),
		},
		{"three with one start", []UploadKey{testKey(1, start, 144), testKey(2, start, 100), testKey(3, start, 1)}, ""},
		{
			"four with one start",
			[]UploadKey{testKey(1, start, 144), testKey(2, start, 100), testKey(3, start, 1), testKey(4, start, 1)},
			fmt.Sprintf("too many overlapping keys for start interval: %d want: <= 3, got: 4", start),
		},
		{
			"the same key counts for the rule",
			[]UploadKey{testKey(1, start, 144), testKey(1, start, 144), testKey(2, start, 100), testKey(3, start, 1)},
			fmt.Sprintf("too many overlapping keys for start interval: %d want: <= 3, got: 4", start),
		},
		{
			"a dropped key does not",
			[]UploadKey{testKey(1, start, 144), testKey(2, start, 0), testKey(3, start, 100), testKey(4, start, 1)},
			"",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := take(t, now, test.keys...)
			if test.want == "" {
				if err != nil {
					t.Error(explain(err))
				}
				return
			}
			if !errors.Is(err, ErrBadKeys) || explain(err) != test.want {
				t.Errorf("transform: %s\nwant %s", explain(err), test.want)
			}
		})
	}
}

func explain(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return p.Text
	}
	return fmt.Sprint(err)
}

// The same key twice: the first one is kept, another account of it is a failure.
func TestRepeatedKeys(t *testing.T) {
	t.Parallel()
	now := at(t, "2021-03-10T15:04:05Z")
	start := int32(interval(at(t, "2021-03-08T00:00:00Z")))
	other := testKey(1, start+144, 100)
	in, err := take(t, now, testKey(9, start-144, 144), testKey(1, start, 144), other, testKey(1, start, 144), testKey(3, start, 0))
	if err != nil {
		t.Fatal(explain(err))
	}
	if len(in.records) != 2 || in.records[0].tek[0] != 1 || in.records[1].tek[0] != 9 {
		t.Errorf("%d records, not in the order of their bytes", len(in.records))
	}
	if got := in.records[0].rollingPeriod; got != 144 {
		t.Errorf("period %d was kept, want that of the first", got)
	}
	want := []string{
		"key 2 cannot be imported: it is key 1 with other values",
		"key 4 cannot be imported: invalid interval count, 0, must be >= 1 && <= 144",
	}
	if diff := cmp.Diff(want, texts(in.failures)); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
}

// The table of §2.6, and its edges.
func TestDaysSinceOnset(t *testing.T) {
	t.Parallel()
	now := at(t, "2021-03-10T15:00:00Z")
	midnight := func(text string) int32 { return int32(interval(at(t, text+"T00:00:00Z"))) }
	any0308 := midnight("2021-03-08") + 100
	tests := []struct {
		name          string
		sent, claimed int32
		start         int32
		want          int32
		dropped       bool
	}{
		{name: "two days after", sent: any0308, start: midnight("2021-03-10"), want: 2},
		{name: "the day itself", sent: any0308, start: midnight("2021-03-08"), want: 0},
		{name: "14 days before", sent: any0308, start: midnight("2021-02-22"), want: -14},
		{name: "15 days before", sent: midnight("2021-03-10") + 1, start: midnight("2021-02-23"), dropped: true},
		{name: "no onset", start: midnight("2021-03-09"), want: 3},
		{name: "the certificate's", claimed: any0308, start: midnight("2021-03-10"), want: 2},
		{name: "the phone's wins", sent: midnight("2021-03-09"), claimed: any0308, start: midnight("2021-03-10"), want: 1},
		{name: "a future onset of the phone", sent: int32(interval(now)), claimed: any0308, start: midnight("2021-03-10"), want: 2},
		{name: "the last onset", sent: int32(interval(now)) - 1, start: midnight("2021-03-10"), want: 0},
		{name: "28 days ago", sent: midnight("2021-02-10"), start: midnight("2021-02-24"), want: 14},
		{name: "more than 28 days ago", sent: midnight("2021-02-10") - 1, start: midnight("2021-03-09"), want: 3},
		{name: "negative onset", sent: -1, start: midnight("2021-03-09"), want: 3},
		{name: "late in the day", sent: any0308, start: midnight("2021-03-09") + 143, want: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := Upload{Keys: []UploadKey{testKey(1, test.start, 30)}, SymptomOnsetInterval: test.sent}
			claims := certificate.Claims{ReportType: certificate.Confirmed, SymptomOnsetInterval: uint32(test.claimed)}
			limits := DefaultLimits()
			limits.MaxAge = 20 * day
			in, err := transform(u, claims, testTenant(), limits, now)
			if err != nil {
				t.Fatal(explain(err))
			}
			if test.dropped {
				if len(in.records) != 0 || len(in.warnings) != 1 {
					t.Errorf("%d kept, %d warnings; want a warning", len(in.records), len(in.warnings))
				}
				return
			}
			if len(in.records) != 1 || in.records[0].daysSinceOnset != test.want {
				t.Errorf("got %v, want %d", in.records, test.want)
			}
		})
	}
}

// §2.5.
func TestDefaultRisk(t *testing.T) {
	t.Parallel()
	now := at(t, "2021-03-10T15:00:00Z")
	for report, want := range map[certificate.ReportType]int32{
		certificate.Confirmed: 2, certificate.Likely: 4, certificate.Negative: 6, certificate.UserReport: 0,
	} {
		k := testKey(1, int32(interval(now))-144, 144)
		risky := testKey(2, int32(interval(now))-288, 144)
		risky.TransmissionRisk = 7
		in, err := transform(Upload{Keys: []UploadKey{k, risky}}, certificate.Claims{ReportType: report}, testTenant(), DefaultLimits(), now)
		if err != nil {
			t.Fatal(explain(err))
		}
		if in.records[0].risk != want || in.records[1].risk != 7 {
			t.Errorf("%s: risks %d and %d, want %d and 7", report, in.records[0].risk, in.records[1].risk, want)
		}
	}
}

// The examples of §4, and its edges.
func TestArrivalTimes(t *testing.T) {
	t.Parallel()
	midnight := int32(interval(at(t, "2021-03-01T00:00:00Z")))
	tests := []struct {
		name          string
		now           string
		start, period int32
		window        time.Duration
		sameDay       bool
		want          string
	}{
		{"expired", "2021-03-01T10:37:00Z", midnight - 144, 144, time.Hour, false, "2021-03-01T10:00:00Z"},
		{"until midnight", "2021-03-01T10:37:00Z", midnight, 144, time.Hour, false, "2021-03-02T01:00:00Z"},
		{"until 10:50", "2021-03-01T10:37:00Z", midnight, 65, time.Hour, false, "2021-03-01T11:00:00Z"},
		{"until the present interval", "2021-03-01T10:37:00Z", midnight, 63, time.Hour, false, "2021-03-01T10:00:00Z"},
		{"until the next interval", "2021-03-01T10:37:00Z", midnight, 64, time.Hour, false, "2021-03-01T11:00:00Z"},
		{"until a boundary", "2021-03-01T10:37:00Z", midnight, 66, time.Hour, false, "2021-03-01T12:00:00Z"},
		{"same-day release", "2021-03-01T10:37:00Z", midnight, 144, time.Hour, true, "2021-03-01T10:00:00Z"},
		{"small window", "2021-03-01T10:37:11Z", midnight - 144, 144, 2 * time.Second, false, "2021-03-01T10:37:10Z"},
		{"small window, embargo", "2021-03-01T10:37:11Z", midnight, 144, 2 * time.Second, false, "2021-03-02T00:00:02Z"},
		{"whole day", "2021-03-01T10:37:11Z", midnight - 144, 144, 24 * time.Hour, false, "2021-03-01T00:00:00Z"},
		{"another zone", "2021-03-01T02:37:00-08:00", midnight - 144, 144, 24 * time.Hour, false, "2021-03-01T00:00:00Z"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			now := at(t, test.now)
			to := testTenant()
			to.Settings.Truncate, to.Settings.ReleaseSameDay = test.window, test.sameDay
			in, err := transform(Upload{Keys: []UploadKey{testKey(1, test.start, test.period)}}, certificate.Claims{ReportType: certificate.Confirmed}, to, DefaultLimits(), now)
			if err != nil {
				t.Fatal(explain(err))
			}
			if got := in.records[0].createdAt; !got.Equal(at(t, test.want)) {
				t.Errorf("arrived at %v, want %s", got, test.want)
			}
		})
	}
}

// Whatever is sent: no panic, and what is kept obeys the rules.
func FuzzTransform(f *testing.F) {
	now := time.Date(2021, 3, 10, 15, 0, 0, 0, time.UTC)
	current := int32(interval(now))
	f.Add("AQIDBAUGBwgJCgsMDQ4PEA==", current-144, int32(144), int32(0), int32(0))
	f.Add("", int32(math.MaxInt32), int32(144), int32(9), int32(-1))
	f.Add("AQIDBAUGBwgJCgsMDQ4PEA", int32(math.MinInt32), int32(1), int32(8), int32(math.MaxInt32))
	f.Fuzz(func(t *testing.T, key string, start, period, risk, onset int32) {
		u := Upload{SymptomOnsetInterval: onset, Keys: []UploadKey{
			{Key: key, RollingStart: start, RollingPeriod: period, TransmissionRisk: risk},
			testKey(1, current-144, 144),
		}}
		in, err := transform(u, certificate.Claims{ReportType: certificate.Likely}, testTenant(), DefaultLimits(), now)
		if err != nil {
			if !errors.Is(err, ErrBadKeys) {
				t.Fatal(err)
			}
			return
		}
		for _, r := range in.records {
			if r.rollingPeriod < 1 || r.rollingPeriod > 144 || r.risk < 0 || r.risk > 8 || r.daysSinceOnset < -14 || r.daysSinceOnset > 14 || r.rollingStart > current {
				t.Errorf("kept %+v", r)
			}
			if r.createdAt.Before(cut(now, time.Hour)) {
				t.Errorf("dated %v, before it arrived", r.createdAt)
			}
		}
	})
}
