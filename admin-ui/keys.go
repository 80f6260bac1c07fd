package adminui

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
)

// Keys is what custodians know of the authority's keys and do with them. The promises and
// errors are those of [custody.Staff].
type Keys interface {
	Book(ctx context.Context, t *tenant.Tenant, by authz.Subject) (*custody.Book, error)
	Rotate(ctx context.Context, t *tenant.Tenant, by authz.Subject, p signing.Purpose, atOnce bool, reason string) (uuid.UUID, error)
	SetPeriod(ctx context.Context, t *tenant.Tenant, by authz.Subject, p signing.Purpose, period time.Duration) error
	HandOver(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	Confirm(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, from custody.Party, contact string) error
	Rehearse(ctx context.Context, t *tenant.Tenant, by authz.Subject, who oidc.Identity, sandboxes []*tenant.Tenant, id uuid.UUID) error
	AskActivation(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, reason string) error
	Asked(ctx context.Context, t *tenant.Tenant, by authz.Subject, b *custody.Book, r custody.Rotation) (approval.Request, bool, error)
	Activate(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	Retire(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	Cancel(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
}

func (s *Server) keyRoutes() []route {
	asks := func(pattern string, h handler) route {
		return fresh(staffed(pattern, authz.KeyRequestRotation, limitPortal, h))
	}
	return []route{
		staffed("GET /portal/:tenant/keys", authz.KeyRead, limitPortal, s.showKeys),
		staffed("GET /portal/:tenant/keys/:purpose", authz.KeyRead, limitPortal, s.showKey),
		staffed("GET /portal/:tenant/keys/:purpose/public/:version", authz.KeyRead, limitPortal, s.downloadPublicKey),
		asks("GET /portal/:tenant/keys/:purpose/rotate", s.askKeyRotation),
		asks("POST /portal/:tenant/keys/:purpose/rotate", s.rotateKey),
		fresh(staffed("GET /portal/:tenant/keys/:purpose/period", authz.SettingsWrite, limitPortal, s.askPeriod)),
		fresh(staffed("POST /portal/:tenant/keys/:purpose/period", authz.SettingsWrite, limitPortal, s.setPeriod)),
		staffed("GET /portal/:tenant/keys/rotations/:id", authz.KeyRead, limitPortal, s.showRotation),
		asks("POST /portal/:tenant/keys/rotations/:id/handed-over", s.noteHandOver),
		asks("POST /portal/:tenant/keys/rotations/:id/confirm", s.noteConfirmation),
		asks("POST /portal/:tenant/keys/rotations/:id/rehearsed", s.noteRehearsal),
		asks("POST /portal/:tenant/keys/rotations/:id/ask", s.askForActivation),
		asks("GET /portal/:tenant/keys/rotations/:id/activate", s.confirmActivation),
		asks("POST /portal/:tenant/keys/rotations/:id/activate", s.activateKey),
		fresh(staffed("GET /portal/:tenant/keys/rotations/:id/retire", authz.KeyApproveRotation, limitPortal, s.confirmRetirement)),
		fresh(staffed("POST /portal/:tenant/keys/rotations/:id/retire", authz.KeyApproveRotation, limitPortal, s.retireKey)),
		asks("GET /portal/:tenant/keys/rotations/:id/cancel", s.confirmCancelling),
		asks("POST /portal/:tenant/keys/rotations/:id/cancel", s.cancelRotation),
	}
}

// keysPage shows all keys.
type keysPage struct {
	Alarms   []string
	Keys     []keyRow
	Timeline timeline
	Running  []keyLink
}

// keyRow is a purpose's key in words.
type keyRow struct {
	Path, Name, Use, Active string
	Since                   *moment
	Age, Next               string
	At                      *moment
}

type keyLink struct{ Path, Text string }

func (s *Server) showKeys(v *visit) (answer, error) {
	b, err := s.config.Keys.Book(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	p := keysPage{Timeline: s.timeline(b)}
	for _, a := range b.Alarms(s.config.Now()) {
		p.Alarms = append(p.Alarms, s.alarm(a))
	}
	for _, purpose := range signing.Purposes() {
		p.Keys = append(p.Keys, s.keyRow(v, b, purpose))
	}
	for _, r := range b.Rotations {
		if r.Open() {
			p.Running = append(p.Running, keyLink{rotationPath(v, r.ID), s.words.text("keys.running.link", "key", s.words.keyName(r.Purpose))})
		}
	}
	return answer{page: "keys", heading: s.words.text("keys.heading"), data: p}, nil
}

func (s *Server) keyRow(v *visit, b *custody.Book, p signing.Purpose) keyRow {
	w := keyRow{Path: v.path("/keys/" + string(p)), Name: s.words.keyName(p), Use: s.words.keyUse(p)}
	if active := b.In(p, key.Active); active != nil {
		w.Active = versionName(*active)
		began := active.Created
		if active.Activated != nil {
			began = *active.Activated
		}
		w.Age = s.span(s.config.Now().Sub(began))
		w.Since = s.momentOf(v, &began)
	}
	w.Next, w.At = s.keyNext(v, b, p)
	return w
}

// keyNext is what comes next for a key, and when; nil if that is for people to say.
func (s *Server) keyNext(v *visit, b *custody.Book, p signing.Purpose) (string, *moment) {
	if r, running := b.Running(p); running && key.Rule(p).Guided {
		return s.words.rotationStep(r.Step), nil
	}
	due := b.Due(p)
	switch due.Act {
	case key.Make:
		return s.words.text("keys.next.make"), s.momentOf(v, &due.At)
	case key.Activate:
		return s.words.text("keys.next.activate", "version", versionName(*due.Version)), s.momentOf(v, &due.At)
	case key.Destroy:
		return s.words.text("keys.next.destroy", "version", versionName(*due.Version)), s.momentOf(v, &due.At)
	}
	if active := b.In(p, key.Active); active != nil {
		end := active.Ends(b.Period(p))
		return s.words.text("keys.next.people"), s.momentOf(v, &end)
	}
	return s.words.text("keys.next.none"), nil
}

// span is a length of time in whole hours or days, as people say it.
func (s *Server) span(d time.Duration) string {
	if hours := int(d / time.Hour); hours < 48 {
		return s.words.counted("keys.hours.one", "keys.hours.other", max(hours, 0))
	}
	return s.words.counted("keys.days.one", "keys.days.other", int(d/(24*time.Hour)))
}

func versionName(v key.Version) string { return strings.TrimSpace(v.KeyID + " " + v.Label) }

// keyPage shows a purpose's key with all its versions.
type keyPage struct {
	Row            keyRow
	Period         string
	Rotate, Change string // paths, if she may
	Running        *keyLink
	Rules          []string
	Versions       []versionView
	Publics        []publicView
	Back           string
}

type versionView struct {
	Name, State                            string
	Created, Activated, Retired, Destroyed *moment
}

// publicView is a public half, to copy.
type publicView struct {
	ID, Name, State, PEM, Line, Fingerprint, File string
}

// findPurpose is the purpose that the URL names.
func findPurpose(v *visit) (signing.Purpose, error) {
	p := signing.Purpose(v.params.ByName("purpose"))
	if !slices.Contains(signing.Purposes(), p) {
		return "", custody.ErrPurpose
	}
	return p, nil
}

func (s *Server) showKey(v *visit) (answer, error) {
	p, err := findPurpose(v)
	if err != nil {
		return answer{}, err
	}
	b, err := s.config.Keys.Book(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	page := keyPage{Row: s.keyRow(v, b, p), Period: s.span(b.Period(p)), Rules: s.rules(p), Back: v.path("/keys")}
	if r, running := b.Running(p); running {
		page.Running = &keyLink{rotationPath(v, r.ID), s.words.text("keys.running.link", "key", s.words.keyName(p))}
	}
	if v.may(authz.KeyRequestRotation) {
		page.Rotate = v.path("/keys/" + string(p) + "/rotate")
	}
	if v.may(authz.SettingsWrite) {
		page.Change = v.path("/keys/" + string(p) + "/period")
	}
	for _, ver := range slices.Backward(b.Versions[p]) {
		page.Versions = append(page.Versions, s.versionView(v, ver))
		if ver.DER != nil {
			page.Publics = append(page.Publics, s.publicView(v, ver))
		}
	}
	return answer{page: "key", heading: s.words.keyName(p), data: page}, nil
}

// rules says in words how long each part of a version's life is.
func (s *Server) rules(p signing.Purpose) []string {
	rule := key.Rule(p)
	lines := []string{s.words.text("keys.rule.guided")}
	if !rule.Guided {
		lines = []string{s.words.text("keys.rule.lead", "time", s.short(rule.Lead))}
	}
	if rule.Together {
		lines = append(lines, s.words.text("keys.rule.together"))
	}
	lines = append(lines, s.words.text("keys.rule.overlap", "time", s.short(rule.Overlap)))
	if rule.Lasting {
		lines = append(lines, s.words.text("keys.rule.lasting"))
	}
	return lines
}

// short is span for what may be less than some hours.
func (s *Server) short(d time.Duration) string {
	if d < 2*time.Hour {
		return s.words.minutes(d)
	}
	return s.span(d)
}

func (s *Server) versionView(v *visit, ver key.Version) versionView {
	w := versionView{
		Name: versionName(ver), State: s.words.keyState(ver.State),
		Created: s.momentOf(v, &ver.Created), Activated: s.momentOf(v, ver.Activated), Retired: s.momentOf(v, ver.Retired), Destroyed: s.momentOf(v, ver.Destroyed),
	}
	if ver.State == key.Next {
		w.Activated = s.momentOf(v, ver.ActivateAt)
	}
	if ver.State == key.VerifyOnly {
		w.Destroyed = s.momentOf(v, ver.DestroyAt)
	}
	return w
}

func (s *Server) publicView(v *visit, ver key.Version) publicView {
	digest := sha256.Sum256(ver.DER)
	number := s.words.number(ver.No)
	return publicView{
		ID: "public-" + number, Name: versionName(ver), State: s.words.keyState(ver.State),
		PEM: signing.PublicPEM(ver.DER), Line: base64.StdEncoding.EncodeToString(ver.DER), Fingerprint: hex.EncodeToString(digest[:]),
		File: v.path("/keys/" + string(ver.Purpose) + "/public/" + number),
	}
}

func (s *Server) downloadPublicKey(v *visit) (answer, error) {
	p, err := findPurpose(v)
	if err != nil {
		return answer{}, err
	}
	b, err := s.config.Keys.Book(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	for _, ver := range b.Versions[p] {
		if s.words.number(ver.No) == v.params.ByName("version") && ver.DER != nil {
			name := string(v.tenant.Slug) + "-" + string(p) + "-" + s.words.number(ver.No) + ".pem"
			return answer{download: &download{name: name, kind: "application/x-pem-file", write: func(to io.Writer) error {
				_, err := io.WriteString(to, signing.PublicPEM(ver.DER))
				return err
			}}}, nil
		}
	}
	return answer{}, key.ErrNoVersion
}

// keyForm asks before a key is rotated, or its period changed.
type keyForm struct {
	Lead, Action, Button, Back string
	Effects                    []string
	Reason, Period             *field
	Urgency                    *radios
}

// The IDs of the fields of forms for keys.
const (
	fieldUrgency = "urgency"
	fieldPeriod  = "period"
	fieldContact = "contact"
	fieldParty   = "party"
	urgent       = "at-once"
)

func (s *Server) keyReason(v *visit) *field {
	return &field{ID: fieldReason, Label: s.words.text("keys.reason"), Hint: s.words.text("keys.reason.hint"), Type: "text", Value: v.r.PostForm.Get(fieldReason), Autocomplete: "off", Wide: true}
}

func (s *Server) rotateForm(v *visit, p signing.Purpose) (answer, *keyForm) {
	rule := key.Rule(p)
	path := v.path("/keys/" + string(p))
	form := &keyForm{
		Lead: s.words.keyUse(p), Action: path + "/rotate", Button: s.words.text("keys.rotate.button"), Back: path, Reason: s.keyReason(v),
	}
	if rule.Guided {
		form.Effects = []string{s.words.text("keys.rotate.guided.make"), s.words.text("keys.rotate.guided.wait"), s.words.text("keys.rotate.guided.cancel")}
	} else {
		chosen := v.r.PostForm.Get(fieldUrgency) == urgent
		form.Effects = []string{
			s.words.text("keys.rotate.effect.new"), s.words.text("keys.rotate.effect.old", "time", s.short(rule.Overlap)),
			s.words.text("keys.rotate.effect.phones"), s.words.text("keys.rotate.effect.lost"),
		}
		form.Urgency = &radios{ID: fieldUrgency + "_group", Name: fieldUrgency, Label: s.words.text("keys.urgency"), Choices: []choice{
			{ID: fieldUrgency, Value: "", Label: s.words.text("keys.urgency.lead", "time", s.short(rule.Lead)), Hint: s.words.text("keys.urgency.lead.hint"), Chosen: !chosen},
			{ID: fieldUrgency + "_" + urgent, Value: urgent, Label: s.words.text("keys.urgency.now"), Hint: s.words.urgencyHint(p), Chosen: chosen},
		}}
	}
	return answer{page: "key_form", heading: s.words.text("keys.rotate.heading", "key", s.words.keyName(p)), data: form}, form
}

func (s *Server) askKeyRotation(v *visit) (answer, error) {
	p, err := findPurpose(v)
	if err != nil {
		return answer{}, err
	}
	a, _ := s.rotateForm(v, p)
	return a, nil
}

func (s *Server) rotateKey(v *visit) (answer, error) {
	p, err := findPurpose(v)
	if err != nil {
		return answer{}, err
	}
	id, err := s.config.Keys.Rotate(v.r.Context(), v.tenant, v.by, p, v.r.PostForm.Get(fieldUrgency) == urgent, v.r.PostForm.Get(fieldReason))
	if err != nil {
		a, form := s.rotateForm(v, p)
		return s.mendKey(a, form, err)
	}
	return s.keyDone(v, rotationPath(v, id), "keys.rotate.done")
}

// mendKey shows a form again, with what is wrong with it.
func (s *Server) mendKey(a answer, form *keyForm, err error) (answer, error) {
	k, found := lookUp(err)
	if !found || k.field == "" {
		return answer{}, err
	}
	text := s.words.text(k.message)
	for _, f := range []*field{form.Reason, form.Period} {
		if f != nil && f.ID == k.field {
			f.Error = text
		}
	}
	a.status, a.problems = k.status, []problem{{Field: k.field, Text: text}}
	return a, nil
}

func (s *Server) keyDone(v *visit, path, notice string) (answer, error) {
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text(notice))
	return redirect(path)
}
