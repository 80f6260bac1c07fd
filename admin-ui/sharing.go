package adminui

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant/sharing"
)

// sharingPage shows what the authority gives to others and gets from them.
type sharingPage struct {
	Offer string // the path to a new offer, if she may make one
	Seen  string
	// Incoming and Outgoing are offers, the newest first.
	Incoming, Outgoing []offerView
}

// offerView is an offer in words.
type offerView struct {
	ID, Peer, Keys, State string
	Standing              bool // keys cross, or may come to
	Offered               moment
	Answer                string // the path to answering it; empty if there is nothing to answer, or not for her
	Stop, StopText        string // the path to ending it, and what that is called
}

func (s *Server) showSharing(v *visit) (answer, error) {
	outgoing, incoming, err := s.config.Sharing.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	p := sharingPage{Seen: v.path("/sharing/seen")}
	if v.may(authz.SharingOffer) {
		p.Offer = v.path("/sharing/new")
	}
	for _, o := range incoming {
		p.Incoming = append(p.Incoming, s.incoming(v, o))
	}
	for _, o := range outgoing {
		p.Outgoing = append(p.Outgoing, s.outgoing(v, o))
	}
	return answer{page: "sharing", heading: s.words.text("sharing.heading"), data: p}, nil
}

func (s *Server) offerView(v *visit, o sharing.Share) offerView {
	w := offerView{
		ID: o.Offer.String(), Peer: string(o.Peer), Keys: s.termsText(o), State: s.words.sharing(o.State()),
		Offered: s.words.moment(o.OfferedAt, s.now(v)), Standing: o.State() == sharing.Waiting || o.State() == sharing.InForce,
	}
	if o.PeerName != "" {
		w.Peer = o.PeerName
	}
	return w
}

func (s *Server) incoming(v *visit, o sharing.Share) offerView {
	w := s.offerView(v, o)
	switch {
	case !v.may(authz.SharingAccept):
	case o.State() == sharing.Waiting:
		w.Answer = v.path("/sharing/" + w.ID + "/answer")
	case o.State() == sharing.InForce:
		w.Stop, w.StopText = v.path("/sharing/"+w.ID+"/end"), s.words.text("sharing.end.link", "peer", w.Peer)
	}
	return w
}

func (s *Server) outgoing(v *visit, o sharing.Share) offerView {
	w := s.offerView(v, o)
	if w.Standing && v.may(authz.SharingOffer) {
		w.Stop, w.StopText = v.path("/sharing/"+w.ID+"/withdraw"), s.words.text("sharing.withdraw.link", "peer", w.Peer)
	}
	return w
}

// termsText says which keys are meant.
func (s *Server) termsText(o sharing.Share) string {
	text := s.words.text("sharing.keys.all")
	if o.TravelersOnly {
		text = s.words.text("sharing.keys.travelers")
	}
	if len(o.Regions) > 0 {
		text = s.words.text("sharing.keys.regions", "keys", text, "regions", strings.Join(o.Regions, ", "))
	}
	return text
}

// The IDs of the form's fields.
const (
	fieldRecipient = "recipient"
	fieldKeys      = "keys"
	fieldRegions   = "regions"

	keysAll, keysTravelers = "all", "travelers"
)

// offerForm is the form for a new offer.
type offerForm struct {
	Action, Back       string
	Recipient, Regions field
	Keys               radios
}

func (s *Server) newOffer(v *visit) (answer, error) {
	return s.offerFormAnswer(v, keysTravelers, known{}), nil
}

func (s *Server) makeOffer(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	recipient := strings.ToLower(strings.TrimSpace(v.r.PostForm.Get(fieldRecipient)))
	keys := v.r.PostForm.Get(fieldKeys)
	if keys != keysAll && keys != keysTravelers {
		return answer{}, fmt.Errorf("%w: which keys", errForm)
	}
	regions, err := sharing.ParseRegions(v.r.PostForm.Get(fieldRegions))
	if err == nil {
		err = s.config.Sharing.Offer(v.r.Context(), v.tenant, v.by, recipient, sharing.Terms{TravelersOnly: keys == keysTravelers, Regions: regions})
	}
	if k, found := lookUp(err); found && (k.field == fieldRecipient || k.field == fieldRegions) {
		return s.offerFormAnswer(v, keys, k), nil
	}
	if err != nil {
		return answer{}, err
	}
	return s.sharingDone(v, "sharing.offered")
}

