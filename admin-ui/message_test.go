package adminui_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/admin-ui/adminuitest"
	"carillon/tenant/message"
	"carillon/tenant/message/delivery"
	"carillon/tenant/message/template"
	"carillon/tenant/verification"
)

func twoTexts() []template.Sample {
	return []template.Sample{
		{Label: template.MainLabel, Language: "en", Text: "Your code: 12345678", Size: template.Size{Segments: 1}},
		{Label: "Clinic", Language: "es", Text: "Su código: 12345678", Size: template.Size{Segments: 2}},
	}
}

// Whoever issues a code chooses its message by what it says, and reads the code out in
// the language of the person on the telephone.
func TestAMessageIsChosen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.codes.Samples = twoTexts()
	w.signIn(caseworker)
	form := w.filledIn("phone", "invalid", "message_text", "es/Clinic")
	w.get(newPath).contains("Your code: 12345678").contains("At most 1 message segment").
		contains("Spanish, Clinic").contains("At most 2 message segments").contains("the country is United States")
	w.post(newPath, form).wants(422, "Issue a verification code").marks(`<option value="es/Clinic" selected>`)
	form.Set("phone", "+12065550142")
	w.post(newPath, form).wants(200, "Verification code issued").
		contains("In Spanish:").contains("uno dos tres cuatro, cinco seis siete ocho").contains("one two three four")
	last := w.codes.Requests[len(w.codes.Requests)-1]
	if last.Language != "es" || last.SMSTemplateLabel != "Clinic" {
		t.Errorf("message in %q, %q", last.Language, last.SMSTemplateLabel)
	}
}

// A page that waits is told how a code and its message stand, in the words of the page
// that looks codes up; of other authorities' codes it is told nothing.
func TestHowACodeStands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn("phone", "+12065550142")
	w.post(newPath, form).wants(200, "Verification code issued")
	id := form.Get("code_id")
	stands := func() (state struct {
		State, Label, Message, MessageAdvice, Refusal string
		Over                                          bool
	},
	) {
		t.Helper()
		p := w.get("/portal/north-shore/codes/" + id + "/state")
		if err := json.Unmarshal([]byte(p.body), &state); err != nil || p.status != 200 {
			t.Fatalf("%d, %v: %s", p.status, err, p.body)
		}
		return state
	}
	if s := stands(); s.State != "unused" || s.Message != "" || s.Over || !strings.Contains(s.Refusal, "a digit was mistyped") {
		t.Errorf("a new code: %+v", s)
	}
	w.codes.Messages = map[uuid.UUID]delivery.Report{
		uuid.MustParse(id): {State: delivery.Failed, Class: message.Landline},
	}
	if s := stands(); s.Message != "Message not delivered." || s.MessageAdvice[:24] != "The number is a landline" {
		t.Errorf("a failed message: %+v", s)
	}
	w.get("/portal/north-shore/codes?id="+id).wants(200, "Look up a code").contains("The number is a landline")
	for cause, words := range map[verification.Cause]string{
		verification.CauseExpired: "the code had ended", verification.CauseUsed: "the code had been used before",
		verification.CauseType: "does not know this kind", verification.CauseNonce: "only on the phone that asked",
	} {
		w.codes.Refuse(id, verification.Refusal{Cause: cause, At: w.clock()})
		if s := stands(); !strings.Contains(s.Refusal, words) {
			t.Errorf("refused as %s: %q", cause, s.Refusal)
		}
		w.get("/portal/north-shore/codes?id="+id).wants(200, "Look up a code").contains(words)
	}
	w.codes.Claim(id)
	if s := stands(); s.State != "used" || !s.Over {
		t.Errorf("a used code: %+v", s)
	}
	w.get("/portal/north-shore/codes/"+uuid.NewString()+"/state").wants(404, "Look up a code")
	w.get("/portal/river-valley/codes/"+id+"/state").wants(404, "Page not found")
}

// A page that asks how a code stands does not keep the session of somebody who has left.
func TestAskingHowACodeStandsIsNoUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn()
	w.post(newPath, form)
	before := w.sessions.Used
	w.get("/portal/north-shore/codes/" + form.Get("code_id") + "/state")
	if w.sessions.Used != before {
		t.Error("the session was used by a page that asked by itself")
	}
	w.get("/session")
	if w.sessions.Used == before {
		t.Error("the session was not used by somebody who said that she is there")
	}
}

