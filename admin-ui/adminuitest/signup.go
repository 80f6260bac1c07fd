package adminuitest

import (
	"context"
	"time"

	"github.com/google/uuid"

	"carillon/tenant/signup"
)

// Signup is a stand-in for sign-up: one application, and links that are good where they
// are listed.
type Signup struct {
	// Fail is the answer to what changes something; nil lets it happen.
	Fail error
	// Application is everybody's; nil if there is none.
	Application *signup.Application
	// Links are the addresses that links confirm, by token.
	Links map[string]string
	// Asked are the addresses that links were asked for.
	Asked []string
	Now   func() time.Time

	browser string
}

// SendLink notes who asked.
func (s *Signup) SendLink(_ context.Context, address, browser string) error {
	s.Asked, s.browser = append(s.Asked, address), browser
	return s.Fail
}

// CheckAddress tells whether a link is good.
func (s *Signup) CheckAddress(_ context.Context, token, browser string) error {
	switch {
	case s.Links[token] == "":
		return signup.ErrLink
	case browser == "" || browser != s.browser:
		return signup.ErrOtherBrowser
	}
	return s.Fail
}

// ConfirmAddress spends a link.
func (s *Signup) ConfirmAddress(ctx context.Context, token, browser string) (signup.Applicant, error) {
	if err := s.CheckAddress(ctx, token, browser); err != nil {
		return signup.Applicant{}, err
	}
	who := signup.Applicant{Email: s.Links[token], Confirmed: signup.ByLink}
	delete(s.Links, token)
	return who, nil
}

// Mine is the application.
func (s *Signup) Mine(context.Context, signup.Applicant) (*signup.Application, error) {
	if s.Application == nil {
		return nil, signup.ErrNone
	}
	return s.Application, nil
}

// Save keeps the form.
func (s *Signup) Save(_ context.Context, who signup.Applicant, f signup.Form) error {
	if s.Fail == nil {
		s.Application = &signup.Application{ID: uuid.New(), State: signup.Draft, Email: who.Email, Form: f}
	}
	return s.Fail
}

// Submit keeps the form and waits for the proof.
func (s *Signup) Submit(ctx context.Context, who signup.Applicant, f signup.Form) error {
	if err := s.Save(ctx, who, f); err != nil {
		return err
	}
	a := s.Application
	a.State, a.Record, a.Value = signup.Proving, "_carillon."+f.Domain, "carillon-domain-verification=1"
	a.Details = &signup.Details{Name: f.Name, Region: f.Region, Domain: f.Domain, ContactName: f.ContactName}
	return nil
}

// CheckRecord proves the domain.
func (s *Signup) CheckRecord(context.Context, signup.Applicant) error {
	if s.Fail == nil {
		s.Application.State, s.Application.Sandbox = signup.Waiting, &signup.Place{Slug: "us-mn-sandbox", Name: "Sandbox"}
	}
	return s.Fail
}

// SendProof notes the address.
func (s *Signup) SendProof(_ context.Context, _ signup.Applicant, address string) error {
	if s.Fail == nil {
		s.Application.ProofAddress = address
	}
	return s.Fail
}

// Claim is the application.
func (s *Signup) Claim(context.Context, string) (*signup.Application, error) {
	if s.Fail != nil || s.Application == nil {
		return nil, signup.ErrLink
	}
	return s.Application, nil
}

// Prove proves the domain.
func (s *Signup) Prove(ctx context.Context, token string) error {
	if _, err := s.Claim(ctx, token); err != nil {
		return err
	}
	return s.CheckRecord(ctx, signup.Applicant{})
}
