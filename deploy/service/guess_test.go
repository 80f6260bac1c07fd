package service

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant/client"
	"carillon/tenant/guess"
	"carillon/tenant/limit"
	"carillon/tenant/tenanttest"
)

// siege is a real service on loopback, somebody who guesses codes, and honest phones.
type siege struct {
	tb            testing.TB
	base          string
	device, admin string
	proxy         *http.Client   // connections of the trusted proxy, 127.0.0.1
	strangers     []*http.Client // connections from addresses that nobody trusts

	digits   atomic.Int64 // of the newest code: the attacker is told
	statuses [600]atomic.Int64
}

func besiege(tb testing.TB) *siege {
	tb.Helper()
	w := tenanttest.New(tb)
	north := w.Create("north")
	if _, err := w.Database.Super().ExecContext(tb.Context(), `update tenant_setting set require_date = false`); err != nil {
		tb.Fatal(err)
	}
	proxies, err := limit.ParseNetworks([]string{"127.0.0.1"})
	if err != nil {
		tb.Fatal(err)
	}
	s, err := Open(tb.Context(), Config{
		Roles: []Role{Device, Issuer, Jobs}, DSN: func(role string) (string, error) { return w.Database.DSN(role), nil },
		Root: w.Root, Files: files(tb), JobInterval: time.Hour, Proxies: proxies,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(tb.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l, nil) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			tb.Errorf("serve: %v", err)
		}
		_ = s.Close()
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	sg := &siege{tb: tb, base: "http://127.0.0.1:" + port + "/t/north", device: w.Key(north, client.Device), admin: w.Key(north, client.Admin), proxy: from("127.0.0.1")}
	for i := range 16 {
		sg.strangers = append(sg.strangers, from(fmt.Sprintf("127.0.%d.2", 1+i)))
	}
	sg.digits.Store(8)
	return sg
}

// from is a client whose connections come from an address.
func from(address string) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: 64}}
}

func (s *siege) post(c *http.Client, path, key, forwarded, body string) (status int, answer map[string]any, err error) {
	r, err := http.NewRequestWithContext(s.tb.Context(), http.MethodPost, s.base+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-API-Key", key)
	r.Header.Set("X-Forwarded-For", forwarded)
	response, err := c.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || !bytes.HasPrefix(text, []byte("{")) {
		return response.StatusCode, nil, err
	}
	return response.StatusCode, answer, json.Unmarshal(text, &answer)
}

// issue makes a code; the request comes from one of many back ends.
func (s *siege) issue(i int) string {
	_, answer, err := s.post(s.proxy, "/api/issue", s.admin, fmt.Sprintf("203.0.%d.1", i%50), `{"testType":"confirmed"}`)
	if err != nil {
		s.tb.Error(err)
		return ""
	}
	code, _ := answer["code"].(string)
	if code == "" {
		s.tb.Errorf("issue: %v", answer)
	}
	s.digits.Store(int64(len(code)))
	return code
}

// guess tries a random code, of the length of new codes or of old ones. Three in four
// come through the proxy from one of many addresses, with a forged story before what the
// proxy says; the others come past it, with a forged header alone.
func (s *siege) guess(i int, networks int) {
	digits := []int64{8, s.digits.Load()}[i%2]
	code := fmt.Sprintf("%0*d", digits, rand.Int64N(pow10(digits)))
	story := fmt.Sprintf("10.%d.%d.%d", rand.IntN(256), rand.IntN(256), rand.IntN(256))
	c, forwarded := s.strangers[i%len(s.strangers)], story
	if i%4 != 0 {
		n := rand.IntN(networks)
		c, forwarded = s.proxy, fmt.Sprintf("%s, 100.%d.%d.%d", story, 64+n>>8, n&255, 1+rand.IntN(10))
	}
	status, _, err := s.post(c, "/api/verify", s.device, forwarded, `{"code":"`+code+`"}`)
	if err != nil {
		s.tb.Error(err)
	}
	s.statuses[status].Add(1)
}

func pow10(n int64) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}

// phones are honest ones.
type phones struct {
	served, refused int
	took            []time.Duration
	lengths         map[int]int // codes by their digits
}

