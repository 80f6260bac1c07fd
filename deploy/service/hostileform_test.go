package service

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/uuid"
	"golang.org/x/net/html"

	"carillon/authz"
	"carillon/tenant/client"
)

// encodings are forms that are hostile as a whole: a type of content and a body.
var encodings = map[string][2]string{
	"no type":             {"", "name=x&reason=x"},
	"JSON":                {"application/json", `{"name":"x"}`},
	"broken escapes":      {"application/x-www-form-urlencoded", "name=%zz&reason=%"},
	"semicolons":          {"application/x-www-form-urlencoded", "name=a;reason=b"},
	"NUL":                 {"application/x-www-form-urlencoded", "name=a%00&\x00=b"},
	"UTF-16":              {"application/x-www-form-urlencoded; charset=utf-16", "n\x00a\x00m\x00e\x00=\x00x\x00"},
	"Latin-1":             {"application/x-www-form-urlencoded; charset=iso-8859-1", "name=M%FCller&reason=M\xfcller"},
	"many fields":         {"application/x-www-form-urlencoded", strings.Repeat("name=x&", 20_000)},
	"parts, no boundary":  {"multipart/form-data", "--x\r\n"},
	"parts, half":         {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nx"},
	"parts, wrong length": {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../../x\"\r\nContent-Length: 99999999999\r\n\r\n\r\n--x--\r\n"},
	"compressed":          {"application/x-www-form-urlencoded", "\x1f\x8b\x08\x00"},
}

// Every field of every form, every field of every query that has an example, and every
// parameter of every URL of the pages takes hostile text, for staff, for those who sign up,
// for people who report and for operators: the answer is never a fault, what is typed is
// there to be put right, and what is refused leaves nothing.
func TestHostileForms(t *testing.T) {
	t.Parallel()
	e := newEverybody(t)
	if got := e.visit(t, stranger, http.MethodPost, "/signup/application", applicationForm); got.status != http.StatusSeeOther {
		t.Fatalf("no application: %v", got)
	}
	for _, r := range e.service.Routes() {
		if !r.Credential.OfSession() && len(exampleOf(r).form) == 0 {
			continue
		}
		e.try(t, e.hostileForms(t, r))
	}
	e.wantPlain(t)
}

// hostileForms are the attempts at one route.
func (e *everybody) hostileForms(t *testing.T, r authz.Route) (attempts []attempt) {
	t.Helper()
	x := exampleOf(r)
	add := func(what string, ids []string, change func(url.Values)) {
		attempts = append(attempts, attempt{
			what: fmt.Sprintf("%s %s with %s", r.Method, r.Path, what), before: x.before, draft: x.draft,
			ask: func() reply {
				form := maps.Clone(x.form)
				for field, values := range form {
					form[field] = []string{strings.ReplaceAll(values[0], unique, "u"+uuid.NewString()[:8])}
				}
				change(form)
				got := e.send(t, r, e.urlOf(t, r, ids), form)
				wantTyped(t, what+" at "+r.Method+" "+r.Path, form, got)
				return got
			},
		})
	}
	for _, kind := range slices.Sorted(maps.Keys(hostile)) {
		text := hostile[kind]
		for field := range x.form {
			add(kind+" as "+field, nil, func(form url.Values) { form.Set(field, text) })
		}
		if parameters := strings.Count(strings.Replace(r.Path, ":tenant", "", 1), ":"); parameters > 0 && text != "" && len(text) < 1<<19 {
			add(kind+" in its URL", slices.Repeat([]string{text}, parameters), func(url.Values) {})
		}
	}
	if r.Method != http.MethodPost {
		return attempts
	}
	for what, form := range encodings {
		attempts = append(attempts, attempt{
			what: fmt.Sprintf("%s %s with %s", r.Method, r.Path, what), before: x.before, draft: x.draft,
			ask: func() reply {
				return e.ask(t, r.Method, e.urlOf(t, r, nil), e.cookies[whoFills(r)], form[0], form[1])
			},
		})
	}
	return attempts
}

// whoFills is who may fill in the forms of a route.
func whoFills(r authz.Route) string {
	switch {
	case r.Audience == authz.AudienceOperator:
		return string(authz.Operator)
	case r.TenantFrom == authz.TenantFromNone && r.Audience == authz.AudiencePublic:
		return stranger
	}
	return string(authz.Owner)
}

// urlOf is a route's URL with the objects that its example names, or with ids.
func (e *everybody) urlOf(t *testing.T, r authz.Route, ids []string) string {
	t.Helper()
	if ids == nil {
		for _, kind := range exampleOf(r).objects {
			ids = append(ids, cmp.Or(e.found(t, kind, e.own), uuid.NewString()))
		}
	}
	return at(r, string(e.own.Slug), ids...)
}

// send has whoever may fill in the form of a route send it.
func (e *everybody) send(t *testing.T, r authz.Route, target string, form url.Values) reply {
	t.Helper()
	if r.Audience != authz.AudiencePatient {
		return e.visit(t, whoFills(r), r.Method, target, form)
	}
	return e.ask(t, r.Method, reportURL+target, "", "application/x-www-form-urlencoded", form.Encode(), "Cookie", e.openReport(t), "Sec-Fetch-Site", "same-origin")
}

// openReport opens the page for people who report, as an app does, and returns the cookie.
func (e *everybody) openReport(t *testing.T) string {
	t.Helper()
	opened := e.ask(t, http.MethodPost, reportURL+"/report", "", "", "",
		"X-API-Key", e.keys[client.Device], "X-Nonce", strings.Repeat("A", 342)+"==")
	cookie, _, found := strings.Cut(opened.header.Get("Set-Cookie"), ";")
	if !found {
		t.Fatalf("the page for reports does not open: %v", opened)
	}
	return cookie
}

// wantTyped fails if an answer asks for a form to be put right and what was typed into a
// field is not there any more.
func wantTyped(t *testing.T, what string, sent url.Values, got reply) {
	t.Helper()
	if !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || !strings.Contains(got.body, `href="#`) || got.status != http.StatusUnprocessableEntity {
		return
	}
	shown, err := typedFields(got.body)
	if err != nil {
		t.Fatal(err)
	}
	for field, text := range shown {
		if want, is := sent[field]; is && readable(text) != readable(want[0]) {
			t.Errorf("%s: %s, %.40q, is lost: %.40q", what, field, want[0], text)
		}
	}
}

// typedFields are the fields of a page into which text is typed, without those for secrets.
func typedFields(page string) (map[string]string, error) {
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for n := range root.Descendants() {
		attributes := map[string]string{}
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
		}
		switch {
		case n.Type != html.ElementNode:
		case n.Data == "textarea":
			fields[attributes["name"]] = ""
			if n.FirstChild != nil {
				fields[attributes["name"]] = n.FirstChild.Data
			}
		case n.Data == "input" && slices.Contains([]string{"text", "email", "tel", "url", "number", "search"}, attributes["type"]):
			fields[attributes["name"]] = attributes["value"]
		}
	}
	return fields, nil
}