// offerFormAnswer shows the form, with what was entered and what is wrong with it.
func (s *Server) offerFormAnswer(v *visit, keys string, k known) answer {
	form := offerForm{
		Action: v.path("/sharing/new"), Back: v.path("/sharing"),
		Recipient: field{
			ID: fieldRecipient, Label: s.words.text("sharing.recipient"), Hint: s.words.text("sharing.recipient.hint"),
			Type: "text", Value: v.r.PostForm.Get(fieldRecipient), Autocomplete: "off", Wide: true,
		},
		Regions: field{
			ID: fieldRegions, Label: s.words.text("sharing.regions"), Hint: s.words.text("sharing.regions.hint"),
			Type: "text", Value: v.r.PostForm.Get(fieldRegions), Autocomplete: "off", Optional: s.words.text("form.optional"), Wide: true,
		},
		Keys: radios{ID: fieldKeys + "_group", Name: fieldKeys, Label: s.words.text("sharing.keys"), Choices: []choice{
			{ID: fieldKeys, Value: keysTravelers, Label: s.words.text("sharing.keys.travelers"), Hint: s.words.text("sharing.keys.travelers.hint"), Chosen: keys == keysTravelers},
			{ID: fieldKeys + "_all", Value: keysAll, Label: s.words.text("sharing.keys.all"), Hint: s.words.text("sharing.keys.all.hint"), Chosen: keys == keysAll},
		}},
	}
	a := answer{page: "offer", heading: s.words.text("sharing.new.heading"), data: &form}
	if k.field != "" {
		text := s.words.text(k.message)
		switch k.field {
		case fieldRecipient:
			form.Recipient.Error = text
		case fieldRegions:
			form.Regions.Error = text
		}
		a.status, a.problems = k.status, []problem{{Field: k.field, Text: text}}
	}
	return a
}

// sharingStep asks before something is done that others will notice.
type sharingStep struct {
	Peer, Keys string
	// Effects say in plain words what will happen.
	Effects []string
	// Action is where the form goes; Other, if there is a choice, too.
	Action, Button string
	Other, Refuse  string
	Back           string
}

// findOffer is the one that the URL names: [sharing.ErrNoOffer] if it is none of this
// direction in one of the states.
func (s *Server) findOffer(v *visit, incoming bool, states ...sharing.State) (sharing.Share, error) {
	id, err := offerID(v)
	if err != nil {
		return sharing.Share{}, err
	}
	o, err := s.config.Sharing.Find(v.r.Context(), v.tenant, v.by, id)
	if err == nil && (o.Incoming != incoming || !slices.Contains(states, o.State())) {
		err = sharing.ErrNoOffer
	}
	return o, err
}

func (s *Server) step(v *visit, o sharing.Share, heading string, p sharingStep) answer {
	w := s.offerView(v, o)
	p.Peer, p.Keys, p.Back = w.Peer, w.Keys, v.path("/sharing")
	return answer{page: "sharing_step", heading: s.words.text(heading, "peer", w.Peer), data: p}
}

func (s *Server) askAnswer(v *visit) (answer, error) {
	o, err := s.findOffer(v, true, sharing.Waiting)
	if err != nil {
		return answer{}, err
	}
	path := v.path("/sharing/" + o.Offer.String())
	return s.step(v, o, "sharing.answer.heading", sharingStep{
		Effects: []string{
			s.words.text("sharing.answer.effect.from"), s.words.text("sharing.answer.effect.signed"),
			s.words.text("sharing.answer.effect.onward"), s.words.text("sharing.answer.effect.end"),
		},
		Action: path + "/accept", Button: s.words.text("sharing.accept.button"),
		Other: path + "/decline", Refuse: s.words.text("sharing.decline.button"),
	}), nil
}

func (s *Server) acceptOffer(v *visit) (answer, error) {
	return s.answerOffer(v, true, "sharing.accepted")
}

func (s *Server) declineOffer(v *visit) (answer, error) {
	return s.answerOffer(v, false, "sharing.declined")
}

func (s *Server) answerOffer(v *visit, accept bool, notice string) (answer, error) {
	id, err := offerID(v)
	if err == nil {
		err = s.config.Sharing.Answer(v.r.Context(), v.tenant, v.by, id, accept)
	}
	if err != nil {
		return answer{}, err
	}
	return s.sharingDone(v, notice)
}

