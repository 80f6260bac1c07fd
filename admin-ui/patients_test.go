package adminui_test

import (
	"net/url"
	"strings"
	"testing"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant/reportpage"
	"carillon/tenant/tenanttest"
)

const patientsPath = "/portal/north-shore/patients"

func newPatientsWorld(t *testing.T) *staffWorld {
	t.Helper()
	db := tenanttest.New(t)
	return staffWorldOf(t, db, func(c *adminui.Config) {
		c.Patients = reportpage.NewStaff(db.Portal, c.Policies, c.Now)
	})
}

// An administrator changes what patients see, and each wrong value is named beside its field.
func TestPatientsPages(t *testing.T) {
	t.Parallel()
	w := newPatientsWorld(t)
	w.signIn(alex)
	w.get(patientsPath).wants(200, "What patients see").contains("tell nobody whom to ask").contains("There are none yet")
	form := w.get(patientsPath+"/look").wants(200, "Look, and whom to ask").form("patients")
	form["color"], form["image"], form["contact_email"], form["contact_phone"] = []string{"blue 😀"}, []string{"http://x.example/"}, []string{"a@b.example, c@d.example"}, []string{"١٢٣"}
	w.post(patientsPath+"/look", form).wants(422, "Look, and whom to ask").marks(`value="blue 😀"`).marks(`value="http://x.example/"`).marks(`value="a@b.example, c@d.example"`).marks(`value="١٢٣"`).
		contains("Color behind your name: This cannot be used")
	form["color"], form["image"], form["contact_email"], form["contact_phone"] = []string{"#0B3D5C"}, []string{""}, []string{"help@north.example"}, []string{"+1 206 555 0100"}
	p := w.post(patientsPath+"/look", form).wants(200, "What patients see").contains("Patients' pages were changed").contains("help@north.example")
	if !strings.Contains(p.body, `fill="#0b3d5c"`) || !strings.Contains(p.body, "agency--dark") {
		t.Error("the color is not shown")
	}

	form = w.get(patientsPath+"/text").wants(200, "Your own words in a language").form("patients")
	form["language"], form["agency"], form["link"] = []string{"Arabic"}, []string{strings.Repeat("x", 201)}, []string{"one\r\ntwo"}
	w.post(patientsPath+"/text", form).wants(422, "Your own words in a language").contains("Language: This cannot be used").contains("Name of your authority: This cannot be used")
	form["language"], form["agency"] = []string{"ar"}, []string{"صحة الشمال"}
	p = w.post(patientsPath+"/text", form).wants(200, "What patients see").contains("صحة الشمال")
	change := p.link("Change the words in Arabic")
	form = w.get(change).wants(200, "Your own words in a language").form("patients")
	if form.Get("agency") != "صحة الشمال" || form.Get("link") != "one\ntwo" {
		t.Errorf("the form has %v", form)
	}
	form["agency"], form["link"] = []string{""}, []string{""} // nothing is left of it
	w.post(patientsPath+"/text", form).wants(200, "What patients see").contains("There are none yet")
}

// Nobody overwrites what somebody else has changed meanwhile without having been told.
func TestTwoPeopleChangePatientsPages(t *testing.T) {
	t.Parallel()
	w := newPatientsWorld(t)
	w.signIn(alex)
	look := w.get(patientsPath + "/look").form("patients")
	text := w.get(patientsPath + "/text?language=es").form("patients")
	other := w.another()
	other.signIn(olga)
	set := func(post func(string, url.Values) *page, path string, form url.Values, field, value string) *page {
		form.Set(field, value)
		return post(patientsPath+path, form)
	}
	set(other.post, "/look", other.get(patientsPath+"/look").form("patients"), "color", "#111111").wants(200, "What patients see")
	set(other.post, "/text", other.get(patientsPath+"/text?language=es").form("patients"), "agency", "Salud").wants(200, "What patients see")

	again := set(w.post, "/look", look, "color", "#222222").wants(409, "Look, and whom to ask").contains("Somebody else changed this").marks(`value="#222222"`)
	w.post(patientsPath+"/look", again.form("patients")).wants(200, "What patients see").contains("#222222")
	again = set(w.post, "/text", text, "agency", "Salud Norte").wants(409, "Your own words in a language").marks(`value="Salud Norte"`)
	w.post(patientsPath+"/text", again.form("patients")).wants(200, "What patients see").contains("Salud Norte")
}

func TestWhoMayChangePatientsPages(t *testing.T) {
	t.Parallel()
	w := newPatientsWorld(t)
	w.hire("ana@north.example", "Ana", authz.Analyst)
	w.hire("aud@north.example", "Aud", authz.Auditor)
	w.signIn("ana@north.example")
	w.get(patientsPath).wants(403, "You may not do this")
	w.signIn("aud@north.example")
	w.get(patientsPath).wants(200, "What patients see").lacks("Change look").lacks("Add a language")
	for _, path := range []string{"/look", "/text"} {
		w.get(patientsPath+path).wants(403, "You may not do this")
		w.post(patientsPath+path, url.Values{"color": {"#111111"}, "language": {"es"}, "agency": {"x"}}).wants(403, "You may not do this")
	}
	w.get(patientsPath).lacks("#111111").lacks("(es)")
}
