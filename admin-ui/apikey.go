package adminui

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant/client"
	"carillon/tenant/stats"
)

// apiKeysPage lists the authority's API keys.
type apiKeysPage struct {
	New        string // the path to a new key, if she may make one
	Good, Past apiKeyTable
}

type apiKeyTable struct {
	ID, Caption string
	Keys        []apiKeyView
}

// apiKeyView is a key in words.
type apiKeyView struct {
	Path, Name, Kind, Preview, State string
	Ends                             *moment
	LastUsed, Requests               string
}

func (s *Server) showAPIKeys(v *visit) (answer, error) {
	keys, err := s.config.APIKeys.List(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	uses, err := s.config.KeyUse.LastUses(v.r.Context(), v.tenant)
	if err != nil {
		return answer{}, err
	}
	p := apiKeysPage{
		Good: apiKeyTable{ID: "good", Caption: s.words.text("apikey.good")},
		Past: apiKeyTable{ID: "past", Caption: s.words.text("apikey.past")},
	}
	if v.may(authz.APIKeyWrite) {
		p.New = v.path("/api-keys/new")
	}
	for _, k := range keys {
		into := &p.Past
		if k.Accepted(s.config.Now()) {
			into = &p.Good
		}
		into.Keys = append(into.Keys, s.apiKeyView(v, k, uses[k.ID]))
	}
	return answer{page: "apikeys", heading: s.words.text("apikey.heading"), data: p}, nil
}

func (s *Server) apiKeyView(v *visit, k client.Key, use stats.LastUse) apiKeyView {
	w := apiKeyView{
		Path: v.path("/api-keys/" + k.ID.String()), Name: s.apiKeyName(k), Kind: s.words.apiKeyKind(k.Kind), Preview: k.Preview,
		State: s.words.apiKeyState(k.State(s.config.Now())), LastUsed: s.lastUsed(use), Requests: strconv.FormatInt(use.Requests, 10),
	}
	end := k.ExpiresAt
	if k.RevokedAt != nil {
		end = k.RevokedAt
	}
	if end != nil {
		m := s.words.moment(*end, v.anyDay())
		w.Ends = &m
	}
	return w
}

// apiKeyName tells keys of one name apart.
func (s *Server) apiKeyName(k client.Key) string {
	if k.Generation == 1 && !k.Followed {
		return k.Name
	}
	return s.words.text("apikey.generation", "name", k.Name, "n", s.words.number(k.Generation))
}

// lastUsed is as exact as what is kept: to the hour.
func (s *Server) lastUsed(use stats.LastUse) string {
	if use.Hour.IsZero() {
		return s.words.text("apikey.used.never")
	}
	hours := int(s.config.Now().Sub(use.Hour) / time.Hour)
	switch {
	case hours < 1:
		return s.words.text("apikey.used.now")
	case hours < 48:
		return s.words.counted("apikey.used.hour", "apikey.used.hours", hours)
	}
	return s.words.counted("apikey.used.day", "apikey.used.days", hours/24)
}

func (c *catalogue) apiKeyKind(k client.Kind) string {
	switch k {
	case client.Device:
		return c.text("apikey.kind.device")
	case client.Admin:
		return c.text("apikey.kind.admin")
	case client.Stats:
		return c.text("apikey.kind.stats")
	case client.SCIM:
		return c.text("apikey.kind.scim")
	}
	return string(k)
}

func (c *catalogue) apiKeyState(s client.State) string {
	switch s {
	case client.Good:
		return c.text("apikey.state.good")
	case client.Replaced:
		return c.text("apikey.state.replaced")
	case client.Expired:
		return c.text("apikey.state.expired")
	case client.Revoked:
		return c.text("apikey.state.revoked")
	}
	return string(s)
}

// The IDs of the fields of the forms for keys.
const (
	fieldKeyName  = "name"
	fieldKind     = "kind"
	fieldExpires  = "expires"
	fieldNetworks = "networks"
	fieldOverlap  = "overlap"
)

// apiKeyForm is the form for a new key, for other terms and for a rotation.
type apiKeyForm struct {
	Action, Back, Button    string
	Lead                    string
	Effects                 []string
	Name, Expires, Networks *field
	Overlap                 *field
	Kind                    *radios
}

// apiKeyTerms reads the terms of a form. A day is the last on which the key is good, in
// UTC; the day that the key has is the time that it has.
func (s *Server) apiKeyTerms(v *visit, has *time.Time) (terms client.Terms, err error) {
	terms.Name = strings.TrimSpace(v.r.PostForm.Get(fieldKeyName))
	if terms.Expires, err = s.lastDay(v, has); err != nil {
		return terms, err
	}
	terms.Networks, err = client.ParseNetworks(v.r.PostForm.Get(fieldNetworks))
	return terms, err
}

func (s *Server) lastDay(v *visit, has *time.Time) (time.Time, error) {
	text := strings.TrimSpace(v.r.PostForm.Get(fieldExpires))
	switch {
	case text == "":
		return time.Time{}, nil
	case has != nil && text == dayBefore(*has):
		return *has, nil
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, client.ErrExpiry
	}
	return day.AddDate(0, 0, 1), nil
}

// dayBefore is the last day on which something is good that ends at t.
func dayBefore(t time.Time) string { return t.UTC().Add(-time.Second).Format(time.DateOnly) }

func (s *Server) nameField(value string) *field {
	return &field{ID: fieldKeyName, Label: s.words.text("apikey.name"), Hint: s.words.text("apikey.name.hint"), Type: "text", Value: value, Autocomplete: "off", Wide: true}
}

func (s *Server) expiresField(value string) *field {
	return &field{ID: fieldExpires, Label: s.words.text("apikey.expires"), Hint: s.words.text("apikey.expires.hint"), Type: "date", Value: value, Optional: s.words.text("form.optional")}
}

func (s *Server) networksField(value string) *field {
	return &field{ID: fieldNetworks, Label: s.words.text("apikey.networks"), Hint: s.words.text("apikey.networks.hint"), Type: "text", Value: value, Autocomplete: "off", Optional: s.words.text("form.optional"), Wide: true}
}

func (s *Server) kindRadios(chosen client.Kind) *radios {
	r := &radios{ID: fieldKind + "_group", Name: fieldKind, Label: s.words.text("apikey.kind")}
	hints := map[client.Kind]string{
		client.Device: s.words.text("apikey.kind.device.hint"), client.Admin: s.words.text("apikey.kind.admin.hint"),
		client.Stats: s.words.text("apikey.kind.stats.hint"), client.SCIM: s.words.text("apikey.kind.scim.hint"),
	}
	for i, k := range client.Kinds() {
		id := fieldKind + "_" + string(k)
		if i == 0 {
			id = fieldKind
		}
		r.Choices = append(r.Choices, choice{ID: id, Value: string(k), Label: s.words.apiKeyKind(k), Hint: hints[k], Chosen: k == chosen})
	}
	return r
}

// mend shows a form again, with what is wrong with it, unless the error is about none of
// its fields.
func (s *Server) mend(a answer, form *apiKeyForm, err error) (answer, error) {
	k, found := lookUp(err)
	if !found || k.field == "" {
		return answer{}, err
	}
	text := s.words.text(k.message)
	for _, f := range []*field{form.Name, form.Expires, form.Networks, form.Overlap} {
		if f != nil && f.ID == k.field {
			f.Error = text
		}
	}
	if form.Kind != nil && k.field == fieldKind {
		form.Kind.Error = text
	}
	a.status, a.problems = k.status, []problem{{Field: k.field, Text: text}}
	return a, nil
}

func (s *Server) newAPIKey(v *visit) (answer, error) {
	a, _ := s.newAPIKeyForm(v)
	return a, nil
}

func (s *Server) newAPIKeyForm(v *visit) (answer, *apiKeyForm) {
	form := &apiKeyForm{
		Action: v.path("/api-keys/new"), Back: v.path("/api-keys"), Button: s.words.text("apikey.new.button"), Lead: s.words.text("apikey.new.lead"),
		Name: s.nameField(v.r.PostForm.Get(fieldKeyName)), Expires: s.expiresField(v.r.PostForm.Get(fieldExpires)),
		Networks: s.networksField(v.r.PostForm.Get(fieldNetworks)), Kind: s.kindRadios(client.Kind(v.r.PostForm.Get(fieldKind))),
	}
	return answer{page: "apikey_form", heading: s.words.text("apikey.new.heading"), data: form}, form
}

func (s *Server) makeAPIKey(v *visit) (answer, error) {
	terms, err := s.apiKeyTerms(v, nil)
	var text string
	var k client.Key
	if err == nil {
		text, k, err = s.config.APIKeys.Make(v.r.Context(), v.tenant, v.by, client.Kind(v.r.PostForm.Get(fieldKind)), terms)
	}
	if err != nil {
		a, form := s.newAPIKeyForm(v)
		return s.mend(a, form, err)
	}
	return s.apiKeyMade(v, text, k), nil
}

// apiKeyMadePage shows a key's text, the only time.
type apiKeyMadePage struct {
	Text, Where, Back string
	Effects           []string
}

func (s *Server) apiKeyMade(v *visit, text string, k client.Key) answer {
	where := s.words.text("apikey.made.where.backend")
	switch k.Kind {
	case client.Device:
		where = s.words.text("apikey.made.where.device")
	case client.SCIM:
		where = s.words.text("apikey.made.where.scim")
	case client.Admin, client.Stats:
	}
	return answer{
		page: "apikey_made", heading: s.words.text("apikey.made.heading", "name", s.apiKeyName(k)),
		data: apiKeyMadePage{
			Text: text, Where: where, Back: v.path("/api-keys/" + k.ID.String()),
			Effects: []string{s.words.text("apikey.made.once"), s.words.text("apikey.made.lost"), s.words.text("apikey.made.never")},
		},
	}
}

// findAPIKey is the key that the URL names.
func (s *Server) findAPIKey(v *visit) (client.Key, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return client.Key{}, client.ErrUnknownKey
	}
	return s.config.APIKeys.Find(v.r.Context(), v.tenant, v.by, id)
}

