package export

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"carillon/signing/exportfile"
	"carillon/tenant/onboarding"
)

// simulation is a small health authority whose phones upload as phones do: a run of
// days that share an onset, the present day's key when that is over, some of them
// revised later. Everything is drawn from one seed.
type simulation struct {
	*fixture
	rand *rand.Rand
	real map[tek]bool
	// perWindow counts the real new keys of a window of the first configuration.
	perWindow map[time.Time]int
	revisions []revision
	// after is called after each round of the worker.
	after func()
}

type revision struct {
	due  time.Time
	keys []tek
	to   string
}

const simulatedPeriod = 4 * time.Hour

func simulate(t *testing.T, seed byte, days int, change func(*simulation, *Service)) *simulation {
	t.Helper()
	f := setUp(t)
	f = f.of(t, f.world.Create("simulated", func(s *onboarding.Spec) {
		s.ExportPeriod, s.ExportMinAge, s.MinRecords, s.PaddingRange = simulatedPeriod, 0, 1000, 100
	}))
	// Of windows that end together the batches are made in the order of these IDs. That
	// of all day is made first, which is the harder case.
	f.exec(t, `update export_config set config_id = 'ffffffff-0000-0000-0000-000000000000' where tenant_id = $1`, f.tenant.ID)
	f.exec(t, `
insert into export_config
       (tenant_id, config_id, path, region, travelers, period_seconds, min_age_seconds, active_from)
select tenant_id, v.id::uuid, v.path, region, v.travelers, v.seconds, v.age, active_from
  from export_config,
       (values ('00000000-0000-0000-0000-000000000001', 'daily/', 'region', 86400, 0),
               ('00000000-0000-0000-0000-000000000002', 'settled/', 'exclude', 28800, 7200)) as v (id, path, travelers, seconds, age)
 where tenant_id = $1`, f.tenant.ID)
	sim := &simulation{
		fixture: f, rand: rand.New(rand.NewChaCha8([32]byte{seed})), real: map[tek]bool{}, perWindow: map[time.Time]int{}, after: func() {},
	}
	s := f.service(nil)
	s.random = rand.NewChaCha8([32]byte{seed, 1})
	if change != nil {
		change(sim, s)
	}
	f.world.SetNow(f.world.Now().Truncate(24 * time.Hour).Add(time.Minute))
	f.turn(t, s)
	for range days * int(24*time.Hour/simulatedPeriod) {
		for range sim.rand.IntN(3) / 2 * (1 + sim.rand.IntN(2)) { // a third of the windows have one phone or two
			sim.upload(t)
		}
		sim.revise(t)
		f.world.Advance(simulatedPeriod)
		f.turn(t, s)
		sim.after()
	}
	return sim
}

// upload is one phone's.
func (sim *simulation) upload(t *testing.T) {
	t.Helper()
	now := sim.world.Now()
	today := int32(now.Truncate(24*time.Hour).Unix() / 600)
	onset := int32(sim.rand.IntN(8))
	report := []string{"confirmed", "confirmed", "confirmed", "likely", "user-report"}[sim.rand.IntN(5)]
	traveler := sim.rand.IntN(5) == 0
	var sent []tek
	store := func(start, period int32, at time.Time) {
		k := sim.key()
		days := (start-today)/144 + onset
		risk := map[string]int32{"confirmed": 2, "likely": 4, "user-report": 3}[report]
		sim.exec(t, `
insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, days_since_onset, traveler, region, created_at)
values ($1, $2, $3, $4, $5, $6::report_type, $7, $8, $9, $10)`,
			sim.tenant.ID, k[:], start, period, risk, report, days, traveler, sim.tenant.Region, at.Truncate(time.Hour))
		sim.real[k] = true
		sim.perWindow[at.Truncate(simulatedPeriod)]++
		sent = append(sent, k)
	}
	arrived := now.Add(time.Duration(sim.rand.IntN(4)) * time.Hour)
	for i := range 4 + sim.rand.Int32N(11) {
		store(today-144*(i+1), 144, arrived)
	}
	if sim.rand.IntN(2) == 0 { // the present day's key comes when the day is over
		period := int32(144)
		if sim.rand.IntN(2) == 0 {
			period = 1 + sim.rand.Int32N(143)
		}
		store(today, period, now.Truncate(24*time.Hour).Add(26*time.Hour))
	}
	if report != "confirmed" {
		sim.revisions = append(sim.revisions, revision{
			due: now.Add(time.Duration(4+sim.rand.IntN(24)) * time.Hour), keys: sent, to: []string{"confirmed", "negative"}[sim.rand.IntN(2)],
		})
	}
}

