package conformance_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/authz"
	"carillon/deploy/service"
	"carillon/tenant/key"
	"carillon/tenant/limit"
	"carillon/tenant/message/provider"
	"carillon/tenant/message/provider/providertest"
)

// canaries are what nobody may find again after a run: of people, and of secrets.
type canaries map[string]string

// spellings are the ways in which a value may have been written down.
func spellings(value string) []string {
	return []string{
		value, hex.EncodeToString([]byte(value)),
		base64.RawStdEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)),
	}
}

// A whole run, with everything logged: no telephone number, code, token, key, nonce or
// address is in a log, a metric or a table.
func TestNothingPersonalIsKept(t *testing.T) {
	t.Parallel()
	log := &locked{}
	w := newWorld(t, func(c *service.Config) {
		c.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Proxies, c.Loopback = limit.Proxies{netip.MustParsePrefix("127.0.0.0/8")}, true
	})
	operations := w.run(t)
	seen := w.wholeRun(t)
	for name, value := range seen {
		if len(value) < 6 {
			t.Fatalf("canary %s is too short to be searched for: %q", name, value)
		}
	}
	w.seek(t, seen, "the log", log.String())
	w.seek(t, seen, "the metrics", operations())
	w.seekTables(t, seen)
	for _, logged := range []string{"/api/verify", `"provider":"webhook 1"`} {
		if !strings.Contains(log.String(), logged) {
			t.Errorf("the log does not have %s: the search proves nothing", logged)
		}
	}
}

