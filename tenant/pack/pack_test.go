package pack_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/authorityname"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/onboarding"
	"carillon/tenant/outbound"
	"carillon/tenant/outbound/apple"
	"carillon/tenant/outbound/apple/appletest"
	"carillon/tenant/pack"
	"carillon/tenant/pack/bundle"
	"carillon/tenant/pack/demo"
	"carillon/tenant/pack/enx"
	"carillon/tenant/role"
	"carillon/tenant/tenanttest"
)

// fixture is a tenant with a complete draft, the portal and the process with the keys.
type fixture struct {
	*tenanttest.World
	t       *testing.T
	tenant  *tenant.Tenant
	place   pack.Place
	staff   *pack.Staff
	maker   *pack.Maker
	service *appletest.Service
	region  *appletest.Region
}

var (
	owner = authz.Subject{Kind: authz.Person, ID: "o", Name: "Olga Owner", Roles: []authz.Role{authz.Owner}}
	admin = authz.Subject{Kind: authz.Person, ID: "a", Name: "Ada Administrator", Roles: []authz.Role{authz.Administrator}}
	clerk = authz.Subject{Kind: authz.Person, ID: "c", Name: "Cleo Caseworker", Roles: []authz.Role{authz.Caseworker}}
)

func newFixture(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{World: w, t: t, service: &appletest.Service{}}
	f.tenant = w.Create("north", func(s *onboarding.Spec) { s.ExportPeriod, s.Truncate = 4*time.Hour, time.Hour })
	server := httptest.NewServer(f.service)
	t.Cleanup(server.Close)
	f.place = pack.Place{BaseURL: "https://keys.example", RedirectDomain: "en.example", AppleURL: apple.DefaultURL}
	c, err := apple.New(outbound.New(true), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	f.staff = pack.NewStaff(pack.StaffConfig{
		DB: w.Portal, Keys: key.NewRing(w.Portal, w.Root), Policies: role.NewPolicies(w.Portal), Place: f.place, Push: true, Now: w.Now,
	})
	f.maker = f.newMaker(c)
	f.fill(f.tenant, f.Key(f.tenant, client.Device))
	public, err := key.NewRing(w.Jobs, w.Root).Public(t.Context(), f.tenant.ID, signing.Export)
	if err != nil {
		t.Fatal(err)
	}
	place := enx.PlaceOf(f.tenant.Region)
	f.region = &appletest.Region{Country: place.Country, State: place.State, Authority: f.tenant.Name, Key: public[0].Key, Version: 1}
	f.service.Add(f.region)
	return f
}

func (f *fixture) newMaker(c *apple.Client) *pack.Maker {
	return pack.NewMaker(pack.MakerConfig{
		DB: f.Jobs, Keys: key.NewRing(f.Jobs, f.Root), Directory: tenant.NewDirectory(f.Jobs), Place: f.place, Apple: c, Now: f.Now,
	})
}

// fill saves a complete draft.
func (f *fixture) fill(t *tenant.Tenant, deviceKey string) {
	f.t.Helper()
	err := f.Portal.In(f.t.Context(), t.ID, func(tx *tenant.Tx) error { return demo.Save(f.t.Context(), tx, t, admin, deviceKey, f.Now()) })
	if err != nil {
		f.t.Fatal(err)
	}
}

// change saves one value over what is there.
func (f *fixture) change(s pack.Section, id, value string) {
	f.t.Helper()
	board, err := f.staff.Board(f.t.Context(), f.tenant, admin)
	if err != nil {
		f.t.Fatal(err)
	}
	saved := board.Draft.Saved(s)
	saved.Values[id] = value
	if err := f.staff.Save(f.t.Context(), f.tenant, admin, s, saved.Version, saved.Values); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) turn() {
	f.t.Helper()
	if err := f.maker.Turn(f.t.Context(), f.tenant.ID); err != nil {
		f.t.Fatal(err)
	}
}

// made asks for a pack and has it made.
func (f *fixture) made(signed bool) pack.View {
	f.t.Helper()
	id, err := f.staff.Ask(f.t.Context(), f.tenant, owner, signed)
	if err != nil {
		f.t.Fatal(err)
	}
	f.turn()
	v, err := f.staff.Find(f.t.Context(), f.tenant, owner, id)
	if err != nil || v.State != pack.Made {
		f.t.Fatalf("%+v, %v", v.Pack, err)
	}
	return v
}

func (f *fixture) files(id uuid.UUID) map[string][]byte {
	f.t.Helper()
	body, _, err := f.staff.Body(f.t.Context(), f.tenant, owner, id)
	if err != nil {
		f.t.Fatal(err)
	}
	files, err := bundle.Open(body, 1<<20)
	if err != nil {
		f.t.Fatal(err)
	}
	return files
}

func (f *fixture) actions() (list []string) {
	f.t.Helper()
	rows, err := f.Database.Super().QueryContext(f.t.Context(), `select action from audit_entry where tenant_id = $1 order by entry_no`, f.tenant.ID.String())
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var a string
		if err := rows.Scan(&a); err != nil {
			f.t.Fatal(err)
		}
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	return list
}

func document(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// All that a pack has, and that its parts agree with each other and with the readme.
func TestAPackHasEverything(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	v := f.made(true)
	files := f.files(v.ID)
	for _, name := range []string{
		"README.md", "apple-config.json", "abr-form.csv", "apple-override-staging.json", "apple-override-staging.plist",
		"google-config.json", "translations.csv", "endpoints.json", "export-signing-public-key.pem", "export-signing-public-key.txt",
		"sample-export.zip", "sample-export-expected.txt", "apple-update-request.json", "sms-templates.csv", "test-protocol.md",
		"letter-apple.md", "letter-google.md", "privacy-draft.md", "statistics-note.md", "launch-plan.md",
	} {
		body, found := files[name]
		if !found || len(body) == 0 {
			t.Errorf("there is no %s", name)
		}
		sum := sha256.Sum256(body)
		if name != "README.md" && !strings.Contains(string(files["README.md"]), "| "+name+" |") || name != "README.md" && !strings.Contains(string(files["README.md"]), hex.EncodeToString(sum[:])) {
			t.Errorf("the readme has not the hash of %s", name)
		}
	}
	public, err := signing.ParsePublicPEM(files["export-signing-public-key.pem"])
	if err != nil {
		t.Fatal(err)
	}
	apple := document(t, files["apple-config.json"])
	line, _ := apple["publicKey"].(string)
	if strings.ContainsAny(line, "\n -") || !strings.Contains(string(files["export-signing-public-key.txt"]), line) || !bytes.Contains(files["export-signing-public-key.pem"], []byte(line[:60])) {
		t.Errorf("public key %q", line)
	}
	sum := sha256.Sum256(mustDER(t, line))
	for _, name := range []string{"letter-apple.md", "letter-google.md"} {
		for _, want := range []string{f.tenant.Region, "Health of north", "310", "v1", hex.EncodeToString(sum[:]), line, "2027-01-11"} {
			if !strings.Contains(string(files[name]), want) {
				t.Errorf("%s does not say %q", name, want)
			}
		}
	}
	if plan := string(files["launch-plan.md"]); !strings.Contains(plan, "2027-01-11") || !strings.Contains(plan, "https://health.north-shore.example/notify") {
		t.Errorf("launch plan:\n%s", plan)
	}
	sample, err := exportfile.Verify(files["sample-export.zip"], "310", "v1", public)
	if err != nil || apple["publicKeyVersion"] != "v1" || sample.Region != f.tenant.Region || len(sample.Keys) == 0 {
		t.Errorf("sample of %s: %v", sample.Region, err)
	}
	call := document(t, files["apple-update-request.json"])
	headers, _ := call["headers"].(map[string]any)
	name, _ := headers["X-Apple-verification-data"].(string)
	signature, _ := headers["X-Apple-signature"].(string)
	if got, ok := authorityname.Verify(authorityname.Pair{Name: name, Signature: signature}, public); !ok || got != "Health of north" {
		t.Errorf("signed for %q, %v", got, ok)
	}
	body, _ := call["body"].(map[string]any)
	place := enx.PlaceOf(f.tenant.Region)
	if call["url"] != "https://gateway.icloud.com/enservice/v2/update/app/config" || body["countryCode"] != place.Country || body["state"] != place.State || body["publicKeyVersion"] != 1.0 {
		t.Errorf("call %v %v %v %v", call["url"], body["countryCode"], body["state"], body["publicKeyVersion"])
	}
	rows, err := csv.NewReader(bytes.NewReader(files["sms-templates.csv"])).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][5] == "0" {
		t.Errorf("messages %q, %v", rows, err)
	}
}

// A sandbox is the authority's staging: its pack has an override with a key pair and
// addresses of its own, none of which are the production's.
func TestASandboxHasAPackOfItsOwnForStaging(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	production := f.files(f.made(false).ID)
	f.tenant = f.Create("north-sandbox", func(s *onboarding.Spec) {
		s.Kind, s.Region, s.ExportPeriod, s.Truncate = tenant.Sandbox, "ZZ-N1", 4*time.Hour, time.Hour
	})
	f.fill(f.tenant, f.Key(f.tenant, client.Device))
	staging := f.files(f.made(false).ID)
	override := func(files map[string][]byte) (app, config map[string]any) {
		t.Helper()
		list, _ := document(t, files["apple-override-staging.json"])["appConfigs"].([]any)
		app, _ = list[0].(map[string]any)
		config, _ = app["config"].(map[string]any)
		return app, config
	}
	liveApp, live := override(production)
	app, config := override(staging)
	if app["publicKey"] == liveApp["publicKey"] || app["publicKey"] == "" || !bytes.Contains(staging["export-signing-public-key.txt"], []byte(app["publicKey"].(string))) {
		t.Errorf("the key of staging is %v, that of production %v", app["publicKey"], liveApp["publicKey"])
	}
	for _, key := range []string{"tekLocalDownloadIndexFile", "tekLocalDownloadBasePath", "tekUploadURL", "testVerificationURL", "testVerificationCertificateURL"} {
		if at, _ := config[key].(string); !strings.Contains(at, "/t/north-sandbox/") || at == live[key] {
			t.Errorf("%s of staging is %q", key, at)
		}
	}
	if config["testVerificationAPIKey"] == live["testVerificationAPIKey"] {
		t.Error("staging has production's API key")
	}
	for name, body := range staging {
		if bytes.Contains(body, []byte("/t/north/")) {
			t.Errorf("%s of staging leads to production", name)
		}
	}
}

func mustDER(t *testing.T, line string) []byte {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// The same wish gives the same bytes, whichever process makes it; the readme's date is
// that of the wish.
func TestAPackIsDeterministic(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.made(true)
	body, _, err := f.staff.Body(t.Context(), f.tenant, owner, first.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Database.Super().ExecContext(t.Context(), `update pack set state = 'asked', made_at = null, body = null, sha256 = null where pack_id = $1`, first.ID)
	if err != nil {
		t.Fatal(err)
	}
	f.Advance(time.Hour)
	f.maker = f.newMaker(nil)
	f.turn()
	again, p, err := f.staff.Body(t.Context(), f.tenant, owner, first.ID)
	if err != nil || !bytes.Equal(body, again) {
		t.Errorf("it differs, %v", err)
	}
	if sum := sha256.Sum256(again); !bytes.Equal(sum[:], p.SHA256) {
		t.Error("the hash is of something else")
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := t.Context()
	if _, err := f.staff.Board(ctx, f.tenant, clerk); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a caseworker looks: %v", err)
	}
	if _, err := f.staff.Ask(ctx, f.tenant, admin, true); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("an administrator has it signed: %v", err)
	}
	signed := f.made(true)
	if _, _, err := f.staff.Body(ctx, f.tenant, admin, signed.ID); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("an administrator takes a signed pack: %v", err)
	}
	plain := f.made(false)
	if _, _, err := f.staff.Body(ctx, f.tenant, admin, plain.ID); err != nil {
		t.Error(err)
	}
	if files := f.files(plain.ID); bytes.Contains(files["apple-update-request.json"], []byte("X-Apple-signature")) {
		t.Error("the pack is signed")
	}
	if _, _, err := f.staff.PlanPush(ctx, f.tenant, admin, plain.ID); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("an administrator sends to Apple: %v", err)
	}
	other := f.Create("south")
	if _, err := f.staff.Find(ctx, other, owner, plain.ID); !errors.Is(err, pack.ErrNoPack) {
		t.Errorf("another tenant's: %v", err)
	}
	if _, _, err := f.staff.Body(ctx, other, owner, plain.ID); !errors.Is(err, pack.ErrNoPack) {
		t.Errorf("another tenant's: %v", err)
	}
	if err := f.staff.HandOver(ctx, other, owner, plain.ID, pack.Apple, "Alex"); !errors.Is(err, pack.ErrNoPack) {
		t.Errorf("another tenant's: %v", err)
	}
}

