package adminui

import (
	"errors"

	"carillon/tenant/platform"
)

// authorityPage lists where somebody works.
type authorityPage struct {
	Authorities []authority
	// Email tells somebody who belongs nowhere what to ask for.
	Email string
	// Platform is the path to the platform's own pages, for those who run it.
	Platform string
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
	if s.config.Operators != nil {
		_, err := s.config.Operators.Authenticate(v.r.Context(), *v.who)
		if err == nil {
			p.Platform = "/operator"
		} else if !errors.Is(err, platform.ErrNotOperator) {
			return answer{}, err
		}
	}
	heading := "choose.heading"
	if len(list) == 0 && p.Platform == "" {
		heading = "choose.none"
	}
	return answer{page: "choose", heading: s.words.text(heading), data: p}, nil
}

// homePage is for members whose roles allow nothing that the portal has a page for.
type homePage struct{ Roles []string }

func (s *Server) home(v *visit) (answer, error) {
	if items := s.nav(v); len(items) > 0 {
		return redirect(items[0].Path)
	}
	var p homePage
	for _, r := range v.by.Roles {
		p.Roles = append(p.Roles, s.words.role(r))
	}
	return answer{page: "home", heading: s.words.text("home.heading", "authority", v.tenant.Name), data: p}, nil
}