// findGoodAPIKey is findAPIKey for what only a key can that is good.
func (s *Server) findGoodAPIKey(v *visit) (client.Key, error) {
	k, err := s.findAPIKey(v)
	if err == nil && !k.Accepted(s.config.Now()) {
		return client.Key{}, client.ErrUnknownKey
	}
	return k, err
}

func keyPath(v *visit, k client.Key) string { return v.path("/api-keys/" + k.ID.String()) }

func (s *Server) askChangeOfAPIKey(v *visit) (answer, error) {
	k, err := s.findGoodAPIKey(v)
	if err != nil {
		return answer{}, err
	}
	expires := ""
	if k.ExpiresAt != nil {
		expires = dayBefore(*k.ExpiresAt)
	}
	a, _ := s.changeForm(v, k, k.Name, expires, strings.Join(k.Networks, " "))
	return a, nil
}

func (s *Server) changeForm(v *visit, k client.Key, name, expires, networks string) (answer, *apiKeyForm) {
	form := &apiKeyForm{
		Action: keyPath(v, k) + "/change", Back: keyPath(v, k), Button: s.words.text("apikey.change.button"), Lead: s.words.text("apikey.change.lead"),
		Name: s.nameField(name), Expires: s.expiresField(expires),
	}
	if k.Kind != client.Device {
		form.Networks = s.networksField(networks)
	}
	return answer{page: "apikey_form", heading: s.words.text("apikey.change.heading", "name", s.apiKeyName(k)), data: form}, form
}