// Two people who save the same step do not overwrite each other; on different steps they
// do not meet.
func TestTwoPeopleLoseNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	links := pack.Section{Step: enx.Links}
	board, err := f.staff.Board(t.Context(), f.tenant, admin)
	if err != nil {
		t.Fatal(err)
	}
	seen := board.Draft.Saved(links)
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() {
			values := map[string]string{"revokedURL": "https://health.example/" + string(rune('a'+i))}
			results[i] = f.staff.Save(t.Context(), f.tenant, admin, links, seen.Version, values)
		})
	}
	wg.Wait()
	saved := 0
	for _, err := range results {
		if err == nil {
			saved++
		} else if !errors.Is(err, pack.ErrChanged) {
			t.Error(err)
		}
	}
	if saved != 1 {
		t.Errorf("%d of 8 have saved", saved)
	}
	if err := f.staff.Save(t.Context(), f.tenant, admin, pack.Section{Step: enx.Branding}, 1, map[string]string{"agencyColor": "#000000"}); err != nil {
		t.Errorf("another step: %v", err)
	}
	for _, s := range []pack.Section{{Step: "other"}, {Step: enx.Texts, Language: "fr"}, {Step: enx.Filled}} {
		if err := f.staff.Save(t.Context(), f.tenant, admin, s, 0, nil); !errors.Is(err, pack.ErrStep) {
			t.Errorf("%v: %v", s, err)
		}
	}
	if err := f.staff.Save(t.Context(), f.tenant, admin, pack.Section{Step: enx.Region}, 1, map[string]string{"languages": "klingon"}); !errors.Is(err, enx.ErrLanguage) {
		t.Errorf("%v", err)
	}
	if err := f.staff.Save(t.Context(), f.tenant, admin, links, 2, map[string]string{"revokedURL": strings.Repeat("x", 1<<20)}); !errors.Is(err, pack.ErrTooLong) {
		t.Errorf("%v", err)
	}
}

