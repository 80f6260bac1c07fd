package adminui

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/limit"
)

// The rate limits, as routes name them.
const (
	limitNone = authz.LimitNone
	// limitSignIn is per network address, which a whole department may share.
	limitSignIn = "sign-in"
	// limitSignup and limitLetter are per network address, too, or per person where
	// somebody has signed in; the second is for what sends letters or asks the DNS.
	limitSignup = "sign-up"
	limitLetter = "letter"
	// limitPortal, limitIssue and limitSearch are per person.
	limitPortal = "portal"
	limitIssue  = "issue"
	limitSearch = "search"
)

const (
	signInsPerMinute = 120
	pagesPerMinute   = 120
	signupsPerMinute = 60
	lettersPerMinute = 10
	// Nobody reads out a code, and asks for the next one, faster than this.
	codesPerMinute = 30
	// Whoever reads out a code is on the telephone. More would be guessing.
	searchesPerMinute = 10
)

func newLimits(off bool, now func() time.Time) map[string]*limit.Limiter {
	if off {
		return nil
	}
	return map[string]*limit.Limiter{
		limitSignIn: limit.New(signInsPerMinute, now),
		limitSignup: limit.New(signupsPerMinute, now),
		limitLetter: limit.New(lettersPerMinute, now),
		limitPortal: limit.New(pagesPerMinute, now),
		limitIssue:  limit.New(codesPerMinute, now),
		limitSearch: limit.New(searchesPerMinute, now),
	}
}

// limited is the error of a caller who must wait.
type limited struct{ seconds int }

func (l limited) Error() string { return fmt.Sprintf("too many requests, %d s to wait", l.seconds) }

// count counts the request against the route's limit.
func (s *Server) count(v *visit) error {
	limiter := s.limits[v.route.Limit]
	if limiter == nil {
		return nil
	}
	caller := "address " + limit.CallerOf(s.address(v.r))
	if v.who != nil {
		caller = "person " + v.who.Issuer + " " + v.who.Subject
	}
	d := limiter.Allow(tenant.ID{}, caller)
	if d.Allowed {
		return nil
	}
	return limited{seconds: max(1, int(d.Reset.Sub(s.config.Now()).Seconds()+1))}
}

// address is whom the proxies speak for.
func (s *Server) address(r *http.Request) netip.Addr {
	return s.config.Proxies.Caller(r.RemoteAddr, r.Header.Values("X-Forwarded-For"))
}
