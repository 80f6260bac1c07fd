package service

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"carillon/deploy/guessrun"
	"carillon/tenant/client"
	"carillon/tenant/guess"
	"carillon/tenant/limit"
	"carillon/tenant/tenanttest"
)

// besiege starts a real service on loopback, and says how it is attacked.
func besiege(tb testing.TB) guessrun.Options {
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
	return guessrun.Options{
		Base: "http://127.0.0.1:" + port + "/t/north/", DeviceKey: w.Key(north, client.Device), AdminKey: w.Key(north, client.Admin),
		Guesses: 8_000, Workers: 16, Networks: 100, Prey: 20, Pause: 200 * time.Millisecond,
	}
}

// Somebody guesses from many addresses, in parallel, with forged headers, against a real
// server: what is looked up stays below the bound, new codes grow, and every honest
// phone is served.
func TestGuessing(t *testing.T) {
	t.Parallel()
	o := besiege(t)
	f, err := guessrun.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	if err := f.Write(&told); err != nil {
		t.Fatal(err)
	}
	t.Log(told.String())
	if !f.Held() || f.Waited == 0 {
		t.Error("the bounds did not hold, or there was nothing to bound")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(guess.LengthAge / 5) // faster, and the rate limit would refuse
	defer tick.Stop()
	for len(issued(t, o)) == 8 { // until the counts are reported and read
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("codes do not grow")
		}
	}
}

// issued is a new code.
func issued(t *testing.T, o guessrun.Options) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.Base+"api/issue", strings.NewReader(`{"testType":"confirmed"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-API-Key", o.AdminKey)
	r.Header.Set("X-Forwarded-For", "203.0.113.77")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct{ Code string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Code == "" {
		t.Fatalf("issue: %s, %v", response.Status, err)
	}
	return answer.Code
}
