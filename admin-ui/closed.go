package adminui

import (
	"carillon/authz"
	"carillon/tenant"
)

// closedPage tells the staff of an authority that is suspended or leaving why they find
// nothing.
type closedPage struct {
	Since          *moment // nil if it was never otherwise
	Reason, Advice string
	// Audit is the path of the audit log, which stays open; empty for whoever may not
	// read it.
	Audit string
	// Leaving is the path of the page about leaving, which has the way back; empty for
	// whoever may not use it, and while there is none.
	Leaving string
}

func (s *Server) closed(v *visit, k known) answer {
	p := closedPage{Reason: v.tenant.StateReason, Advice: s.words.text(k.advice)}
	heading := k.message
	if v.tenant.State == tenant.Leaving {
		heading, p.Advice = "closed.leaving", s.words.text("closed.leaving.advice")
	}
	if !v.tenant.StateSince.IsZero() {
		since := s.words.moment(v.tenant.StateSince, s.now(v))
		p.Since = &since
	}
	if v.may(authz.AuditRead) {
		p.Audit = v.path("/audit")
	}
	if v.tenant.State == tenant.Leaving && s.config.Leaving != nil && v.may(authz.TenantLeave) {
		p.Leaving = v.path("/leaving")
	}
	return answer{status: k.status, page: "closed", heading: s.words.text(heading), data: p}
}