// key is a random key.
func (sim *simulation) key() (k tek) {
	for i := range k {
		k[i] = byte(sim.rand.UintN(256))
	}
	return k
}

func (sim *simulation) revise(t *testing.T) {
	t.Helper()
	now := sim.world.Now()
	sim.revisions = slices.DeleteFunc(sim.revisions, func(r revision) bool {
		if r.due.After(now) {
			return false
		}
		var teks pq.ByteaArray
		for _, k := range r.keys {
			teks = append(teks, slices.Clone(k[:]))
		}
		sim.exec(t, `
update exposure set revised_type = $3::report_type, revised_at = greatest($4, created_at), revised_days = days_since_onset, revised_risk = 6
 where tenant_id = $1 and tek = any($2)`, sim.tenant.ID, teks, r.to, now.Truncate(time.Hour))
		return true
	})
}

// sighting is a list of keys of a file, as an observer has it.
type sighting struct {
	config string
	start  time.Time
	keys   []exportfile.Key
	place  map[tek]int
	alike  map[facts]int
}

// facts are all that a file says of a key but its bytes.
type facts struct {
	start, period, risk int32
	report              exportfile.ReportType
	days                int32
}

func factsOf(k exportfile.Key) facts {
	return facts{k.RollingStart, k.RollingPeriod, k.TransmissionRisk, k.ReportType, k.DaysSinceOnset}
}

// observer has every file of every configuration, and not the truth.
type observer struct{ fresh, revised []*sighting }