func (s *Server) changeAPIKey(v *visit) (answer, error) {
	k, err := s.findGoodAPIKey(v)
	if err != nil {
		return answer{}, err
	}
	terms, err := s.apiKeyTerms(v, k.ExpiresAt)
	if err == nil {
		_, err = s.config.APIKeys.Change(v.r.Context(), v.tenant, v.by, k.ID, terms)
	}
	if err != nil {
		a, form := s.changeForm(v, k, v.r.PostForm.Get(fieldKeyName), v.r.PostForm.Get(fieldExpires), v.r.PostForm.Get(fieldNetworks))
		return s.mend(a, form, err)
	}
	return s.apiKeyDone(v, k, "apikey.changed")
}

// apiKeyDone leads back to the key, with what was done.
func (s *Server) apiKeyDone(v *visit, k client.Key, notice string) (answer, error) {
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text(notice))
	return redirect(keyPath(v, k))
}

func (s *Server) askRotation(v *visit) (answer, error) {
	k, err := s.findGoodAPIKey(v)
	if err == nil && k.Followed {
		err = client.ErrReplaced
	}
	if err != nil {
		return answer{}, err
	}
	a, _ := s.rotationForm(v, k, s.words.number(int(client.Overlap/(24*time.Hour))), "")
	return a, nil
}

func (s *Server) rotationForm(v *visit, k client.Key, overlap, expires string) (answer, *apiKeyForm) {
	longest := s.words.number(int(client.MaxOverlap / (24 * time.Hour)))
	form := &apiKeyForm{
		Action: keyPath(v, k) + "/rotate", Back: keyPath(v, k), Button: s.words.text("apikey.rotate.button"), Lead: s.words.text("apikey.rotate.lead"),
		Effects: []string{s.words.text("apikey.rotate.effect.both"), s.words.text("apikey.rotate.effect.end"), s.words.text("apikey.rotate.effect.leak")},
		Overlap: &field{
			ID: fieldOverlap, Label: s.words.text("apikey.overlap"), Hint: s.words.text("apikey.overlap.hint", "n", longest),
			Type: "number", Value: overlap, Min: "0", Max: longest, Autocomplete: "off",
		},
		Expires: s.expiresField(expires),
	}
	return answer{page: "apikey_form", heading: s.words.text("apikey.rotate.heading", "name", s.apiKeyName(k)), data: form}, form
}

