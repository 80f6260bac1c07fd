//go:build !release

package dev

import (
	_ "embed"
	"net/http"

	"carillon/tenant/signup/localdns"
)

//go:embed dns.html
var dnsPage []byte

// dnsHandler is where the owner of any domain sets a TXT record, for a DNS that only this
// process asks.
type dnsHandler struct{ dns *localdns.Server }

func (h dnsHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	if r.Method == http.MethodPost {
		h.dns.Set(r.PostFormValue("name"), r.PostFormValue("value"))
		http.Redirect(w, r, "/dev/dns", http.StatusSeeOther)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(dnsPage) // the browser may have gone
}
