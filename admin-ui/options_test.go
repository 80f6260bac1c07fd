package adminui_test

import (
	"net/url"
	"testing"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
)

const optionsPath = "/portal/north-shore/settings"

// options are the settings of an authority in a database.
func newOptionsWorld(t *testing.T) *staffWorld {
	t.Helper()
	db := tenanttest.New(t)
	return staffWorldOf(t, db, func(c *adminui.Config) {
		c.Options = setting.NewStaff(db.Portal, c.Policies, c.Now)
	})
}

// filled is the form of a group as the page has it, with changes.
func (w *staffWorld) filled(group string, changes url.Values) url.Values {
	w.t.Helper()
	form := w.get(optionsPath + "/" + group).form("options")
	for name, values := range changes {
		form[name] = values
	}
	return form
}

func (w *staffWorld) option(name string) (value string) {
	w.t.Helper()
	err := w.db.Portal.In(w.t.Context(), w.at.ID, func(tx *tenant.Tx) error {
		all, err := setting.Read(w.t.Context(), tx)
		value = all[name]
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return value
}

// What people would notice is shown before it is done, and who did it after.
func TestASettingIsChangedInTwoSteps(t *testing.T) {
	t.Parallel()
	w := newOptionsWorld(t)
	w.signIn(alex)
	w.get(optionsPath).wants(200, "What your authority chooses").contains("A code is good for, in minutes").contains("15 minutes").lacks("Alex,")
	form := w.filled("codes", url.Values{"code_life": {"20"}})
	w.post(optionsPath+"/codes", form).wants(200, "Make these changes?").contains("15 minutes").contains("20 minutes").contains("those that were issued keep theirs")
	if got := w.option("code-life"); got != "15m0s" {
		t.Errorf("before she confirms it is %s", got)
	}
	w.post(optionsPath+"/codes", pressing(form, "again")).wants(200, "Change: Codes").marks(`value="20"`)
	w.post(optionsPath+"/codes", pressing(form, "confirm")).wants(200, "What your authority chooses").contains("1 setting was changed").contains("20 minutes").contains("Alex")
	if got := w.option("code-life"); got != "20m0s" {
		t.Errorf("after she has confirmed it is %s", got)
	}
}

// What nobody outside notices takes one step.
func TestASettingOfThePortalIsChangedInOneStep(t *testing.T) {
	t.Parallel()
	w := newOptionsWorld(t)
	w.signIn(alex)
	w.post(optionsPath+"/codes", w.filled("codes", url.Values{"batch_issue": {"on"}})).wants(200, "What your authority chooses").contains("1 setting was changed")
	if got := w.option("batch-issue"); got != "on" {
		t.Errorf("it is %s", got)
	}
}

// Each value that makes no sense is named beside its field; all that was typed is kept.
func TestWrongSettingsAreNamed(t *testing.T) {
	t.Parallel()
	w := newOptionsWorld(t)
	w.signIn(alex)
	w.post(optionsPath+"/codes", w.filled("codes", url.Values{"code_life": {"junk"}, "code_digits": {"😀"}, "long_code_length": {"13"}})).
		wants(422, "Change: Codes").contains("Up to 120 minutes").contains("6 to 12").marks(`value="junk"`).marks(`value="😀"`).marks(`value="13"`)
	w.post(optionsPath+"/codes", w.filled("codes", url.Values{"code_life": {"180"}})).wants(422, "Change: Codes").contains("This value cannot be used")
	w.post(optionsPath+"/codes", w.filled("codes", nil)).wants(422, "Change: Codes").contains("Nothing is different")
	w.post(optionsPath+"/self-report", w.filled("self-report", url.Values{"self_report_page": {"on"}})).wants(422, "Change: Self-reports")
	w.post(optionsPath+"/access", w.filled("access", url.Values{"portal_networks": {"192.0.2.0/24"}})).
		wants(422, "Change: Networks").contains("you would shut yourself out")
	w.get(optionsPath+"/platform").wants(404, "Page not found")
	w.get(optionsPath+"/nothing").wants(404, "Page not found")
}

// Nobody overwrites what somebody else has done meanwhile without having been told.
func TestTwoPeopleChangeASetting(t *testing.T) {
	t.Parallel()
	w := newOptionsWorld(t)
	w.signIn(alex)
	form := pressing(w.filled("codes", url.Values{"code_life": {"20"}}), "confirm")
	other := w.another()
	other.signIn(olga)
	otherForm := pressing(other.get(optionsPath+"/codes").form("options"), "confirm")
	otherForm.Set("code_life", "30")
	otherForm.Set("code_digits", "7")
	other.post(optionsPath+"/codes", otherForm).wants(200, "What your authority chooses")

	p := w.post(optionsPath+"/codes", form).wants(409, "Change: Codes").contains("Somebody else changed").marks(`value="20"`)
	if got := w.option("code-life"); got != "30m0s" {
		t.Errorf("it is %s", got)
	}
	again := pressing(p.form("options"), "confirm")
	w.post(optionsPath+"/codes", again).wants(200, "What your authority chooses")
	if got := w.option("code-life"); got != "20m0s" {
		t.Errorf("once she knows it is %s", got)
	}
	if got := w.option("code-digits"); got != "7" {
		t.Errorf("what she left alone was set back to %s", got)
	}
}

func TestWhoMayChangeSettings(t *testing.T) {
	t.Parallel()
	w := newOptionsWorld(t)
	w.hire("ana@north.example", "Ana", authz.Analyst)
	w.hire("aud@north.example", "Aud", authz.Auditor)
	w.signIn("ana@north.example")
	w.get(optionsPath).wants(403, "You may not do this")
	w.signIn("aud@north.example")
	w.get(optionsPath).wants(200, "What your authority chooses").lacks("Change: Codes")
	w.get(optionsPath+"/codes").wants(403, "You may not do this")
	w.post(optionsPath+"/codes", url.Values{"code_life": {"20"}, "confirm": {"yes"}}).wants(403, "You may not do this")
}

// pressing is a form as its button of this name sends it.
func pressing(form url.Values, button string) url.Values {
	more := url.Values{}
	for n, v := range form {
		more[n] = v
	}
	more.Set(button, "yes")
	return more
}

// A text keeps its lines, addresses are addresses, and what is wrong is named beside its
// field.
func TestWordsOfAnAuthority(t *testing.T) {
	t.Parallel()
	w := newOptionsWorld(t)
	w.hire("case@north.example", "Kim", authz.Caseworker)
	w.signIn(alex)
	w.get(optionsPath).wants(200, "What your authority chooses").contains("Issuer of certificates").contains(w.at.Settings.Issuer)
	wrong := url.Values{"welcome": {"turned\u202earound"}, "contacts": {"nobody 😀"}, "invite_letter": {"Come to us"}}
	w.post(optionsPath+"/authority", w.filled("authority", wrong)).wants(422, "Change: Staff and contacts").
		contains("Message to those who issue codes: This value cannot be used").contains("E-mail addresses of your authority: This value cannot be used").
		contains("turned\u202earound").marks(`value="nobody 😀"`).contains("Come to us")
	w.post(optionsPath+"/authority", w.filled("authority", url.Values{"invite_letter": {"Come to us"}})).wants(422, "Change: Staff and contacts").
		contains("Text of invitations: This value cannot be used")

	good := url.Values{"welcome": {"Ask Kim\r\nafter <b>nine</b>"}, "contacts": {"a@north.example; b@north.example"}, "invite_letter": {"[realmname] calls:\r\n[invitelink]"}}
	w.post(optionsPath+"/authority", w.filled("authority", good)).wants(200, "What your authority chooses").contains("3 settings were changed").contains("a@north.example, b@north.example")
	if got := w.option("welcome"); got != "Ask Kim\nafter <b>nine</b>" {
		t.Errorf("it is %q", got)
	}
	w.post(optionsPath+"/authority", w.filled("authority", url.Values{"welcome": {"Ask Kim\r\nbefore nine"}})).wants(200, "What your authority chooses").contains("1 setting was changed")
}

// Those who issue codes read what their authority tells them, and nothing comes of its marks.
func TestThoseWhoIssueCodesReadTheMessage(t *testing.T) {
	t.Parallel()
	w := newOptionsWorld(t)
	if _, err := w.db.Database.Super().ExecContext(t.Context(), `update tenant_setting set welcome = e'Ask Kim\nafter <b>nine</b>' where tenant_id = $1`, w.at.ID); err != nil {
		t.Fatal(err)
	}
	w.hire("case@north.example", "Kim", authz.Caseworker)
	w.signIn("case@north.example")
	w.get("/portal/north-shore/codes/new").wants(200, "Issue a verification code").contains("From your authority").contains("after <b>nine</b>")
}
