package adminui

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"carillon/tenant/signup"
)

// Signup is how health authorities that nobody knows become tenants. The promises and
// errors are those of [signup.Service].
type Signup interface {
	SendLink(ctx context.Context, address, browser string) error
	CheckAddress(ctx context.Context, token, browser string) error
	ConfirmAddress(ctx context.Context, token, browser string) (signup.Applicant, error)
	Mine(ctx context.Context, who signup.Applicant) (*signup.Application, error)
	Save(ctx context.Context, who signup.Applicant, f signup.Form) error
	Submit(ctx context.Context, who signup.Applicant, f signup.Form) error
	CheckRecord(ctx context.Context, who signup.Applicant) error
	SendProof(ctx context.Context, who signup.Applicant, address string) error
	Claim(ctx context.Context, token string) (*signup.Application, error)
	Prove(ctx context.Context, token string) error
}

const (
	signupPath      = "/signup"
	applicationPath = "/signup/application"

	// Keys of a session's values: whose address was confirmed by a link, and the secret
	// by which a link knows the browser that asked for it.
	applicantKey = "applicant"
	browserKey   = "browser"

	fieldAddress = "address"
	fieldRecord  = "record"
	actSave      = "save"
)

// applicant is who applies in this browser: whoever signed in with the platform's
// provider, or else confirmed an address. false if nobody did.
func (s *Server) applicant(v *visit) (signup.Applicant, bool) {
	if v.who != nil && v.who.Realm == "" && v.who.Issuer == s.config.SignupIssuer {
		return signup.Applicant{Email: v.who.Email, Confirmed: signup.ByProvider}, true
	}
	var who signup.Applicant
	_ = json.Unmarshal(s.sessions.GetBytes(v.r.Context(), applicantKey), &who) // nobody yet
	return who, who.Email != ""
}

// applying goes on for whoever applies; others begin at the beginning.
func (s *Server) applying(v *visit, next func(*visit, signup.Applicant) (answer, error)) (answer, error) {
	who, known := s.applicant(v)
	if !known {
		return redirect(signupPath)
	}
	return next(v, who)
}

// The pages of whoever applies.
func (s *Server) showApplication(v *visit) (answer, error) { return s.applying(v, s.nextStep) }

func (s *Server) sendApplication(v *visit) (answer, error) { return s.applying(v, s.keepApplication) }

func (s *Server) editApplication(v *visit) (answer, error) { return s.applying(v, s.applicationAgain) }
func (s *Server) checkRecord(v *visit) (answer, error)     { return s.applying(v, s.lookForRecord) }
func (s *Server) sendProof(v *visit) (answer, error)       { return s.applying(v, s.sendProofLetter) }

// signupPage is where sign-up begins.
type signupPage struct {
	Start string // signs in with the provider
	Email field
	// Continue is where somebody goes on who has begun; empty if nobody has.
	Continue, As string
}

func (s *Server) showSignup(v *visit) (answer, error) { return s.signupAnswer(v, known{}), nil }

func (s *Server) signupAnswer(v *visit, k known) answer {
	p := signupPage{Start: startPath(applicationPath, ""), Email: field{
		ID: fieldEmail, Label: s.words.text("signup.email"), Hint: s.words.text("signup.email.hint"),
		Type: "email", Value: v.r.PostForm.Get(fieldEmail), Autocomplete: "email", Wide: true,
	}}
	if who, known := s.applicant(v); known {
		p.Continue, p.As = applicationPath, s.words.text("signup.as", "email", who.Email)
	}
	a := answer{page: "signup", heading: s.words.text("signup.heading"), data: &p}
	if k.cause != nil {
		p.Email.Error = s.words.text(k.message)
		a.status, a.problems = k.status, []problem{{Field: fieldEmail, Text: p.Email.Error}}
	}
	return a
}

// sendLink answers alike whether or not anybody has the address.
func (s *Server) sendLink(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	browser := s.sessions.GetString(v.r.Context(), browserKey)
	if browser == "" {
		browser = rand.Text()
		s.sessions.Put(v.r.Context(), browserKey, browser)
	}
	err := s.config.Signup.SendLink(v.r.Context(), v.r.PostForm.Get(fieldEmail), browser)
	if errors.Is(err, signup.ErrAddress) {
		k, _ := lookUp(err)
		return s.signupAnswer(v, k), nil
	}
	if err != nil {
		return answer{}, err
	}
	return redirect("/signup/sent")
}

func (s *Server) showSent(*visit) (answer, error) {
	return answer{page: "signup_sent", heading: s.words.text("signup.sent.heading")}, nil
}

