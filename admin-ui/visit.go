package adminui

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"carillon/admin-ui/assets"
	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
)

// visit is one request and what its guard found out. It lives as long as the
// request.
type visit struct {
	id string
	r  *http.Request
	w  http.ResponseWriter
	// body is the whole one, of which r has as much as the person may send.
	body io.ReadCloser
	// end is called when the answer has been sent.
	end    context.CancelFunc
	params gin.Params
	route  route
	// who has signed in; nil if nobody has.
	who *oidc.Identity
	// tenant is the health authority in the URL, by the person as its subject,
	// policy what its roles allow. All three are set or none.
	tenant *tenant.Tenant
	// zone is the authority's; UTC on pages that are not of one.
	zone   *time.Location
	by     authz.Subject
	policy *authz.Policy
	// waiting is how many requests she may decide.
	waiting int
	// again is where a sign-in that failed can be begun again; empty is the login page.
	again string
	// platform tells that the person is one of those who run it, as whom by acts: then
	// there is no tenant.
	platform bool
}

// anyDay is a time that is on no day of the calendar, in the page's zone: beside it every
// moment is shown with its day.
func (v *visit) anyDay() time.Time { return time.Time{}.In(v.zone) }

// now is the time in the page's zone.
func (s *Server) now(v *visit) time.Time { return s.config.Now().In(v.zone) }

// may reports whether the person may do a, to offer it or not.
func (v *visit) may(a authz.Action) bool { return v.policy != nil && v.policy.Allow(v.by, a) }

// decide asks the authority's policy for the route's action, if it has one, and notes
// for the audit log what allowed it.
func (v *visit) decide() error {
	if v.route.Action == "" {
		return nil
	}
	if v.policy == nil {
		return authz.ErrForbidden
	}
	allowed, because := v.policy.Explain(v.by, v.route.Action)
	if !allowed {
		return authz.ErrForbidden
	}
	v.by.Because = because
	return nil
}

// path is a URL below the authority's own part of the portal.
func (v *visit) path(rest string) string { return "/portal/" + string(v.tenant.Slug) + rest }

// within reports whether the route is the page at a path of the authority's part of the
// portal, or one below it.
func (v *visit) within(rest string) bool {
	path := "/portal/:tenant" + rest
	return v.route.Path == path || strings.HasPrefix(v.route.Path, path+"/")
}

// codePath is the URL of one code's page.
func (v *visit) codePath(id string) string {
	return v.path("/codes?" + url.Values{"id": {id}}.Encode())
}

// answer is what a handler wants sent: a page, a redirect or a file.
type answer struct {
	// status defaults to 200, for a redirect to 303.
	status int
	// page names the template, heading its h1, data what else it shows.
	page    string
	heading string
	data    any
	// problems are listed above the heading, and mark the title.
	problems []problem
	// notice tells what the page before did.
	notice string
	// redirect sends the browser elsewhere instead.
	redirect string
	// cookie is set beside a redirect.
	cookie *http.Cookie
	// file is sent as it is instead.
	file *assets.File
	// json is sent as such instead, with status.
	json string
	// download is made and sent instead.
	download *download
	// retry is how many seconds the asker should wait, for the header.
	retry int
}

// problem is something that the person can put right. field is the ID of where;
// empty if it is nowhere in particular.
type problem struct{ Field, Text string }

func redirect(to string) (answer, error) { return answer{redirect: to}, nil }
