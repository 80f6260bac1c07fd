package adminui

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/archive"
	"carillon/tenant/archive/shelf"
)

// Archives is where staff ask for their authority's data, and take it. The promises and
// errors are those of [shelf.Desk].
type Archives interface {
	List(ctx context.Context, by authz.Subject, t *tenant.Tenant) ([]shelf.Archive, error)
	Ask(ctx context.Context, by authz.Subject, t *tenant.Tenant, recipient string) error
	Take(ctx context.Context, by authz.Subject, t *tenant.Tenant, id uuid.UUID) (shelf.Archive, func(context.Context, io.Writer) error, error)
}

// archiveRoutes lead to an authority's data. They are open while it is leaving, when it
// needs them most.
func (s *Server) archiveRoutes() []route {
	open := func(pattern string, h handler) route {
		return whileClosed(staffed(pattern, authz.TenantArchive, limitPortal, h))
	}
	return []route{
		open("GET /portal/:tenant/archive", s.showArchives),
		fresh(open("GET /portal/:tenant/archive/new", s.newArchive)),
		fresh(open("POST /portal/:tenant/archive/new", s.askArchive)),
		fresh(open("GET /portal/:tenant/archive/:id/file", s.takeArchive)),
	}
}

// archivesPage lists what was asked for.
type archivesPage struct {
	New string
	// Again is the path to the page, while an archive is being made; empty otherwise.
	Again    string
	Archives []archiveView
}

type archiveView struct {
	State, By, Keys, Size, SHA256 string
	Asked                         moment
	// File is the path to it, Expires until when; empty for what cannot be taken.
	File    string
	Expires *moment
}

func (s *Server) showArchives(v *visit) (answer, error) {
	list, err := s.config.Archives.List(v.r.Context(), v.by, v.tenant)
	if err != nil {
		return answer{}, err
	}
	p := archivesPage{New: v.path("/archive/new")}
	for _, a := range list {
		if a.State == shelf.Asked {
			p.Again = v.path("/archive")
		}
		p.Archives = append(p.Archives, s.archiveView(v, a))
	}
	return answer{page: "archive", heading: s.words.text("archive.heading"), data: p}, nil
}

func (s *Server) archiveView(v *visit, a shelf.Archive) archiveView {
	now := s.now(v)
	w := archiveView{
		By: a.Requester, Asked: s.words.moment(a.AskedAt, now), Size: s.words.size(a.Size), SHA256: hex.EncodeToString(a.SHA256),
		Keys: s.words.text("archive.keys.none"),
	}
	if a.Recipient != "" {
		w.Keys = s.words.text("archive.keys.sealed", "recipient", a.Recipient)
	}
	switch {
	case a.State == shelf.Asked && a.Attempt == 0:
		w.State = s.words.text("archive.state.waits")
	case a.State == shelf.Asked:
		w.State = s.words.text("archive.state.made_so_far", "size", w.Size)
	case a.State == shelf.Failed:
		w.State = s.words.text("archive.state.failed")
	case a.Ready(v.by, now):
		w.State, w.File, w.Expires = s.words.text("archive.state.ready"), v.path("/archive/"+a.ID.String()+"/file"), s.momentOf(v, a.Expires)
	case a.Removed == nil && a.Expires.After(now):
		w.State, w.Expires = s.words.text("archive.state.others"), s.momentOf(v, a.Expires)
	default:
		w.State = s.words.text("archive.state.expired")
	}
	return w
}

const fieldAgeKey = "age-key"

// archiveForm asks for whom the keys are, if the authority may take them along.
type archiveForm struct {
	Action, Back, Hours string
	Leaving             bool
	Recipient           field
}

func (s *Server) newArchive(v *visit) (answer, error) { return s.archiveFormAnswer(v, known{}), nil }

func (s *Server) archiveFormAnswer(v *visit, k known) answer {
	f := archiveForm{
		Action: v.path("/archive/new"), Back: v.path("/archive"), Hours: strconv.Itoa(int(shelf.Keep / time.Hour)),
		Leaving: v.tenant.State == tenant.Leaving,
		Recipient: field{
			ID: fieldAgeKey, Label: s.words.text("archive.recipient"), Hint: s.words.text("archive.recipient.hint"), Optional: s.words.text("form.optional"),
			Type: "text", Value: v.r.PostForm.Get(fieldAgeKey), Autocomplete: "off", Wide: true,
		},
	}
	a := answer{page: "archive_form", heading: s.words.text("archive.new"), status: k.status}
	if k.field == fieldAgeKey {
		f.Recipient.Error = s.words.text(k.message)
		a.problems = append(a.problems, problem{Field: fieldAgeKey, Text: f.Recipient.Error})
	}
	a.data = f
	return a
}

func (s *Server) askArchive(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	if v.r.PostForm.Get(fieldConfirm) != yes {
		return s.archiveFormAnswer(v, known{}), nil
	}
	err := s.config.Archives.Ask(v.r.Context(), v.by, v.tenant, v.r.PostForm.Get(fieldAgeKey))
	if errors.Is(err, archive.ErrRecipient) {
		k, _ := lookUp(err)
		return s.archiveFormAnswer(v, k), nil
	}
	if err != nil {
		return answer{}, err
	}
	return s.platformDone(v, "archive.asked", v.path("/archive"))
}

func (s *Server) takeArchive(v *visit) (answer, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return answer{}, shelf.ErrNoArchive
	}
	a, write, err := s.config.Archives.Take(v.r.Context(), v.by, v.tenant, id)
	if err != nil {
		return answer{}, err
	}
	// It may take longer than a request: what ends it is a browser that reads no more.
	ctx := context.WithoutCancel(v.r.Context())
	return answer{download: &download{
		name: "carillon-archive-" + string(v.tenant.Slug) + "-" + a.AskedAt.UTC().Format(time.DateOnly) + ".zip", kind: "application/zip",
		size: a.Size, write: func(to io.Writer) error { return write(ctx, to) },
	}}, nil
}