func observe(t *testing.T, sim *simulation) *observer {
	t.Helper()
	names, err := sim.store.List(t.Context(), Prefix(sim.tenant))
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{}
	for _, name := range names {
		if !strings.HasSuffix(name, ".zip") {
			continue
		}
		body, err := sim.object(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := exportfile.Verify(body, sim.exportKey.KeyID, sim.exportKey.Label, sim.exportKey.Key)
		if err != nil {
			t.Fatal(err)
		}
		config := strings.TrimPrefix(name[:strings.LastIndex(name, "/")+1], Prefix(sim.tenant))
		o.fresh = append(o.fresh, newSighting(config, file.Start, file.Keys))
		o.revised = append(o.revised, newSighting(config, file.Start, file.Revised))
	}
	return o
}

func newSighting(config string, start time.Time, keys []exportfile.Key) *sighting {
	l := &sighting{config: config, start: start, keys: keys, place: map[tek]int{}, alike: map[facts]int{}}
	for i, k := range keys {
		l.place[k.Data] = i
		l.alike[factsOf(k)]++
	}
	return l
}

// finest are the lists among whose keys the observer looks for real ones: every key is in
// one of them, and what is known of a key's file is known of every key in it.
func (o *observer) finest() (lists []*sighting) {
	for _, l := range o.fresh {
		if l.config == "" && len(l.keys) > 0 {
			lists = append(lists, l)
		}
	}
	return lists
}

// sum adds up what a key's other places in files tell.
func sum(lists []*sighting, config string, k exportfile.Key, of func(l *sighting, i int) int) (n int) {
	for _, l := range lists {
		if i, there := l.place[k.Data]; there && l.config == config {
			n += of(l, i)
		}
	}
	return n
}

// run counts the days before and after a key's that the list has with the same onset.
func (l *sighting) run(k exportfile.Key) (days int) {
	for _, step := range []int32{-1, 1} {
		next := factsOf(k)
		for next.period = 144; ; days++ {
			next.start, next.days = next.start+144*step, next.days+step
			if l.alike[next] == 0 {
				break
			}
		}
	}
	return days
}

// neighbours counts the keys of the next days with the same onset.
func (l *sighting) neighbours(k exportfile.Key) int {
	before, after := factsOf(k), factsOf(k)
	before.start, before.days, before.period = before.start-144, before.days-1, 144
	after.start, after.days, after.period = after.start+144, after.days+1, 144
	return l.alike[before] + l.alike[after]
}

// continued counts the keys of later lists that go on where this one ends.
func (o *observer) continued(l *sighting, k exportfile.Key) (n int) {
	next := factsOf(k)
	next.start, next.days = next.start+144, next.days+1
	for _, later := range o.fresh {
		if later.config == l.config && later.start.After(l.start) {
			n += later.alike[next]
		}
	}
	return n
}

// statistics are what the observer tries. Each gives a number to a key of a list, and
// wins if real keys have greater ones or smaller ones than generated keys of the same list.
func statistics() map[string]func(o *observer, l *sighting, i int) int {
	one := func(*sighting, int) int { return 1 }
	place := func(_ *sighting, i int) int { return i }
	alike := func(l *sighting, i int) int { return l.alike[factsOf(l.keys[i])] }
	run := func(l *sighting, i int) int { return l.run(l.keys[i]) }
	all := map[string]func(o *observer, l *sighting, i int) int{
		"place in the file":  func(_ *observer, l *sighting, i int) int { return place(l, i) },
		"first byte":         func(_ *observer, l *sighting, i int) int { return int(l.keys[i].Data[0]) },
		"last byte":          func(_ *observer, l *sighting, i int) int { return int(l.keys[i].Data[15]) },
		"number of bits":     func(_ *observer, l *sighting, i int) int { return weight(l.keys[i].Data) },
		"rolling start":      func(_ *observer, l *sighting, i int) int { return int(l.keys[i].RollingStart) },
		"rolling period":     func(_ *observer, l *sighting, i int) int { return int(l.keys[i].RollingPeriod) },
		"risk":               func(_ *observer, l *sighting, i int) int { return int(l.keys[i].TransmissionRisk) },
		"report type":        func(_ *observer, l *sighting, i int) int { return int(l.keys[i].ReportType) },
		"days since onset":   func(_ *observer, l *sighting, i int) int { return int(l.keys[i].DaysSinceOnset) },
		"keys with the same": func(_ *observer, l *sighting, i int) int { return alike(l, i) },
		"days in a run":      func(_ *observer, l *sighting, i int) int { return run(l, i) },
		"keys of next days":  func(_ *observer, l *sighting, i int) int { return l.neighbours(l.keys[i]) },
		"continued later":    func(o *observer, l *sighting, i int) int { return o.continued(l, l.keys[i]) },
	}
	for _, config := range []string{"", "daily/", "settled/"} {
		for name, of := range map[string]func(*sighting, int) int{"presence": one, "place": place, "keys with the same": alike, "days in a run": run} {
			if config != "" {
				all[name+" in "+config] = func(o *observer, l *sighting, i int) int { return sum(o.fresh, config, l.keys[i], of) }
			}
			all[name+" among the revised in "+config] = func(o *observer, l *sighting, i int) int { return sum(o.revised, config, l.keys[i], of) }
		}
	}
	return all
}

func weight(k tek) (n int) {
	for _, b := range k {
		n += bits.OnesCount8(b)
	}
	return n
}

const (
	// advantage is how far from a half the chance may be that a real key has a greater
	// number than a generated one of the same list. By the rule of copies a tenth of the
	// chance to be real can be won, which moves this by far less; the rest is for the
	// randomness of the seeds, of which it is about three standard deviations.
	advantage = 0.05
	// luck is how many standard deviations more guesses than by chance may be right.
	luck = 4
)

// wins lists the statistics by which the observer does better than chance, and how much.
func (o *observer) wins(sim *simulation) (won []string) {
	all := statistics()
	for _, name := range slices.Sorted(maps.Keys(all)) { // lots are drawn in this order
		number := all[name]
		var pairs, greater, expected float64
		var hits [2]float64
		for _, l := range o.finest() {
			numbers := make([]int, len(l.keys))
			for i := range l.keys {
				numbers[i] = number(o, l, i)
			}
			p, g := compare(l.keys, numbers, sim.real)
			pairs, greater = pairs+p, greater+g
			e, low, high := guess(l.keys, numbers, sim)
			expected, hits[0], hits[1] = expected+e, hits[0]+low, hits[1]+high
		}
		if share := greater / pairs; math.Abs(share-0.5) > advantage {
			won = append(won, fmt.Sprintf("%s: greater for a real key in %.3f of the cases", name, share))
		}
		for i, order := range []string{"smallest", "greatest"} {
			if hits[i] > 1.1*expected+luck*math.Sqrt(expected) {
				won = append(won, fmt.Sprintf("%s: %.0f of the guesses of the %s are right, by chance %.0f", name, hits[i], order, expected))
			}
		}
	}
	slices.Sort(won)
	return won
}

// compare counts pairs of a real and a generated key, and those in which the real one
// has the greater number; equal ones count half.
func compare(keys []exportfile.Key, numbers []int, real map[tek]bool) (pairs, greater float64) {
	times := map[int][2]float64{} // generated, real
	for i, k := range keys {
		n := times[numbers[i]]
		if real[k.Data] {
			n[1]++
		} else {
			n[0]++
		}
		times[numbers[i]] = n
	}
	values := make([]int, 0, len(times))
	for v := range times {
		values = append(values, v)
	}
	slices.Sort(values)
	var generated, reals float64
	for _, v := range values {
		greater += times[v][1] * (generated + times[v][0]/2)
		generated, reals = generated+times[v][0], reals+times[v][1]
	}
	return generated * reals, greater
}

// guess lets the observer name as many keys of a list as are real, which is more than
// it can know: those with the smallest numbers, or the greatest.
func guess(keys []exportfile.Key, numbers []int, sim *simulation) (expected, smallest, greatest float64) {
	order := sim.rand.Perm(len(keys)) // equal ones are chosen by lot
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(numbers[a], numbers[b]) })
	n := 0
	for _, k := range keys {
		if sim.real[k.Data] {
			n++
		}
	}
	if n == 0 || n == len(keys) {
		return 0, 0, 0
	}
	for i := range n {
		if sim.real[keys[order[i]].Data] {
			smallest++
		}
		if sim.real[keys[order[len(order)-1-i]].Data] {
			greatest++
		}
	}
	return float64(n) * float64(n) / float64(len(keys)), smallest, greatest
}

