package service

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/job"
	"carillon/tenant/tenanttest"
)

// scheduled is a job of the service.
func (s *Service) scheduledJob(t *testing.T, name string) job.Job {
	t.Helper()
	for _, j := range s.scheduled {
		if j.Name == name {
			return j
		}
	}
	t.Fatalf("there is no job %s", name)
	return job.Job{}
}

// What each table keeps, by when a row's time began: of two rows, one just past its time
// and one just before, the first goes. Statements take the tenant and that instant.
var kept = []struct {
	table, insert string
	keep          time.Duration
	slack         time.Duration
}{
	{"exposure", `
insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at)
values ($1, decode(replace(gen_random_uuid()::text, '-', ''), 'hex'), 1, 144, 0, 'confirmed', false, 'XA', $2)`, 14 * day, time.Hour},
	{"publish_receipt", `insert into publish_receipt values ($1, sha256(random()::text::bytea), $2)`, 0, time.Minute},
	{"verification_code", `
insert into verification_code (tenant_id, code_id, test_type, issued_at, expires_at, long_expires_at, issuer_kind, issuer_id)
values ($1, gen_random_uuid(), 'confirmed', $2, $2, $2, 'system', '')`, 14 * day, time.Hour},
	{"verification_token", `insert into verification_token (tenant_id, token_digest, expires_at) values ($1, sha256(random()::text::bytea), $2)`, day, time.Hour},
	{"user_report", `
insert into user_report (tenant_id, code_id, phone_mac, created_at, claimed_at)
values ($1, gen_random_uuid(), sha512(random()::text::bytea), $2, $2)`, 90 * day, time.Hour},
	{"message_error", `insert into message_error values ($1, ($2::timestamptz at time zone 'UTC')::date, '30003', 1)`, 91 * day, day},
	{"wrong_code_count", `insert into wrong_code_count (tenant_id, minute, count_id, wrong) values ($1, date_trunc('minute', $2::timestamptz), gen_random_uuid(), 1)`, 2 * day, time.Hour},
	{"guessing_alarm", `insert into guessing_alarm (tenant_id, day, wrong, digits) values ($1, ($2::timestamptz at time zone 'UTC')::date, 1, 8)`, 91 * day, day},
	{"quota_day", `insert into quota_day (tenant_id, day, issued, base) values ($1, ($2::timestamptz at time zone 'UTC')::date, 1, 10)`, 91 * day, day},
	{"quota_entry", `insert into quota_entry (tenant_id, day, entry_id, kind, codes) values ($1, ($2::timestamptz at time zone 'UTC')::date, gen_random_uuid(), 'burst', 1)`, 91 * day, day},
	{"statistic_day", `insert into statistic_day values ($1, ($2::timestamptz at time zone 'UTC')::date, 'tokens-invalid', '', $2::timestamptz::date, 0, 1)`, 91 * day, day},
	{"batch", `
insert into batch (tenant_id, batch_id, idempotency_key, state, created_at, finished_at, digest, row_count, issuer_kind, issuer_id, issuer_name, issuer_roles)
values ($1, gen_random_uuid(), gen_random_uuid()::text, 'done', $2, $2, '', 0, 'system', '', '', '{}')`, 14 * day, time.Hour},
	{"lab_submission", `
insert into lab_submission (tenant_id, submission_id, api_key_id, format, mapping_version, received_at, queued, duplicates, corrections, ignored, dead_letters)
select $1, gen_random_uuid(), api_key_id, 'csv', 0, $2, 0, 0, 0, 0, 0 from api_key where tenant_id = $1`, 90 * day, time.Hour},
}

const day = 24 * time.Hour