// A draft with which something is wrong makes no pack, and neither does a key that is no
// device's.
func TestOnlyACompleteDraftBecomesAPack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	links := pack.Section{Step: enx.Links}
	for _, text := range []string{"carillon_device_nobody", f.Key(f.tenant, client.Admin), f.Key(f.Create("south"), client.Device)} {
		f.change(links, "testVerificationAPIKey", text)
		if _, err := f.staff.Ask(t.Context(), f.tenant, owner, false); !errors.Is(err, pack.ErrNotReady) {
			t.Errorf("%v", err)
		}
		board, err := f.staff.Board(t.Context(), f.tenant, owner)
		if err != nil || len(board.Of(links)) != 1 || len(board.Of(pack.Section{Step: enx.Risk})) != 0 {
			t.Errorf("%+v, %v", board.Problems, err)
		}
	}
}

// What was handed over is what later drafts are held against, wish included.
func TestHandingOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := t.Context()
	v := f.made(false)
	for _, person := range []string{"", "  ", strings.Repeat("x", 201)} {
		if err := f.staff.HandOver(ctx, f.tenant, admin, v.ID, pack.Apple, person); !errors.Is(err, pack.ErrRecipient) {
			t.Errorf("%q: %v", person, err)
		}
	}
	if err := f.staff.HandOver(ctx, f.tenant, admin, v.ID, "nobody", "Alex"); !errors.Is(err, pack.ErrRecipient) {
		t.Errorf("%v", err)
	}
	if err := f.staff.HandOver(ctx, f.tenant, admin, v.ID, pack.Apple, "Alex at Apple"); err != nil {
		t.Fatal(err)
	}
	f.change(pack.Section{Step: enx.Classes}, "perDaySumERVThreshold_2", "7")
	board, err := f.staff.Board(ctx, f.tenant, admin)
	if err != nil {
		t.Fatal(err)
	}
	if board.Ready() || len(board.Problems) != 1 || board.Problems[0].Slot != "classificationName_2" || board.Last.Number != 1 || len(board.Changes) != 1 {
		t.Errorf("%+v %+v", board.Problems, board.Changes)
	}
	f.change(pack.Section{Step: enx.Classes}, "classificationName_2", "advisory-2")
	second := f.made(false)
	if second.Number != 2 || second.Since == nil || second.Since.Number != 1 {
		t.Errorf("%+v", second.Pack)
	}
	var got []string
	for _, c := range second.Changes {
		got = append(got, c.ID)
	}
	if diff := cmp.Diff([]string{"classificationName_2", "perDaySumERVThreshold_2"}, got); diff != "" {
		t.Error(diff)
	}
	files := f.files(second.ID)
	call := document(t, files["apple-update-request.json"])
	body, _ := call["body"].(map[string]any)
	if diff := cmp.Diff(map[string]any{"classificationName_2": "advisory-2", "perDaySumERVThreshold_2": 7.0}, body["config"]); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(files["changes.csv"]), "perDaySumERVThreshold_2,,5,7") {
		t.Errorf("%s", files["changes.csv"])
	}
	if a := f.actions(); !slices.Contains(a, "pack:hand-over") || !slices.Contains(a, "pack:make") || !slices.Contains(a, "pack:download") {
		t.Errorf("audit %q", a)
	}
}

