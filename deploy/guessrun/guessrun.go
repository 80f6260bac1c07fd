// Package guessrun guesses verification codes of a running server, as somebody would who
// has many addresses: in parallel, with forged headers, in the length of new codes and
// of old ones, while honest phones verify theirs beside it. It tells how many guesses
// were looked up and how many hit, against what the server's bounds allow, and whether
// any honest phone was refused.
//
// It attacks this machine and no other. The server must believe 127.0.0.1 as a proxy,
// or all of it comes from one address.
package guessrun

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"carillon/tenant/guess"
)

// Options say what is attacked, and how.
type Options struct {
	// Base is the tenant's URL and ends in a slash; api/verify and api/issue follow.
	Base string
	// DeviceKey and AdminKey are API keys of those kinds.
	DeviceKey, AdminKey string
	// Guesses are made by so many Workers, from so many Networks of ten addresses each,
	// beside 16 addresses whose forwarding nobody believes.
	Guesses, Workers, Networks int
	// Prey is how many codes wait to be guessed all the while. They must outlive the run.
	Prey int
	// Pause is the time between two honest phones.
	Pause time.Duration
}

// ErrElsewhere means that the server is not on this machine.
var ErrElsewhere = errors.New("guess-run attacks a server on a loopback address alone")

func (o Options) validate() error {
	u, err := url.Parse(o.Base)
	if err != nil || !strings.HasSuffix(o.Base, "/") {
		return fmt.Errorf("%q is no URL that ends in a slash", o.Base)
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		return ErrElsewhere
	}
	if o.Guesses < 1 || o.Workers < 1 || o.Networks < 1 || o.Networks > maxNetworks || o.Prey < 0 || o.Pause <= 0 {
		return fmt.Errorf("guesses, workers and the pause must be positive, networks 1 to %d", maxNetworks)
	}
	return nil
}

// maxNetworks have addresses of their own, from 100.64.0.0 on.
const maxNetworks = 10_000

// Phones are the honest ones.
type Phones struct {
	Served, Refused int
	// Took is how long each waited for its answer, the shortest first.
	Took []time.Duration
	// Lengths counts their codes by digits: under attack, new codes grow.
	Lengths map[int]int
}

// Figures are what a run came to.
type Figures struct {
	Took time.Duration
	// Looked guesses were looked up, Hits of them were codes; Waited were refused
	// unread; Others had another answer.
	Looked, Hits, Waited, Others int64
	// AtMost is how many the server's bounds let be looked up in that time.
	AtMost int64
	Phones Phones
}

// Held reports whether the bounds held and every honest phone was served.
func (f Figures) Held() bool {
	return f.Looked+f.Hits <= f.AtMost && f.Others == 0 && f.Phones.Refused == 0 && f.Phones.Served > 0
}

// Write tells the figures.
func (f Figures) Write(w io.Writer) error {
	at := func(q float64) time.Duration {
		if len(f.Phones.Took) == 0 {
			return 0
		}
		return f.Phones.Took[int(q*float64(len(f.Phones.Took)-1))].Round(time.Microsecond)
	}
	_, err := fmt.Fprintf(w, `guesses        %d in %v
looked up      %d, of at most %d
refused        %d, and %d had another answer
hits           %d
honest phones  %d served, %d refused; waiting %v in the middle, %v for 99 of 100, %v at most
their codes    %v, by digits
`, f.Looked+f.Hits+f.Waited+f.Others, f.Took.Round(time.Millisecond), f.Looked+f.Hits, f.AtMost, f.Waited, f.Others, f.Hits,
		f.Phones.Served, f.Phones.Refused, at(0.5), at(0.99), at(1), f.Phones.Lengths)
	return err
}

// run is one under way.
type run struct {
	Options
	proxy     *http.Client   // connections of the proxy that the server believes
	strangers []*http.Client // connections from addresses that it does not
	digits    atomic.Int64   // of the newest code: whoever guesses is told
	statuses  [600]atomic.Int64
}

