package service

import (
	"net"

	adminui "carillon/admin-ui"
	"carillon/tenant"
	"carillon/tenant/signup"
)

// wireSignup adds the pages on which health authorities sign up.
func (s *Service) wireSignup(db *tenant.DB, c *adminui.Config) {
	applications := signup.New(signup.Config{
		DB: db, Root: s.config.Root, Mail: s.config.Mail, DNS: s.dns(), BaseURL: s.config.BaseURL, Issuer: s.config.Login.Issuer,
		Limits: signup.DefaultLimits(), Log: s.config.Log, Now: s.config.Now,
	})
	c.Desk = applications
	c.Signup, c.SignupIssuer = applications, s.config.Login.Issuer
	s.jobs = append(s.jobs, applications.Run)
}

// dns is asked for the records that prove a domain.
func (s *Service) dns() signup.Resolver {
	if s.config.DNS == nil {
		return &net.Resolver{PreferGo: true}
	}
	return s.config.DNS
}