// rotating begins a guided rotation of the export key by command, and returns it.
func (f *fixture) rotating() custody.Rotation {
	f.t.Helper()
	err := f.Operator.In(f.t.Context(), f.tenant.ID, func(tx *tenant.Tx) error {
		_, err := key.AddExport(f.t.Context(), tx, f.tenant.ID, f.Root, owner, f.Now())
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	r, running := f.book().Running(signing.Export)
	if !running {
		f.t.Fatal("no rotation has begun")
	}
	return r
}

func (f *fixture) book() *custody.Book {
	f.t.Helper()
	b, err := custody.NewStaff(f.Portal, role.NewPolicies(f.Portal), nil, f.Now).Book(f.t.Context(), f.tenant, owner)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// What is noted of handing a pack over counts in the rotation whose version it carries:
// once both have it, and of no pack that does not carry it.
func TestHandingOverCountsInARotation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := f.made(false)
	r := f.rotating()
	with := f.made(false)
	if len(before.Rotations) != 0 || len(with.Rotations) != 1 || with.Rotations[0].ID != r.ID || !slices.Equal(with.Exports, []int64{2, 1}) {
		t.Errorf("%v, %v carries %v", before.Rotations, with.Rotations, with.Exports)
	}
	if files := f.files(with.ID); files["export-signing-public-key-v2.pem"] == nil {
		t.Error("the new public half is not in it")
	}
	hand := func(v pack.View, to pack.Recipient) custody.Rotation {
		t.Helper()
		if err := f.staff.HandOver(t.Context(), f.tenant, admin, v.ID, to, "Alex"); err != nil {
			t.Fatal(err)
		}
		got, err := f.book().Rotation(r.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	hand(before, pack.Apple)
	hand(before, pack.Google)
	if got := hand(with, pack.Other); got.ApplePack != nil || got.GooglePack != nil || got.HandedOverAt != nil {
		t.Errorf("a pack without it, or another recipient, counts: %+v", got)
	}
	if got := hand(with, pack.Google); got.GooglePack == nil || *got.GooglePack != with.ID || got.ApplePack != nil || got.HandedOverAt != nil {
		t.Errorf("Google alone: %+v", got)
	}
	f.Advance(time.Hour)
	got := hand(with, pack.Apple)
	if got.ApplePack == nil || *got.ApplePack != with.ID || got.HandedOverAt == nil || !got.HandedOverAt.Equal(*got.AppleGivenAt) || got.HandedOverBy != admin.Name {
		t.Errorf("both: %+v", got)
	}
	for _, c := range f.book().Preflight(got, false) {
		if c.Name == custody.HandedOver && !c.OK {
			t.Error("the check before its use does not know")
		}
	}
	if n := f.count(`select count(*) from audit_entry where action = 'pack:hand-over' and detail->>'rotations' = $1`, r.ID.String()); n != 2 {
		t.Errorf("%d entries name the rotation", n)
	}
	other := f.Create("south")
	if err := f.staff.HandOver(t.Context(), other, owner, with.ID, pack.Apple, "Alex"); !errors.Is(err, pack.ErrNoPack) {
		t.Errorf("another tenant's: %v", err)
	}
}

// A rotation that is over is as it was, whatever is handed over then.
func TestHandingOverTooLateCountsForNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.rotating()
	with := f.made(false)
	if err := custody.NewStaff(f.Portal, role.NewPolicies(f.Portal), nil, f.Now).Cancel(t.Context(), f.tenant, owner, r.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.staff.HandOver(t.Context(), f.tenant, admin, with.ID, pack.Apple, "Alex"); err != nil {
		t.Fatal(err)
	}
	if got, err := f.book().Rotation(r.ID); err != nil || got.ApplePack != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func (f *fixture) count(query string, args ...any) (n int) {
	f.t.Helper()
	if err := f.Database.Super().QueryRowContext(f.t.Context(), query, args...).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// A wish that is no longer right when it is made fails, and says why.
func TestAWishThatIsOvertakenFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, err := f.staff.Ask(t.Context(), f.tenant, owner, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Database.Super().ExecContext(t.Context(), `update export_config set period_seconds = 86400 where tenant_id = $1`, f.tenant.ID.String()); err != nil {
		t.Fatal(err)
	}
	f.turn()
	v, err := f.staff.Find(t.Context(), f.tenant, owner, id)
	if err != nil || v.State != pack.Failed || !strings.Contains(v.Failure, "tekPublishInterval") {
		t.Errorf("%+v, %v", v.Pack, err)
	}
	if _, _, err := f.staff.Body(t.Context(), f.tenant, owner, id); !errors.Is(err, pack.ErrNoPack) {
		t.Errorf("%v", err)
	}
}

// What was made cannot be changed, by no role that processes have.
func TestAPackNeverChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	v := f.made(false)
	for name, db := range map[string]*tenant.DB{"jobs": f.Jobs, "portal": f.Portal, "operator": f.Operator} {
		for _, query := range []string{`update pack set body = 'x' where pack_id = $1`, `delete from pack where pack_id = $1`, `update pack set config = '{}' where pack_id = $1`} {
			err := db.In(t.Context(), f.tenant.ID, func(tx *tenant.Tx) error {
				rows, err := tx.Exec(t.Context(), query, v.ID)
				if err == nil && rows > 0 {
					t.Errorf("%s: %s", name, query)
				}
				return err
			})
			_ = err // refused, or nothing found
		}
	}
}

// Of many processes that make the same wish, one does.
func TestManyMakersMakeOnePack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, err := f.staff.Ask(t.Context(), f.tenant, owner, false)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := f.newMaker(nil).Turn(t.Context(), f.tenant.ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	made := 0
	for _, a := range f.actions() {
		if a == "pack:make" {
			made++
		}
	}
	if v, err := f.staff.Find(t.Context(), f.tenant, owner, id); err != nil || v.State != pack.Made || made != 1 {
		t.Errorf("made %d times, %s, %v", made, v.State, err)
	}
}
