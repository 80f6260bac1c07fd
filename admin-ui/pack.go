package adminui

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/pack"
	"carillon/tenant/pack/enx"
)

// Packs is what staff do about the configuration that Apple and Google are given. The
// promises and errors are those of [pack.Staff].
type Packs interface {
	Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (pack.Board, error)
	Save(ctx context.Context, t *tenant.Tenant, by authz.Subject, s pack.Section, version int, values map[string]string) error
	Translations(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]byte, error)
	ExamineTranslations(ctx context.Context, t *tenant.Tenant, by authz.Subject, file []byte) (pack.Sheet, error)
	ImportTranslations(ctx context.Context, t *tenant.Tenant, by authz.Subject, file []byte, versions map[string]int) (int, error)
	Ask(ctx context.Context, t *tenant.Tenant, by authz.Subject, signed bool) (uuid.UUID, error)
	Await(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (pack.View, error)
	Body(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) ([]byte, pack.Pack, error)
	HandOver(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, to pack.Recipient, person string) error
	PlanPush(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (pack.Pack, map[string]any, error)
	AskPush(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
}

// packRoutes are for the configuration that Apple and Google are given. A pack that was
// made is signed, and may hold what changes the region at Apple: to take one, or to send
// something, asks for a fresh sign-in.
func (s *Server) packRoutes() []route {
	read := func(pattern string, h handler) route { return staffed(pattern, authz.PackRead, limitPortal, h) }
	write := func(pattern string, h handler) route { return staffed(pattern, authz.PackWrite, limitPortal, h) }
	push := func(pattern string, h handler) route {
		return fresh(staffed(pattern, authz.PackPush, limitPortal, h))
	}
	list := []route{
		read("GET /portal/:tenant/pack", s.showPacks),
		read("GET /portal/:tenant/pack/review", s.reviewPack),
		write("POST /portal/:tenant/pack/make", s.askPack),
		write("GET /portal/:tenant/pack/translations", s.newSheet),
		read("GET /portal/:tenant/pack/translations/sheet", s.downloadSheet),
		uploading(write("POST /portal/:tenant/pack/translations", s.examineSheet)),
		uploading(write("POST /portal/:tenant/pack/translations/confirm", s.importSheet)),
		read("GET /portal/:tenant/pack/made/:id", s.showPack),
		fresh(read("GET /portal/:tenant/pack/made/:id/file", s.downloadPack)),
		write("POST /portal/:tenant/pack/made/:id/hand-over", s.handOverPack),
		push("GET /portal/:tenant/pack/made/:id/push", s.askPush),
		push("POST /portal/:tenant/pack/made/:id/push", s.pushPack),
	}
	for _, step := range enx.Steps() {
		path := "/portal/:tenant/pack/" + string(step)
		list = append(list,
			write("GET "+path, func(v *visit) (answer, error) { return s.showStep(v, step) }),
			uploading(write("POST "+path, func(v *visit) (answer, error) { return s.saveStep(v, step) })))
	}
	return list
}

// packsPage shows how far the configuration is, and what was made of it.
type packsPage struct {
	May    bool // change it
	Steps  []stepView
	Review string
	Sheet  string // the path to the file for translators
	Import string
	Packs  []packView
	Last   string
}

// stepView is an entry in the list of steps.
type stepView struct {
	Path, Name, State string
	Saved             string // by whom
	Current, Good     bool
}

// packView is a pack in a list.
type packView struct {
	Path, Name, State, By string
	Asked                 moment
	HandOvers             []string
}

func (s *Server) showPacks(v *visit) (answer, error) {
	b, err := s.config.Packs.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	p := packsPage{
		May: v.may(authz.PackWrite), Steps: s.stepViews(v, b, pack.Section{}), Review: v.path("/pack/review"),
		Sheet: v.path("/pack/translations/sheet"), Import: v.path("/pack/translations"),
	}
	for _, made := range b.Packs {
		p.Packs = append(p.Packs, s.packView(v, made))
	}
	if b.Last != nil {
		p.Last = s.words.text("pack.last", "pack", s.packName(*b.Last))
	}
	return answer{page: "pack", heading: s.words.text("pack.heading"), data: p}, nil
}

func (s *Server) packName(p pack.Pack) string {
	return s.words.text("pack.name", "n", s.words.number(p.Number))
}

func (s *Server) packView(v *visit, p pack.Pack) packView {
	w := packView{
		Path: packPath(v, p.ID), Name: s.packName(p), State: s.words.packState(p.State), By: p.AskedBy,
		Asked: s.words.moment(p.AskedAt, v.anyDay()),
	}
	for _, h := range p.HandOvers {
		w.HandOvers = append(w.HandOvers, s.words.recipient(h.Recipient)+": "+h.Person+", "+s.words.date(h.At))
	}
	return w
}

func (c *catalogue) packState(s pack.State) string {
	switch s {
	case pack.Asked:
		return c.text("pack.state.asked")
	case pack.Made:
		return c.text("pack.state.made")
	case pack.Failed:
		return c.text("pack.state.failed")
	}
	return string(s)
}

func (c *catalogue) recipient(r pack.Recipient) string {
	switch r {
	case pack.Apple:
		return c.text("pack.recipient.apple")
	case pack.Google:
		return c.text("pack.recipient.google")
	case pack.Other:
		return c.text("pack.recipient.other")
	}
	return string(r)
}

func (c *catalogue) pushState(s pack.PushState) string {
	switch s {
	case pack.Waiting:
		return c.text("pack.push.state.waiting")
	case pack.Reading:
		return c.text("pack.push.state.reading")
	case pack.Taken:
		return c.text("pack.push.state.taken")
	case pack.Refused:
		return c.text("pack.push.state.refused")
	}
	return string(s)
}

// packReview says what is left to do, and what is different from what was handed over.
type packReview struct {
	Steps    []stepView
	Problems []problemView
	Advice   []problemView
	Ready    bool
	May      bool
	MaySign  bool
	Action   string
	Back     string
	Since    string // the pack that it is compared with
	Changes  []changeView
}

// problemView is something to put right, with the way there.
type problemView struct{ Path, Where, Text string }

// changeView is a difference of a value.
type changeView struct{ Key, Label, Language, Before, After string }

func changeViews(changes []enx.Change) []changeView {
	list := make([]changeView, 0, len(changes))
	for _, c := range changes {
		list = append(list, changeView{c.ID, c.Label, c.Language, c.Before, c.After})
	}
	return list
}

func (s *Server) reviewPack(v *visit) (answer, error) {
	b, err := s.config.Packs.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	p := packReview{
		Steps: s.stepViews(v, b, pack.Section{}), Ready: b.Ready(), May: v.may(authz.PackWrite), MaySign: v.may(authz.PackPush),
		Action: v.path("/pack/make"), Back: v.path("/pack"), Changes: changeViews(b.Changes),
	}
	if b.Last != nil {
		p.Since = s.words.text("pack.since", "pack", s.packName(*b.Last))
	}
	for _, problem := range b.Problems {
		w := problemView{Where: s.problemPlace(problem), Text: problem.Text}
		if problem.Step != enx.Filled {
			w.Path = sectionPath(v, pack.Section{Step: problem.Step, Language: problem.Language}) + "#" + problem.Slot
		}
		if problem.Advice {
			p.Advice = append(p.Advice, w)
		} else {
			p.Problems = append(p.Problems, w)
		}
	}
	return answer{page: "pack_review", heading: s.words.text("pack.review.heading"), data: p}, nil
}

// problemPlace names the value with which something is wrong.
func (s *Server) problemPlace(p enx.Problem) string {
	label := p.Slot
	for _, slot := range enx.Slots() {
		if slot.ID() == p.Slot {
			label = s.slotLabel(slot)
		}
	}
	if p.Language != "" {
		label += " (" + p.Language + ")"
	}
	return label
}

func (s *Server) askPack(v *visit) (answer, error) {
	id, err := s.config.Packs.Ask(v.r.Context(), v.tenant, v.by, v.r.PostForm.Get(fieldSigned) == yes)
	if err != nil {
		return answer{}, err
	}
	return redirect(packPath(v, id))
}

// The fields of the forms about packs.
const (
	fieldSigned    = "signed"
	fieldPerson    = "person"
	fieldLanguages = "languages"
	fieldLanguage  = "language"
	fieldPreset    = "preset"
	fieldSheet     = "sheet"
	fieldVersions  = "versions"
)

// madePage shows a pack.
type madePage struct {
	State         string
	Made, Waiting bool
	Failure       []string
	Facts         []factView
	Rotations     []keyLink
	Download      string
	Signed        bool
	Push          string // the path to sending it to Apple
	Pushes        []pushView
	Since         string
	Changes       []changeView
	HandOvers     []string
	HandOver      string // where its form is sent; empty for whoever may not
	Recipient     radios
	Person        field
	Again, Back   string
}

type factView struct{ Name, Value string }

// pushView is a change that was sent to Apple.
type pushView struct {
	State, By, Outcome string
	Asked              moment
	Differ             []string
}

// findPack waits for the pack that the URL names while it is being made.
func (s *Server) findPack(v *visit) (pack.View, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return pack.View{}, pack.ErrNoPack
	}
	return s.config.Packs.Await(v.r.Context(), v.tenant, v.by, id)
}

func (s *Server) showPack(v *visit) (answer, error) {
	p, err := s.findPack(v)
	if err != nil {
		return answer{}, err
	}
	return s.packAnswer(v, p), nil
}

func packPath(v *visit, id uuid.UUID) string { return v.path("/pack/made/" + id.String()) }

func (s *Server) packAnswer(v *visit, p pack.View) answer {
	base := packPath(v, p.ID)
	w := &madePage{
		State: s.words.packState(p.State), Made: p.State == pack.Made, Waiting: p.State == pack.Asked, Signed: p.Signed,
		Again: base, Back: v.path("/pack"), Changes: changeViews(p.Changes),
	}
	if p.Failure != "" {
		w.Failure = strings.Split(p.Failure, "\n")
	}
	fact := func(name, value string) {
		if value != "" {
			w.Facts = append(w.Facts, factView{name, value})
		}
	}
	fact(s.words.text("pack.asked_by"), p.AskedBy+", "+s.words.moment(p.AskedAt, v.anyDay()).Text)
	fact(s.words.text("pack.languages"), strings.Join(p.Config.Languages, ", "))
	fact(s.words.text("pack.key_version"), p.Config.Values["publicKeyVersion"])
	if w.Made {
		fact(s.words.text("pack.size"), s.words.text("pack.bytes", "n", s.words.number(p.Size)))
		fact(s.words.text("pack.hash"), fmt.Sprintf("%x", p.SHA256))
		s.offerPack(v, w, p, base)
	}
	if p.Since != nil {
		w.Since = s.words.text("pack.since", "pack", s.packName(*p.Since))
	}
	if v.may(authz.KeyRead) {
		for _, r := range p.Rotations {
			text := s.words.text("pack.rotation", "key", s.words.keyName(r.Purpose), "step", s.words.rotationStep(r.Step))
			w.Rotations = append(w.Rotations, keyLink{rotationPath(v, r.ID), text})
		}
	}
	for _, h := range p.HandOvers {
		w.HandOvers = append(w.HandOvers, s.words.text("pack.handed", "to", s.words.recipient(h.Recipient), "person", h.Person, "by", h.By, "day", s.words.date(h.At)))
	}
	for _, c := range p.Pushes {
		w.Pushes = append(w.Pushes, pushView{
			State: s.words.pushState(c.State), By: c.AskedBy, Outcome: c.Outcome, Asked: s.words.moment(c.AskedAt, v.anyDay()), Differ: c.Differ,
		})
	}
	return answer{page: "pack_made", heading: s.packName(p.Pack), data: w}
}

// offerPack adds what can be done with a pack that was made.
func (s *Server) offerPack(v *visit, w *madePage, p pack.View, base string) {
	if !p.Signed || v.may(authz.PackPush) {
		w.Download = base + "/file"
	}
	if p.Push && v.may(authz.PackPush) {
		w.Push = base + "/push"
	}
	if !v.may(authz.PackWrite) {
		return
	}
	w.HandOver = base + "/hand-over"
	chosen := v.r.PostForm.Get(fieldRecipient)
	w.Recipient = radios{ID: fieldRecipient + "_group", Name: fieldRecipient, Label: s.words.text("pack.recipient")}
	for i, r := range pack.Recipients() {
		id := fieldRecipient + "_" + string(r)
		w.Recipient.Choices = append(w.Recipient.Choices, choice{
			ID: id, Value: string(r), Label: s.words.recipient(r), Chosen: string(r) == chosen || chosen == "" && i == 0,
		})
	}
	w.Person = field{ID: fieldPerson, Label: s.words.text("pack.person"), Hint: s.words.text("pack.person.hint"), Type: "text", Value: v.r.PostForm.Get(fieldPerson), Autocomplete: "off"}
}

func (s *Server) handOverPack(v *visit) (answer, error) {
	p, err := s.findPack(v)
	if err != nil {
		return answer{}, err
	}
	form := v.r.PostForm
	err = s.config.Packs.HandOver(v.r.Context(), v.tenant, v.by, p.ID, pack.Recipient(form.Get(fieldRecipient)), form.Get(fieldPerson))
	if k, found := lookUp(err); found && k.field == fieldPerson {
		a := s.packAnswer(v, p)
		text := s.words.text(k.message)
		a.data.(*madePage).Person.Error = text //nolint:forcetypeassert // made one line above
		a.status, a.problems = k.status, []problem{{Field: k.field, Text: text}}
		return a, nil
	}
	if err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("pack.handed_over"))
	return redirect(packPath(v, p.ID))
}