// askWithdrawal and askEnd are the first of two steps.
func (s *Server) askWithdrawal(v *visit) (answer, error) {
	o, err := s.findOffer(v, false, sharing.Waiting, sharing.InForce)
	if err != nil {
		return answer{}, err
	}
	return s.step(v, o, "sharing.withdraw.heading", sharingStep{
		Effects: []string{s.words.text("sharing.withdraw.effect.now"), s.words.text("sharing.withdraw.effect.stays"), s.words.text("sharing.effect.final")},
		Action:  v.path("/sharing/" + o.Offer.String() + "/withdraw"), Button: s.words.text("sharing.withdraw.button"),
	}), nil
}

func (s *Server) askEnd(v *visit) (answer, error) {
	o, err := s.findOffer(v, true, sharing.InForce)
	if err != nil {
		return answer{}, err
	}
	return s.step(v, o, "sharing.end.heading", sharingStep{
		Effects: []string{s.words.text("sharing.end.effect.now"), s.words.text("sharing.end.effect.stays"), s.words.text("sharing.effect.final")},
		Action:  v.path("/sharing/" + o.Offer.String() + "/end"), Button: s.words.text("sharing.end.button"),
	}), nil
}

func (s *Server) withdrawOffer(v *visit) (answer, error) {
	id, err := offerID(v)
	if err == nil {
		err = s.config.Sharing.Withdraw(v.r.Context(), v.tenant, v.by, id)
	}
	if err != nil {
		return answer{}, err
	}
	return s.sharingDone(v, "sharing.withdrawn")
}

func (s *Server) endShare(v *visit) (answer, error) {
	id, err := offerID(v)
	if err == nil {
		err = s.config.Sharing.End(v.r.Context(), v.tenant, v.by, id)
	}
	if err != nil {
		return answer{}, err
	}
	return s.sharingDone(v, "sharing.ended")
}

func offerID(v *visit) (uuid.UUID, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return uuid.Nil, sharing.ErrNoOffer
	}
	return id, nil
}

// sharingDone leads back to the list, with what was done.
func (s *Server) sharingDone(v *visit, notice string) (answer, error) {
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text(notice))
	return answer{status: http.StatusSeeOther, redirect: v.path("/sharing")}, nil
}

// seenPage shows who sees the authority's keys: counts, by window.
type seenPage struct {
	Back   string
	Own    []countsView
	Shared []countsView
}

// countsView are the windows of one configuration or one recipient.
type countsView struct {
	ID, Title string
	Windows   []windowView
}

type windowView struct {
	From, Until   moment
	Keys, Revised string
}

// seenWindows is how many windows of each kind are shown.
const seenWindows = 100

func (s *Server) showSeen(v *visit) (answer, error) {
	seen, err := s.config.Sharing.Seen(v.r.Context(), v.tenant, v.by, seenWindows)
	if err != nil {
		return answer{}, err
	}
	p := seenPage{Back: v.path("/sharing")}
	for _, w := range seen.Own {
		title := s.words.text("sharing.seen.own", "path", "/t/"+string(v.tenant.Slug)+"/exports/"+w.Path)
		p.Own = s.addWindow(v, p.Own, "own", title, w.From, w.Until, w.Keys, w.Revised)
	}
	for _, w := range seen.Shared {
		title := s.words.text("sharing.seen.shared", "peer", string(w.Peer))
		p.Shared = s.addWindow(v, p.Shared, "shared", title, w.From, w.Until, w.Keys, w.Revised)
	}
	return answer{page: "seen", heading: s.words.text("sharing.seen.heading"), data: p}, nil
}

// addWindow appends to the table with that title, or to a new one.
func (s *Server) addWindow(v *visit, tables []countsView, kind, title string, from, until time.Time, keys, revised int) []countsView {
	at := -1
	for i := range tables {
		if tables[i].Title == title {
			at = i
		}
	}
	if at < 0 {
		at = len(tables)
		tables = append(tables, countsView{ID: fmt.Sprintf("%s_%d", kind, at+1), Title: title})
	}
	now := s.now(v)
	tables[at].Windows = append(tables[at].Windows, windowView{
		From: s.words.moment(from, now), Until: s.words.moment(until, now),
		Keys: s.words.number(keys), Revised: s.words.number(revised),
	})
	return tables
}