func (s *Server) rotateAPIKey(v *visit) (answer, error) {
	k, err := s.findGoodAPIKey(v)
	if err != nil {
		return answer{}, err
	}
	text, next, err := s.rotate(v, k)
	if err != nil {
		a, form := s.rotationForm(v, k, v.r.PostForm.Get(fieldOverlap), v.r.PostForm.Get(fieldExpires))
		return s.mend(a, form, err)
	}
	return s.apiKeyMade(v, text, next), nil
}

func (s *Server) rotate(v *visit, k client.Key) (string, client.Key, error) {
	days, err := strconv.ParseUint(strings.TrimSpace(v.r.PostForm.Get(fieldOverlap)), 10, 16)
	if err != nil {
		return "", client.Key{}, client.ErrOverlap
	}
	expires, err := s.lastDay(v, nil)
	if err != nil {
		return "", client.Key{}, err
	}
	return s.config.APIKeys.Rotate(v.r.Context(), v.tenant, v.by, k.ID, time.Duration(days)*24*time.Hour, expires)
}

// apiKeyStep asks before something is done that systems will notice.
type apiKeyStep struct {
	Effects              []string
	Action, Button, Back string
}

// askEndOfAPIKey is the first of two steps. It tells what will stop.
func (s *Server) askEndOfAPIKey(v *visit) (answer, error) {
	k, err := s.findAPIKey(v)
	if err == nil && k.RevokedAt != nil {
		err = client.ErrUnknownKey
	}
	if err != nil {
		return answer{}, err
	}
	uses, err := s.config.KeyUse.LastUses(v.r.Context(), v.tenant)
	if err != nil {
		return answer{}, err
	}
	use := uses[k.ID]
	stops := s.words.text("apikey.revoke.effect.backend")
	switch k.Kind {
	case client.Device:
		stops = s.words.text("apikey.revoke.effect.device")
	case client.Stats:
		stops = s.words.text("apikey.revoke.effect.stats")
	case client.SCIM:
		stops = s.words.text("apikey.revoke.effect.scim")
	case client.Admin:
	}
	return answer{
		page: "apikey_step", heading: s.words.text("apikey.revoke.heading", "name", s.apiKeyName(k)),
		data: apiKeyStep{
			Effects: []string{
				s.words.text("apikey.revoke.effect.used", "when", s.lastUsed(use), "n", strconv.FormatInt(use.Requests, 10)), stops,
				s.words.text("apikey.revoke.effect.now"), s.words.text("apikey.revoke.effect.codes"), s.words.text("apikey.revoke.effect.final"),
			},
			Action: keyPath(v, k) + "/revoke", Button: s.words.text("apikey.revoke.button"), Back: keyPath(v, k),
		},
	}, nil
}

func (s *Server) revokeAPIKey(v *visit) (answer, error) {
	k, err := s.findAPIKey(v)
	if err == nil {
		k, err = s.config.APIKeys.Revoke(v.r.Context(), v.tenant, v.by, k.ID)
	}
	if err != nil {
		return answer{}, err
	}
	return s.apiKeyDone(v, k, "apikey.revoked")
}

// askEndOfCodes is the first of two steps.
func (s *Server) askEndOfCodes(v *visit) (answer, error) {
	k, err := s.findAPIKey(v)
	if err != nil {
		return answer{}, err
	}
	live, err := s.config.Codes.LiveOfKey(v.r.Context(), v.tenant, v.by, k.ID)
	if err != nil {
		return answer{}, err
	}
	return answer{
		page: "apikey_step", heading: s.words.text("apikey.codes.heading", "name", s.apiKeyName(k)),
		data: apiKeyStep{
			Effects: []string{
				s.words.counted("apikey.codes.effect.one", "apikey.codes.effect.other", live),
				s.words.text("apikey.codes.effect.people"), s.words.text("apikey.codes.effect.final"),
			},
			Action: keyPath(v, k) + "/codes", Button: s.words.text("apikey.codes.button"), Back: keyPath(v, k),
		},
	}, nil
}

func (s *Server) endCodes(v *visit) (answer, error) {
	k, err := s.findAPIKey(v)
	if err != nil {
		return answer{}, err
	}
	ended, err := s.config.Codes.ExpireOfKey(v.r.Context(), v.tenant, v.by, k.ID)
	if err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.counted("apikey.codes.ended.one", "apikey.codes.ended.other", ended))
	return redirect(keyPath(v, k))
}