// linkPage asks before a link is spent: programs that look at letters open links, too.
type linkPage struct {
	Action, Lead, Button string
	Facts                []fact
	Warning              string
}

func (s *Server) showLink(v *visit) (answer, error) {
	err := s.config.Signup.CheckAddress(v.r.Context(), v.params.ByName("token"), s.sessions.GetString(v.r.Context(), browserKey))
	if err != nil {
		return answer{}, err
	}
	return answer{page: "signup_link", heading: s.words.text("signup.link.heading"), data: linkPage{
		Action: v.r.URL.Path, Lead: s.words.text("signup.link.lead"), Button: s.words.text("signup.link.button"),
	}}, nil
}

func (s *Server) followLink(v *visit) (answer, error) {
	ctx := v.r.Context()
	who, err := s.config.Signup.ConfirmAddress(ctx, v.params.ByName("token"), s.sessions.GetString(ctx, browserKey))
	if err != nil {
		return answer{}, err
	}
	// Whoever was signed in before applies under the address that was confirmed last.
	if err := s.sessions.Clear(ctx); err != nil {
		return answer{}, fmt.Errorf("clear session: %w", err)
	}
	if err := s.sessions.RenewToken(ctx); err != nil {
		return answer{}, fmt.Errorf("renew session: %w", err)
	}
	if err := s.sessions.put(ctx, applicantKey, who); err != nil {
		return answer{}, err
	}
	return redirect(applicationPath)
}

// nextStep shows what is next.
func (s *Server) nextStep(v *visit, who signup.Applicant) (answer, error) {
	a, err := s.mine(v, who)
	switch {
	case err != nil:
		return answer{}, err
	case a == nil || a.State == signup.Draft:
		return s.applicationForm(v, who, a, nil), nil
	case a.State == signup.Proving:
		return s.proofAnswer(v, a, nil), nil
	default:
		return s.standing(a), nil
	}
}

// mine is the application of who; nil if there is none.
func (s *Server) mine(v *visit, who signup.Applicant) (*signup.Application, error) {
	a, err := s.config.Signup.Mine(v.r.Context(), who)
	if errors.Is(err, signup.ErrNone) {
		return nil, nil
	}
	return a, err
}

func (s *Server) applicationAgain(v *visit, who signup.Applicant) (answer, error) {
	a, err := s.mine(v, who)
	if err != nil {
		return answer{}, err
	}
	if a != nil && (a.State == signup.Waiting || a.State == signup.Approved) {
		return redirect(applicationPath)
	}
	if a != nil && a.State == signup.Refused {
		a = &signup.Application{Form: a.Form}
	}
	return s.applicationForm(v, who, a, nil), nil
}

// applicationPage is the form of an application.
type applicationPage struct {
	Action, As, Question string
	Fields               []field
}

func (s *Server) applicationForm(v *visit, who signup.Applicant, a *signup.Application, wrong *signup.FormError) answer {
	var f signup.Form
	p := applicationPage{Action: applicationPath, As: s.words.text("signup.as", "email", who.Email)}
	if a != nil {
		f = a.Form
		if a.State == signup.Asked {
			p.Question = a.Message
		}
	}
	if v.r.Method == http.MethodPost {
		f = formOf(v.r)
	}
	answered := answer{page: "signup_form", heading: s.words.text("signup.form.heading")}
	if wrong != nil {
		answered.status = http.StatusUnprocessableEntity
	}
	for _, input := range signupInputs(&f) {
		if input.id == signup.FieldReply && p.Question == "" {
			continue
		}
		in := field{
			ID: string(input.id), Label: s.words.text(input.label), Hint: s.words.text(input.hint),
			Type: "text", Value: *input.value, Autocomplete: "off", Wide: true,
		}
		if in.Error = s.faultOf(wrong, input); in.Error != "" {
			answered.problems = append(answered.problems, problem{Field: in.ID, Text: in.Error})
		}
		p.Fields = append(p.Fields, in)
	}
	answered.data = p
	return answered
}

// signupInput is a field of the form, with its words and its place in a [signup.Form].
type signupInput struct {
	id          signup.Field
	label, hint string
	value       *string
}

