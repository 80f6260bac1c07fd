package adminui

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
)

func rotationPath(v *visit, id uuid.UUID) string { return v.path("/keys/rotations/" + id.String()) }

// rotationPage is a rotation with its steps, and what can be done now.
type rotationPage struct {
	Key, Version, Step, Reason, By string
	Asked                          moment
	Failure                        string
	Steps                          []guideStep
	Given                          []givenView
	Checks                         []checkView
	// What can be done: each is a path, empty if not.
	HandOver, Confirm, Rehearse, Ask, Activate, Retire, Cancel string
	Public, Packs, Approvals, Back                             string
	Contact, AskReason                                         *field
	Party                                                      *radios
	Waits                                                      string
	Without                                                    []string
}

// guideStep is one step of a guided rotation.
type guideStep struct {
	Name, Text, Mark string
	Done, Current    bool
	At               *moment
}

// givenView is a pack with the new version that Apple or Google was given.
type givenView struct {
	Text, Path string
	At         moment
}

type checkView struct {
	Text, Result string
	OK           bool
}

func (s *Server) findRotation(v *visit) (*custody.Book, custody.Rotation, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return nil, custody.Rotation{}, custody.ErrNoRotation
	}
	b, err := s.config.Keys.Book(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return nil, custody.Rotation{}, err
	}
	r, err := b.Rotation(id)
	return b, r, err
}

func (s *Server) showRotation(v *visit) (answer, error) {
	b, r, err := s.findRotation(v)
	if err != nil {
		return answer{}, err
	}
	a, _, err := s.rotationPage(v, b, r)
	return a, err
}

func (s *Server) rotationPage(v *visit, b *custody.Book, r custody.Rotation) (answer, *rotationPage, error) {
	keyName := s.words.keyName(r.Purpose)
	p := &rotationPage{
		Key: keyName, Step: s.words.rotationStep(r.Step), Reason: r.Reason, By: r.RequestedBy,
		Asked: s.words.moment(r.RequestedAt, s.now(v)), Back: v.path("/keys/" + string(r.Purpose)),
	}
	if r.Failure != "" && r.Begun() {
		p.Failure = s.words.text("keys.guide.failure", "what", r.Failure)
	}
	if r.Version != nil {
		if ver := b.Find(r.Purpose, *r.Version); ver != nil {
			p.Version = versionName(*ver)
			p.Public = v.path("/keys/"+string(r.Purpose)) + "#public-" + s.words.number(ver.No)
		}
	}
	if key.Rule(r.Purpose).Guided {
		asked, waits, err := s.config.Keys.Asked(v.r.Context(), v.tenant, v.by, b, r)
		if err != nil {
			return answer{}, nil, err
		}
		p.Steps, p.Given = s.guide(v, r, waits), s.given(v, r)
		if r.Step == custody.Made {
			s.offerSteps(v, p, b, r, asked, waits)
		}
		if r.Step == custody.InUse && v.may(authz.KeyApproveRotation) {
			p.Retire = rotationPath(v, r.ID) + "/retire"
		}
		if (r.Step == custody.Made || r.Step == custody.Requested) && v.may(authz.KeyRequestRotation) {
			p.Cancel = rotationPath(v, r.ID) + "/cancel"
		}
	}
	return answer{page: "rotation", heading: s.words.text("keys.guide.heading", "key", keyName), data: p}, p, nil
}

// offerSteps says what people can do while a rotation waits for them.
func (s *Server) offerSteps(v *visit, p *rotationPage, b *custody.Book, r custody.Rotation, asked approval.Request, waits bool) {
	checks := b.Preflight(r, v.tenant.Kind == tenant.Sandbox)
	ready := true
	for _, c := range checks {
		p.Checks = append(p.Checks, s.check(c))
		if !c.OK && c.Needed {
			ready = false
		}
		if !c.OK && !c.Needed {
			p.Without = append(p.Without, s.words.checkName(c.Name))
		}
	}
	if waits {
		p.Waits = s.words.text("keys.guide.waits", "name", asked.Requester)
		if asked.State == approval.Approved {
			p.Waits = s.words.text("keys.guide.agreed", "name", asked.Decider)
		}
		p.Approvals = v.path("/approvals")
	}
	if !v.may(authz.KeyRequestRotation) {
		return
	}
	path := rotationPath(v, r.ID)
	if r.HandedOverAt == nil {
		p.HandOver = path + "/handed-over"
		if v.may(authz.PackRead) {
			p.Packs = v.path("/pack")
		}
	}
	if r.AppleAt == nil || r.GoogleAt == nil {
		p.Confirm = path + "/confirm"
		p.Contact, p.Party = s.contactField(v), s.partyRadios(v, r)
	}
	if r.RehearsedAt == nil && v.tenant.Kind != tenant.Sandbox {
		p.Rehearse = path + "/rehearsed"
	}
	switch {
	case !waits && ready:
		p.Ask, p.AskReason = path+"/ask", s.keyReason(v)
	case waits && asked.State == approval.Approved:
		p.Activate = path + "/activate"
	}
}