func (s *Server) downloadPack(v *visit) (answer, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return answer{}, pack.ErrNoPack
	}
	body, p, err := s.config.Packs.Body(v.r.Context(), v.tenant, v.by, id)
	if err != nil {
		return answer{}, err
	}
	name := fmt.Sprintf("carillon-pack-%s-%d.zip", v.tenant.Slug, p.Number)
	return fileAnswer(name, "application/zip", body), nil
}

// fileAnswer sends a file that is in memory.
func fileAnswer(name, kind string, body []byte) answer {
	return answer{download: &download{name: name, kind: kind, write: func(to io.Writer) error {
		_, err := to.Write(body)
		return err
	}}}
}

// pushPage asks before a change is sent to Apple.
type pushPage struct {
	Action, Back string
	Values       []factView
}

func (s *Server) askPush(v *visit) (answer, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return answer{}, pack.ErrNoPack
	}
	p, changes, err := s.config.Packs.PlanPush(v.r.Context(), v.tenant, v.by, id)
	if err != nil {
		return answer{}, err
	}
	w := pushPage{Action: v.r.URL.Path, Back: packPath(v, id)}
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		value, err := json.Marshal(changes[key])
		if err != nil {
			return answer{}, fmt.Errorf("show change: %w", err)
		}
		w.Values = append(w.Values, factView{key, string(value)})
	}
	return answer{page: "pack_push", heading: s.words.text("pack.push.heading", "pack", s.packName(p)), data: w}, nil
}

func (s *Server) pushPack(v *visit) (answer, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return answer{}, pack.ErrNoPack
	}
	if err := s.config.Packs.AskPush(v.r.Context(), v.tenant, v.by, id); err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("pack.push.begun"))
	return redirect(packPath(v, id))
}