// readable is text as a page can show it: what is no text is replaced, and lists may be
// written otherwise.
func readable(text string) string {
	text = strings.NewReplacer("\x00", "\ufffd", ",", " ").Replace(strings.ToValidUTF8(text, "\ufffd"))
	return strings.Join(strings.Fields(text), " ")
}

// rosters are lists of people that are hostile as a whole.
var rosters = map[string]string{
	"nothing": "", "a heading": "name,email,roles\n", "another heading": "a,b,c\n1,2,3\n", "no heading": "Robin,robin@people.example,analyst\n",
	"half a quote": "name,email,roles\n\"Robin,robin@people.example,analyst\n", "too few cells": "name,email,roles\nRobin\n",
	"too many cells": "name,email,roles\n" + strings.Repeat("x,", 10_000) + "\n", "many rows": "name,email,roles\n" + strings.Repeat("Robin,robin@people.example,analyst\n", 30_000),
	"Latin-1": "name,email,roles\nM\xfcller,m@people.example,analyst\n", "UTF-16": utf16Of("name,email,roles\nRobin,r@people.example,analyst\n"),
	"NUL": "name,email,roles\nRob\x00in,r@people.example,analyst\n", "returns": "name,email,roles\rRobin,r@people.example,analyst\r",
	"an archive": "PK\x03\x04\x14\x00", "one person twice": "name,email,roles\nA,twice@people.example,analyst\nB,TWICE@people.example,analyst\n",
}

func utf16Of(text string) string {
	var b strings.Builder
	b.WriteString("\xff\xfe")
	for _, unit := range utf16.Encode([]rune(text)) {
		b.Write([]byte{byte(unit), byte(unit >> 8)})
	}
	return b.String()
}

// A list of people with a hostile cell, or one that is none, invites all of its people or
// nobody, and to have it looked at invites nobody.
func TestHostileRosters(t *testing.T) {
	t.Parallel()
	e := newEverybody(t)
	lists := maps.Clone(rosters)
	for kind, text := range hostile {
		for i, column := range []string{"name", "email", "roles"} {
			row := []string{"Robin", hex.EncodeToString([]byte(kind)) + "@people.example", "analyst"}
			row[i] = text
			var b strings.Builder
			w := csv.NewWriter(&b)
			_ = w.WriteAll([][]string{{"name", "email", "roles"}, {"Good", column + hex.EncodeToString([]byte(kind)) + "@people.example", "analyst"}, row}) // a builder takes everything
			lists[kind+" as "+column] = b.String()
		}
	}
	for _, what := range slices.Sorted(maps.Keys(lists)) {
		before := e.rows(t, nil)
		wantCivil(t, "upload of "+what, e.upload(t, string(authz.Owner), "/portal/north/staff/import", lists[what]))
		e.wantUnchanged(t, "an upload of "+what, before)

		invited := e.invitations(t)
		got := e.visit(t, string(authz.Owner), http.MethodPost, "/portal/north/staff/import/confirm", url.Values{"list": {lists[what]}})
		wantCivil(t, what, got)
		if n := e.invitations(t) - invited; (n != 0 && n != 2) || (n != 0 && got.status != http.StatusSeeOther) {
			t.Errorf("%s has invited %d, and was answered %d", what, n, got.status)
		}
		if got.status >= 400 {
			e.wantUnchanged(t, "a list with "+what, before)
		}
	}
	e.wantPlain(t)
}

// upload sends a file by the form at a path.
func (e *everybody) upload(t *testing.T, name, path, file string) reply {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("file", "file.csv")
	if err == nil {
		_, err = part.Write([]byte(file))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return e.ask(t, http.MethodPost, path, e.cookies[name], w.FormDataContentType(), body.String())
}

func (e *everybody) invitations(t *testing.T) (n int) {
	t.Helper()
	err := e.world.Database.Super().QueryRowContext(t.Context(), `select count(*) from staff_invitation where tenant_id = $1`, e.own.ID).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
