package adminui

import (
	"net/http"
	"slices"
	"strings"
)

// keptPage gives back a form that came when nobody was signed in, or not lately enough: it
// can be sent again once somebody has signed in, in another tab. What was typed is nowhere
// but on this page.
type keptPage struct {
	Action, Login string
	Fields        []keptField
}

type keptField struct{ Name, Value string }

// secretFields are typed where nobody reads them, and have to be typed again.
var secretFields = []string{fieldSecret, fieldHookKey}

// keep is the page for a form that was sent to a route, if anything was typed. Files are not
// kept: the browser that has them can choose them again. login is where somebody signs in.
func (s *Server) keep(v *visit, login, heading string) (answer, bool) {
	p := keptPage{Action: v.r.URL.RequestURI(), Login: login}
	if v.r.Method != http.MethodPost || readForm(v.r) != nil {
		return answer{}, false
	}
	typed := false
	for name, values := range v.r.PostForm {
		for _, value := range values {
			if name == "" || slices.Contains(secretFields, name) {
				continue
			}
			p.Fields = append(p.Fields, keptField{name, value})
			typed = typed || value != ""
		}
	}
	slices.SortStableFunc(p.Fields, func(a, b keptField) int { return strings.Compare(a.Name, b.Name) })
	return answer{status: http.StatusUnauthorized, page: "kept", heading: s.words.text(heading), data: p}, typed
}
