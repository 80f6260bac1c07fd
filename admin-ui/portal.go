package adminui

import "carillon/authz"

// authorityPage lists where somebody works.
type authorityPage struct {
	Authorities []authority
	// Email tells somebody who belongs nowhere what to ask for.
	Email string
}

type authority struct{ Name, Region, Path string }

func (s *Server) chooseAuthority(v *visit) (answer, error) {
	list, err := s.config.Staff.Memberships(v.r.Context(), *v.who)
	if err != nil {
		return answer{}, err
	}
	p := authorityPage{Email: v.who.Email}
	for _, m := range list {
		p.Authorities = append(p.Authorities, authority{Name: m.Name, Region: m.Region, Path: "/portal/" + string(m.Slug) + "/"})
	}
	heading := "choose.heading"
	if len(list) == 0 {
		heading = "choose.none"
	}
	return answer{page: "choose", heading: s.words.text(heading), data: p}, nil
}

// homePage is for members whose roles allow nothing that the portal has a page for.
type homePage struct{ Roles []string }

func (s *Server) home(v *visit) (answer, error) {
	switch {
	case v.may(authz.CodeIssue):
		return redirect(v.path("/codes/new"))
	case v.may(authz.CodeRead):
		return redirect(v.path("/codes"))
	case v.may(authz.AuditRead):
		return redirect(v.path("/audit"))
	case v.may(authz.SharingView):
		return redirect(v.path("/sharing"))
	}
	var p homePage
	for _, r := range v.by.Roles {
		p.Roles = append(p.Roles, s.words.role(r))
	}
	return answer{page: "home", heading: s.words.text("home.heading", "authority", v.tenant.Name), data: p}, nil
}
