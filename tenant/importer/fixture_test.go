package importer

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/authz"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/exposure/exposuretest"
	"carillon/tenant/outbound"
	"carillon/tenant/tenanttest"
)

var person = authz.Subject{Kind: authz.Person, ID: "id", Name: "Robin"}

// partner is an outside key server, whose files a test writes.
type partner struct {
	url    string
	signer exportfile.Signer

	mu      sync.Mutex
	order   []string                    // guarded by mu, as the rest
	objects map[string][]byte           // of the index's names
	answers map[string]http.HandlerFunc // instead of an object, by path
	asked   map[string]int
}

func newPartner(tb testing.TB) *partner {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	p := &partner{
		signer:  exportfile.Signer{KeyID: "302", KeyVersion: "v1", Key: key},
		objects: map[string][]byte{}, answers: map[string]http.HandlerFunc{}, asked: map[string]int{},
	}
	s := httptest.NewServer(p)
	tb.Cleanup(s.Close)
	p.url = s.URL
	return p
}

func (p *partner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	name := strings.TrimPrefix(r.URL.Path, "/exports/")
	p.asked[name]++
	answer, body, order := p.answers[name], p.objects[name], strings.Join(p.order, "\n")
	p.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case name == "index.txt":
		_, _ = w.Write([]byte(order))
	case body != nil:
		_, _ = w.Write(body)
	default:
		http.NotFound(w, r)
	}
}

// publish puts a file into the index, or other bytes under a name that is there.
func (p *partner) publish(name string, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.objects[name] == nil {
		p.order = append(p.order, name)
	}
	p.objects[name] = body
}

func (p *partner) unlist(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order = slices.DeleteFunc(p.order, func(other string) bool { return other == name })
}

// answer makes a path answer otherwise; nil ends that.
func (p *partner) answer(name string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[name] = h
}

func (p *partner) askedFor(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[name]
}

func (p *partner) trusted(tb testing.TB) []exportfile.TrustedKey {
	tb.Helper()
	public, ok := p.signer.Key.Public().(*ecdsa.PublicKey)
	if !ok {
		tb.Fatal("not an ECDSA key")
	}
	return []exportfile.TrustedKey{{KeyID: p.signer.KeyID, KeyVersion: p.signer.KeyVersion, Key: public}}
}