// counted is the share of files of the first configuration whose number of real keys
// follows from the numbers of keys that are alike: they have a common divisor.
func (o *observer) counted(sim *simulation) float64 {
	right, all := 0.0, 0.0
	for _, l := range o.finest() {
		if len(l.alike) == 1 {
			continue // one kind of keys may be one key or many
		}
		divisor := 0
		for _, n := range l.alike {
			divisor = gcd(divisor, n)
		}
		all++
		if len(l.keys)/divisor == sim.perWindow[l.start.UTC()] {
			right++
		}
	}
	return right / all
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// correlation is that of the sizes of the first configuration's files with the numbers of
// real keys in them.
func (o *observer) correlation(sim *simulation) float64 {
	var n, sx, sy, sxx, syy, sxy float64
	for _, l := range o.finest() {
		x, y := float64(len(l.keys)), float64(sim.perWindow[l.start.UTC()])
		n, sx, sy, sxx, syy, sxy = n+1, sx+x, sy+y, sxx+x*x, syy+y*y, sxy+x*y
	}
	return (n*sxy - sx*sy) / math.Sqrt((n*sxx-sx*sx)*(n*syy-sy*sy))
}

// Two weeks of a small health authority's files, of three configurations, do not tell an
// observer who has them all which keys are real, nor how many (§5.4).
func TestObserverCannotTellRealKeys(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 1, 14, nil)
	o := observe(t, sim)
	files, revised := len(o.finest()), 0
	for _, l := range o.revised {
		revised += len(l.keys)
	}
	if files < 30 || len(sim.real) < 200 || revised < 1000 {
		t.Fatalf("%d files, %d real keys, %d revisions: there is too little to observe", files, len(sim.real), revised)
	}
	for _, w := range o.wins(sim) {
		t.Error(w)
	}
	if share := o.counted(sim); share > 0.25 {
		t.Errorf("of %.2f of the files the number of real keys is known", share)
	}
	if c := o.correlation(sim); math.Abs(c) > 0.5 {
		t.Errorf("the sizes of files go with the numbers of real keys: %.2f", c)
	}
}

