package adminui_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/stats"
	"carillon/tenant/tenanttest"
)

const keysPath = "/portal/north-shore/api-keys"

// keyWorld is a portal over a database: its keys are real.
type keyWorld struct {
	*world
	db      *tenanttest.World
	north   *tenant.Tenant
	counter *stats.Counter
}

func newKeyWorld(t *testing.T) *keyWorld {
	t.Helper()
	k := &keyWorld{db: tenanttest.New(t)}
	k.north = k.db.Create("north-shore")
	valley := k.db.Create("river-valley")
	k.world = newWorld(t, func(c *adminui.Config) {
		c.APIKeys, c.KeyUse = client.NewStaff(k.db.Portal, c.Policies, c.Now), stats.New(k.db.Portal, c.Now)
	})
	k.staff.Tenants = []*tenant.Tenant{k.north, valley}
	k.staff.Roles[owner]["river-valley"] = []authz.Role{authz.Owner}
	k.counter = stats.NewCounter(k.clock)
	return k
}

// signIn signs somebody in who has just proved who she is.
func (k *keyWorld) signIn(email string) {
	k.t.Helper()
	k.login.As = identity(email)
	k.login.As.AuthTime = k.clock()
	k.get("/login/start")
}

var keyForm = regexp.MustCompile(`carillon_[a-z]+_[A-Z2-7]{52}`)

// shown is the key that a page shows, which may be in no other place.
func (k *keyWorld) shown(p *page) string {
	k.t.Helper()
	keys := keyForm.FindAllString(p.body, -1)
	if len(keys) != 2 || keys[0] != keys[1] { // to read, and to copy
		k.t.Fatalf("the page shows %d keys", len(keys))
	}
	if p.header.Get("Cache-Control") != "no-store" {
		k.t.Error("a cache may keep the key")
	}
	if strings.Contains(p.url.String(), keys[0]) || strings.Contains(p.text("title"), keys[0]) || strings.Contains(k.log.String(), keys[0]) {
		k.t.Error("the key is in the URL, the title or the log")
	}
	return keys[0]
}

// idOf is the ID in the URL of a key's page.
func idOf(path string) uuid.UUID {
	return uuid.MustParse(strings.Split(strings.TrimPrefix(path, keysPath+"/"), "/")[0])
}

func TestAKeyIsShownOnceRotatedAndRevoked(t *testing.T) {
	t.Parallel()
	k := newKeyWorld(t)
	k.signIn(owner)
	list := k.get(keysPath).wants(200, "API keys").contains("There are none.")
	k.get(list.link("Make a key")).wants(200, "Make an API key")
	form := url.Values{"name": {" Lab "}, "kind": {"admin"}, "networks": {"192.0.2.0/24 2001:db8::/32"}, "expires": {"2026-12-24"}}
	made := k.post(keysPath+"/new", form).wants(200, "The new key: Lab").contains("X-API-Key").contains("shown on this page only")
	text := k.shown(made)
	k.post(keysPath+"/new", form).wants(422, "Make an API key").contains("Another key has this name")

	path := made.link("I have put it in its place")
	id := idOf(path)
	k.counter.KeyAnswered(k.north.ID, id.String(), "code:issue", 200)
	k.counter.KeyRefused(k.north.ID, id.String(), "outside")
	k.counter.KeyFrom(k.north.ID, id.String(), "192.0.2.0/24")
	if err := k.counter.Flush(t.Context(), k.db.Issuer); err != nil {
		t.Fatal(err)
	}
	k.pass(3 * time.Hour)
	k.signIn(owner)
	k.codes.OfKey = map[uuid.UUID]int{id: 2}
	one := k.get(path).wants(200, "Lab").contains("3 hours ago").contains("192.0.2.0/24").contains("December 25, 2026, 00:00 UTC").
		contains("1 × code:issue: done (200)").contains("1 × refused: from outside of its networks").lacks(text)
	if csv := k.get(one.link("Download the report (CSV)")); csv.status != 200 ||
		!strings.Contains(csv.body, "2026-11-26,answered,code:issue,200,1\r\n") || !strings.Contains(csv.body, "2026-11-26,refused: outside,,401,1\r\n") {
		t.Errorf("report: %d, %s", csv.status, csv.body)
	}

	k.post(path+"/rotate", url.Values{"overlap": {"91"}}).wants(422, "Rotate Lab").contains("0 to 90")
	k.post(path+"/rotate", url.Values{"overlap": {"-1"}}).wants(422, "Rotate Lab")
	if v := k.get(one.link("Rotate")).wants(200, "Rotate Lab").value("overlap"); v != "7" {
		t.Errorf("the usual overlap is %q", v)
	}
	next := k.post(path+"/rotate", url.Values{"overlap": {"7"}}).wants(200, "The new key: Lab, version 2")
	if k.shown(next) == text {
		t.Error("the same key again")
	}
	k.post(path+"/rotate", url.Values{"overlap": {"7"}}).wants(409, "This key was rotated before")
	k.get(path).wants(200, "Lab, version 1").contains("a newer version has taken its place").contains("December 3, 2026, 15:00 UTC").contains("3 hours ago").lacks("/rotate")
	k.get(keysPath).wants(200, "API keys").contains("Lab, version 1").contains("Lab, version 2")

	question := k.get(k.get(path).link("Revoke")).wants(200, "Revoke Lab, version 1?")
	question.contains("Last used: 3 hours ago. Requests in the last 7 days: 1.").contains("can issue no more codes").contains("cannot be undone")
	k.get(path).contains("Accepted")
	k.post(path+"/revoke", nil).wants(200, "Lab, version 1").contains("The key was revoked").contains("Revoked")
	k.post(path+"/revoke", nil).wants(404, "There is nothing to do about this key")
	k.get(path+"/change").wants(404, "There is nothing to do about this key")

	k.get(k.get(path).link("End all codes that it issued")).wants(200, "End all codes of Lab, version 1?").contains("2 codes that this key issued")
	k.post(path+"/codes", nil).wants(200, "Lab, version 1").contains("2 codes were ended.")
	if strings.Contains(k.log.String(), "carillon_") {
		t.Error("the log has a key")
	}
}

