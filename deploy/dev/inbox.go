//go:build !release

package dev

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"

	"carillon/tenant"
	"carillon/tenant/message"
)

//go:embed inbox.html
var inboxHTML string

//go:embed inbox.css
var inboxCSS []byte

var inboxPage = template.Must(template.New("inbox").Parse(inboxHTML))

// inboxHandler shows the text messages that a carrier would have delivered. It
// is for the demo's departments only, and exists in no release.
type inboxHandler struct {
	inbox   *message.Inbox
	tenants []*tenant.Tenant
}

func (h inboxHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	type mailbox struct {
		Name     string
		Messages []message.Received
	}
	var boxes []mailbox
	for _, t := range h.tenants {
		boxes = append(boxes, mailbox{Name: t.Name, Messages: h.inbox.List(t.ID)})
	}
	var page bytes.Buffer
	if err := inboxPage.Execute(&page, boxes); err != nil {
		http.Error(w, "the inbox page could not be rendered", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	_, _ = page.WriteTo(w)
}

// inboxList is the same of one department for programs, in JSON, newest first.
type inboxList inboxHandler

func (h inboxList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, t := range h.tenants {
		if string(t.Slug) != r.PathValue("tenant") {
			continue
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(h.inbox.List(t.ID)) // a client that is gone needs no answer
		return
	}
	http.NotFound(w, r)
}

func serveInboxCSS(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(inboxCSS)
}
