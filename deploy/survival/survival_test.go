package survival

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"carillon/tenant/export"
)

var (
	kills   = flag.Int("kills", 5, "how often a process is killed")
	outages = flag.Int("outages", 1, "how often the database is")
)

// Processes are killed at random moments of issuing, verifying, publishing and exporting,
// and started again; then the database is, while it is under load. Nothing that was
// acknowledged is lost, nothing is doubled, and at no moment does anybody see half of
// anything. The processes go on by themselves when the database is back.
func TestSurvival(t *testing.T) {
	w := newWorld(t)
	r, l := w.watch(), w.load()
	l.acknowledged(time.Now())
	for range *kills {
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond) // a moment by chance
		p := w.anyWorker()
		p.kill()
		p.start()
	}
	for _, p := range w.workers {
		p.ready()
	}
	t.Logf("%d processes killed", *kills)
	for range *outages {
		l.acknowledged(time.Now())
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		w.outage(l)
	}
	w.settle(r, l)
}

// outage takes the database away for some seconds.
func (w *world) outage(l *load) {
	t := w.t
	t.Helper()
	const (
		away = 4 * time.Second
		// most is what a process may write meanwhile, but for the requests that fail.
		most = 40
	)
	lines, work := make([]int, len(w.workers)), make([]time.Duration, len(w.workers))
	for i, p := range w.workers {
		lines[i], _, _ = p.log.read()
		work[i] = p.cpu()
	}
	w.keepDatabaseDown(away)
	for i, p := range w.workers {
		count, _, tail := p.log.read()
		lines[i], work[i] = count-lines[i], p.cpu()-work[i]
		if lines[i] > most {
			t.Errorf("a process wrote %d lines while the database was away: %s", lines[i], tail)
		}
	}
	back := w.await()
	l.acknowledged(back)
	t.Logf("database killed and away for %v: processes wrote %d lines and computed %v; an upload was acknowledged %v after it answered",
		away, lines, work, l.when().Sub(back).Round(time.Millisecond))
}

// keepDatabaseDown kills the database server, and each new one, for a while.
func (w *world) keepDatabaseDown(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if pid := w.server.PID(); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
		}
	}
}

// await returns when the database answers again.
func (w *world) await() time.Time {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for w.super.PingContext(ctx) != nil {
		select {
		case <-ctx.Done():
			w.t.Fatal("the database does not come back")
		case <-time.After(10 * time.Millisecond):
		}
	}
	return time.Now()
}

// recovery is how long after the database phones may have to wait.
const recovery = 10 * time.Second

// acknowledged waits for an upload that was acknowledged after an instant.
func (l *load) acknowledged(after time.Time) {
	t := l.world.t
	t.Helper()
	for end := after.Add(recovery); !l.when().After(after); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no upload is acknowledged %v after the database is back", recovery)
		}
	}
}

func (l *load) when() (last time.Time) {
	l.note(func() { last = l.last })
	return last
}

// cpu is the time that the process has computed.
func (p *process) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.child.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var user, system int
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		p.t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

const settling = 2 * time.Minute

// settle ends the load, waits until all is published, and checks what is left.
func (w *world) settle(r *reader, l *load) {
	t := w.t
	t.Helper()
	l.end()
	r.end()
	for end := time.Now().Add(settling); r.missing(l) > 0 && !t.Failed(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d acknowledged keys are in no file", r.missing(l))
		}
		r.look()
	}
	w.wantClaims(l)
	for _, p := range w.workers {
		p.kill()
	}
	r.look()
	w.wantWindows()
	w.wantStored()
	w.report(r, l)
}

// wantClaims checks that codes stay claimed.
func (w *world) wantClaims(l *load) {
	w.t.Helper()
	for a, codes := range l.claimed {
		rows, err := w.super.QueryContext(w.t.Context(), `select code_id from verification_code where tenant_id = $1 and claimed_at is not null`, a.id)
		if err != nil {
			w.t.Fatal(err)
		}
		defer rows.Close()
		claimed := map[string]bool{}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				w.t.Fatal(err)
			}
			claimed[id] = true
		}
		if err := rows.Err(); err != nil {
			w.t.Fatal(err)
		}
		for _, id := range codes {
			if !claimed[id] {
				w.t.Errorf("an acknowledged claim of %s is lost", a.slug)
			}
		}
	}
}

// wantWindows checks that no window was cut twice, none was left out, and no name is
// used twice.
func (w *world) wantWindows() {
	w.t.Helper()
	if n := w.number(`
select count(*)
  from (select starts_at, lag(ends_at) over (partition by tenant_id, config_id order by starts_at) as before
          from export_batch) b
 where starts_at <> before`); n != 0 {
		w.t.Errorf("%d windows do not begin where the one before ends", n)
	}
	if n := w.number(`select count(*) - count(distinct (tenant_id, config_id, name)) from export_file`); n != 0 {
		w.t.Errorf("%d names of files are used twice", n)
	}
}

// wantStored checks that the store has what rows say, byte for byte.
func (w *world) wantStored() {
	w.t.Helper()
	rows, err := w.super.QueryContext(w.t.Context(), `
select d.slug || '/' || c.path || f.name, encode(f.sha256, 'hex')
  from export_file f
  join export_config c using (tenant_id, config_id)
  join tenant_directory d on d.tenant = f.tenant_id
 where f.state = 'published'`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	var listed []string
	for rows.Next() {
		var name, sum string
		if err := rows.Scan(&name, &sum); err != nil {
			w.t.Fatal(err)
		}
		body, err := newReader(w).object(name)
		if err != nil {
			w.t.Errorf("%s: %v", name, err)
			continue
		}
		if got := sha256.Sum256(body); hex.EncodeToString(got[:]) != sum {
			w.t.Errorf("%s has other bytes than its row says", name)
		}
		listed = append(listed, name)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	names, err := w.files.List(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	staged := w.number(`select count(*) from export_file where state = 'staged'`)
	for _, name := range names {
		if strings.HasSuffix(name, export.IndexName) || slices.Contains(listed, name) {
			continue
		}
		if staged--; staged < 0 {
			w.t.Errorf("%s is in the store, and no row knows it", name)
		}
	}
}

func (w *world) report(r *reader, l *load) {
	keys, claims, files, taken := 0, 0, 0, 0
	for a := range l.keys {
		keys += len(l.keys[a])
		claims += len(l.claimed[a])
	}
	for _, of := range r.seen {
		files += len(of)
	}
	for _, p := range w.workers {
		_, n, _ := p.log.read()
		taken += n
	}
	w.t.Logf("%d keys and %d claims acknowledged, %d requests repeated, %d people began anew; %d files of %d batches, %d of them begun more than once, %d fenced off; %d looks",
		keys, claims, l.repeated, l.given, files, w.number(`select count(*) from export_batch where fence > 0`),
		w.number(`select count(*) from export_batch where fence > 1`), taken, r.looks)
}
