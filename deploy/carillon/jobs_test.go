package main

import (
	"strings"
	"testing"
	"time"

	"carillon/tenant/job"
)

func TestPrintJobs(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time {
		moment := now.Add(d)
		return &moment
	}
	var text strings.Builder
	if err := printSummaries(&text, []job.Summary{
		{Job: "export", EverySeconds: 30, Tenants: 7, Running: 1, Failing: 2, Late: 1, LagSeconds: 3600, DueAt: at(-time.Second), SucceededAt: at(-time.Minute)},
		{Job: "messages", EverySeconds: 300, Tenants: 7},
	}, now); err != nil {
		t.Fatal(err)
	}
	if err := printStandings(&text, []job.Standing{
		{Job: "export", Slug: "north", EverySeconds: 30, LagSeconds: 3600, Late: true, Failures: 3, Error: "no usable key", Holder: "host:1", DueAt: at(time.Minute), StartedAt: at(-time.Minute)},
		{Job: "sessions", EverySeconds: 300, Running: true, DueAt: at(-time.Second), SucceededAt: at(-time.Minute)},
	}, now); err != nil {
		t.Fatal(err)
	}
	const want = `JOB       EVERY  TENANTS  RUNNING  FAILING  LATE  LAG     LAST SUCCESS  NEXT
export    30s    7        1        2        1     1h0m0s  1m0s ago      due
messages  5m0s   7        0        0        0     0s      never         always
JOB       TENANT      EVERY  LAST START  LAST SUCCESS  NEXT     LAG          FAILURES  LAST ERROR     HOLDER
export    north       30s    1m0s ago    never         in 1m0s  1h0m0s LATE  3         no usable key  host:1
sessions  (platform)  5m0s   never       1m0s ago      running  0s           0
`
	var got strings.Builder
	for line := range strings.Lines(text.String()) {
		got.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
