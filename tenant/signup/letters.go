package signup

import (
	"fmt"
	"strings"

	"carillon/tenant/mail"
)

// What letters say. No line is only what somebody typed: a name stands in a sentence.

func addressLetter(to, link string) mail.Letter {
	return mail.Letter{To: to, Subject: "Confirm your e-mail address", Text: `Somebody, probably you, wants to sign a health authority up for Carillon with this
e-mail address. To go on, open this link in the browser that asked for it:

` + link + `

It works once, within 20 minutes. If it was not you, do nothing: without the link
nobody can go on.
`}
}

func proofLetter(to string, a *Application, link string) mail.Letter {
	return mail.Letter{To: to, Subject: "Is this application for " + a.Details.Domain + " yours?", Text: fmt.Sprintf(`%s (%s) asks that Carillon serve the
health authority “%s”, region %s, and says that %s
is its official domain. You are asked because you read letters there.

If you know of this and agree, open this link and confirm:

%s

It works once, within three days. If you do not know of it, do nothing, and nothing
will come of it.
`, a.Details.ContactName, a.Email, a.Details.Name, a.Details.Region, a.Details.Domain, link)}
}

func (s *Service) decisionLetter(a *Application) mail.Letter {
	l := mail.Letter{To: a.Email}
	switch a.State { //nolint:exhaustive // the others are nobody's decision
	case Approved:
		portal := s.BaseURL + "/portal/" + string(a.Production.Slug) + "/"
		l.Subject = "Your health authority is live"
		l.Text = fmt.Sprintf(`“%s” is live on Carillon. You are its first owner. Sign in with this
e-mail address:

%s

Phones and your own systems reach it at

%s

Your sandbox stays, for training: %s
`, a.Details.Name, portal, s.BaseURL+"/t/"+string(a.Production.Slug)+"/", s.BaseURL+"/portal/"+string(a.Sandbox.Slug)+"/")
	case Asked:
		l.Subject = "A question about your application"
		l.Text = fmt.Sprintf(`Before “%s” can go live on Carillon, we ask:

%s

Answer here:

%s
`, a.Details.Name, indent(a.Message), s.BaseURL+"/signup")
	case Refused:
		l.Subject = "Your application was refused"
		l.Text = fmt.Sprintf(`The application for “%s” on Carillon was refused, for this reason:

%s

The sandbox is closed. You can apply again here:

%s
`, a.Details.Name, indent(a.Message), s.BaseURL+"/signup")
	}
	return l
}

// indent sets off what an operator wrote.
func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(text), "\r", ""), "\n", "\n    ")
}
