package template_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/template"
	"carillon/tenant/tenanttest"
)

var (
	admin   = authz.Subject{Kind: authz.Person, ID: "77aa", Name: "Robin", Roles: []authz.Role{authz.Administrator}}
	auditor = authz.Subject{Kind: authz.Person, ID: "88bb", Name: "Sam", Roles: []authz.Role{authz.Auditor}}
)

func newStaff(w *tenanttest.World, sender message.Sender) *template.Staff {
	return template.NewStaff(template.StaffConfig{
		DB: w.Portal, Policies: authz.NewPolicies(nil), Sender: sender, Now: w.Now,
	})
}

func bodies(t *testing.T, s *template.Staff, of *tenant.Tenant) string {
	t.Helper()
	entries, err := s.Board(t.Context(), of, auditor)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		own := ""
		if e.Own {
			own = "own "
		}
		list = append(list, own+e.Language+" "+e.Body)
	}
	return strings.Join(list, "; ")
}

// Staff see the texts that messages use, write their own, and go back to the first ones;
// nobody overwrites what she has not seen.
func TestStaffWriteTexts(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	north.Settings.SMSTemplate, south.Settings.SMSTemplate = "first [longcode]", "first [longcode]"
	s := newStaff(w, nil)
	set := func(language, body, seen string) error {
		return s.Set(t.Context(), north, admin, template.Text{Language: language, Body: body}, seen)
	}
	for _, step := range []struct {
		language, body, seen string
		want                 error
	}{
		{"es", "su código [longcode]", "", nil},
		{"", "  your\n code [longcode]", "", nil},
		{"", "another [longcode]", "", template.ErrChanged},
		{"", "another [longcode]", "your code [longcode]", nil},
		{"", "no code", "another [longcode]", template.ErrRules},
	} {
		if err := set(step.language, step.body, step.seen); !errors.Is(err, step.want) {
			t.Errorf("%+v: %v", step, err)
		}
	}
	if got, want := bodies(t, s, north), "own en another [longcode]; own es su código [longcode]"; got != want {
		t.Errorf("texts are %q, want %q", got, want)
	}
	if got, want := bodies(t, s, south), "en first [longcode]"; got != want {
		t.Errorf("the other tenant's are %q, want %q", got, want)
	}
	remove := func(seen string) error { return s.Remove(t.Context(), north, admin, template.MainLabel, "en", seen) }
	if err := remove("your code [longcode]"); !errors.Is(err, template.ErrChanged) {
		t.Errorf("remove what is another by now: %v", err)
	}
	if err := remove("another [longcode]"); err != nil {
		t.Error(err)
	}
	if err := remove(""); !errors.Is(err, template.ErrUnknown) {
		t.Errorf("remove what is gone: %v", err)
	}
	if got, want := bodies(t, s, north), "en first [longcode]; own es su código [longcode]"; got != want {
		t.Errorf("texts are %q, want %q", got, want)
	}
}

func TestWhoMayWriteTexts(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	sender := &messagetest.Sender{}
	s := newStaff(w, sender)
	caseworker := authz.Subject{Kind: authz.Person, ID: "99cc", Name: "Ana", Roles: []authz.Role{authz.Caseworker}}
	text := template.Text{Language: "en", Body: "[longcode]"}
	_, look := s.Board(t.Context(), north, caseworker)
	_, draft := s.Draft(t.Context(), north, auditor, text)
	for name, err := range map[string]error{
		"look": look, "draft": draft, "write": s.Set(t.Context(), north, auditor, text, ""),
		"remove": s.Remove(t.Context(), north, auditor, template.MainLabel, "en", ""),
		"test":   s.Test(t.Context(), north, auditor, template.MainLabel, "en", "+12065550100"),
	} {
		if !errors.Is(err, authz.ErrForbidden) {
			t.Errorf("%s: %v, want ErrForbidden", name, err)
		}
	}
	if sender.Attempts() != 0 {
		t.Error("a message went out")
	}
}

// A test message has made-up codes and an entry without the number; an hour has ten.
func TestTestMessages(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	sender := &messagetest.Sender{}
	s := newStaff(w, sender)
	test := func(ctx context.Context, phone string) error {
		return s.Test(ctx, north, admin, template.MainLabel, "en", phone)
	}
	if err := test(t.Context(), "junk"); !errors.Is(err, message.ErrPhone) {
		t.Errorf("no number: %v", err)
	}
	if err := s.Test(t.Context(), north, admin, "none", "en", "+12065550100"); !errors.Is(err, template.ErrUnknown) {
		t.Errorf("no such text: %v", err)
	}
	for range template.TestsAnHour {
		if err := test(t.Context(), "(206) 555-0100"); err != nil {
			t.Fatal(err)
		}
	}
	if err := test(t.Context(), "(206) 555-0100"); !errors.Is(err, template.ErrTests) {
		t.Errorf("one more: %v, want ErrTests", err)
	}
	sent := sender.Delivered()
	if len(sent) != template.TestsAnHour || sent[0].To != "+12065550100" || !strings.Contains(sent[0].Body, "123456789") {
		t.Errorf("sent %d messages", len(sent))
	}
	var log string
	if err := w.Database.Super().QueryRowContext(t.Context(), `select string_agg(x::text, ' ') from audit_entry x where action = 'message-template:test'`).Scan(&log); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log, "5550100") || strings.Count(log, "message-template:test") != template.TestsAnHour {
		t.Errorf("the log has %s", log)
	}
	w.Advance(time.Hour + time.Minute)
	sender.Break(messagetest.Failed)
	if err := test(t.Context(), "(206) 555-0100"); message.AsFailure(err).Class == "" || err == nil {
		t.Errorf("a provider that fails: %v", err)
	}
}

// Every rule that a text breaks is named.
func TestBrokenRules(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	_, err := newStaff(w, nil).Draft(t.Context(), north, admin, template.Text{Label: template.UserReportLabel, Language: "English!", Body: "[enslink] [longexpires]"})
	want := []template.Rule{template.LanguageForm, template.OneCode, template.LinkWithoutENX, template.LongLife}
	got := template.Broken(err)
	if len(got) != len(want) {
		t.Fatalf("broken rules are %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("broken rules are %v, want %v", got, want)
		}
	}
}
