package adminui_test

import (
	"net/url"
	"strings"
	"testing"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/template"
	"carillon/tenant/tenanttest"
)

const textsPath = "/portal/north-shore/texts"

func newWordingWorld(t *testing.T) (*staffWorld, *messagetest.Sender) {
	t.Helper()
	db, sender := tenanttest.New(t), &messagetest.Sender{}
	w := staffWorldOf(t, db, func(c *adminui.Config) {
		c.Wording = template.NewStaff(template.StaffConfig{DB: db.Portal, Policies: c.Policies, Sender: sender, Now: c.Now})
	})
	return w, sender
}

// A text is looked at as phones show it before it is used; without scripts, too.
func TestATextIsWrittenInTwoSteps(t *testing.T) {
	t.Parallel()
	w, _ := newWordingWorld(t)
	w.signIn(alex)
	w.get(textsPath).wants(200, "Message texts").contains("There from the start").lacks("By your authority")
	form := w.get(textsPath+"/edit").wants(200, "A message text").form("text")
	form.Set("language", "es")
	form.Set("body", "Su código: [code] [Nombre]")
	w.post(textsPath+"/edit", form).wants(200, "Use this text?").contains("Su código: 12345678 [Nombre]").contains("1 segment:").contains("stay as they are").contains("Spanish")
	w.get(textsPath).lacks("By your authority")
	w.post(textsPath+"/edit", pressing(form, "again")).wants(200, "A message text").contains("Su código: [code] [Nombre]")
	w.post(textsPath+"/edit", pressing(form, "confirm")).wants(200, "Message texts").contains("The text was saved").contains("Su código: [code]").contains("By your authority")

	w.post(textsPath+"/edit", pressing(form, "confirm")).wants(409, "A message text").contains("Somebody else changed")
	p := w.get(textsPath+"/remove?"+url.Values{"label": {template.MainLabel}, "language": {"es"}}.Encode()).wants(200, "Remove this text?").contains("The text is lost")
	w.post(textsPath+"/remove", url.Values{"label": {template.MainLabel}, "language": {"es"}, "body": {p.value("body")}}).wants(200, "Message texts").contains("The text was removed").lacks("Su código")
	w.get(textsPath+"/remove?"+url.Values{"label": {template.MainLabel}, "language": {"en"}}.Encode()).wants(404, "There is no such text")
}

// What breaks a rule is named, and what was typed is kept, whatever it is.
func TestWrongTextsAreNamed(t *testing.T) {
	t.Parallel()
	w, _ := newWordingWorld(t)
	w.signIn(alex)
	form := url.Values{"label": {"At night"}, "language": {"klingon!"}, "body": {"[enslink] \u202ejunk😀"}}
	w.post(textsPath+"/edit", form).wants(422, "A message text").contains("exactly one of [code]").contains("Leave [enslink] out").
		contains("Write a language tag").contains("junk😀").marks(`value="At night"`)
}

// Scripts are told the same as the page says.
func TestTextsAreMeasured(t *testing.T) {
	t.Parallel()
	w, _ := newWordingWorld(t)
	w.signIn(alex)
	p := w.post(textsPath+"/measure", url.Values{"language": {"en"}, "body": {strings.Repeat("x", 170) + " [code]"}})
	if p.status != 200 || !strings.Contains(p.body, "2 segments: 179 characters of 7 bits") || !strings.Contains(p.body, `"faults":[]`) {
		t.Errorf("%d %s", p.status, p.body)
	}
	p = w.post(textsPath+"/measure", url.Values{"language": {"en"}, "body": {"😀"}})
	if !strings.Contains(p.body, "16 bits") || !strings.Contains(p.body, "exactly one of [code]") {
		t.Errorf("%s", p.body)
	}
}

func TestATestMessage(t *testing.T) {
	t.Parallel()
	w, sender := newWordingWorld(t)
	w.signIn(alex)
	w.get(textsPath+"/test").wants(200, "Send a test message")
	form := url.Values{"message_text": {"en/" + template.MainLabel}, "phone": {"junk"}}
	w.post(textsPath+"/test", form).wants(422, "Send a test message").marks(`value="junk"`)
	form.Set("phone", "+12065550142")
	w.post(textsPath+"/test", form).wants(200, "Message texts").contains("Your provider took the test message").lacks("5550142")
	sender.Break(messagetest.Failed)
	w.post(textsPath+"/test", form).wants(200, "Send a test message").contains("Your provider did not take the message")
	if n := len(sender.Delivered()); n != 1 {
		t.Errorf("%d messages went out", n)
	}
}

func TestWhoMayWriteTexts(t *testing.T) {
	t.Parallel()
	w, _ := newWordingWorld(t)
	w.hire("aud@north.example", "Aud", authz.Auditor)
	w.signIn("aud@north.example")
	w.get(textsPath).wants(200, "Message texts").lacks("Write another text").lacks("Change")
	for _, path := range []string{"/edit", "/measure", "/remove", "/test"} {
		w.post(textsPath+path, url.Values{"body": {"[code]"}, "language": {"en"}, "confirm": {"yes"}}).wants(403, "You may not do this")
	}
}
