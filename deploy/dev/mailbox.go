//go:build !release

package dev

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"regexp"

	"carillon/tenant/mail"
)

//go:embed mailbox.html
var mailboxHTML string

var mailboxPage = template.Must(template.New("mailbox").Parse(mailboxHTML))

// mailboxHandler shows the letters that a mail server would have delivered, with links
// to follow.
type mailboxHandler struct{ box *mail.Box }

// piece of a letter's text: words or a link.
type piece struct{ Text, Link string }

var links = regexp.MustCompile(`https?://[^\s<>]+`)

// pieces splits a text at its links.
func pieces(text string) []piece {
	var list []piece
	end := 0
	for _, at := range links.FindAllStringIndex(text, -1) {
		list = append(list, piece{Text: text[end:at[0]]}, piece{Link: text[at[0]:at[1]]})
		end = at[1]
	}
	return append(list, piece{Text: text[end:]})
}

func (h mailboxHandler) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	type letter struct {
		mail.Received
		Pieces []piece
	}
	var letters []letter
	for _, l := range h.box.List() {
		letters = append(letters, letter{Received: l, Pieces: pieces(l.Text)})
	}
	var page bytes.Buffer
	if err := mailboxPage.Execute(&page, letters); err != nil {
		http.Error(w, "the mailbox page could not be rendered", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // links are secrets
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	_, _ = page.WriteTo(w)
}

// mailboxList is the same for programs, in JSON, newest first.
type mailboxList mailboxHandler

func (h mailboxList) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(h.box.List()) // a client that is gone needs no answer
}
