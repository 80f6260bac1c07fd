//go:build !release

package devidp

import (
	"bytes"
	_ "embed"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strings"
)

const deskPath = "/desk"

//go:embed desk.html
var deskHTML string

var deskTemplate = template.Must(template.New("desk").Parse(deskHTML))

// desk is what those do who run the provider: register addresses for back-channel logout,
// and end sessions.
type desk struct {
	storage              *storage
	issuer, name, prefix string
}

type deskPage struct {
	Name, Action, End, Style string
	Clients                  []deskClient
	Addresses                []string
	Sessions                 []deskSession
	Address, Notice          string
	Wrong                    bool // the address is none on this computer
}

type deskClient struct{ ID, Secret string }

type deskSession struct{ ID, Person, Since string }

func (d desk) show(w http.ResponseWriter, _ *http.Request) { d.answer(w, http.StatusOK, deskPage{}) }

// register takes addresses on this computer only: nobody can make the provider call others.
func (d desk) register(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	address := strings.TrimSpace(r.PostFormValue("address"))
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || !net.ParseIP(u.Hostname()).IsLoopback() {
		d.answer(w, http.StatusUnprocessableEntity, deskPage{Address: address, Wrong: true})
		return
	}
	d.storage.listen(address)
	d.answer(w, http.StatusOK, deskPage{Notice: "The address was registered."})
}

func (d desk) end(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	told, err := d.storage.end(r.Context(), d.issuer, r.PostFormValue("session"))
	switch {
	case err != nil:
		d.answer(w, http.StatusNotFound, deskPage{Notice: "There is no such session any more."})
	case told == 0:
		d.answer(w, http.StatusOK, deskPage{Notice: "The session has ended here. No client took the message."})
	default:
		d.answer(w, http.StatusOK, deskPage{Notice: "The session has ended, here and with the client."})
	}
}

func (d desk) answer(w http.ResponseWriter, status int, p deskPage) {
	p.Name, p.Action, p.End, p.Style = d.name, d.prefix+deskPath, d.prefix+deskPath+"/end", d.prefix+stylePath
	for _, c := range d.storage.clients {
		p.Clients = append(p.Clients, deskClient{c.ID, c.Secret})
	}
	sessions, addresses := d.storage.live()
	p.Addresses = addresses
	for _, s := range sessions {
		p.Sessions = append(p.Sessions, deskSession{s.id, d.storage.people[s.subject].Name, s.since.UTC().Format("15:04:05 UTC")})
	}
	var body bytes.Buffer
	if err := deskTemplate.Execute(&body, p); err != nil {
		http.Error(w, "the page could not be rendered", http.StatusInternalServerError)
		return
	}
	send(w, status, contentPolicy(nil), &body)
}
