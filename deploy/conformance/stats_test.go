package conformance_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// statsRules are §8: what a tenant can learn of its own work.
func statsRules() []rule {
	return []rule{
		{"8.1", "statistics are for keys of the kind stats: any other, and another tenant's, is 401", "", func(t *testing.T, w *world) {
			for _, key := range []string{w.open.admin, w.open.device, w.other.stats, ""} {
				a := w.ask(t, http.MethodGet, "/t/open/api/stats/realm.json", header{"X-API-Key": key}, "")
				if a.StatusCode != http.StatusUnauthorized {
					t.Errorf("%v, want 401", a)
				}
			}
		}},
		{"8.1", "an unknown member or API key is 401", "", func(t *testing.T, w *world) {
			for _, path := range []string{"users/1", "users/x", "api-keys/1", "api-keys/00000000-0000-4000-8000-000000000000"} {
				for _, form := range []string{".json", ".csv"} {
					if a := w.stats(t, w.open, "realm/"+path+form); a.StatusCode != http.StatusUnauthorized {
						t.Errorf("%s: %v, want 401", path, a)
					}
				}
			}
		}},
		{"8.1", "the last 91 UTC days, today included, the newest first, zeros where nothing happened", "", func(t *testing.T, w *world) {
			days := w.realmDays(t, w.strict)
			today := w.Now().UTC()
			if len(days) != 91 {
				t.Fatalf("%d days", len(days))
			}
			for i, d := range days {
				if want := today.AddDate(0, 0, -i).Format("2006-01-02") + "T00:00:00Z"; d.Date != want {
					t.Fatalf("day %d is %s, want %s", i, d.Date, want)
				}
			}
		}},
		{"8.1", "a list of things that there are none of is empty: {}, [] for the key server, and no CSV at all", "", func(t *testing.T, w *world) {
			for path, want := range map[string]string{
				"users": "{}", "external-issuers": "{}", "sms-errors": "{}", "composite": "{}", "key-server": "[]",
			} {
				if a := w.stats(t, w.strict, "realm/"+path+".json"); string(a.body) != want {
					t.Errorf("%s: %v, want %s", path, a, want)
				}
				if a := w.stats(t, w.strict, "realm/"+path+".csv"); a.StatusCode != http.StatusOK || len(a.body) > 0 {
					t.Errorf("%s as CSV: %v, want nothing", path, a)
				}
			}
		}},
		{"8.1", "CSV is a file whose name has the time", "", func(t *testing.T, w *world) {
			a := w.stats(t, w.open, "realm.csv")
			name := "attachment;filename=" + w.Now().UTC().Format("20060102150405") + "-realm-stats.csv"
			if a.Header.Get("Content-Type") != "text/csv" || a.Header.Get("Content-Disposition") != name ||
				!strings.HasPrefix(string(a.body), "date,codes_issued,codes_claimed,codes_invalid,") {
				t.Errorf("%v %v", a, a.Header)
			}
		}},
		{"8.2", "codes issued and claimed, and certificates, show at once, for the tenant alone", "up to 30 minutes later", func(t *testing.T, w *world) {
			before, others := w.realmDays(t, w.open)[0].Data, w.realmDays(t, w.other)[0].Data
			w.token(t, w.open, nil)
			w.issue(t, w.open, object{"testType": "likely"})
			after := w.realmDays(t, w.open)[0].Data
			if after.Issued != before.Issued+2 || after.Claimed != before.Claimed+1 {
				t.Errorf("%+v, then %+v", before, after)
			}
			if got := w.realmDays(t, w.other)[0].Data; got != others {
				t.Errorf("another tenant: %+v, then %+v", others, got)
			}
		}},
	}
}

// statsDay is what the rules look at.
type statsDay struct {
	Date string
	Data struct {
		Issued  int `json:"codes_issued"`
		Claimed int `json:"codes_claimed"`
	}
}

func (w *world) stats(t *testing.T, of account, path string) answer {
	t.Helper()
	return w.ask(t, http.MethodGet, "/t/"+string(of.Slug)+"/api/stats/"+path, header{"X-API-Key": of.stats}, "")
}

func (w *world) realmDays(t *testing.T, of account) []statsDay {
	t.Helper()
	var report struct{ Statistics []statsDay }
	if a := w.stats(t, of, "realm.json"); json.Unmarshal(a.body, &report) != nil || len(report.Statistics) == 0 {
		t.Fatalf("%v", a)
	}
	return report.Statistics
}
