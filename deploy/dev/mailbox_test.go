//go:build !release

package dev

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"carillon/tenant/mail"
)

func TestMailboxShowsLettersWithTheirLinks(t *testing.T) {
	t.Parallel()
	box := mail.NewBox(time.Now)
	for _, l := range []mail.Letter{
		{To: "robin@health.example", Subject: "First", Text: "Follow\nhttp://127.0.0.1/join?a=1&b=2\nand <b>sign in</b>."},
		{To: "sam@health.example", Subject: "Second", Text: "No link."},
	} {
		if err := box.Send(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	page := httptest.NewRecorder()
	mailboxHandler{box}.ServeHTTP(page, httptest.NewRequest("GET", "/dev/mailbox", nil))
	html := page.Body.String()
	for _, want := range []string{
		`<a href="http://127.0.0.1/join?a=1&amp;b=2">http://127.0.0.1/join?a=1&amp;b=2</a>`,
		"and &lt;b&gt;sign in&lt;/b&gt;.", "robin@health.example", "<h2>First</h2>",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %s:\n%s", want, html)
		}
	}
	if strings.Index(html, "Second") > strings.Index(html, "First") {
		t.Error("the newest letter is not the first")
	}

	list := httptest.NewRecorder()
	mailboxList{box}.ServeHTTP(list, httptest.NewRequest("GET", "/dev/mailbox.json", nil))
	var got []mail.Received
	if err := json.Unmarshal(list.Body.Bytes(), &got); err != nil || len(got) != 2 || got[0].Subject != "Second" {
		t.Errorf("list %+v, %v", got, err)
	}
}