// Run makes the guesses. It fails if a code cannot be issued, or a request does not
// arrive.
func Run(ctx context.Context, o Options) (Figures, error) {
	if err := o.validate(); err != nil {
		return Figures{}, err
	}
	r := &run{Options: o, proxy: from("127.0.0.1")}
	for i := range 16 {
		r.strangers = append(r.strangers, from(fmt.Sprintf("127.0.%d.2", 1+i)))
	}
	r.digits.Store(usualDigits)
	for i := range o.Prey {
		if _, err := r.issue(ctx, i); err != nil {
			return Figures{}, err
		}
	}
	behaving, end := context.WithCancel(ctx)
	defer end()
	honest := make(chan Phones, 1)
	failed := make(chan error, 1)
	go func() {
		p, err := r.behave(ctx, behaving)
		honest <- p
		failed <- err
	}()
	began := time.Now()
	err := r.attack(ctx)
	f := Figures{Took: time.Since(began)}
	end()
	f.Phones = <-honest
	if err := errors.Join(err, <-failed); err != nil {
		return Figures{}, err
	}
	f.Hits, f.Looked, f.Waited = r.statuses[200].Load(), r.statuses[400].Load(), r.statuses[429].Load()
	f.Others = int64(o.Guesses) - f.Hits - f.Looked - f.Waited
	b := guess.DefaultBounds()
	windows := f.Took.Minutes() + 1 // that have begun
	f.AtMost = int64(windows * float64(b.Tenant+(o.Networks+len(r.strangers))*b.Network))
	slices.Sort(f.Phones.Took)
	return f, nil
}

const usualDigits = 8

// from is a client whose connections come from an address.
func from(address string) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: 64}, Timeout: time.Minute}
}

func (r *run) post(ctx context.Context, c *http.Client, path, key, forwarded, body string) (status int, code string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Base+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-API-Key", key)
	request.Header.Set("X-Forwarded-For", forwarded)
	response, err := c.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil || !bytes.HasPrefix(text, []byte("{")) {
		return response.StatusCode, "", err
	}
	var answer struct{ Code string }
	err = json.Unmarshal(text, &answer)
	return response.StatusCode, answer.Code, err
}

var errNoCode = errors.New("the answer has none")

// issue makes a code; the request comes from one of many back ends.
func (r *run) issue(ctx context.Context, i int) (string, error) {
	status, code, err := r.post(ctx, r.proxy, "api/issue", r.AdminKey, fmt.Sprintf("203.0.%d.1", i%50),
		fmt.Sprintf(`{"testType":"confirmed","testDate":%q,"tzOffset":0}`, time.Now().UTC().Format(time.DateOnly)))
	if err != nil || code == "" {
		return "", fmt.Errorf("issue a code: status %d, %w", status, cmp.Or(err, errNoCode))
	}
	r.digits.Store(int64(len(code)))
	return code, nil
}

func (r *run) attack(ctx context.Context) error {
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, r.Workers)
	for w := range r.Workers {
		all.Go(func() {
			for i := next.Add(1); i <= int64(r.Guesses) && errs[w] == nil; i = next.Add(1) {
				errs[w] = r.guess(ctx, int(i))
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// guess tries a random code, of the length of new codes or of old ones. Three in four
// come through the proxy from one of many addresses, with a forged story before what the
// proxy says; the others come past it, with a forged header alone.
func (r *run) guess(ctx context.Context, i int) error {
	digits := []int64{usualDigits, r.digits.Load()}[i%2]
	code := fmt.Sprintf("%0*d", digits, rand.Int64N(pow10(digits)))                     //nolint:gosec // any guess will do
	story := fmt.Sprintf("10.%d.%d.%d", rand.IntN(256), rand.IntN(256), rand.IntN(256)) //nolint:gosec // any address will do
	c, forwarded := r.strangers[i%len(r.strangers)], story
	if i%4 != 0 {
		n := rand.IntN(r.Networks) //nolint:gosec // any network will do
		c, forwarded = r.proxy, fmt.Sprintf("%s, 100.%d.%d.%d", story, 64+n>>8, n&255, 1+i%10)
	}
	status, _, err := r.post(ctx, c, "api/verify", r.DeviceKey, forwarded, `{"code":"`+code+`"}`)
	if err == nil {
		r.statuses[status].Add(1)
	}
	return err
}

func pow10(n int64) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}

// behave lets honest phones verify codes until behaving ends: every other one from the
// one address of a campus, the rest each from an address of its own.
func (r *run) behave(ctx, behaving context.Context) (Phones, error) {
	p := Phones{Lengths: map[int]int{}}
	tick := time.NewTicker(r.Pause)
	defer tick.Stop()
	for i := 0; ; i++ {
		code, err := r.issue(ctx, i)
		if err != nil {
			return p, err
		}
		p.Lengths[len(code)]++
		address := "192.0.2.1"
		if i%2 == 1 {
			address = fmt.Sprintf("198.%d.%d.1", 18+i>>8&1, i&255)
		}
		began := time.Now()
		status, _, err := r.post(ctx, r.proxy, "api/verify", r.DeviceKey, address, `{"code":"`+code+`"}`)
		if err != nil {
			return p, err
		}
		p.Took = append(p.Took, time.Since(began))
		if status == http.StatusOK {
			p.Served++
		} else {
			p.Refused++
		}
		select {
		case <-tick.C:
		case <-behaving.Done():
			return p, nil
		}
	}
}