// file makes a signed file. raw are further entries of export.bin.
func (p *partner) file(tb testing.TB, keys, revised []exportfile.Key, raw ...byte) []byte {
	tb.Helper()
	f := exportfile.File{Start: tenanttest.Start.Truncate(time.Hour), End: tenanttest.Start.Truncate(time.Hour).Add(time.Hour), Region: "CA", Keys: keys, Revised: revised}
	signers := []exportfile.Signer{p.signer}
	bin, err := exportfile.EncodeBin(f, signers)
	if err != nil {
		tb.Fatal(err)
	}
	bin = append(bin, raw...)
	sig, err := exportfile.EncodeSig(bin, signers)
	if err != nil {
		tb.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i, body := range [][]byte{bin, sig} {
		w, err := z.Create([]string{"export.bin", "export.sig"}[i])
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			tb.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// newKey is one of yesterday, of a confirmed case.
func newKey(change ...func(*exportfile.Key)) exportfile.Key {
	today := exposuretest.Interval(tenanttest.Start.Truncate(24 * time.Hour))
	k := exportfile.Key{
		TransmissionRisk: 3, RollingStart: today - 144, RollingPeriod: 144,
		ReportType: exportfile.Confirmed, DaysSinceOnset: 1, HasOnset: true,
	}
	rand.Read(k.Data[:])
	for _, c := range change {
		c(&k)
	}
	return k
}

func newKeys(n int) []exportfile.Key {
	keys := make([]exportfile.Key, n)
	for i := range keys {
		keys[i] = newKey()
	}
	return keys
}

// like is a revision of a key.
func like(k exportfile.Key, to exportfile.ReportType) exportfile.Key {
	k.ReportType, k.TransmissionRisk = to, 0
	return k
}

type fixture struct {
	world        *tenanttest.World
	north, south *tenant.Tenant
	partner      *partner
	fetcher      *outbound.Fetcher
	service      *Service
}

const source1 = "partner"

func setUp(tb testing.TB) *fixture {
	tb.Helper()
	w := tenanttest.New(tb)
	f := &fixture{
		world: w, north: w.Create("north"), south: w.Create("south"), partner: newPartner(tb),
		fetcher: outbound.NewFetcher(outbound.New(true)),
	}
	f.service = f.newService()
	f.mustAdd(tb, f.spec(tb))
	return f
}

func (f *fixture) newService() *Service {
	return New(Config{
		DB: f.world.Jobs, Directory: tenant.NewDirectory(f.world.Jobs), Fetcher: f.fetcher,
		Log: slog.New(slog.DiscardHandler), Now: f.world.Now,
	})
}

func (f *fixture) spec(tb testing.TB) Spec {
	tb.Helper()
	return Spec{Name: source1, Index: f.partner.url + "/exports/index.txt", Region: "ca", Keys: f.partner.trusted(tb)}
}

func (f *fixture) add(tb testing.TB, s Spec) error {
	tb.Helper()
	return f.world.Operator.In(tb.Context(), f.north.ID, func(tx *tenant.Tx) error {
		return Add(tb.Context(), tx, f.fetcher, person, s, f.world.Now())
	})
}

func (f *fixture) mustAdd(tb testing.TB, s Spec) {
	tb.Helper()
	if err := f.add(tb, s); err != nil {
		tb.Fatalf("add: %v", err)
	}
}

// turn is one that must succeed, whatever the partner does.
func (f *fixture) turn(tb testing.TB) {
	tb.Helper()
	if err := f.service.Turn(tb.Context(), f.north.ID); err != nil {
		tb.Fatalf("turn: %v", err)
	}
}

func (f *fixture) entry(tb testing.TB) Entry {
	tb.Helper()
	var list []Entry
	err := f.world.Operator.In(tb.Context(), f.north.ID, func(tx *tenant.Tx) (err error) {
		list, err = List(tb.Context(), tx)
		return err
	})
	if err != nil || len(list) == 0 {
		tb.Fatalf("%d imports are listed, %v", len(list), err)
	}
	return list[0]
}

// of is what became of a file.
func (f *fixture) of(tb testing.TB, name string) File {
	tb.Helper()
	var files []File
	err := f.world.Operator.In(tb.Context(), f.north.ID, func(tx *tenant.Tx) (err error) {
		files, _, err = Report(tb.Context(), tx, source1)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	i := slices.IndexFunc(files, func(one File) bool { return one.Name == name })
	if i < 0 {
		tb.Fatalf("nothing is known of %s", name)
	}
	return files[i]
}

// counts are those of a file, as "state: stored revised known quarantined".
func (f *fixture) counts(tb testing.TB, name string) string {
	tb.Helper()
	one := f.of(tb, name)
	return fmt.Sprintf("%s: %d %d %d %d", one.State, one.Stored, one.Revised, one.Known, one.Quarantined)
}

// wantFile checks a file's counts.
func (f *fixture) wantFile(tb testing.TB, name, want string) {
	tb.Helper()
	if got := f.counts(tb, name); got != want {
		tb.Errorf("%s: %s, want %s", name, got, want)
	}
}

// reasons are why the keys of a file are in quarantine, as "place reason".
func (f *fixture) reasons(tb testing.TB, name string) (list []string) {
	tb.Helper()
	err := f.world.Operator.In(tb.Context(), f.north.ID, func(tx *tenant.Tx) error {
		bad, err := Quarantine(tb.Context(), tx, source1, name)
		for _, b := range bad {
			list = append(list, fmt.Sprintf("%d %v %s", b.Position, b.Revised, b.Reason))
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

const rowsSQL = `
  select concat_ws(' ', rolling_start - $2, rolling_period, transmission_risk, report_type,
                   coalesce(days_since_onset::text, '-'), case when traveler then 'traveler' end, region,
                   to_char(created_at at time zone 'UTC', 'DD HH24:MI'), coalesce(import_no::text, 'own'),
                   revised_type, to_char(revised_at at time zone 'UTC', 'DD HH24:MI'), revised_days, revised_risk)
    from exposure
   where tenant_id = $1
     and tek = $3`

// row is a stored key; its start is counted from today's.
func (f *fixture) row(tb testing.TB, k exportfile.Key) string {
	tb.Helper()
	var text string
	today := exposuretest.Interval(tenanttest.Start.Truncate(24 * time.Hour))
	err := f.world.Database.Super().QueryRowContext(tb.Context(), rowsSQL, f.north.ID, today, k.Data[:]).Scan(&text)
	if err != nil {
		tb.Errorf("stored key: %v", err)
	}
	return text
}

func (f *fixture) stored(tb testing.TB) (n int) {
	tb.Helper()
	err := f.world.Database.Super().QueryRowContext(tb.Context(), `select count(*) from exposure where tenant_id = $1`, f.north.ID).Scan(&n)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func (f *fixture) exec(tb testing.TB, query string, args ...any) {
	tb.Helper()
	if _, err := f.world.Database.Super().ExecContext(tb.Context(), query, args...); err != nil {
		tb.Fatal(err)
	}
}