// given lists the packs with the version that Apple and Google were given.
func (s *Server) given(v *visit, r custody.Rotation) (list []givenView) {
	add := func(text string, pack *uuid.UUID, at *time.Time) {
		if pack == nil {
			return
		}
		w := givenView{Text: text, At: *s.momentOf(v, at)}
		if v.may(authz.PackRead) {
			w.Path = packPath(v, *pack)
		}
		list = append(list, w)
	}
	add(s.words.text("keys.guide.given.apple"), r.ApplePack, r.AppleGivenAt)
	add(s.words.text("keys.guide.given.google"), r.GooglePack, r.GoogleGivenAt)
	return list
}

func (s *Server) contactField(v *visit) *field {
	return &field{ID: fieldContact, Label: s.words.text("keys.contact"), Hint: s.words.text("keys.contact.hint"), Type: "text", Value: v.r.PostForm.Get(fieldContact), Autocomplete: "off", Wide: true}
}

func (s *Server) partyRadios(v *visit, r custody.Rotation) *radios {
	list := &radios{ID: fieldParty + "_group", Name: fieldParty, Label: s.words.text("keys.party")}
	add := func(p custody.Party, label string) {
		chosen := v.r.PostForm.Get(fieldParty)
		list.Choices = append(list.Choices, choice{
			ID: fieldParty + "_" + string(p), Value: string(p), Label: label, Chosen: chosen == string(p) || chosen == "" && len(list.Choices) == 0,
		})
	}
	if r.AppleAt == nil {
		add(custody.Apple, s.words.text("keys.party.apple"))
	}
	if r.GoogleAt == nil {
		add(custody.Google, s.words.text("keys.party.google"))
	}
	return list
}

func (s *Server) check(c custody.Check) checkView {
	w := checkView{Text: s.words.checkName(c.Name), OK: c.OK, Result: s.words.text("keys.check.ok")}
	if !c.OK {
		w.Result = s.words.text("keys.check.reason")
		if c.Needed {
			w.Result = s.words.text("keys.check.needed")
		}
	}
	return w
}

// guide lists the steps of a guided rotation: what was done, and what is next.
func (s *Server) guide(v *visit, r custody.Rotation, asked bool) []guideStep {
	confirmed := r.AppleAt != nil && r.GoogleAt != nil
	inUse := r.ActivatedAt != nil
	steps := []guideStep{
		{Name: s.words.text("keys.guide.make"), Text: s.words.text("keys.guide.make.text"), Done: r.Version != nil, At: s.momentOf(v, r.TestedAt)},
		{Name: s.words.text("keys.guide.hand"), Text: s.words.text("keys.guide.hand.text"), Done: r.HandedOverAt != nil || inUse, At: s.momentOf(v, r.HandedOverAt)},
		{Name: s.words.text("keys.guide.confirm"), Text: s.words.text("keys.guide.confirm.text"), Done: confirmed || inUse, At: s.momentOf(v, r.GoogleAt)},
		{Name: s.words.text("keys.guide.check"), Text: s.words.text("keys.guide.check.text"), Done: asked || inUse},
		{Name: s.words.text("keys.guide.activate"), Text: s.words.text("keys.guide.activate.text"), Done: inUse, At: s.momentOf(v, r.ActivatedAt)},
	}
	if key.Rule(r.Purpose).Together {
		steps = append(steps,
			guideStep{Name: s.words.text("keys.guide.observe"), Text: s.words.text("keys.guide.observe.text"), Done: r.Step == custody.Retiring || r.Step == custody.Done},
			guideStep{Name: s.words.text("keys.guide.retire"), Text: s.words.text("keys.guide.retire.text"), Done: r.Step == custody.Done, At: s.momentOf(v, r.EndedAt)})
	}
	if r.Step == custody.Cancelled {
		return slices.DeleteFunc(steps, func(g guideStep) bool { return !g.Done })
	}
	current := true
	for i := range steps {
		g := &steps[i]
		switch {
		case g.Done:
			g.Mark = s.words.text("keys.guide.done")
		case current:
			g.Mark, g.Current, current = s.words.text("keys.guide.now"), true, false
		default:
			g.Mark = s.words.text("keys.guide.later")
		}
	}
	return steps
}

// rotationAct does something with the rotation that the URL names, and leads back to it.
func (s *Server) rotationAct(v *visit, notice string, act func(id uuid.UUID) error) (answer, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return answer{}, custody.ErrNoRotation
	}
	if err := act(id); err != nil {
		return s.mendRotation(v, err)
	}
	return s.keyDone(v, rotationPath(v, id), notice)
}

