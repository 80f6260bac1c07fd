package reportpage_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/reportpage"
	"carillon/tenant/tenanttest"
)

var operator = authz.Subject{Kind: authz.System, ID: "operator", Name: "Operator"}

func service(w *tenanttest.World) *reportpage.Service {
	return reportpage.New(w.Report, key.NewRing(w.Report, w.Root))
}

func TestBranding(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	look := reportpage.Look{Color: "#12abEF", ImageURL: "https://north.example/logo.svg", LearnMoreURL: "https://north.example/"}
	texts := []reportpage.Text{
		{Language: "ar", Agency: "الصحة"},
		{Language: "en", Agency: "Health", Intro: "i", Date: "d", Phone: "p", Success: "s"},
	}
	for _, old := range []string{"old", ""} { // the second time replaces the first
		err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			err := reportpage.SetLook(t.Context(), tx, operator, look, w.Now())
			for _, text := range texts {
				text.Intro += old
				err = errors.Join(err, reportpage.SetText(t.Context(), tx, operator, text, w.Now()))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	look.Color = "#12abef"
	for of, want := range map[*tenant.Tenant]reportpage.Branding{north: {Look: look, Texts: texts}, south: {}} {
		got, err := service(w).Branding(t.Context(), of.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", of.Slug, diff)
		}
	}
}

func TestBrandingRefuses(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	refused := func(name string, set func(tx *tenant.Tx) error) {
		if err := w.Operator.In(t.Context(), north.ID, set); !errors.Is(err, reportpage.ErrValue) {
			t.Errorf("%s: %v, want ErrValue", name, err)
		}
	}
	for name, l := range map[string]reportpage.Look{
		"color's name": {Color: "red"}, "style": {Color: "#fff;}a{"}, "plain HTTP": {ImageURL: "http://x.example/"},
		"script": {LearnMoreURL: "javascript:alert(1)"}, "no host": {ImageURL: "https:///x"},
		"a policy's words": {ImageURL: "https://x;script-src/"}, "long": {ImageURL: "https://x.example/" + strings.Repeat("x", 1000)},
	} {
		refused(name, func(tx *tenant.Tx) error { return reportpage.SetLook(t.Context(), tx, operator, l, w.Now()) })
	}
	for name, text := range map[string]reportpage.Text{
		"no language": {}, "another language": {Language: "English"},
		"long": {Language: "en", Agency: strings.Repeat("x", 201)}, "no text": {Language: "en", Intro: "\xff"}, "NUL": {Language: "en", Date: "\x00"},
		"text turned around": {Language: "en", Agency: "a\u202eb"}, "a character that does not show": {Language: "en", Link: "a\u200bb"},
	} {
		refused(name, func(tx *tenant.Tx) error { return reportpage.SetText(t.Context(), tx, operator, text, w.Now()) })
	}
}

func TestVisit(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	pages := service(w)
	v := reportpage.Visit{Tenant: north.ID, Nonce: bytes.Repeat([]byte{7}, 256), Expires: w.Now().Add(reportpage.VisitLife).Truncate(time.Second)}
	text, err := pages.Seal(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 1000 {
		t.Errorf("%d characters", len(text))
	}
	got, err := service(w).Open(t.Context(), text, w.Now()) // another process
	if err != nil || got.Tenant != v.Tenant || !bytes.Equal(got.Nonce, v.Nonce) || !got.Expires.Equal(v.Expires) {
		t.Errorf("another visit, %v", err)
	}
	if s := fmt.Sprintf("%v %+v %s", v, v, &v); strings.Contains(s, "7") {
		t.Errorf("prints %s", s)
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := append(append([]byte{}, south.ID[:]...), sealed[16:]...)
	nobodys := append(append([]byte{}, bytes.Repeat([]byte{9}, 16)...), sealed[16:]...)
	changed := append([]byte{}, sealed...)
	changed[len(changed)-1] ^= 1
	for name, bad := range map[string]string{
		"empty": "", "short": text[:20], "cut off": text[:len(text)-4], "padded": text + "=", "long": strings.Repeat("A", 5000),
		"another tenant's": base64.RawURLEncoding.EncodeToString(elsewhere),
		"nobody's":         base64.RawURLEncoding.EncodeToString(nobodys),
		"changed":          base64.RawURLEncoding.EncodeToString(changed),
	} {
		if _, err := pages.Open(t.Context(), bad, w.Now()); !errors.Is(err, reportpage.ErrVisit) {
			t.Errorf("%s: %v, want ErrVisit", name, err)
		}
	}
	w.SetNow(v.Expires.Add(-time.Second))
	if _, err := pages.Open(t.Context(), text, w.Now()); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	if _, err := pages.Open(t.Context(), text, v.Expires); !errors.Is(err, reportpage.ErrVisit) {
		t.Errorf("at its end: %v, want ErrVisit", err)
	}
}

func FuzzOpenVisit(f *testing.F) {
	w := tenanttest.New(f)
	north := w.Create("north")
	pages := service(w)
	text, err := pages.Seal(f.Context(), reportpage.Visit{Tenant: north.ID, Nonce: []byte("n"), Expires: w.Now().Add(time.Hour)})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{text, text[1:], text + "\n", "", "AAAA", strings.Repeat("A", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := pages.Open(t.Context(), s, w.Now())
		if (err == nil) != (s == text) || err != nil && !errors.Is(err, reportpage.ErrVisit) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

// Staff of one tenant change their own pages, if their roles let them, and whoever answers
// links sees it.
func TestStaffChangePages(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	staff := reportpage.NewStaff(w.Portal, authz.NewPolicies(nil), w.Now)
	person := func(of *tenant.Tenant, role authz.Role) authz.Subject {
		return authz.Subject{Kind: authz.Person, ID: string(of.Slug) + string(role), Name: "Robin", Roles: []authz.Role{role}}
	}
	look := reportpage.Look{Color: "#102030", ContactEmail: "help@north.example"}
	if err := staff.SetLook(t.Context(), north, person(north, authz.Auditor), reportpage.Look{}, look); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("an auditor: %v", err)
	}
	administrator := person(north, authz.Administrator)
	if err := staff.SetLook(t.Context(), north, administrator, reportpage.Look{}, look); err != nil {
		t.Fatal(err)
	}
	if err := staff.SetLook(t.Context(), north, administrator, reportpage.Look{}, reportpage.Look{}); !errors.Is(err, reportpage.ErrChanged) {
		t.Errorf("what she has not seen: %v", err)
	}
	if err := staff.SetText(t.Context(), north, administrator, reportpage.Text{}, reportpage.Text{Language: "es", Agency: "Salud"}); err != nil {
		t.Fatal(err)
	}
	for name, db := range map[string]*tenant.DB{"issuer": w.Issuer, "publish": w.Publish, "report": w.Report} {
		book := reportpage.NewBook(db)
		b, err := book.Branding(t.Context(), north.ID)
		if err != nil || b.Look != look || b.Text("es").Agency != "Salud" {
			t.Errorf("%s sees %+v, %v", name, b, err)
		}
		if b, err := book.Branding(t.Context(), south.ID); err != nil || b.Look != (reportpage.Look{}) || len(b.Texts) > 0 {
			t.Errorf("%s sees of another tenant %+v, %v", name, b, err)
		}
	}
	if err := staff.SetText(t.Context(), north, administrator, reportpage.Text{Agency: "Salud"}, reportpage.Text{Language: "es"}); err != nil {
		t.Fatal(err)
	}
	if b, err := staff.Board(t.Context(), north, administrator); err != nil || len(b.Texts) > 0 {
		t.Errorf("an empty text stays: %+v, %v", b, err)
	}
}

// What the page refuses, the schema refuses too.
func TestContactsThatAreNone(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	for _, l := range []reportpage.Look{{ContactPhone: "call us"}, {ContactPhone: "1"}, {ContactEmail: "a@b.example c@d.example"}, {ContactEmail: "nobody"}} {
		err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			return reportpage.SetLook(t.Context(), tx, operator, l, w.Now())
		})
		if len(reportpage.Faults(err)) != 1 {
			t.Errorf("%+v: %v", l, err)
		}
		_, err = w.Database.Super().ExecContext(t.Context(), `insert into report_page (tenant_id, contact_phone, contact_email) values ($1, $2, $3)`, north.ID, l.ContactPhone, l.ContactEmail)
		if err == nil {
			t.Errorf("the schema takes %+v", l)
		}
	}
}