func signupInputs(f *signup.Form) []signupInput {
	return []signupInput{
		{signup.FieldName, "signup.field.name", "signup.hint.name", &f.Name},
		{signup.FieldRegion, "signup.field.region", "signup.hint.region", &f.Region},
		{signup.FieldDomain, "signup.field.domain", "signup.hint.domain", &f.Domain},
		{signup.FieldContactName, "signup.field.contact_name", "signup.hint.contact_name", &f.ContactName},
		{signup.FieldContactEmail, "signup.field.contact_email", "signup.hint.contact_email", &f.ContactEmail},
		{signup.FieldContactPhone, "signup.field.contact_phone", "signup.hint.contact_phone", &f.ContactPhone},
		{signup.FieldLanguages, "signup.field.languages", "signup.hint.languages", &f.Languages},
		{signup.FieldCodes, "signup.field.codes", "signup.hint.codes", &f.Codes},
		{signup.FieldReply, "signup.field.reply", "signup.hint.reply", &f.Reply},
	}
}

// faultOf says what is wrong with a field: in words of its own, or in those for all
// fields. Empty if nothing is.
func (s *Server) faultOf(wrong *signup.FormError, in signupInput) string {
	if wrong == nil {
		return ""
	}
	for _, p := range wrong.Problems {
		if p.Field != in.id {
			continue
		}
		if own := ownFaults[p]; own != "" {
			return s.words.text(own)
		}
		return s.words.text(faults[p.Fault], "field", s.words.text(in.label))
	}
	return ""
}

var (
	faults = map[signup.Fault]string{
		signup.Missing: "signup.fault.missing", signup.Long: "signup.fault.long", signup.Hidden: "signup.fault.hidden",
		signup.Start: "signup.fault.start", signup.Malformed: "signup.fault.form",
	}
	ownFaults = map[signup.Problem]string{
		{Field: signup.FieldRegion, Fault: signup.Malformed}:       "signup.fault.region.form",
		{Field: signup.FieldDomain, Fault: signup.Malformed}:       "signup.fault.domain.form",
		{Field: signup.FieldDomain, Fault: signup.Suffix}:          "signup.fault.domain.suffix",
		{Field: signup.FieldDomain, Fault: signup.Fixed}:           "signup.fault.domain.fixed",
		{Field: signup.FieldContactEmail, Fault: signup.Malformed}: "signup.fault.contact_email.form",
		{Field: signup.FieldContactPhone, Fault: signup.Malformed}: "signup.fault.contact_phone.form",
		{Field: signup.FieldLanguages, Fault: signup.Malformed}:    "signup.fault.languages.form",
		{Field: signup.FieldCodes, Fault: signup.Malformed}:        "signup.fault.codes.form",
	}
)

// formOf is what was typed.
func formOf(r *http.Request) (f signup.Form) {
	for _, input := range signupInputs(&f) {
		*input.value = r.PostForm.Get(string(input.id))
	}
	return f
}

func (s *Server) keepApplication(v *visit, who signup.Applicant) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	save := v.r.PostForm.Get("act") == actSave
	keep := s.config.Signup.Submit
	if save {
		keep = s.config.Signup.Save
	}
	err := keep(v.r.Context(), who, formOf(v.r))
	var wrong *signup.FormError
	if errors.As(err, &wrong) {
		a, err := s.mine(v, who)
		if err != nil {
			return answer{}, err
		}
		return s.applicationForm(v, who, a, wrong), nil
	}
	if err != nil {
		return answer{}, err
	}
	if save {
		s.sessions.Put(v.r.Context(), noticeKey, s.words.text("signup.saved"))
		return redirect("/signup/application/edit")
	}
	return redirect(applicationPath)
}

// proofPage shows the two ways to prove the domain.
type proofPage struct {
	Domain, Record, Value string
	Sent                  string // where a letter went
	Address               field
	Edit                  string
}

func (s *Server) proofAnswer(v *visit, a *signup.Application, k *known) answer {
	p := proofPage{
		Domain: domainText(a.Details.Domain), Record: a.Record, Value: a.Value, Edit: "/signup/application/edit",
		Address: field{
			ID: fieldAddress, Label: s.words.text("signup.proof.address", "domain", a.Details.Domain), Hint: s.words.text("signup.proof.address.hint"),
			Type: "text", Value: v.r.PostForm.Get(fieldAddress), Autocomplete: "off", Wide: true,
		},
	}
	if a.ProofAddress != "" {
		p.Sent = s.words.text("signup.proof.sent", "address", a.ProofAddress)
	}
	answered := answer{page: "signup_proof", heading: s.words.text("signup.proof.heading", "domain", a.Details.Domain)}
	if k != nil {
		answered.status = k.status
		shown := problem{Field: k.field, Text: s.words.text(k.message)}
		if k.field == fieldAddress {
			p.Address.Error = shown.Text
		}
		answered.problems = []problem{shown}
	}
	answered.data = p
	return answered
}