// behave lets honest phones verify codes until ctx ends: every other one from the one
// address of a campus, the rest each from an address of its own.
func (s *siege) behave(ctx context.Context, pause time.Duration) *phones {
	p := &phones{lengths: map[int]int{}}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := 0; ; i++ {
		code := s.issue(i)
		p.lengths[len(code)]++
		address := "192.0.2.1"
		if i%2 == 1 {
			address = fmt.Sprintf("198.%d.%d.1", 18+i>>8&1, i&255)
		}
		began := time.Now()
		status, _, err := s.post(s.proxy, "/api/verify", s.device, address, `{"code":"`+code+`"}`)
		p.took = append(p.took, time.Since(began))
		if err == nil && status == http.StatusOK {
			p.served++
		} else {
			p.refused++
			s.tb.Errorf("honest phone %d at %s: %d %v", i, address, status, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return p
		}
	}
}

// figures are what a siege came to.
type figures struct {
	took              time.Duration
	looked, waited    int64 // guesses that were looked up, and that were refused
	hits, others      int64
	phones            *phones
	perMinute, atMost float64
}

// run makes n guesses from many workers while honest phones go about theirs, with prey
// codes live all the while.
func (s *siege) run(n, workers, networks, prey int, pause time.Duration) figures {
	s.tb.Helper()
	for i := range prey {
		s.issue(i)
	}
	ctx, end := context.WithCancel(s.tb.Context())
	honest := make(chan *phones, 1)
	go func() { honest <- s.behave(ctx, pause) }()
	began := time.Now()
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				s.guess(int(i), networks)
			}
		})
	}
	all.Wait()
	f := figures{took: time.Since(began)}
	end()
	f.phones = <-honest
	f.hits, f.looked, f.waited = s.statuses[200].Load(), s.statuses[400].Load(), s.statuses[429].Load()
	f.others = int64(n) - f.hits - f.looked - f.waited
	b := guess.DefaultBounds()
	minutes := f.took.Minutes() + 1 // windows that have begun
	f.perMinute = float64(f.looked) / f.took.Minutes()
	f.atMost = minutes * float64(b.Tenant+(networks+len(s.strangers))*b.Network)
	return f
}

// Somebody guesses from many addresses, in parallel, with forged headers, against a real
// server: what is looked up stays below the bound, new codes grow, and every honest
// phone is served.
func TestGuessing(t *testing.T) {
	t.Parallel()
	s := besiege(t)
	f := s.run(8_000, 16, 100, 20, 200*time.Millisecond)
	t.Logf("%+v %+v", f, f.phones)
	if f.others != 0 || float64(f.looked) > f.atMost {
		t.Errorf("%d guesses were looked up, want at most %.0f; %d had another answer", f.looked, f.atMost, f.others)
	}
	if f.phones.refused != 0 || f.phones.served == 0 {
		t.Errorf("honest phones: %d served, %d refused", f.phones.served, f.phones.refused)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(guess.LengthAge / 5) // faster, and the rate limit would refuse
	defer tick.Stop()
	for i := 0; len(s.issue(i)) == 8; i++ { // until the counts are reported and read
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("codes do not grow")
		}
	}
}

// BenchmarkGuessing is the siege at length: -benchtime 1000000x makes a million guesses
// from twenty thousand addresses.
func BenchmarkGuessing(b *testing.B) {
	s := besiege(b)
	b.ResetTimer()
	f := s.run(b.N, 64, 2000, 100, 2*time.Second)
	b.StopTimer()
	slices.Sort(f.phones.took)
	at := func(q float64) time.Duration { return f.phones.took[int(q*float64(len(f.phones.took)-1))] }
	b.Logf("%d guesses in %v: %d looked up (%.0f a minute, at most %.0f in all), %d refused, %d hits, %d other answers",
		b.N, f.took.Round(time.Second), f.looked, f.perMinute, f.atMost, f.waited, f.hits, f.others)
	b.Logf("honest phones: %d served, %d refused; median %v, 99th of 100 %v, slowest %v; codes by digits %v",
		f.phones.served, f.phones.refused, at(0.5), at(0.99), at(1), f.phones.lengths)
}