// What was promised to be deleted is, for suspended authorities as for others, and not
// before its time.
func TestRetention(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	active, suspended := w.Create("active"), w.Create("suspended")
	c := config(t, w, Jobs, Issuer)
	c.Now = w.Now
	s := open(t, c)
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := w.Database.Super().ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatalf("%v in %s", err, statement)
		}
	}
	exec(`update tenant_directory set state = 'suspended' where slug = 'suspended'`)
	for _, of := range []*tenant.Tenant{active, suspended} {
		w.Key(of, client.Admin)
		for _, k := range kept {
			exec(k.insert, of.ID, w.Now().Add(-k.keep-k.slack))
			exec(k.insert, of.ID, w.Now().Add(-k.keep+k.slack))
		}
		for _, name := range []string{"statistics", "retention", "lab-results-retention"} {
			j := s.scheduledJob(t, name)
			if !j.Suspended {
				t.Errorf("%s rests for suspended authorities", name)
			}
			for range 2 {
				if err := j.Run(t.Context(), of.ID); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		for _, k := range kept {
			var n int
			extra := ""
			if k.table == "statistic_day" {
				extra = ` and series = 'tokens-invalid'` // others were counted from the rows here
			}
			if err := w.Database.Super().QueryRowContext(t.Context(), `select count(*) from `+k.table+` where tenant_id = $1`+extra, of.ID).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if n != 1 {
				t.Errorf("%s: %d rows of %s left, want the one whose time is not over", of.Slug, n, k.table)
			}
		}
	}
	exec(`insert into login_session values ('old', '', $1), ('new', '', $2)`, w.Now().Add(-time.Minute), w.Now().Add(time.Minute))
	sessions := s.scheduledJob(t, "sessions")
	if err := sessions.Run(t.Context(), job.Platform); err != nil || !sessions.Platform {
		t.Errorf("sessions: %v", err)
	}
	var left string
	if err := w.Database.Super().QueryRowContext(t.Context(), `select string_agg(token_digest, ' ') from login_session`).Scan(&left); err != nil || left != "new" {
		t.Errorf("sessions left: %q (%v)", left, err)
	}
}

// The page for operators has every job.
func TestJobsAreDocumented(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, tenanttest.New(t), Roles()...))
	page, err := os.ReadFile("../docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range s.scheduled {
		if !strings.Contains(string(page), "| `"+j.Name+"` | ") {
			t.Errorf("%s is not on the page", j.Name)
		}
	}
}

// A region that is stuck is told from healthy ones; the process stays alive and ready.
func TestStuckRegionIsTold(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.Create("healthy")
	w.Create("stuck")
	c := config(t, w, Jobs)
	c.Now = w.Now
	s := open(t, c)
	scheduler, err := job.NewScheduler(job.Config{DB: w.Jobs, Jobs: s.scheduled, Metrics: prometheus.NewRegistry(), Log: c.Log, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := scheduler.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	scheduler.Wait()
	ask := func(h http.Handler, path string, want int) string {
		t.Helper()
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if answer.Code != want {
			t.Errorf("%s: status %d, want %d: %s", path, answer.Code, want, answer.Body)
		}
		return answer.Body.String()
	}
	if said := ask(s.Operations(), "/jobs", http.StatusOK); !strings.Contains(said, `"status":"ok"`) {
		t.Errorf("all is well, and it says %s", said)
	}
	if _, err := w.Database.Super().ExecContext(t.Context(), `
update job_run set behind_since = $1
 where job = 'export' and tenant = (select tenant from tenant_directory where slug = 'stuck')`, w.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	var said struct {
		Status string
		Late   []job.Standing
	}
	if err := json.Unmarshal([]byte(ask(s.Operations(), "/jobs", http.StatusServiceUnavailable)), &said); err != nil {
		t.Fatal(err)
	}
	if said.Status != "late" || len(said.Late) != 1 || said.Late[0].Slug != "stuck" || said.Late[0].Job != "export" || said.Late[0].LagSeconds != 3600 {
		t.Errorf("a stuck region is told as %+v", said)
	}
	ask(s.Handler(), "/health", http.StatusOK)
	ask(s.Handler(), "/ready", http.StatusOK)
}
