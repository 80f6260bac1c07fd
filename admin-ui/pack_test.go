package adminui_test

import (
	"bytes"
	"context"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/signing"
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

const packPath = "/portal/north-shore/pack"

// packWorld is a portal whose packs are in a real database, with the process that makes them.
type packWorld struct {
	*world
	db      *tenanttest.World
	north   *tenant.Tenant
	maker   *pack.Maker
	service *appletest.Service
	config  enx.Config
}

func newPackWorld(t *testing.T) *packWorld {
	t.Helper()
	db := tenanttest.New(t)
	w := &packWorld{db: db, service: &appletest.Service{}}
	w.north = db.Create("north-shore", func(s *onboarding.Spec) { s.ExportPeriod, s.Truncate = 4*time.Hour, time.Hour })
	place := pack.Place{BaseURL: "https://carillon.example", RedirectDomain: "en.example", AppleURL: apple.DefaultURL}
	server := httptest.NewServer(w.service)
	t.Cleanup(server.Close)
	c, err := apple.New(outbound.New(true), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	w.maker = pack.NewMaker(pack.MakerConfig{
		DB: db.Jobs, Keys: key.NewRing(db.Jobs, db.Root), Directory: tenant.NewDirectory(db.Jobs), Place: place, Apple: c, Now: db.Now,
	})
	w.world = newWorld(t, func(c *adminui.Config) {
		c.Policies = role.NewPolicies(db.Portal)
		c.Keys = custody.NewStaff(db.Portal, c.Policies, nil, db.Now)
		c.Packs = pack.NewStaff(pack.StaffConfig{
			DB: db.Portal, Keys: key.NewRing(db.Portal, db.Root), Policies: c.Policies, Place: place, Push: true, Now: db.Now,
		})
	})
	// The tenant that the pages know is the one in the database.
	w.staff.Tenants[0] = w.north
	w.north.Name = "North Shore Department of Health"
	w.config = demo.Config(w.north.Name, db.Key(w.north, client.Device))
	w.staff.Roles[owner] = map[tenant.Slug][]authz.Role{"north-shore": {authz.Owner}}
	return w
}

// fill goes through the wizard from the first step to the review, typing what cfg says.
func (w *packWorld) fill(t *testing.T) *page {
	t.Helper()
	p := w.get(packPath+"/region").wants(200, "Region")
	for range 20 {
		if strings.HasSuffix(p.url.Path, "/review") {
			return p
		}
		lang := p.url.Query().Get("language")
		form := again(p)
		for n := range p.all("input", "textarea", "select") {
			id := attr(n, "name")
			switch {
			case id == "languages":
				form.Set(id, strings.Join(w.config.Languages, ", "))
			case id == "version" || id == "preset" || id == "":
			case lang != "":
				form.Set(id, w.config.Texts[lang][id])
			case id == "classes" && form.Get("version") == "0":
				form.Set(id, "2")
			default:
				form.Set(id, w.config.Values[id])
			}
		}
		form.Del("preset")
		if p = w.post(p.url.RequestURI(), form); p.status == http.StatusUnprocessableEntity && !strings.Contains(p.url.Path, "classes") {
			t.Fatalf("%s: %s", p.url, p.text("main"))
		}
	}
	t.Fatal("the wizard does not end")
	return nil
}

func TestTheWizardLeadsToAPack(t *testing.T) {
	t.Parallel()
	w := newPackWorld(t)
	w.signIn(owner)
	w.get(packPath).wants(200, "Configuration for Apple and Google").contains("Not begun").contains("No pack was made yet")
	w.get(packPath+"/review").wants(200, "Check and make a pack").contains("must be put right").lacks("Make the pack")
	review := w.fill(t).wants(200, "Check and make a pack").contains("Nothing is missing").contains("With the signed request")

	done := make(chan error)
	go func() { done <- w.makeSoon() }()
	p := w.post(packPath+"/make", url.Values{"signed": {"yes"}}).wants(200, "Pack 1")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	p = w.get(p.url.Path).wants(200, "Pack 1").contains("Ready").contains("Keep it like a password").contains("v1")
	_ = review
	file := w.raw(t, p.link("Download the pack (ZIP)"))
	files, err := bundle.Open(file, 1<<20)
	if err != nil || len(files) < 12 {
		t.Errorf("%d files, %v", len(files), err)
	}

	w.post(p.url.Path+"/hand-over", url.Values{"recipient": {"apple"}, "person": {""}}).wants(422, "Pack 1").contains("Enter the name of the person")
	w.post(p.url.Path+"/hand-over", url.Values{"recipient": {"apple"}, "person": {"Alex"}}).wants(200, "Pack 1").contains("The hand-over was noted").contains("Apple: Alex")
	w.get(packPath).wants(200, "Configuration for Apple and Google").contains("Apple: Alex").contains("Handed over last: Pack 1")
	w.get(packPath+"/review").wants(200, "Check and make a pack").contains("Nothing is different")
}

// A pack that carries the new version of a key leads to its rotation, which leads back to
// what Apple and Google were given of it.
func TestARotationAndItsPackLeadToEachOther(t *testing.T) {
	t.Parallel()
	w := newPackWorld(t)
	w.signIn(owner)
	w.fill(t)
	by := authz.Subject{Kind: authz.System, ID: "operator", Name: "Operator"}
	err := w.db.Operator.In(t.Context(), w.north.ID, func(tx *tenant.Tx) error {
		_, err := key.AddExport(t.Context(), tx, w.north.ID, w.db.Root, by, w.db.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- w.makeSoon() }()
	made := w.post(packPath+"/make", nil).url.Path
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	path := w.get(made).wants(200, "Pack 1").link("Export files: The new version waits")
	rotation := w.get(path).wants(200, "Rotation: Export files").contains("I have handed it over").lacks("was given a pack")
	w.get(rotation.link("Configuration packs")).wants(200, "Configuration for Apple and Google")
	hand := func(to string) {
		w.post(made+"/hand-over", url.Values{"recipient": {to}, "person": {"Alex"}}).wants(200, "Pack 1")
	}
	hand("google")
	w.get(path).contains("Google was given a pack that carries it").lacks("Apple was given").contains("I have handed it over")
	hand("apple")
	rotation = w.get(path).contains("Google was given a pack that carries it").lacks("I have handed it over")
	if back := rotation.link("Apple was given a pack that carries it"); back != made {
		t.Errorf("the rotation leads to %s", back)
	}
}

// makeSoon makes what is asked for as soon as it is.
func (w *packWorld) makeSoon() error {
	for range 100 {
		if err := w.maker.Turn(context.Background(), w.north.ID); err != nil {
			return err
		}
		var made int
		if err := w.db.Database.Super().QueryRow(`select count(*) from pack where state = 'made'`).Scan(&made); err != nil || made > 0 {
			return err
		}
		<-time.After(20 * time.Millisecond)
	}
	return nil
}

// raw is a file as it is sent.
func (w *packWorld) raw(t *testing.T, path string) []byte {
	t.Helper()
	p := w.do(w.request(http.MethodGet, path, nil))
	if p.status != 200 || p.header.Get("Content-Type") != "application/zip" && !strings.HasPrefix(p.header.Get("Content-Type"), "text/csv") {
		t.Fatalf("%d %v", p.status, p.header)
	}
	return []byte(p.body)
}

// What is wrong stands beside its field and above, and what was typed stays; the draft has
// it all the same.
func TestAStepThatIsWrong(t *testing.T) {
	t.Parallel()
	w := newPackWorld(t)
	w.signIn(owner)
	p := w.get(packPath+"/branding").wants(200, "Look").lacks("Error:")
	form := again(p, "agencyColor", "#FFFFFF", "agencyHeaderTextColor", "#eeeeee", "agencyImage", "ftp://x")
	p = w.post(packPath+"/branding", form).wants(422, "Look").contains("needs 4.5 to 1").contains("begins with https://").contains("Contrast of the text: 1.2 to 1")
	if p.value("agencyImage") != "ftp://x" || p.value("version") != "1" {
		t.Errorf("typed %q, version %q", p.value("agencyImage"), p.value("version"))
	}
	w.get(packPath).wants(200, "Configuration for Apple and Google").contains("2 things left")
	p = w.post(packPath+"/region", url.Values{"version": {"0"}, "languages": {"en, klingon"}}).wants(422, "Region").contains("klingon")
	if p.value("languages") != "en, klingon" {
		t.Errorf("typed %q", p.value("languages"))
	}
	w.post(packPath+"/region", url.Values{"languages": {"en"}}).wants(400, "The form could not be read")
	w.get(packPath+"/texts?language=fr").wants(404, "Page not found")
}

// A preset is filled in to be looked at; nothing is saved before somebody says so.
func TestPresets(t *testing.T) {
	t.Parallel()
	w := newPackWorld(t)
	w.signIn(owner)
	p := w.get(packPath+"/risk").wants(200, "Risk").contains("standard -4 to -3, +4 to +5; high -2 to +3")
	p = w.post(packPath+"/risk", again(p, "preset", "wide")).wants(200, "Risk")
	if p.value("attenuationMedFarThreshold") != "80" || p.value("infectiousnessHighWeight") != "200" {
		t.Errorf("threshold %q, weight %q", p.value("attenuationMedFarThreshold"), p.value("infectiousnessHighWeight"))
	}
	p = w.get(packPath + "/risk")
	if p.value("attenuationMedFarThreshold") != "75" || p.value("version") != "0" {
		t.Error("it was saved")
	}
	w.post(packPath+"/risk", again(p, "preset", "none-such")).wants(400, "The form could not be read")
}

// Who saves what somebody else has saved meanwhile sees both, and decides.
func TestTwoPeopleOnOneStep(t *testing.T) {
	t.Parallel()
	w := newPackWorld(t)
	w.signIn(owner)
	mine := again(w.get(packPath+"/links"), "revokedURL", "https://mine.example/")
	theirs := again(w.get(packPath+"/links"), "revokedURL", "https://theirs.example/")
	w.post(packPath+"/links", theirs)
	p := w.post(packPath+"/links", mine).wants(409, "Codes and links").contains("has saved something else here meanwhile: “https://theirs.example/”")
	if p.value("revokedURL") != "https://mine.example/" {
		t.Errorf("typed %q", p.value("revokedURL"))
	}
	w.post(packPath+"/links", again(p))
	if got := w.get(packPath + "/links").value("revokedURL"); got != "https://mine.example/" {
		t.Errorf("saved %q", got)
	}
}

// upload sends a form with a file.
func (w *packWorld) upload(t *testing.T, field, text string) *page {
	t.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	part, err := m.CreateFormFile(field, "sheet.csv")
	if err == nil {
		_, err = part.Write([]byte(text))
	}
	if err == nil {
		err = m.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	r := w.request(http.MethodPost, packPath+"/translations", &body)
	r.Header.Set("Content-Type", m.FormDataContentType())
	return w.do(r)
}

func TestTranslationsAreTakenInTwoSteps(t *testing.T) {
	t.Parallel()
	w := newPackWorld(t)
	w.signIn(owner)
	w.fill(t)
	path := packPath + "/translations"
	w.get(path).wants(200, "Upload translated texts")
	sheet := string(w.raw(t, path+"/sheet"))
	w.upload(t, "file", "key,label,limit,es\nagencyRegionName,,,caf\xe9\n").wants(422, "Upload translated texts").contains("not in UTF-8")
	w.upload(t, "file", "key,label,limit,es\nagencyRegionName,,,\"=1+1\"\n").wants(422, "Upload translated texts").contains("formula")
	w.upload(t, "other", "x").wants(422, "Upload translated texts").contains("Choose a file")
	w.upload(t, "file", sheet).wants(200, "Take these texts over?").contains("nothing that you do not have")
	p := w.upload(t, "file", strings.Replace(sheet, "Costa Norte", "La Costa", 1)).wants(200, "Take these texts over?").contains("Costa Norte").contains("La Costa").contains("Replace 1 text")
	form := again(p)
	w.post(path+"/confirm", form).wants(200, "Check and make a pack").contains("1 text was replaced")
	w.post(path+"/confirm", url.Values{"sheet": {strings.Replace(sheet, "Costa Norte", "Otra", 1)}, "versions": form["versions"]}).wants(409, "Somebody else has saved this meanwhile")
	if got := w.get(packPath + "/texts?language=es"); !strings.Contains(got.body, "La Costa") {
		t.Error("the text was not saved")
	}
}

// Sending to Apple is in two steps, for those who may.
func TestSendingToApple(t *testing.T) {
	t.Parallel()
	w := newPackWorld(t)
	w.signIn(owner)
	w.fill(t)
	done := make(chan error)
	go func() { done <- w.makeSoon() }()
	p := w.post(packPath+"/make", nil)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	path := p.url.Path
	public, err := key.NewRing(w.db.Jobs, w.db.Root).Public(t.Context(), w.north.ID, signing.Export)
	if err != nil {
		t.Fatal(err)
	}
	place := enx.PlaceOf(w.north.Region)
	w.service.Add(&appletest.Region{Country: place.Country, State: place.State, Authority: w.north.Name, Key: public[0].Key, Version: 1})
	p = w.get(w.get(path).wants(200, "Pack 1").link("Send the changes to Apple")).wants(200, "Send the changes of Pack 1 to Apple?").contains("agencyMessage_EN_")
	w.post(p.url.Path, nil).wants(200, "Pack 1").contains("on its way to Apple")
	w.post(p.url.Path, nil).wants(409, "A change is on its way to Apple already")
	if err := w.maker.Turn(t.Context(), w.north.ID); err != nil {
		t.Fatal(err)
	}
	w.get(path).wants(200, "Pack 1").contains("Apple took it").contains("delivers it")
	w.signIn(auditor)
	w.get(path+"/push").wants(403, "You may not do this")
	w.post(path+"/push", nil).wants(403, "You may not do this")
	w.get(packPath+"/region").wants(403, "You may not do this")
	w.get(path).wants(200, "Pack 1").lacks("Send the changes to Apple").lacks("Note that it was handed over")
}
