package adminui

import (
	"encoding/hex"
	"net/http"

	"carillon/tenant"
	"carillon/tenant/member"
)

// followInvitation takes the secret out of the URL before anything else is done: what the
// session keeps of it until somebody has signed in is its digest.
func (s *Server) followInvitation(v *visit) (answer, error) {
	digest := member.Digest(v.r.URL.Query().Get("token"))
	s.sessions.Put(v.r.Context(), invitationKey, hex.EncodeToString(digest))
	return redirect(joinPath(v.params.ByName("tenant")))
}

func joinPath(slug string) string { return "/join/" + slug + "/accept" }

// joinPage asks whether she wants to join.
type joinPage struct {
	Authority, Email string
	Roles            []string
	Action           string
}

// invitation is what the session knows of the link that was followed.
func (s *Server) invitation(v *visit) (*tenant.Tenant, []byte, error) {
	t, err := s.config.Directory.BySlug(v.r.Context(), v.params.ByName("tenant"))
	if err != nil {
		return nil, nil, err
	}
	if t.State != tenant.Active {
		return nil, nil, tenant.ErrUnknown
	}
	digest, err := hex.DecodeString(s.sessions.GetString(v.r.Context(), invitationKey))
	if err != nil || len(digest) == 0 {
		return nil, nil, member.ErrInvitationUnknown
	}
	return t, digest, nil
}

func (s *Server) showInvitation(v *visit) (answer, error) {
	t, digest, err := s.invitation(v)
	if err != nil {
		return answer{}, err
	}
	i, err := s.config.Members.Offered(v.r.Context(), t, *v.who, digest)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "join", heading: s.words.text("join.heading", "authority", t.Name), data: joinPage{
		Authority: t.Name, Email: i.Email, Roles: s.words.roles(i.Roles), Action: joinPath(string(t.Slug)),
	}}, nil
}

func (s *Server) acceptInvitation(v *visit) (answer, error) {
	t, digest, err := s.invitation(v)
	if err == nil {
		err = s.config.Members.Accept(v.r.Context(), t, *v.who, digest, v.id)
	}
	if k, found := lookUp(err); found && k.cause == member.ErrAlreadyMember { //nolint:errorlint // an entry of the table, never wrapped
		err = member.ErrInvitationUsed // she can go in, which is what she wants
	}
	if err != nil {
		return answer{}, err
	}
	s.sessions.Remove(v.r.Context(), invitationKey)
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("join.done", "authority", t.Name))
	return answer{status: http.StatusSeeOther, redirect: "/portal/" + string(t.Slug) + "/"}, nil
}
