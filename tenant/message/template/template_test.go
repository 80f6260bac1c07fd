package template_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/message/template"
	"carillon/tenant/tenanttest"
)

var operator = authz.Subject{Kind: authz.System, ID: "test", Name: "Test"}

func set(t *testing.T, w *tenanttest.World, of *tenant.Tenant, text template.Text) error {
	t.Helper()
	return w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		_, err := template.Set(t.Context(), tx, of, operator, text, "", w.Now())
		return err
	})
}

func remove(t *testing.T, w *tenanttest.World, of *tenant.Tenant, label, language string) error {
	t.Helper()
	return w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return template.Remove(t.Context(), tx, of, operator, label, language, w.Now())
	})
}

func find(t *testing.T, w *tenanttest.World, of *tenant.Tenant, label, language string) string {
	t.Helper()
	book, err := template.NewLibrary(w.Issuer).Book(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	body, err := book.Find(label, language)
	if errors.Is(err, message.ErrTemplate) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestFind(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	north.Settings.SMSTemplate, south.Settings.SMSTemplate = "settings [longcode]", "settings [longcode]"
	if got := find(t, w, north, "", "es"); got != "settings [longcode]" {
		t.Errorf("without a text of its own: %q", got)
	}
	if got := find(t, w, north, template.UserReportLabel, ""); !strings.Contains(got, "[code]") || strings.Contains(got, "[longexpires]") {
		t.Errorf("self-report: %q", got)
	}
	for _, text := range []template.Text{
		{Label: "", Language: "", Body: "main en\n\t [longcode]"},
		{Label: template.MainLabel, Language: "es", Body: "main es [longcode]"},
		{Label: "Clinic", Language: "es-MX", Body: "clinic es-mx [longcode]"},
		{Label: "Clinic", Language: "fr", Body: "clinic fr [longcode]"},
		{Label: template.UserReportLabel, Language: "es", Body: "own es [code]"},
	} {
		if err := set(t, w, north, text); err != nil {
			t.Errorf("%v: %v", text, err)
		}
	}
	for _, c := range []struct{ label, language, want string }{
		{"", "", "main en [longcode]"},
		{template.MainLabel, "es", "main es [longcode]"},
		{"", "ES-ar", "main es [longcode]"},
		{"", "de", "main en [longcode]"},
		{"Clinic", "es-MX", "clinic es-mx [longcode]"},
		{"Clinic", "fr-CA", "clinic fr [longcode]"},
		{"Clinic", "", "clinic es-mx [longcode]"},
		{"clinic", "fr", "none"},
		{"Spring", "", "none"},
		{template.UserReportLabel, "es", "own es [code]"},
		{template.UserReportLabel, "en", "own es [code]"},
	} {
		if got := find(t, w, north, c.label, c.language); got != c.want {
			t.Errorf("%q in %q: %q, want %q", c.label, c.language, got, c.want)
		}
	}
	if got := find(t, w, south, "Clinic", "fr"); got != "none" {
		t.Errorf("the other tenant has %q", got)
	}
	if err := remove(t, w, south, "Clinic", "fr"); !errors.Is(err, template.ErrUnknown) {
		t.Errorf("the other tenant removes it: %v", err)
	}
	if err := remove(t, w, north, "", ""); err != nil {
		t.Fatal(err)
	}
	if got := find(t, w, north, "", "de"); got != "main es [longcode]" {
		t.Errorf("after the removal: %q", got)
	}
	var acts string
	if err := w.Database.Super().QueryRowContext(t.Context(),
		`select string_agg(action, ' ' order by entry_no) from audit_entry where action like 'message-template:%'`).Scan(&acts); err != nil || strings.Count(acts, "set") != 5 || !strings.HasSuffix(acts, "remove") {
		t.Errorf("audited %q, %v", acts, err)
	}
}

func TestBuiltInTextsKeepTheRules(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for _, enx := range []bool{false, true} {
		of := w.Create(fmt.Sprintf("enx-%v", enx))
		of.Settings.ENX = enx
		for _, label := range []string{template.MainLabel, template.UserReportLabel} {
			body := find(t, w, of, label, "")
			if m, err := template.Check(of, label, body, "en.example"); err != nil || m.Segments != 1 || m.Encoding != template.GSM7 || len(m.Unknown) > 0 {
				t.Errorf("ENX %v, %s: %q: %v, %+v", enx, label, body, err, m)
			}
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	plain := &tenant.Tenant{Slug: "north", Region: "US-WA"}
	plain.Settings.CodeDigits, plain.Settings.LongCodeLength = 8, 16
	enx := *plain
	enx.Settings.ENX = true
	for _, c := range []struct {
		of          *tenant.Tenant
		label, body string
		want        string // in the error; empty for none
	}{
		{plain, "", "[code]", ""},
		{plain, "", "[longcode] [region] [expires] [longexpires]", ""},
		{plain, "", "", "empty"},
		{plain, "", "no code", "exactly one"},
		{plain, "", "[code] [longcode]", "exactly one"},
		{plain, "", "[longcode] [enslink]", "[enslink]"},
		{plain, "", "[code]" + strings.Repeat("x", 795), "801 bytes"},
		{plain, "", "[code]" + strings.Repeat("x", 794), ""},
		{plain, "", "[longcode]" + strings.Repeat("[longcode]", 79), "918 bytes"},
		{plain, template.UserReportLabel, "[code] [longexpires]", "[longexpires]"},
		{plain, "Clinic", "[code] [longexpires]", ""},
		{plain, "", "[code]\x00", "printed"},
		{plain, "", "[code]\xff", "printed"},
		{&enx, "", "[enslink] [code]", ""},
		{&enx, "", "[code]", "must have [enslink]"},
		{&enx, "", "[enslink] [region]", "[region]"},
		{&enx, "", "[enslink] [longcode]", "[longcode]"},
	} {
		_, err := template.Check(c.of, c.label, c.body, "")
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, template.ErrRules) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.40q: %v, want %q", c.body, err, c.want)
		}
	}
}

func TestSetRefuses(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	for _, text := range []template.Text{
		{Label: "Clinic", Language: "english", Body: "[code]"},
		{Label: "Clinic", Language: "e", Body: "[code]"},
		{Label: strings.Repeat("x", 101), Language: "en", Body: "[code]"},
		{Label: "a\x00b", Language: "en", Body: "[code]"},
		{Label: "Clinic", Language: "en", Body: "no code"},
	} {
		if err := set(t, w, north, text); !errors.Is(err, template.ErrRules) {
			t.Errorf("%+v: %v, want ErrRules", text, err)
		}
	}
	if texts, err := template.List(t.Context(), w.Operator, north.ID); err != nil || len(texts) != 0 {
		t.Errorf("saved %v, %v", texts, err)
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	of := &tenant.Tenant{Slug: "north", Region: "US-WA"}
	of.Settings.CodeDigits, of.Settings.LongCodeLength, of.Settings.SMSSigning = 8, 16, "open"
	m, err := template.Check(of, "", "Code: [longcode] [Name] [Name] [longcod]", "")
	if err != nil || m.Bytes != len("Code: ")+16+len(" [Name] [Name] [longcod]") || strings.Join(m.Unknown, " ") != "[Name] [longcod]" {
		t.Errorf("%+v, %v", m, err)
	}
	if m.Segments != 1 || m.Signed.Segments != 2 {
		t.Errorf("%d segments, %d signed; want 1 and 2", m.Segments, m.Signed.Segments)
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		text string
		want template.Size
	}{
		{"", template.Size{template.GSM7, 0, 1}},
		{x(160), template.Size{template.GSM7, 160, 1}},
		{x(161), template.Size{template.GSM7, 161, 2}},
		{x(306), template.Size{template.GSM7, 306, 2}},
		{x(307), template.Size{template.GSM7, 307, 3}},
		{x(158) + "€", template.Size{template.GSM7, 160, 1}},
		{x(152) + "€" + x(152), template.Size{template.GSM7, 306, 3}}, // the euro sign would be split
		{"@£$éÑ¿Ω[]{}", template.Size{template.GSM7, 15, 1}},
		{x(69) + "ç", template.Size{template.UCS2, 70, 1}},
		{x(70) + "ç", template.Size{template.UCS2, 71, 2}},
		{"你好", template.Size{template.UCS2, 2, 1}},
		{x(66) + "😀" + x(66), template.Size{template.UCS2, 134, 3}}, // nor a surrogate pair
		{"😀", template.Size{template.UCS2, 2, 1}},
	} {
		if got := template.SizeOf(c.text); got != c.want {
			t.Errorf("%.20q…: %+v, want %+v", c.text, got, c.want)
		}
	}
}

func TestValuesDoNotPrint(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := template.Vars{Code: "12345678", LongCode: "abcd1234efgh5678"}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	fmt.Fprintf(&out, "%v %+v %#v %s", v, v, v, v)
	if strings.Contains(out.String(), "12345678") || strings.Contains(out.String(), "efgh") {
		t.Errorf("shows %s", out.String())
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"[code]", "[enslink] [longexpires]", "\x00", "[[code]]", "😀[longcode]"} {
		f.Add(seed, true)
	}
	of := &tenant.Tenant{Slug: "north", Region: "US-WA"}
	of.Settings.CodeDigits, of.Settings.LongCodeLength = 8, 16
	f.Fuzz(func(t *testing.T, body string, enx bool) {
		of := *of
		of.Settings.ENX = enx
		body = template.Normalise(body)
		if template.Normalise(body) != body {
			t.Errorf("%q is not in its normal form", body)
		}
		m, err := template.Check(&of, "", body, "")
		if err != nil {
			return
		}
		text, err := template.Render(body, template.Vars{Code: "12345678", LongCode: "abcd1234efgh5678", Region: "US-WA"})
		if err != nil || len(text) != m.Bytes || m.Segments < 1 {
			t.Errorf("%q: %v, %d bytes measured as %+v", body, err, len(text), m)
		}
	})
}