// The observer is one that finds bad padding.
func TestObserverFindsBadPadding(t *testing.T) {
	t.Parallel()
	// each makes copies and lets spoil change them.
	each := func(spoil func(r *rand.Rand, k *stored, real []stored)) func(*simulation, *Service) {
		return func(_ *simulation, s *Service) {
			r := rand.New(rand.NewChaCha8([32]byte{9}))
			s.copies = func(real []stored, p plan, random io.Reader) ([]stored, error) {
				generated, err := copies(real, p, random)
				for i := range generated {
					spoil(r, &generated[i], real)
				}
				return generated, err
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*simulation, *Service)
		found  string
	}{
		"facts by chance": {each(func(r *rand.Rand, k *stored, _ []stored) { k.Risk = r.Int32N(9) }), "risk"},
		"each fact as often as in real keys, but not together": {each(func(r *rand.Rand, k *stored, real []stored) {
			k.DaysSinceOnset = real[r.IntN(len(real))].DaysSinceOnset
		}), "days in a run"},
		"periods by chance":              {each(func(r *rand.Rand, k *stored, _ []stored) { k.RollingPeriod = 1 + r.Int32N(144) }), "rolling period"},
		"days that phones do not upload": {each(func(r *rand.Rand, k *stored, _ []stored) { k.RollingStart -= 144 * r.Int32N(3) }), "rolling start"},
		"keys that are not random":       {each(func(_ *rand.Rand, k *stored, _ []stored) { k.TEK[15] &= 0x7f }), "last byte"},
		"copies that are not revised":    {each(func(_ *rand.Rand, k *stored, _ []stored) { k.Original = k.TEK }), "presence among the revised in "},
		"copies that other files lack": {func(sim *simulation, _ *Service) {
			sim.after = func() { sim.exec(t, `delete from exposure where generated and get_byte(tek, 0) % 3 > 0`) }
		}, "presence in daily/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			days := 3
			if strings.Contains(test.found, "revised") {
				days = 6 // revisions come later
			}
			sim := simulate(t, 3, days, test.change)
			won := observe(t, sim).wins(sim)
			if !slices.ContainsFunc(won, func(w string) bool { return strings.HasPrefix(w, test.found+":") }) {
				t.Errorf("the observer wins by %q, want by %s", won, test.found)
			}
		})
	}
	t.Run("whole passes", func(t *testing.T) {
		t.Parallel()
		sim := simulate(t, 3, 4, func(_ *simulation, s *Service) {
			s.copies = func(real []stored, p plan, random io.Reader) (generated []stored, err error) {
				for len(real)+len(generated) < p.MinRecords && err == nil {
					generated, err = copyEach(generated, real, random)
				}
				return generated, err
			}
		})
		if share := observe(t, sim).counted(sim); share < 0.75 {
			t.Errorf("of %.2f of the files the number of real keys is known, want more", share)
		}
	})
}