// mendRotation shows the rotation again, with what is wrong with a form of it.
func (s *Server) mendRotation(v *visit, err error) (answer, error) {
	k, found := lookUp(err)
	if !found || k.field == "" {
		return answer{}, err
	}
	b, r, failure := s.findRotation(v)
	if failure != nil {
		return answer{}, failure
	}
	a, p, failure := s.rotationPage(v, b, r)
	if failure != nil {
		return answer{}, failure
	}
	text := s.words.text(k.message)
	shown := false
	for _, f := range []*field{p.Contact, p.AskReason} {
		if f != nil && f.ID == k.field {
			f.Error, shown = text, true
		}
	}
	if !shown {
		return answer{}, err
	}
	a.status, a.problems = k.status, []problem{{Field: k.field, Text: text}}
	return a, nil
}

func (s *Server) noteHandOver(v *visit) (answer, error) {
	return s.rotationAct(v, "keys.guide.noted", func(id uuid.UUID) error {
		return s.config.Keys.HandOver(v.r.Context(), v.tenant, v.by, id)
	})
}

func (s *Server) noteConfirmation(v *visit) (answer, error) {
	party := custody.Party(v.r.PostForm.Get(fieldParty))
	if party != custody.Apple && party != custody.Google {
		return answer{}, errForm
	}
	return s.rotationAct(v, "keys.guide.noted", func(id uuid.UUID) error {
		return s.config.Keys.Confirm(v.r.Context(), v.tenant, v.by, id, party, v.r.PostForm.Get(fieldContact))
	})
}

func (s *Server) noteRehearsal(v *visit) (answer, error) {
	sandboxes, err := s.sandboxes(v)
	if err != nil {
		return answer{}, err
	}
	return s.rotationAct(v, "keys.guide.noted", func(id uuid.UUID) error {
		return s.config.Keys.Rehearse(v.r.Context(), v.tenant, v.by, *v.who, sandboxes, id)
	})
}

// sandboxes are those to which the person belongs.
func (s *Server) sandboxes(v *visit) (list []*tenant.Tenant, err error) {
	all, err := s.config.Staff.Memberships(v.r.Context(), *v.who)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if !strings.HasSuffix(string(m.Slug), "-sandbox") {
			continue
		}
		t, err := s.config.Directory.BySlug(v.r.Context(), string(m.Slug))
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

func (s *Server) askForActivation(v *visit) (answer, error) {
	return s.rotationAct(v, "keys.guide.asked", func(id uuid.UUID) error {
		return s.config.Keys.AskActivation(v.r.Context(), v.tenant, v.by, id, v.r.PostForm.Get(fieldReason))
	})
}

// keyStep asks before something is done that cannot be undone.
type keyStep struct {
	Effects              []string
	Action, Button, Back string
	Grave                bool
}

func (s *Server) confirmActivation(v *visit) (answer, error) {
	_, r, err := s.findRotation(v)
	if err != nil {
		return answer{}, err
	}
	effects := []string{s.words.text("keys.activate.effect.sms"), s.words.text("keys.activate.effect.final")}
	if key.Rule(r.Purpose).Together {
		effects = []string{s.words.text("keys.activate.effect.sign"), s.words.text("keys.activate.effect.refuse"), s.words.text("keys.activate.effect.final")}
	}
	return answer{page: "key_step", heading: s.words.text("keys.activate.heading"), data: keyStep{
		Effects: effects, Action: rotationPath(v, r.ID) + "/activate", Button: s.words.text("keys.activate.button"), Back: rotationPath(v, r.ID),
	}}, nil
}

func (s *Server) activateKey(v *visit) (answer, error) {
	return s.rotationAct(v, "keys.activate.done", func(id uuid.UUID) error {
		return s.config.Keys.Activate(v.r.Context(), v.tenant, v.by, id)
	})
}

func (s *Server) confirmRetirement(v *visit) (answer, error) {
	_, r, err := s.findRotation(v)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "key_step", heading: s.words.text("keys.retire.heading"), data: keyStep{
		Effects: []string{s.words.text("keys.retire.effect.sign"), s.words.text("keys.retire.effect.files"), s.words.text("keys.retire.effect.final")},
		Action:  rotationPath(v, r.ID) + "/retire", Button: s.words.text("keys.retire.button"), Back: rotationPath(v, r.ID), Grave: true,
	}}, nil
}

func (s *Server) retireKey(v *visit) (answer, error) {
	return s.rotationAct(v, "keys.retire.done", func(id uuid.UUID) error {
		return s.config.Keys.Retire(v.r.Context(), v.tenant, v.by, id)
	})
}

func (s *Server) confirmCancelling(v *visit) (answer, error) {
	_, r, err := s.findRotation(v)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "key_step", heading: s.words.text("keys.cancel.heading"), data: keyStep{
		Effects: []string{s.words.text("keys.cancel.effect.destroyed"), s.words.text("keys.cancel.effect.tell"), s.words.text("keys.cancel.effect.again")},
		Action:  rotationPath(v, r.ID) + "/cancel", Button: s.words.text("keys.cancel.button"), Back: rotationPath(v, r.ID), Grave: true,
	}}, nil
}

func (s *Server) cancelRotation(v *visit) (answer, error) {
	return s.rotationAct(v, "keys.cancel.done", func(id uuid.UUID) error {
		return s.config.Keys.Cancel(v.r.Context(), v.tenant, v.by, id)
	})
}