// A message is sent again to a number that is entered again; why that cannot be is said
// beside the number, and nothing that was entered is lost.
func TestAMessageIsSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.codes.Samples = twoTexts()
	w.signIn(caseworker)
	form := w.filledIn("phone", "+12065550142")
	ask := w.get(w.post(newPath, form).link("Send again")).wants(200, "Send the code by text message")
	send := func(phone, text string) *page {
		return w.post(ask.url.Path, map[string][]string{"phone": {phone}, "message_text": {text}})
	}
	send("", "").wants(422, "Send the code by text message").contains("Enter the mobile telephone number").marks(`href="#phone"`)
	send("invalid", "es/Clinic").wants(422, "Send the code by text message").contains("with its area code").
		marks(`value="invalid"`).marks(`<option value="es/Clinic" selected>`)
	send("+12065550142", "es/Clinic").wants(200, "Look up a code").contains("The message is on its way.")
	send("+12065550142", "new/x").wants(200, "The code has new digits").contains("1234 5678")
	if n := len(w.codes.Resent); n != 2 || w.codes.Resent[0].Language != "es" || w.codes.Resent[0].SMSTemplateLabel != "Clinic" {
		t.Errorf("%d messages", n)
	}
	w.codes.Claim(form.Get("code_id"))
	send("+12065550142", "").wants(422, "Send the code by text message").contains("used already")
	w.get(ask.url.Path).wants(200, "Look up a code").contains("Used")
	w.post("/portal/north-shore/codes/"+uuid.NewString()+"/send", nil).wants(404, "Look up a code")
}

// A code goes by e-mail where the authority wants that, to an address that is entered for it.
func TestACodeIsSentByMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.codes.Samples = twoTexts()
	w.signIn(caseworker)
	w.post(newPath, w.filledIn("phone", "")).wants(200, "Verification code issued").lacks("Send by e-mail")
	w.staff.Tenants[0].Settings.EmailEnabled = true
	form := w.filledIn("phone", "")
	ask := w.get(w.post(newPath, form).link("Send by e-mail")).wants(200, "Send the code by e-mail")
	send := func(address, text string) *page {
		return w.post(ask.url.Path, map[string][]string{"email": {address}, "message_text": {text}})
	}
	send("", "").wants(422, "Send the code by e-mail").contains("Enter the e-mail address").marks(`href="#email"`)
	send("invalid", "es/Clinic").wants(422, "Send the code by e-mail").contains("Enter one e-mail address").
		marks(`value="invalid"`).marks(`<option value="es/Clinic" selected>`)
	send("alex@example.com", "es/Clinic").wants(200, "Look up a code").contains("The message is on its way.")
	send("alex@example.com", "new/x").wants(200, "The code has new digits").contains("The message is on its way.")
	if n := len(w.codes.Resent); n != 2 || w.codes.Resent[0].Email != "alex@example.com" || w.codes.Resent[0].Phone != "" {
		t.Errorf("%d messages", n)
	}
	w.codes.Claim(form.Get("code_id"))
	w.get(ask.url.Path).wants(200, "Look up a code").contains("Used").lacks("Send by e-mail")
}

// A code that somebody reads out leads to how it stands, and is never in a URL; searching
// goes no faster than people speak.
func TestACodeIsReadOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn()
	w.post(newPath, form).wants(200, "Verification code issued")
	const path = "/portal/north-shore/codes"
	look := func(text string) *page { return w.post(path, map[string][]string{"id": {text}}) }
	p := look(adminuitest.Code).wants(200, "Look up a code").contains("Not used yet")
	if p.url.Query().Get("id") != form.Get("code_id") || strings.Contains(p.url.String(), adminuitest.Code) {
		t.Errorf("led to %s", p.url)
	}
	look(form.Get("code_id")).wants(200, "Look up a code").contains("Not used yet")
	look("").wants(422, "Look up a code").contains("Enter the code or its ID")
	look("87654321").wants(404, "Look up a code").contains("Have it read out once more").marks(`value="87654321"`)
	for range 7 {
		look("11111111")
	}
	look("11111111").wants(429, "Too many requests")
	if strings.Contains(w.log.String(), adminuitest.Code) {
		t.Error("the log has the code")
	}
}

// Without scripts the day is the authority's own, not that of UTC.
func TestTheDayIsTheAuthoritys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	w.pass(12 * time.Hour) // past midnight in UTC
	if p := w.get(newPath); p.value("tz_offset") != "-480" {
		t.Errorf("offset %q", p.value("tz_offset"))
	}
}

// marks wants a piece of the page's HTML.
func (p *page) marks(html string) *page {
	p.t.Helper()
	if !strings.Contains(p.body, html) {
		p.t.Errorf("%s: %q is missing", p.url.Path, html)
	}
	return p
}
