package conformance_test

import (
	"cmp"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/signing"
	"carillon/signing/exportfile/exportfiletest"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/key"
)

// keyServerRules are those of the key server protocol, in its order.
func keyServerRules() []rule {
	return slices.Concat(
		transportRules(), orderRules(), keyFieldRules(), keySetRules(), receiptRules(), idempotencyRules(), voucherRules(), onsetRules(),
		codeServerRules(), tokenRules(), revisionRules(), arrivalRules(), planRules(), exportRules(), downloadRules(), fileRules(),
		uploadChaffRules(), keyStatsRules(), neighborRules(), importRules(), healthRules(),
	)
}

// The rules of the key server have a world of their own: some let days pass.
func TestKeyServerRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range keyServerRules() {
		t.Run("§"+r.section+" "+r.says, func(t *testing.T) { r.check(t, w) })
	}
}

const (
	dayIntervals = 144
	day          = 24 * time.Hour
)

// interval is the 10-minute interval of an instant.
func interval(at time.Time) int32 { return int32(at.Unix() / 600) }

// tek is an exposure key as a phone sends it.
type tek struct {
	text          string // base64 of 16 bytes
	start, period int32
	risk          int32
}

func newTEK(start, period int32) tek {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return tek{text: base64.StdEncoding.EncodeToString(b), start: start, period: period}
}

func (k tek) object() object {
	o := object{"key": k.text, "rollingStartNumber": k.start, "rollingPeriod": k.period}
	if k.risk != 0 {
		o["transmissionRisk"] = k.risk
	}
	return o
}

// bytes are those of the key, in a form that can be compared.
func (k tek) bytes(t *testing.T) [16]byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(k.text)
	if err != nil || len(b) != 16 {
		t.Fatalf("key of %d bytes, %v", len(b), err)
	}
	return [16]byte(b)
}

// midnight is the first interval of the day so many days from today.
func (w *world) midnight(days int) int32 {
	return interval(w.Now().UTC().Truncate(day).AddDate(0, 0, days))
}

// teks are n keys of n whole days, the newest of yesterday.
func (w *world) teks(n int) []tek {
	list := make([]tek, n)
	for i := range list {
		list[i] = newTEK(w.midnight(-1-i), dayIntervals)
	}
	return list
}

// mac is the HMAC of the protocol §2.3 over keys with so many fields each.
func mac(secret []byte, keys []tek, fields int) string {
	sorted := slices.SortedFunc(slices.Values(keys), func(a, b tek) int { return cmp.Compare(a.text, b.text) })
	parts := make([]string, len(sorted))
	for i, k := range sorted {
		parts[i] = fmt.Sprintf("%s.%d.%d", k.text, k.start, k.period)
		if fields == 4 {
			parts[i] += fmt.Sprintf(".%d", k.risk)
		}
	}
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(strings.Join(parts, ",")))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// draft is an upload before it is signed: what its certificate says, and its body.
type draft struct{ head, claims, body object }

// draft is one that the tenant must accept, of symptoms two days ago.
func (w *world) draft(t *testing.T, to account, report string, keys []tek) draft {
	t.Helper()
	secret := make([]byte, 16)
	_, _ = rand.Read(secret)
	list := make([]object, len(keys))
	for i, k := range keys {
		list[i] = k.object()
	}
	now := w.Now().Unix()
	return draft{
		head: object{"alg": "ES256", "typ": "JWT", "kid": w.signer(t, to).KeyID},
		claims: object{
			"iss": to.Settings.Issuer, "aud": to.Settings.Audience, "iat": now - 5, "nbf": now - 5, "exp": now + 900,
			"reportType": report, "symptomOnsetInterval": w.midnight(-2), "tekmac": mac(secret, keys, 4),
		},
		body: object{
			"temporaryExposureKeys": list, "healthAuthorityID": to.HealthAuthorityID,
			"hmacKey": base64.StdEncoding.EncodeToString(secret), "revisionToken": "", "traveler": false, "padding": "x",
		},
	}
}

