package guess_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/guess"
	"carillon/tenant/limit"
)

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

var start = time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)

func (c *clock) now() time.Time { return start.Add(time.Duration(c.at.Load())) }
func (c *clock) nextWindow()    { c.at.Add(int64(limit.Window)) }

// counter is one that need not report.
func counter(c *clock) *guess.Counter { return guess.NewCounter(nil, guess.DefaultBounds(), c.now) }

// attempts makes n attempts with one outcome and returns how many were admitted.
func attempts(c *guess.Counter, id tenant.ID, from string, n int, o guess.Outcome) int {
	admitted := 0
	for range n {
		if a, ok := c.Try(id, netip.MustParseAddr(from)); ok {
			a.Done(o)
			admitted++
		}
	}
	return admitted
}

func TestNoCounterAdmitsAll(t *testing.T) {
	t.Parallel()
	if got := attempts(nil, tenant.NewID(), "192.0.2.1", 10, guess.Wrong); got != 10 {
		t.Errorf("%d admitted", got)
	}
}

// One address, however much it guesses within its rate, makes nobody wait: not itself,
// and so not the campus behind it.
func TestOneAddressMakesNobodyWait(t *testing.T) {
	t.Parallel()
	var now clock
	c, id := counter(&now), tenant.NewID()
	perMinute := limit.DefaultRates().Caller
	for range 10 {
		if got := attempts(c, id, "192.0.2.1", 2*perMinute, guess.Wrong); got != 2*perMinute {
			t.Fatalf("%d of %d admitted", got, 2*perMinute)
		}
		now.nextWindow()
	}
}

// Many addresses are held to the tenant's bound and a few attempts each, in parallel as
// in turn; other tenants are not concerned.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	var now clock
	c, id := counter(&now), tenant.NewID()
	b := guess.DefaultBounds()
	const networks, perNetwork = 10, 100
	var admitted atomic.Int64
	var all sync.WaitGroup
	for n := range networks {
		all.Go(func() {
			for i := range 50 * perNetwork {
				from := fmt.Sprintf("198.51.%d.%d", n, i%perNetwork)
				admitted.Add(int64(attempts(c, id, from, 1, guess.Wrong)))
			}
		})
	}
	all.Wait()
	if got, most := int(admitted.Load()), b.Tenant+networks*b.Network; got > most || got < b.Tenant {
		t.Errorf("%d attempts admitted, want %d to %d", got, b.Tenant, most)
	}
	if got := attempts(c, tenant.NewID(), "198.51.0.1", 100, guess.Wrong); got != 100 {
		t.Errorf("another tenant: %d of 100 admitted", got)
	}
	now.nextWindow()
	if got := attempts(c, id, "198.51.0.1", 100, guess.Wrong); got != 100 {
		t.Errorf("in the next window: %d of 100 admitted", got)
	}
}

// Attempts count before they are judged, so asking for many at once gains nothing, and
// neither does drawing them out into the next window.
func TestAttemptsCountAtOnce(t *testing.T) {
	t.Parallel()
	var now clock
	c, id := counter(&now), tenant.NewID()
	attempts(c, id, "203.0.113.1", guess.DefaultBounds().Tenant, guess.Wrong)
	from := netip.MustParseAddr("192.0.2.1")
	var open []*guess.Attempt
	for range 100 {
		if a, ok := c.Try(id, from); ok {
			open = append(open, a)
		}
	}
	if len(open) != guess.DefaultBounds().Caller {
		t.Errorf("%d attempts open, want %d", len(open), guess.DefaultBounds().Caller)
	}
	now.nextWindow()
	attempts(c, id, "203.0.113.1", guess.DefaultBounds().Tenant, guess.Wrong)
	for _, a := range open {
		a.Done(guess.Neither)
	}
	if got := attempts(c, id, "192.0.2.1", 100, guess.Wrong); got != guess.DefaultBounds().Caller {
		t.Errorf("%d attempts after others had been drawn out, want %d", got, guess.DefaultBounds().Caller)
	}
}

// In the middle of an attack, a phone with a right code and a campus that mostly has
// right ones do not wait, even if somebody on the campus guesses as well.
func TestHonestPhonesDuringAnAttack(t *testing.T) {
	t.Parallel()
	var now clock
	c, id := counter(&now), tenant.NewID()
	flood := func() {
		for i := range 2000 {
			attempts(c, id, fmt.Sprintf("198.51.%d.%d", i%200, i%250), 1, guess.Wrong)
		}
	}
	campus := func() (refused int) {
		for i := range 100 {
			o := guess.Right
			if i%20 == 19 { // a mistake
				o = guess.Wrong
			}
			refused += 1 - attempts(c, id, "192.0.2.1", 1, o)
			if i%3 == 0 { // somebody guesses
				attempts(c, id, "192.0.2.1", 1, guess.Wrong)
			}
		}
		return refused
	}
	for minute := range 20 {
		flood()
		if got := attempts(c, id, fmt.Sprintf("203.0.113.%d", minute), 1, guess.Right); got != 1 {
			t.Errorf("minute %d: a phone was refused", minute)
		}
		if got := attempts(c, id, fmt.Sprintf("203.0.114.%d", minute), 4, guess.Wrong) + attempts(c, id, fmt.Sprintf("203.0.114.%d", minute), 1, guess.Right); got != 5 {
			t.Errorf("minute %d: a phone was refused after four mistakes", minute)
		}
		if refused := campus(); refused != 0 {
			t.Errorf("minute %d: %d attempts of the campus were refused", minute, refused)
		}
		now.nextWindow()
	}
}

