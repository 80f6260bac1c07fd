package adminui

import "strings"

// helpKeys name the messages that explain a page, by its template. A page that explains
// itself has none.
var helpKeys = map[string]string{
	"issue":      "help.issue",
	"issued":     "help.issued",
	"lookup":     "help.lookup",
	"statistics": "help.statistics",
	"exports":    "help.exports",
	"audit":      "help.audit",
	"sharing":    "help.sharing",
	"options":    "help.options",
	"texts":      "help.texts",
	"texts_form": "help.texts",
	"headroom":   "help.limits",
	"alerts":     "help.alerts",
	"roles":      "help.roles",
	"staff":      "help.staff",
	"apikeys":    "help.apikeys",
	"keys":       "help.keys",
	"rotation":   "help.rotation",
	"pack":       "help.pack",
	"approvals":  "help.approvals",
	"operator":   "help.operator",
}

// help is what explains the page, in paragraphs.
func (s *Server) help(page string) []string {
	key := helpKeys[page]
	if key == "" {
		return nil
	}
	return strings.Split(s.words.text(key), "\n")
}