func (w *world) signer(t *testing.T, of account) key.Signer {
	t.Helper()
	s, err := key.NewRing(w.Device, w.Root).Signer(t.Context(), of.ID, signing.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// jwt signs a head and claims with a tenant's certificate key.
func (w *world) jwt(t *testing.T, by account, head, claims object) string {
	t.Helper()
	return sign(t, w.signer(t, by).Key, head, claims)
}

func sign(t *testing.T, by crypto.Signer, head, claims object) string {
	t.Helper()
	part := func(o object) string {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(head) + "." + part(claims)
	digest := sha256.Sum256([]byte(text))
	der, err := by.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var point struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &point); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 64)
	point.R.FillBytes(raw[:32])
	point.S.FillBytes(raw[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(raw)
}

// signed is the body of a draft with its certificate.
func (w *world) signed(t *testing.T, by account, d draft) object {
	t.Helper()
	return object{"verificationPayload": w.jwt(t, by, d.head, d.claims)}.merge(d.body)
}

// send publishes a body.
func (w *world) send(t *testing.T, to account, body string) answer {
	t.Helper()
	return w.ask(t, http.MethodPost, "/t/"+string(to.Slug)+"/v1/publish", header{"Content-Type": jsonType, "Accept": jsonType}, body)
}

// publish sends keys with a fresh certificate and whatever change does to them.
func (w *world) publish(t *testing.T, to account, report string, keys []tek, change ...func(*draft)) answer {
	t.Helper()
	d := w.draft(t, to, report, keys)
	for _, c := range change {
		c(&d)
	}
	return w.send(t, to, w.signed(t, to, d).String())
}

// with changes a member of the body; nil removes it.
func with(name string, value any) func(*draft) {
	return func(d *draft) {
		if d.body[name] = value; value == nil {
			delete(d.body, name)
		}
	}
}

// claiming changes a claim; nil removes it.
func claiming(name string, value any) func(*draft) {
	return func(d *draft) {
		if d.claims[name] = value; value == nil {
			delete(d.claims, name)
		}
	}
}

// wantReceipt checks an upload that was stored, and returns its revision token.
func wantReceipt(t *testing.T, a answer, inserted int) (token string) {
	t.Helper()
	if a.StatusCode != http.StatusOK || a.text("error") != "" || a.number("insertedExposures") != int64(inserted) {
		t.Fatalf("%v, want %d inserted", a, inserted)
	}
	wantForm(t, a)
	return a.text("revisionToken")
}

// wantUploadRefusal checks a refused upload: code, and the text or its beginning, if it
// ends in ….
func wantUploadRefusal(t *testing.T, a answer, status int, code, text string) {
	t.Helper()
	if a.StatusCode != status || a.text("code") != code || a.text("errorCode") != code {
		t.Errorf("%v, want %d %q", a, status, code)
		return
	}
	if start, open := strings.CutSuffix(text, "…"); !strings.HasPrefix(a.text("error"), start) || !open && a.text("error") != text {
		t.Errorf("error is %q, want %q", a.text("error"), text)
	}
	wantForm(t, a)
}

// wantForm checks what every answer to an upload has (§1.1, §1.6).
func wantForm(t *testing.T, a answer) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(a.text("padding"))
	if err != nil || len(raw) < 1024 || len(raw) > 2047 {
		t.Errorf("padding of %d bytes, %v", len(raw), err)
	}
	if a.Header.Get("Content-Type") != jsonType || a.Header.Get("X-Api-Version") != "v1" {
		t.Errorf("headers %v", a.Header)
	}
}

// export lets time pass in steps of an hour, with the export job in each, for a tenant.
func (w *world) export(t *testing.T, of account, hours int) {
	t.Helper()
	w.exportAll(t, hours, of)
}

func (w *world) exportAll(t *testing.T, hours int, all ...account) {
	t.Helper()
	s := export.New(export.Config{
		DB: w.Jobs, Keys: key.NewRing(w.Jobs, w.Root), Directory: tenant.NewDirectory(w.Jobs),
		Store: w.config.Files, Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
	for range hours {
		w.Advance(time.Hour)
		for _, of := range all {
			if err := s.Turn(t.Context(), of.ID); err != nil {
				t.Fatalf("export: %v", err)
			}
		}
	}
}

// exported is a file as phones get it.
type exported struct {
	name string
	answer
	*exportfiletest.File
}

// index is the list of a tenant's files.
func (w *world) index(t *testing.T, of account) answer {
	t.Helper()
	return w.ask(t, http.MethodGet, "/t/"+string(of.Slug)+"/exports/index.txt", nil, "")
}

// files downloads all that a tenant's index names; every file carries the tenant's
// signature, by a reader that shares no code with the writer.
func (w *world) files(t *testing.T, of account) []exported {
	t.Helper()
	public, err := key.NewRing(w.Jobs, w.Root).Public(t.Context(), of.ID, signing.Export)
	if err != nil || len(public) == 0 {
		t.Fatalf("%d export keys, %v", len(public), err)
	}
	var list []exported
	for name := range strings.FieldsSeq(string(w.index(t, of).body)) {
		a := w.ask(t, http.MethodGet, "/t/"+string(of.Slug)+"/exports/"+name, nil, "")
		f, err := exportfiletest.Decode(a.body)
		if a.StatusCode != http.StatusOK || err != nil {
			t.Fatalf("%s: %s, %v", name, a.Status, err)
		}
		if err := f.Verify(public[0].KeyID, public[0].Label, public[0].Key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		list = append(list, exported{name, a, f})
	}
	return list
}

// find returns the files that have a key as new, and as revised.
func find(t *testing.T, k tek, among []exported) (fresh, revised []exportfiletest.Key, in []exported) {
	t.Helper()
	for _, f := range among {
		for _, e := range f.Keys {
			if e.Data == k.bytes(t) {
				fresh, in = append(fresh, e), append(in, f)
			}
		}
		for _, e := range f.Revised {
			if e.Data == k.bytes(t) {
				revised = append(revised, e)
			}
		}
	}
	return fresh, revised, in
}

// once is the one entry of a key among the new keys of all files.
func (w *world) once(t *testing.T, of account, k tek) exportfiletest.Key {
	t.Helper()
	fresh, _, _ := find(t, k, w.files(t, of))
	if len(fresh) != 1 {
		t.Fatalf("the key is in %d files", len(fresh))
	}
	return fresh[0]
}

// valued is what a field says; -99 stands for one that is not there.
func valued(n *int32) int32 {
	if n == nil {
		return -99
	}
	return *n
}