// Whoever has been refused is told when the window ends.
func TestRefusedUntil(t *testing.T) {
	t.Parallel()
	var now clock
	c := guess.NewCounter(nil, guess.Bounds{}, now.now)
	a, ok := c.Try(tenant.NewID(), netip.Addr{})
	if ok || !a.Reset.Equal(start.Add(limit.Window)) {
		t.Errorf("admitted %v, until %v", ok, a.Reset)
	}
}

// What deploy/docs/limits.md promises, by playing a day of it: codes are issued every
// minute, the attacker spends all that the bounds leave and every guess is of the
// likeliest length. The expected hits are summed exactly; nothing is left to luck.
func TestExpectedHitsOfADay(t *testing.T) {
	t.Parallel()
	const life, base = 15, 1e8 // minutes; codes of eight digits
	for _, test := range []struct {
		issuedPerMinute int
		networks        int // of the attacker, with addresses enough
	}{{1, 0}, {1, 100}, {14, 10}, {140, 1}} {
		var now clock
		c, id, b := counter(&now), tenant.NewID(), guess.DefaultBounds()
		onset, after := 0.0, 0.0
		s := guess.Sighting{Live: int64(test.issuedPerMinute * life)}
		live := slices.Repeat([]int{8}, life) // digits of the codes of each minute
		for range 24 * 60 {
			live = append(live[1:], s.Digits(8))
			s.Issued += int64(test.issuedPerMinute)
			admitted := attempts(c, id, "192.0.2.1", b.Tenant, guess.Wrong)
			for n := range test.networks {
				for i := range b.Network + 1 {
					from := netip.AddrFrom4([4]byte{100, byte(n >> 8), byte(n), byte(i % 5)})
					admitted += attempts(c, id, from.String(), 1, guess.Wrong)
				}
			}
			if want := b.Tenant + test.networks*b.Network; admitted != want {
				t.Fatalf("%d attempts admitted in a minute, want %d", admitted, want)
			}
			s.Wrong += int64(admitted)
			for _, digits := range live {
				p := float64(admitted*test.issuedPerMinute) / math.Pow10(digits)
				if digits == 8 {
					onset += p
				} else {
					after += p
				}
			}
			now.nextWindow()
		}
		perMinute := float64(b.Tenant + test.networks*b.Network)
		tolerated := guess.Tolerated + float64(s.Issued)/10
		mostBefore := (tolerated + perMinute*(life+1)) * float64(s.Live) / base
		t.Logf("%d live codes, %d networks: %d guesses; expected hits %.2g before the alarm works (at most %.2g), %.2g after it (at most %.2g)",
			s.Live, test.networks, s.Wrong, onset, mostBefore, after, 2*guess.Chance)
		if onset > mostBefore || after > 2*guess.Chance {
			t.Errorf("more hits than promised")
		}
	}
}

func TestDigits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		s           guess.Sighting
		least, want int
	}{
		{guess.Sighting{}, 8, 8},
		{guess.Sighting{Wrong: 1000, Live: 100}, 8, 8},
		{guess.Sighting{Wrong: 1001, Live: 1}, 8, 9}, // always one more
		{guess.Sighting{Wrong: 2900, Issued: 20_000, Live: 200}, 8, 8},
		{guess.Sighting{Wrong: 3001, Issued: 20_000, Live: 200}, 8, 10},
		{guess.Sighting{Wrong: 10_000, Live: 10}, 8, 9},
		{guess.Sighting{Wrong: 10_000, Live: 100}, 8, 10},
		{guess.Sighting{Wrong: 100_000, Live: 100}, 8, 11},
		{guess.Sighting{Wrong: 1_000_000, Live: 100}, 8, 12},
		{guess.Sighting{Wrong: 1_000_000_000, Live: 10_000}, 8, guess.MaxDigits},
		{guess.Sighting{Wrong: 2000, Live: 1}, 6, 7},
		{guess.Sighting{Wrong: 2000, Live: 1}, 12, 12},
	} {
		if got := test.s.Digits(test.least); got != test.want {
			t.Errorf("%+v: %d digits for %d, want %d", test.s, got, test.least, test.want)
		}
	}
}

// More guessing and more live codes never make codes shorter.
func TestDigitsGrow(t *testing.T) {
	t.Parallel()
	for range 10_000 {
		s := guess.Sighting{Wrong: rand.Int64N(1e7), Issued: rand.Int64N(1e5), Live: rand.Int64N(1e4)}
		more := s
		more.Wrong += rand.Int64N(1e6)
		more.Live += rand.Int64N(1e3)
		if s.Digits(8) > more.Digits(8) {
			t.Errorf("%+v needs %d digits, %+v only %d", s, s.Digits(8), more, more.Digits(8))
		}
	}
}
