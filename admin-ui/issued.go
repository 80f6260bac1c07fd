package adminui

import (
	"errors"
	"slices"
	"strings"
	"time"

	"carillon/authz"
	"carillon/tenant/verification"
)

// issuedPage shows a new code, the only time that anybody sees it.
type issuedPage struct {
	// Groups are the code's digits in groups, Spelt the same in words.
	Groups []string
	Spelt  string
	// Spoken is the same in the language of the message, if that is another.
	Spoken spoken
	// Code is the digits alone, for copying.
	Code    string
	Expires moment
	Life    string // how long the code serves from now, in words
	ID      string
	Status  string // the path to what became of it
	Live    string // the path to how it stands, for scripts; empty if she may not see that
	Another string
	Send    string // the path to sending a message; empty if there are none
	Mail    string // the same by e-mail
	Expire  string // the path to ending the code; empty if she may not
	Type    string
	// Sent says that a message went out, Unsent that one should have and did not.
	Sent, Unsent string
	LinkExpires  *moment // when the link in the message ends
	Now          time.Time
}

func (s *Server) issuedPage(v *visit, in issueInput, issued *verification.Issued) issuedPage {
	now := s.now(v)
	p := issuedPage{
		Groups: groups(issued.Code), Spelt: s.words.spell(groups(issued.Code)), Code: issued.Code,
		Expires: s.words.moment(issued.ExpiresAt, now), Life: s.words.minutes(issued.ExpiresAt.Sub(now)),
		ID: issued.ID.String(), Status: v.codePath(issued.ID.String()), Another: v.path("/codes/new"), Now: now,
	}
	s.lead(v, &p)
	language, _, _ := strings.Cut(in.Text, "/")
	p.Spoken = s.words.spokenIn(language, p.Groups)
	types := s.words.testTypes()
	if i := slices.IndexFunc(types, func(t testType) bool { return t.value == strings.ToLower(in.TestType) }); i >= 0 {
		p.Type = types[i].label
	}
	switch {
	case issued.SendError != nil:
		p.Unsent = s.words.text(unsentReason(issued.SendError))
	case in.Phone != "":
		p.Sent = s.words.text("issued.sent", "last", lastDigits(in.Phone))
		if issued.LongExpiresAt.After(issued.ExpiresAt) {
			m := s.words.moment(issued.LongExpiresAt, now)
			p.LinkExpires = &m
		}
	}
	return p
}

// lead adds where she may go from here.
func (s *Server) lead(v *visit, p *issuedPage) {
	path := v.path("/codes/" + p.ID)
	if v.may(authz.CodeRead) {
		p.Live = path + "/state"
	}
	if v.tenant.Settings.SMSEnabled {
		p.Send = path + "/send"
	}
	if v.tenant.Settings.EmailEnabled {
		p.Mail = path + "/mail"
	}
	if v.may(expireAction) {
		p.Expire = path + "/expire"
	}
}

func unsentReason(err error) string {
	switch {
	case errors.Is(err, verification.ErrSMSQueueFull):
		return "issued.unsent.queue"
	case errors.Is(err, verification.ErrNoProvider):
		return "issued.unsent.provider"
	}
	return "issued.unsent"
}

// groups cuts a code into groups of at most four digits, the shorter one first.
func groups(code string) []string {
	const size = 4
	head := len(code) / 2
	if len(code) <= size {
		return []string{code}
	}
	return []string{code[:head], code[head:]}
}

// lastDigits tells one telephone number from another without showing it.
func lastDigits(phone string) string {
	const shown = 4
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, phone)
	return digits[max(0, len(digits)-shown):]
}