// domainText is a domain as the DNS has it and, if that is another text, as people read it.
func domainText(domain string) string {
	if readable := signup.Readable(domain); readable != domain {
		return readable + " (" + domain + ")"
	}
	return domain
}

func (s *Server) lookForRecord(v *visit, who signup.Applicant) (answer, error) {
	return s.proved(v, who, s.config.Signup.CheckRecord(v.r.Context(), who))
}

func (s *Server) sendProofLetter(v *visit, who signup.Applicant) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	return s.proved(v, who, s.config.Signup.SendProof(v.r.Context(), who, v.r.PostForm.Get(fieldAddress)))
}

// proved shows the page of the proof again if something about it is wrong.
func (s *Server) proved(v *visit, who signup.Applicant, err error) (answer, error) {
	for _, cause := range []error{signup.ErrNoRecord, signup.ErrDNS, signup.ErrAddress, signup.ErrOtherDomain, signup.ErrLetters} {
		if !errors.Is(err, cause) {
			continue
		}
		a, err := s.mine(v, who)
		if err != nil || a == nil || a.State != signup.Proving {
			return answer{}, errors.Join(err, signup.ErrState)
		}
		k, _ := lookUp(cause)
		if k.field == fieldEmail { // there it is the applicant's own
			k.field = fieldAddress
		}
		return s.proofAnswer(v, a, &k), nil
	}
	if errors.Is(err, signup.ErrNone) {
		return redirect(applicationPath)
	}
	if err != nil {
		return answer{}, err
	}
	return redirect(applicationPath)
}

func (s *Server) showProof(v *visit) (answer, error) {
	a, err := s.config.Signup.Claim(v.r.Context(), v.params.ByName("token"))
	if err != nil {
		return answer{}, err
	}
	return answer{page: "signup_link", heading: s.words.text("signup.claim.heading"), data: linkPage{
		Action: v.r.URL.Path, Lead: s.words.text("signup.claim.lead"), Button: s.words.text("signup.claim.button"),
		Warning: s.words.text("signup.claim.warning"),
		Facts: []fact{
			{s.words.text("signup.field.name"), a.Details.Name},
			{s.words.text("signup.field.region"), a.Details.Region},
			{s.words.text("signup.field.domain"), domainText(a.Details.Domain)},
			{s.words.text("signup.claim.by"), a.Details.ContactName + ", " + a.Email},
		},
	}}, nil
}

func (s *Server) prove(v *visit) (answer, error) {
	if err := s.config.Signup.Prove(v.r.Context(), v.params.ByName("token")); err != nil {
		return answer{}, err
	}
	return redirect("/signup/proven")
}

func (s *Server) showProven(*visit) (answer, error) {
	return answer{page: "signup_proven", heading: s.words.text("signup.proven.heading")}, nil
}

// standingPage shows how an application stands.
type standingPage struct {
	Lead           string
	Message        string
	Facts          []fact
	Production     string
	Sandbox        string
	Edit, EditText string
}

func (s *Server) standing(a *signup.Application) answer {
	p := standingPage{Facts: []fact{
		{s.words.text("signup.field.name"), a.Details.Name},
		{s.words.text("signup.field.region"), a.Details.Region},
		{s.words.text("signup.field.domain"), domainText(a.Details.Domain)},
		{s.words.text("signup.owner"), a.Email},
	}}
	if a.Sandbox != nil && a.State != signup.Refused {
		p.Sandbox = "/portal/" + string(a.Sandbox.Slug) + "/"
	}
	heading := ""
	switch a.State { //nolint:exhaustive // the others have pages of their own
	case signup.Waiting:
		heading, p.Lead = "signup.waiting.heading", s.words.text("signup.waiting.lead")
	case signup.Approved:
		heading, p.Lead = "signup.approved.heading", s.words.text("signup.approved.lead")
		p.Production = "/portal/" + string(a.Production.Slug) + "/"
	case signup.Asked:
		heading, p.Lead = "signup.asked.heading", s.words.text("signup.asked.lead")
		p.Message, p.Edit, p.EditText = a.Message, "/signup/application/edit", s.words.text("signup.asked.link")
	case signup.Refused:
		heading, p.Lead = "signup.refused.heading", s.words.text("signup.refused.lead")
		p.Message, p.Edit, p.EditText = a.Message, "/signup/application/edit", s.words.text("signup.refused.link")
	}
	return answer{page: "signup_standing", heading: s.words.text(heading), data: p}
}
