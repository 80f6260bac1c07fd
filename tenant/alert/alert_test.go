package alert_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/alert"
	"carillon/tenant/key"
	"carillon/tenant/mail"
	"carillon/tenant/outbound"
	"carillon/tenant/stats"
	"carillon/tenant/tenanttest"
)

var (
	admin  = authz.Subject{Kind: authz.Person, ID: "77aa", Name: "Robin", Roles: []authz.Role{authz.Administrator}}
	reader = authz.Subject{Kind: authz.Person, ID: "88bb", Name: "Sam", Roles: []authz.Role{authz.Auditor}}
)

const secret = "a secret of some length"

// post is a mail server that can be broken.
type post struct {
	mu      sync.Mutex
	fault   error
	letters []mail.Letter
}

func (p *post) Send(_ context.Context, l mail.Letter) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == nil {
		p.letters = append(p.letters, l)
	}
	return p.fault
}

// hook is a receiver that can be broken.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	bodies []string
	signed []string
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{status: http.StatusNoContent}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.bodies, h.signed = append(h.bodies, string(text)), append(h.signed, r.Header.Get(alert.SignatureHeader))
		w.WriteHeader(h.status)
	}))
	t.Cleanup(h.Close)
	return h
}

type fixture struct {
	*tenanttest.World
	north, south *tenant.Tenant
	staff        *alert.Staff
	service      *alert.Service
	post         *post
	hook         *hook
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{World: w, north: w.Create("north"), south: w.Create("south"), post: &post{}, hook: newHook(t)}
	w.SetNow(w.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour))
	network := outbound.New(true, 443)
	f.staff = alert.NewStaff(w.Portal, authz.NewPolicies(nil), key.NewRing(w.Portal, w.Root), network, w.Now)
	f.service = alert.New(alert.Config{
		DB: w.Jobs, Directory: tenant.NewDirectory(w.Jobs), Figures: stats.New(w.Jobs, w.Now), Keys: key.NewRing(w.Jobs, w.Root),
		Mail: f.post, Hooks: outbound.NewFetcher(network), BaseURL: "https://carillon.example", Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
	return f
}

func (f *fixture) add(t *testing.T, terms alert.Terms) {
	t.Helper()
	if err := f.staff.Add(t.Context(), f.north, admin, terms); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) turn(t *testing.T) {
	t.Helper()
	for _, of := range []*tenant.Tenant{f.north, f.south} {
		if err := f.service.Turn(t.Context(), of.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// issue makes codes of a moment, as rows.
func (f *fixture) issue(t *testing.T, codes int) {
	t.Helper()
	for range codes {
		id := uuid.New()
		_, err := f.Database.Super().ExecContext(t.Context(), `
insert into verification_code (tenant_id, code_id, short_mac, long_mac, test_type, issued_at, expires_at, long_expires_at, issuer_kind, issuer_id)
values ($1, $2, sha512($3::bytea), sha512($4::bytea), 'confirmed', $5, $5, $5, 'system', '')`, f.north.ID, id, id[:], append(id[:], 1), f.Now())
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A day beyond a bound is told once to each, and to nobody of another tenant.
func TestADayIsToldOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.add(t, alert.Terms{Figure: alert.IssuedAbove, Threshold: 2, Emails: []string{"a@north.example", "b@north.example"}, Webhook: f.hook.URL, Secret: secret})
	f.add(t, alert.Terms{Figure: alert.IssuedAbove, Threshold: 3, Emails: []string{"a@north.example"}})
	f.issue(t, 3)
	f.turn(t)
	if n := len(f.post.letters); n != 0 {
		t.Errorf("before the day is over there are %d letters", n)
	}
	f.Advance(14 * time.Hour)
	for range 3 {
		f.turn(t)
	}
	if n := len(f.post.letters); n != 2 || !strings.Contains(f.post.letters[0].Text, "3 codes were issued, more than 2") {
		t.Errorf("%d letters, want one for each address: %+v", n, f.post.letters)
	}
	if n := len(f.hook.bodies); n != 1 {
		t.Fatalf("%d calls, want one", n)
	}
	if want := alert.Sign([]byte(secret), []byte(f.hook.bodies[0]), f.Now()); f.hook.signed[0] != want {
		t.Errorf("signature %q, want %q", f.hook.signed[0], want)
	}
	if forged := alert.Sign([]byte("another secret!"), []byte(f.hook.bodies[0]), f.Now()); f.hook.signed[0] == forged {
		t.Error("another secret makes the same signature")
	}
	list, notices, err := f.staff.Board(t.Context(), f.south, reader)
	if err != nil || len(list)+len(notices) != 0 {
		t.Errorf("the other tenant sees %v %v %v", list, notices, err)
	}
	if _, notices, err = f.staff.Board(t.Context(), f.north, reader); err != nil || len(notices) != 3 {
		t.Errorf("%d notices, %v", len(notices), err)
	}
}

// Several processes at once raise one alarm.
func TestProcessesRaiseOneAlarm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.add(t, alert.Terms{Figure: alert.IssuedBelow, Threshold: 1, Emails: []string{"a@north.example"}})
	f.Advance(14 * time.Hour)
	var at sync.WaitGroup
	for range 4 {
		at.Go(func() {
			if err := f.service.Turn(t.Context(), f.north.ID); err != nil {
				t.Error(err)
			}
		})
	}
	at.Wait()
	if _, notices, err := f.staff.Board(t.Context(), f.north, reader); err != nil || len(notices) != 1 {
		t.Errorf("%d notices, %v", len(notices), err)
	}
}

// What fails is tried again until it is taken, without a second one for those who were told,
// and is given up after a day.
func TestFaultsOfReceivers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.add(t, alert.Terms{Figure: alert.IssuedBelow, Threshold: 1, Emails: []string{"a@north.example"}, Webhook: f.hook.URL, Secret: secret})
	f.Advance(14 * time.Hour)
	f.post.fault, f.hook.status = mail.ErrUnavailable, http.StatusInternalServerError
	f.turn(t)
	f.turn(t) // too early for another try
	if len(f.hook.bodies) != 1 {
		t.Errorf("%d calls", len(f.hook.bodies))
	}
	f.post.fault = nil
	f.Advance(time.Minute)
	f.turn(t)
	if len(f.post.letters) != 1 || len(f.hook.bodies) != 2 || f.hook.bodies[0] != f.hook.bodies[1] {
		t.Errorf("%d letters, calls %q", len(f.post.letters), f.hook.bodies)
	}
	for range 30 {
		f.Advance(time.Hour)
		f.turn(t)
	}
	_, notices, err := f.staff.Board(t.Context(), f.north, reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notices {
		if n.Day.Day() == notices[len(notices)-1].Day.Day() && n.Due != nil {
			t.Errorf("after a day %s is still tried: %+v", n.Channel, n)
		}
	}
	if len(f.post.letters) != 2 { // one for each of two days
		t.Errorf("%d letters", len(f.post.letters))
	}
}

func TestRulesAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	good := alert.Terms{Figure: alert.IssuedAbove, Threshold: 2, Emails: []string{"a@north.example"}}
	for name, c := range map[string]struct {
		by     authz.Subject
		change func(*alert.Terms)
		want   error
	}{
		"another role":      {reader, func(*alert.Terms) {}, authz.ErrForbidden},
		"no figure":         {admin, func(x *alert.Terms) { x.Figure = "x" }, alert.ErrFigure},
		"negative":          {admin, func(x *alert.Terms) { x.Threshold = -1 }, alert.ErrThreshold},
		"too many percent":  {admin, func(x *alert.Terms) { x.Figure, x.Threshold = alert.ClaimedBelow, 101 }, alert.ErrThreshold},
		"no address":        {admin, func(x *alert.Terms) { x.Emails = []string{"x y"} }, alert.ErrEmails},
		"nobody":            {admin, func(x *alert.Terms) { x.Emails = nil }, alert.ErrNobody},
		"not encrypted":     {admin, func(x *alert.Terms) { x.Webhook, x.Secret = "http://health.example", secret }, alert.ErrWebhook},
		"a short secret":    {admin, func(x *alert.Terms) { x.Webhook, x.Secret = "https://health.example", "short" }, alert.ErrSecret},
		"a webhook's alone": {admin, func(x *alert.Terms) { x.Emails, x.Webhook, x.Secret = nil, "https://health.example", secret }, nil},
	} {
		terms := good
		c.change(&terms)
		if err := f.staff.Add(t.Context(), f.north, c.by, terms); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	list, _, err := f.staff.Board(t.Context(), f.north, admin)
	if err != nil || len(list) != 1 || strings.Contains(string(list[0].Sealed), secret) {
		t.Fatalf("%+v %v", list, err)
	}
	if err := f.staff.Remove(t.Context(), f.south, admin, list[0].ID); !errors.Is(err, alert.ErrUnknown) {
		t.Errorf("another tenant's: %v", err)
	}
	if err := f.staff.Remove(t.Context(), f.north, reader, list[0].ID); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("another role: %v", err)
	}
	if err := f.staff.Remove(t.Context(), f.north, admin, list[0].ID); err != nil {
		t.Error(err)
	}
}