// locked is a buffer for many writers.
type locked struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// run runs the service with its background work, and returns what reads its metrics.
func (w *world) run(t *testing.T) (metrics func() string) {
	t.Helper()
	s, err := service.Open(t.Context(), w.config)
	if err != nil {
		t.Fatal(err)
	}
	world, operations := listen(t), listen(t)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, world, operations) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		_ = s.Close()
	})
	w.base = "http://" + world.Addr().String()
	return func() string {
		response, err := http.Get("http://" + operations.Addr().String() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || len(text) == 0 {
			t.Fatalf("metrics: %d bytes, %v", len(text), err)
		}
		return string(text)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wholeRun makes one of each request, with a caller's address, and returns what it used.
func (w *world) wholeRun(t *testing.T) canaries {
	t.Helper()
	seen := canaries{
		"device key": w.open.device, "admin key": w.open.admin, "statistics key": w.open.stats,
		"address": "203.0.113.177", "telephone number": "2065550143", "reporting number": "2065550144",
	}
	w.forwarded = seen["address"]
	issued, long := w.longCode(t, object{"phone": "+1" + seen["telephone number"], "symptomDate": w.day(-1)})
	seen["short code"], seen["long code"] = issued.text("code"), long
	token := w.must(t, w.open, "/api/verify", object{"code": long}).text("token")
	seen["token"] = token
	seen["HMAC"] = someHMAC(0x77)
	cert := w.must(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": seen["HMAC"]}).text("certificate")
	seen["certificate"] = cert[strings.LastIndexByte(cert, '.')+1:]
	report := reportBody().merge(object{"phone": "+1" + seen["reporting number"]})
	seen["nonce"] = report["nonce"].(string)
	w.must(t, w.open, "/api/user-report", report)
	seen["reported code"] = w.reportedCode(t)
	w.must(t, w.open, "/api/verify", object{"code": seen["reported code"], "nonce": seen["nonce"]})
	seen["guess"] = "73519428"
	w.post(t, w.open, "/api/verify", object{"code": seen["guess"]})
	w.post(t, w.strict, "/api/issue", object{"testType": "confirmed", "phone": "+1" + seen["telephone number"]})
	w.must(t, w.open, "/api/checkcodestatus", object{"uuid": issued.text("uuid")})
	w.runUpload(t, seen)
	w.runBatch(t, w.open, seen, "batch number", "2065550145")
	w.runLabFeed(t, seen)
	w.seeMessages(t, seen, w.smsTexts, "batch number", "laboratory number")
	w.runWebhook(t, seen)
	return seen
}

// runUpload publishes keys, twice, and asks in vain with a token that is not theirs.
func (w *world) runUpload(t *testing.T, seen canaries) {
	t.Helper()
	keys := w.teks(2)
	d := w.draft(t, w.open, "confirmed", keys)
	body := w.signed(t, w.open, d)
	seen["exposure key"], seen["phone's secret"] = keys[0].text, d.body["hmacKey"].(string)
	vouched := body["verificationPayload"].(string)
	seen["upload's certificate"] = vouched[strings.LastIndexByte(vouched, '.')+1:]
	seen["revision token"] = wantReceipt(t, w.send(t, w.open, body.String()), 2)
	w.publish(t, w.open, "likely", keys, with("revisionToken", seen["revision token"]))
	w.publish(t, w.other, "confirmed", keys, with("revisionToken", seen["revision token"]))
}

// runBatch hands in an account's batch whose code goes to a number, a canary of that name.
func (w *world) runBatch(t *testing.T, of account, seen canaries, name, number string) {
	t.Helper()
	seen[name] = number
	a := w.ask(t, http.MethodPost, "/t/"+string(of.Slug)+"/api/codes/batches",
		header{"Idempotency-Key": "canary", "Content-Type": jsonType, "X-API-Key": of.admin},
		object{"codes": []object{{"testType": "confirmed", "phone": "+1" + number}, {"testType": "x", "phone": "x"}}}.String())
	if a.StatusCode/100 != 2 {
		t.Fatalf("batch: %v", a)
	}
}

// runLabFeed hands in a document of two people, of whom one has no number.
func (w *world) runLabFeed(t *testing.T, seen canaries) {
	t.Helper()
	seen["laboratory number"], seen["name"], seen["accession"] = "2065550146", "Winterbourne", "ACC-2026-777"
	a := w.ask(t, http.MethodPost, "/t/open/api/lab-feed", header{"Content-Type": "text/csv", "X-API-Key": w.open.admin},
		"test_code,result,phone,accession,collected,patient_name\n"+
			"94500-6,260373001,+1"+seen["laboratory number"]+","+seen["accession"]+","+w.day(-1)+",\""+seen["name"]+", Ivy\"\n"+
			"94500-6,260373001,,"+seen["accession"]+"x,"+w.day(-1)+",\""+seen["name"]+", Max\"\n")
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("laboratory: %v", a)
	}
}

// runWebhook has the messages of a tenant sent by a system of its own: one at once, one
// of a batch, and one that the system refuses in words that have the number.
func (w *world) runWebhook(t *testing.T, seen canaries) {
	t.Helper()
	hook := providertest.New(t)
	hooked := w.account(t, "hooked", map[string]string{"require-date": "off", "sms": "on", "batch-issue": "on"})
	err := provider.Set(t.Context(), w.Operator, key.NewRing(w.Operator, w.Root), provider.NewNetworks(true), hooked.ID,
		authz.Subject{Kind: authz.System, ID: "test"}, 1, provider.Settings{
			Kind: provider.Webhook, Secret: providertest.Secret,
			Options: json.RawMessage(object{"url": hook.URL + "/hook"}.String()),
		}, w.Now())
	if err != nil {
		t.Fatal(err)
	}
	seen["webhook's secret"] = providertest.Secret
	seen["webhook number"], seen["refused number"] = "2065550147", "2065550148"
	seen["webhook's short code"] = w.issue(t, hooked, object{"phone": "+1" + seen["webhook number"]}).text("code")
	w.runBatch(t, hooked, seen, "webhook batch's number", "2065550149")
	w.seeMessages(t, seen, func() map[string]string {
		texts := map[string]string{}
		for _, m := range hook.Taken() {
			texts[m.To] = m.Body
		}
		return texts
	}, "webhook number", "webhook batch's number")
	hook.Behave(providertest.Refuse)
	wantRefusal(t, w.post(t, hooked, "/api/issue", object{"testType": "confirmed", "phone": "+1" + seen["refused number"]}),
		refusal{status: bad, code: "sms_failure", text: "failed to send sms"})
}

// smsTexts are the texts of the service's own sender, by number.
func (w *world) smsTexts() map[string]string {
	texts := map[string]string{}
	for _, m := range w.sms.Delivered() {
		texts[m.To] = m.Body
	}
	return texts
}

// seeMessages waits until texts have gone out to these numbers, and adds their codes.
func (w *world) seeMessages(t *testing.T, seen canaries, texts func() map[string]string, numbers ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, number := range numbers {
		for seen["code to the "+number] == "" {
			if text, sent := texts()["+1"+seen[number]]; sent {
				seen["code to the "+number] = w.codeIn(t, text)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("no message to the %s", number)
			}
		}
	}
}

func (w *world) seek(t *testing.T, seen canaries, where, text string) {
	t.Helper()
	text = strings.ToLower(text)
	for name, value := range seen {
		for _, s := range spellings(value) {
			if strings.Contains(text, strings.ToLower(s)) {
				t.Errorf("%s has the %s", where, name)
			}
		}
	}
}

// seekTables searches every row of every table, as its owner sees it.
func (w *world) seekTables(t *testing.T, seen canaries) {
	t.Helper()
	db := w.Database.Super()
	var tables []string
	if err := db.QueryRowContext(t.Context(), `
select json_agg(quote_ident(schemaname) || '.' || quote_ident(tablename))
  from pg_tables where schemaname not in ('pg_catalog', 'information_schema')`).Scan(scanJSON{&tables}); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, table := range tables {
		var content []string
		if err := db.QueryRowContext(t.Context(), fmt.Sprintf(`select coalesce(json_agg(r::text), '[]') from %s r`, table)).Scan(scanJSON{&content}); err != nil {
			t.Fatal(err)
		}
		rows += len(content)
		w.seek(t, seen, "table "+table, strings.Join(content, "\n"))
	}
	if len(tables) < 15 || rows < 50 {
		t.Errorf("%d tables with %d rows searched: too few to prove anything", len(tables), rows)
	}
}

// scanJSON scans a JSON column into a value.
type scanJSON struct{ into any }

func (s scanJSON) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok {
		return fmt.Errorf("%T is no JSON", src)
	}
	return json.Unmarshal(b, s.into)
}
