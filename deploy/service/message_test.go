package service

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/provider"
	"carillon/tenant/message/provider/providertest"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
)

// texting is a service whose authorities send text messages, each in its own way: north
// by a provider that reports, south by a webhook, east by the platform's own sender.
type texting struct {
	world              *tenanttest.World
	north, south, east *tenant.Tenant
	provider           *providertest.Server
	service            *Service
}

func newTexting(t *testing.T) *texting {
	t.Helper()
	w := tenanttest.New(t)
	x := &texting{world: w, north: w.Create("north"), south: w.Create("south"), east: w.Create("east"), provider: providertest.New(t)}
	by := authz.Subject{Kind: authz.System, ID: "test"}
	for _, of := range []*tenant.Tenant{x.north, x.south, x.east} {
		err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
			return setting.Change(t.Context(), tx, by, map[string]string{
				"sms": "on", "require-date": "off", "self-report": "on", "test-types": "confirmed,user-report",
			}, w.Now())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for of, s := range map[*tenant.Tenant]provider.Settings{
		x.north: {
			Kind: provider.Twilio, Secret: providertest.Token,
			Options: json.RawMessage(fmt.Sprintf(`{"account":%q,"from":"+15005550006","api":%q}`, providertest.Account, x.provider.URL)),
		},
		x.south: {
			Kind: provider.Webhook, Secret: providertest.Secret,
			Options: json.RawMessage(fmt.Sprintf(`{"url":%q}`, x.provider.URL+"/hook")),
		},
	} {
		err := provider.Set(t.Context(), w.Operator, key.NewRing(w.Operator, w.Root), provider.NewNetworks(true), of.ID, by, 1, s, w.Now())
		if err != nil {
			t.Fatal(err)
		}
	}
	c := config(t, w, Issuer, Report, Jobs)
	c.Sender, c.Loopback, c.NoLimits, c.Now = &messagetest.Sender{}, true, true, w.Now
	x.service = open(t, c)
	return x
}

func (x *texting) ask(t *testing.T, method, target string, h http.Header, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	r.Header = h
	answer := httptest.NewRecorder()
	x.service.Handler().ServeHTTP(answer, r)
	return answer
}

// request asks for a code.
func (x *texting) request(t *testing.T, of *tenant.Tenant, kind client.Kind, path, body string) {
	t.Helper()
	a := x.ask(t, http.MethodPost, "/t/"+string(of.Slug)+path,
		http.Header{"Content-Type": {"application/json"}, "X-Api-Key": {x.world.Key(of, kind)}}, body)
	if a.Code != http.StatusOK || !bytes.Contains(a.Body.Bytes(), []byte("expiresAt")) {
		t.Fatalf("%s%s: %d %s", of.Slug, path, a.Code, a.Body)
	}
}

// issue has a code sent to each of the numbers.
func (x *texting) issue(t *testing.T, of *tenant.Tenant, numbers ...string) {
	t.Helper()
	for _, n := range numbers {
		x.request(t, of, client.Admin, "/api/issue", fmt.Sprintf(`{"testType":"confirmed","phone":%q}`, n))
	}
}

// receipt has the provider report what became of the message to a number.
func (x *texting) receipt(t *testing.T, number, state string) {
	t.Helper()
	for _, m := range x.provider.Taken() {
		if m.To != number || m.StatusCallback == "" {
			continue
		}
		r := m.Receipt(state, 0)
		u, err := url.Parse(r.URL)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Twilio-Signature": {r.Signature}}
		if a := x.ask(t, http.MethodPost, u.RequestURI(), h, r.Form.Encode()); a.Code != http.StatusOK {
			t.Fatalf("receipt: %d %s", a.Code, a.Body)
		}
		return
	}
	t.Fatalf("the provider has no message to %s", number)
}

type funnelStage struct {
	Count  int
	Delays []int `json:"delay_distribution"`
}

// funnel is today's row, after a roll-up, without the stages of phones.
func (x *texting) funnel(t *testing.T, of *tenant.Tenant) map[string]funnelStage {
	t.Helper()
	if err := x.service.statisticsJob(x.world.Jobs).Run(t.Context(), of.ID); err != nil {
		t.Fatal(err)
	}
	a := x.ask(t, http.MethodGet, "/t/"+string(of.Slug)+"/api/stats/funnel.json", http.Header{"X-Api-Key": {x.world.Key(of, client.Stats)}}, "")
	var report struct {
		Statistics []struct{ Data map[string]funnelStage }
	}
	if err := json.Unmarshal(a.Body.Bytes(), &report); err != nil || a.Code != http.StatusOK || len(report.Statistics) == 0 {
		t.Fatalf("funnel: %d %.200s, %v", a.Code, a.Body, err)
	}
	today := report.Statistics[0].Data
	return map[string]funnelStage{"issued": today["issued"], "sent": today["sent"], "delivered": today["delivered"]}
}

// Messages that went out with the request for their code are in the funnel, whoever sends
// them: as sent at once, as delivered when the provider says so.
func TestFunnelCountsMessagesOfRequests(t *testing.T) {
	t.Parallel()
	x := newTexting(t)
	const arrived, underway, lost, reported = "+12065550101", "+12065550102", "+12065550103", "+12065550104"
	x.issue(t, x.north, arrived, underway, lost)
	x.request(t, x.north, client.Admin, "/api/issue", `{"testType":"confirmed"}`)
	x.request(t, x.north, client.Device, "/api/user-report",
		fmt.Sprintf(`{"phone":%q,"nonce":%q}`, reported, base64.StdEncoding.EncodeToString(make([]byte, 256))))
	x.issue(t, x.south, arrived, lost)
	x.issue(t, x.east, arrived)
	wants := func(when string, of *tenant.Tenant, want map[string]funnelStage) {
		t.Helper()
		if diff := cmp.Diff(want, x.funnel(t, of)); diff != "" {
			t.Errorf("%s, %s (-want +got):\n%s", of.Slug, when, diff)
		}
	}
	wants("at once", x.north, map[string]funnelStage{"issued": {Count: 5}, "sent": {Count: 4}, "delivered": {}})

	x.world.Advance(2 * time.Minute)
	x.receipt(t, arrived, "delivered")
	x.receipt(t, underway, "sent")
	x.receipt(t, lost, "undelivered")
	x.world.Advance(10 * time.Minute)
	x.receipt(t, reported, "delivered")
	wants("after the receipts", x.north, map[string]funnelStage{
		"issued": {Count: 5}, "sent": {Count: 3}, // nobody knows how far the lost one came
		"delivered": {Count: 2, Delays: []int{0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}},
	})
	wants("without receipts", x.south, map[string]funnelStage{"issued": {Count: 2}, "sent": {Count: 2}, "delivered": {}})
	wants("without receipts", x.east, map[string]funnelStage{"issued": {Count: 1}, "sent": {Count: 1}, "delivered": {}})
}