// Nothing that was typed is lost, and what is wrong is said at its field.
func TestTermsOfAKeyAreMended(t *testing.T) {
	t.Parallel()
	k := newKeyWorld(t)
	k.signIn(owner)
	for _, c := range []struct{ field, value, says string }{
		{"name", "", "Enter a name"},
		{"name", strings.Repeat("x", 101), "Enter a name"},
		{"kind", "root", "Choose what the key is for"},
		{"kind", "device", "Phones come from everywhere"},
		{"networks", "192.0.2.0/99", "Enter networks such as"},
		{"networks", strings.Repeat("192.0.2.1 ", 51), "Enter networks such as"},
		{"expires", "2026-11-25", "Enter a day that is to come"},
		{"expires", "2036-11-25", "Enter a day that is to come"},
		{"expires", "tomorrow", "Enter a day that is to come"},
	} {
		form := url.Values{"name": {"Lab <b>"}, "kind": {"admin"}, "networks": {"192.0.2.0/24"}, "expires": {"2026-12-24"}}
		form.Set(c.field, c.value)
		p := k.post(keysPath+"/new", form).wants(422, "Make an API key").contains(c.says)
		for _, field := range []string{"name", "networks", "expires"} {
			if p.value(field) != form.Get(field) {
				t.Errorf("%s=%.20q: %s is lost: %q", c.field, c.value, field, p.value(field))
			}
		}
	}
	k.post(keysPath+"/new", url.Values{"name": {strings.Repeat("x", 70_000)}}).wants(400, "The form could not be read")
	path := k.post(keysPath+"/new", url.Values{"name": {"Phones"}, "kind": {"device"}, "expires": {"2026-12-24"}}).
		wants(200, "The new key: Phones").link("I have put it in its place")
	change := k.get(k.get(path).link("Change name, end or networks")).wants(200, "Change Phones").lacks("networks")
	if change.value("expires") != "2026-12-24" {
		t.Errorf("the last day is %q", change.value("expires"))
	}
	k.post(path+"/change", url.Values{"name": {""}, "expires": {"2026-12-24"}}).wants(422, "Change Phones").contains("Enter a name")
	k.post(path+"/change", url.Values{"name": {"All phones"}, "expires": {""}}).wants(200, "All phones").contains("The key was changed").contains("Never")
}

func TestKeysAreForThoseWhomThePolicyAllows(t *testing.T) {
	t.Parallel()
	k := newKeyWorld(t)
	k.signIn(owner)
	path := k.post(keysPath+"/new", url.Values{"name": {"Lab"}, "kind": {"admin"}}).wants(200, "The new key: Lab").link("I have put it in its place")
	elsewhere := strings.Replace(path, "north-shore", "river-valley", 1)
	acts := []string{"/change", "/rotate", "/revoke"}
	for _, act := range append(acts, "", "/report", "/codes") {
		k.get(elsewhere+act).wants(404, "There is nothing to do about this key")
		k.get(keysPath+"/"+uuid.NewString()+act).wants(404, "There is nothing to do about this key")
		k.get(keysPath+"/nonsense"+act).wants(404, "There is nothing to do about this key")
	}
	for _, act := range append(acts, "/codes") {
		k.post(elsewhere+act, url.Values{"name": {"x"}, "overlap": {"1"}}).wants(404, "There is nothing to do about this key")
	}
	k.signIn(auditor)
	k.get(keysPath).wants(200, "API keys").lacks("Make a key")
	k.get(path).wants(200, "Lab").lacks("/rotate").lacks("/revoke").lacks("/change")
	for _, act := range append(acts, "/codes") {
		k.post(path+act, nil).wants(403, "You may not do this")
	}
	k.post(keysPath+"/new", nil).wants(403, "You may not do this")
	k.signIn(caseworker)
	k.get(keysPath).wants(403, "You may not do this")
	k.get(path+"/codes").wants(403, "You may not do this")
}

// Who signed in long ago proves anew who she is before she sees a key, but not before she
// revokes one.
func TestToSeeAKeyAsksForAFreshSignIn(t *testing.T) {
	t.Parallel()
	k := newKeyWorld(t)
	k.signIn(owner)
	path := k.post(keysPath+"/new", url.Values{"name": {"Lab"}, "kind": {"admin"}}).wants(200, "The new key: Lab").link("I have put it in its place")
	k.pass(11 * time.Minute)
	for _, page := range []string{keysPath + "/new", path + "/rotate"} {
		k.get(page).wants(200, "Sign in again")
		k.post(page, url.Values{"name": {"Other"}, "kind": {"admin"}, "overlap": {"1"}}).wants(401, "Sign in again before this is sent").lacks("carillon_")
	}
	k.get(keysPath).wants(200, "API keys").lacks("Other").lacks("version 2")
	k.post(path+"/revoke", nil).wants(200, "Lab").contains("The key was revoked")
}
