package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/api"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/limit"
	"carillon/tenant/stats"
)

// Outside of its own networks a key is an unknown one, whatever address the caller says
// it has; what it did and what it was refused is counted.
func TestKeysHaveNetworks(t *testing.T) {
	t.Parallel()
	ours, err := limit.ParseNetworks([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	f := setUp(t)
	f.start(t, func(_ *fixture, c *api.Config) { c.Proxies = ours })
	networks, err := client.ParseNetworks("192.0.2.0/24, 2001:db8:1::/48")
	if err != nil {
		t.Fatal(err)
	}
	by := authz.Subject{Kind: authz.System, ID: "operator"}
	var text string
	var k client.Key
	err = f.world.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) (err error) {
		text, k, err = client.Make(t.Context(), tx, by, client.Admin, client.Terms{
			Name: "Lab", Networks: networks, Expires: f.world.Now().Add(time.Hour),
		}, f.world.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(at account, key, from string) answer {
		h := jsonWith(key)
		h["X-Forwarded-For"] = from
		return f.ask(t, http.MethodPost, "/t/"+string(at.Slug)+"/api/checkcodestatus", h, "{}")
	}
	unknown := ask(f.north, unknownKey(), "192.0.2.1")
	for _, test := range []struct {
		name string
		at   account
		from string
		want int
	}{
		{"inside", f.north, "192.0.2.9", 404},
		{"inside, by IPv6", f.north, "2001:db8:1::7", 404},
		{"outside", f.north, "192.0.3.9", 401},
		{"a story of an address inside", f.north, "192.0.2.9, 192.0.3.9", 401},
		{"no address", f.north, "", 401},
		{"at another tenant's", f.south, "192.0.2.9", 401},
	} {
		a := ask(test.at, text, test.from)
		if a.StatusCode != test.want {
			t.Errorf("%s: %v, want %d", test.name, a, test.want)
		}
		if test.want == http.StatusUnauthorized && string(a.body) != string(unknown.body) {
			t.Errorf("%s: %s, an unknown key: %s", test.name, a.body, unknown.body)
		}
	}
	f.world.Advance(time.Hour)
	if a := ask(f.north, text, "192.0.2.9"); a.StatusCode != http.StatusUnauthorized || string(a.body) != string(unknown.body) {
		t.Errorf("expired: %v, %s", a, a.body)
	}
	if err := f.counter.Flush(t.Context(), f.world.Issuer); err != nil {
		t.Fatal(err)
	}
	// Two networks fall into one class now and then.
	days, err := stats.New(f.world.Portal, f.world.Now).KeyDays(t.Context(), f.north.Tenant, k.ID)
	if err != nil || len(days) != 1 || days[0].Networks < 1 || days[0].Networks > 2 {
		t.Fatalf("use of the key: %+v, %v", days, err)
	}
	f.wantsUse(t, k.ID, []stats.KeyDay{{
		Answers: []stats.Answers{{Action: "code:read", Status: 404, Requests: 2}},
		Refused: map[string]int64{"outside": 3, "expired": 1}, Networks: days[0].Networks,
	}})
}

func (f *fixture) wantsUse(t *testing.T, key uuid.UUID, want []stats.KeyDay) {
	t.Helper()
	got, err := stats.New(f.world.Portal, f.world.Now).KeyDays(t.Context(), f.north.Tenant, key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].Day = time.Time{}
	}
	if !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
}
