package service

import (
	"net"

	adminui "carillon/admin-ui"
	"carillon/tenant"
	"carillon/tenant/signup"
)

// wireSignup adds the pages on which health authorities sign up.
func (s *Service) wireSignup(db *tenant.DB, c *adminui.Config) {
	dns := s.config.DNS
	if dns == nil {
		dns = &net.Resolver{PreferGo: true}
	}
	applications := signup.New(signup.Config{
		DB: db, Root: s.config.Root, Mail: s.config.Mail, DNS: dns, BaseURL: s.config.BaseURL, Issuer: s.config.Login.Issuer,
		Limits: signup.DefaultLimits(), Log: s.config.Log, Now: s.config.Now,
	})
	c.Desk = applications
	c.Signup, c.SignupIssuer = applications, s.config.Login.Issuer
	s.jobs = append(s.jobs, applications.Run)
}
