package authz

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Kind says what a subject is.
type Kind string

// The kinds of subjects, spelt as the audit log stores them.
const (
	// Person is somebody who signed in.
	Person Kind = "person"
	// APIKey is a program that presented an API key.
	APIKey Kind = "api-key"
	// System is Carillon itself: a job, or a command run by an operator.
	System Kind = "system"
)

// Subject is who acts. Its roles are those it holds in the tenant in question,
// as of the request: a subject is made for one request and never stored.
//
// Printed or logged, it shows its kind, ID and roles, but not the name, which
// may be a person's.
type Subject struct {
	Kind Kind
	// ID identifies the subject within the tenant: a member's or API key's ID, or
	// the name of a job.
	ID string
	// Name is for people: the audit log and the portal show it.
	Name  string
	Roles []Role
	// Request is the ID of the request by which the subject acts, and Because the rule
	// that allowed it; both are for the audit log. A job has neither.
	Request, Because string
	// Rehearsal: what the subject does is a rehearsal, and touches nobody's data.
	Rehearsal bool
}

// String gives kind, ID and roles.
func (s Subject) String() string {
	return fmt.Sprintf("%s %s (%s)", s.Kind, s.ID, join(s.Roles))
}

// Format prints [Subject.String] whatever the verb, so that no verb shows the name.
func (s Subject) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue gives what String gives, in parts.
func (s Subject) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("kind", string(s.Kind)),
		slog.String("id", s.ID),
		slog.String("roles", join(s.Roles)),
	)
}

// held are the roles that count.
func (s Subject) held() []Role {
	var held []Role
	for _, r := range s.Roles {
		if r.fits(s.Kind) {
			held = append(held, r)
		}
	}
	return held
}

func join(roles []Role) string {
	if len(roles) == 0 {
		return "no role"
	}
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}
