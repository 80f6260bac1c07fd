package adminui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"slices"
	"strings"
	"time"

	"carillon/admin-ui/assets"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/member"
)

//go:embed layout.html pages/*.html components/*/*.html
var templateFiles embed.FS

// pages are the parsed templates, one set for each page.
type pages struct{ byName map[string]*template.Template }

func loadPages(words *catalogue, a *assets.Set) (*pages, error) {
	functions := template.FuncMap{"t": words.text, "asset": a.Path}
	shared, err := template.New("layout.html").Funcs(functions).ParseFS(templateFiles, "layout.html", "components/*/*.html")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	files, err := fs.Glob(templateFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	p := &pages{byName: map[string]*template.Template{}}
	for _, file := range files {
		set, err := shared.Clone()
		if err == nil {
			_, err = set.ParseFS(templateFiles, file)
		}
		if err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		p.byName[strings.TrimSuffix(strings.TrimPrefix(file, "pages/"), ".html")] = set
	}
	return p, nil
}

func (p *pages) render(into *bytes.Buffer, sh shell, page string) error {
	set := p.byName[page]
	if set == nil {
		return fmt.Errorf("no page %q", page)
	}
	if err := set.Execute(into, sh); err != nil {
		return fmt.Errorf("render %s: %w", page, err)
	}
	return nil
}

// shell is what the layout shows around every page.
type shell struct {
	Lang     string
	Title    string
	Heading  string
	Problems []problem
	Notice   string
	// Authority is whose part of the portal this is; empty outside of it.
	Authority, Region, Home string
	Sandbox                 bool // it is one for trying out
	Languages               []otherLanguage
	Person                  string // who is signed in
	Session                 *sessionEnd
	Account                 string // where she sees her account; empty outside of an authority
	Nav                     []navItem
	// Settings is the level below the current item of Nav, if that has one.
	Settings []navItem
	Help     []string // what explains the page, in paragraphs
	Data     any
}

// sessionEnd is when somebody who is signed in will not be any more.
type sessionEnd struct {
	// IdleMinutes is how long she stays so without doing anything.
	IdleMinutes int
	// Rest is how long she can stay so at most, in seconds from now.
	Rest int
}

func (s *Server) sessionEnd(v *visit) *sessionEnd {
	rest := s.sessions.Deadline(v.r.Context()).Sub(s.config.Now())
	return &sessionEnd{IdleMinutes: int((member.SessionIdle - member.SessionNoted) / time.Minute), Rest: int(rest / time.Second)}
}

type navItem struct {
	Text, Path string
	// Key is the key that leads there; empty if none does.
	Key     string
	Current bool
}

func (s *Server) shell(v *visit, a answer) shell {
	sh := shell{Lang: s.words.lang, Languages: s.otherLanguages(v, a), Heading: a.heading, Problems: a.problems, Notice: a.notice, Help: s.help(a.page), Data: a.data}
	title := []string{a.heading}
	if v.who != nil {
		sh.Person, sh.Session = v.who.Name, s.sessionEnd(v)
		if sh.Person == "" {
			sh.Person = v.who.Email
		}
	}
	if v.tenant != nil {
		v.waiting = s.waitingFor(v)
		sh.Authority, sh.Region, sh.Home = v.tenant.Name, v.tenant.Region, v.path("/")
		sh.Sandbox = v.tenant.Kind == tenant.Sandbox
		if v.tenant.State == tenant.Active {
			sh.Account = v.path("/account")
		}
		sh.Nav = s.nav(v)
		if settings := s.settings(v); anyCurrent(settings) {
			sh.Settings = settings
		}
		title = append(title, v.tenant.Name)
		if sh.Sandbox {
			title = append(title, s.words.text("sandbox.mark"))
		}
	}
	if v.platform {
		sh.Authority, sh.Region, sh.Home = s.words.text("operator.place"), s.words.role(v.by.Roles[0]), "/operator"
		sh.Nav = s.platformNav(v)
		title = append(title, sh.Authority)
	}
	sh.Title = strings.Join(append(title, s.words.text("product")), " – ")
	if len(a.problems) > 0 {
		sh.Title = s.words.text("title.error") + " " + sh.Title
	}
	return sh
}

// nav leads to what the person may do here.
func (s *Server) nav(v *visit) []navItem {
	var items []navItem
	add := func(a authz.Action, shortcut, key, path string, current bool) {
		if v.may(a) && (v.tenant.State == tenant.Active || a == authz.AuditRead) {
			items = append(items, navItem{Text: s.words.text(key), Path: v.path(path), Key: shortcut, Current: current})
		}
	}
	issuing := strings.HasSuffix(v.route.Path, "/codes/new")
	add(authz.CodeIssue, "i", "nav.issue", "/codes/new", issuing)
	if s.config.Batches != nil {
		add(authz.CodeBulkIssue, "b", "nav.bulk", "/bulk", v.within("/bulk"))
	}
	add(authz.CodeRead, "l", "nav.lookup", "/codes", !issuing && v.within("/codes"))
	add(authz.StatsRead, "s", "nav.statistics", "/statistics", v.within("/statistics"))
	add(authz.ExportRead, "e", "nav.exports", "/exports", v.within("/exports"))
	add(authz.AuditRead, "a", "nav.audit", "/audit", v.within("/audit"))
	add(authz.SharingView, "", "nav.sharing", "/sharing", v.within("/sharing"))
	if s.config.Rehearsals != nil && v.tenant.Kind == tenant.Sandbox && v.tenant.State == tenant.Active {
		items = append(items, navItem{Text: s.words.text("nav.rehearsal"), Path: v.path("/rehearsal"), Key: "r", Current: v.within("/rehearsal")})
	}
	if settings := s.settings(v); len(settings) > 0 {
		items = append(items, navItem{Text: s.words.withCount(s.words.text("nav.settings"), v.waiting), Path: settings[0].Path, Current: anyCurrent(settings)})
	}
	return items
}

// settings lead to pages about the authority itself, a level below one item of nav.
func (s *Server) settings(v *visit) []navItem {
	var items []navItem
	if v.tenant.State != tenant.Active {
		return items
	}
	for _, entry := range []struct {
		action    authz.Action
		key, path string
	}{
		{authz.SettingsRead, "nav.options", "/settings"},
		{authz.SettingsRead, "nav.texts", "/texts"},
		{authz.SettingsRead, "nav.patients", "/patients"},
		{authz.SettingsRead, "nav.limits", "/limits"},
		{authz.SettingsRead, "nav.alerts", "/alerts"},
		{authz.MemberRead, "nav.roles", "/roles"},
		{authz.MemberRead, "nav.staff", "/staff"},
		{authz.SettingsRead, "nav.sign_in", "/sign-in"},
		{authz.APIKeyRead, "nav.apikeys", "/api-keys"},
		{authz.KeyRead, "nav.keys", "/keys"},
		{authz.PackRead, "nav.pack", "/pack"},
		{authz.MemberRead, "nav.support", "/support"},
		{authz.SelfTestRun, "nav.selftest", "/self-test"},
		{authz.TenantLeave, "nav.leaving", "/leaving"},
	} {
		if v.may(entry.action) {
			items = append(items, navItem{Text: s.words.text(entry.key), Path: v.path(entry.path), Current: v.within(entry.path)})
		}
	}
	if s.dealsWithApprovals(v) {
		text := s.words.withCount(s.words.text("nav.approvals"), v.waiting)
		items = append(items, navItem{Text: text, Path: v.path("/approvals"), Current: v.within("/approvals")})
	}
	return items
}

func anyCurrent(items []navItem) bool {
	return slices.ContainsFunc(items, func(i navItem) bool { return i.Current })
}

// field is a labelled input.
type field struct {
	ID, Label, Hint, Error string
	// Optional is the note beside the label; empty for what must be filled in.
	Optional     string
	Type, Value  string
	Min, Max     string
	Autocomplete string
	Wide         bool
}

// DescribedBy lists the IDs of what else is read out with the field.
func (f field) DescribedBy() string { return describedBy(f.ID, f.Hint, f.Error) }

// radios is a choice of one. Its own ID is the group's.
type radios struct {
	ID, Name, Label, Error string
	Choices                []choice
}

// checks is a choice of any number. Its own ID is the group's.
type checks struct {
	ID, Name, Label, Hint, Error string
	Choices                      []choice
}

// DescribedBy is as for a field.
func (c checks) DescribedBy() string { return describedBy(c.ID, c.Hint, c.Error) }

type choice struct {
	ID, Value, Label, Hint string
	Chosen                 bool
}

// DescribedBy is as for a field; the group has no hint.
func (r radios) DescribedBy() string { return describedBy(r.ID, "", r.Error) }

func describedBy(id, hint, problem string) string {
	var ids []string
	if hint != "" {
		ids = append(ids, id+"_hint")
	}
	if problem != "" {
		ids = append(ids, id+"_error")
	}
	return strings.Join(ids, " ")
}
