package adminui

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/idp"
	"carillon/tenant/member"
	"carillon/tenant/role"
	"carillon/tenant/sharing"
)

// messageFiles has a folder for each language, and in it a file for each area, so that
// what a page says stands together.
//
//go:embed messages/*/*.json
var messageFiles embed.FS

// catalogue holds every word that people read in one language, and formats dates, times
// and numbers for them. It is the only place that does.
type catalogue struct {
	lang     string
	messages map[string]string
	// spoken has the words for digits by language.
	spoken map[string][]string
	// months are the names of the months, in full and short.
	months, shortMonths []string
	countries           display.Namer
	languages           display.Namer
}

// loadCatalogue reads the messages of a language, a BCP 47 tag.
func loadCatalogue(lang string) (*catalogue, error) {
	tag, err := language.Parse(lang)
	if err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	c := &catalogue{lang: lang, messages: map[string]string{}, countries: display.Regions(tag), languages: display.Tags(tag)}
	if c.spoken, err = loadSpoken(); err != nil {
		return nil, err
	}
	files, err := fs.Glob(messageFiles, "messages/"+lang+"/*.json")
	if err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	for _, file := range files {
		if err := c.add(file); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	c.months, c.shortMonths = strings.Fields(c.text("months")), strings.Fields(c.text("months.short"))
	if len(c.months) != 12 || len(c.shortMonths) != 12 {
		return nil, fmt.Errorf("messages of %s: a year has twelve months", lang)
	}
	return c, nil
}

// add takes the messages of one file. Each key stands in one file only.
func (c *catalogue) add(file string) error {
	text, err := messageFiles.ReadFile(file)
	if err != nil {
		return err
	}
	var messages map[string]string
	if err := json.Unmarshal(text, &messages); err != nil {
		return err
	}
	for key, message := range messages {
		if _, twice := c.messages[key]; twice {
			return fmt.Errorf("%q stands in two files", key)
		}
		c.messages[key] = message
	}
	return nil
}

// text gives the message of a key with its {placeholders} filled in from pairs of
// name and value. A key that is missing shows itself; a test finds those.
func (c *catalogue) text(key string, pairs ...string) string {
	message, found := c.messages[key]
	if !found {
		return key
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		message = strings.ReplaceAll(message, "{"+pairs[i]+"}", pairs[i+1])
	}
	return message
}

// counted gives the message for n things: key.one or key.other, with {n} in it.
func (c *catalogue) counted(one, other string, n int) string {
	if n == 1 {
		return c.text(one, "n", c.number(n))
	}
	return c.text(other, "n", c.number(n))
}

// withCount is a text with how many of what it names wait, if any do.
func (c *catalogue) withCount(text string, n int) string {
	if n == 0 {
		return text
	}
	return c.text("nav.count", "text", text, "count", c.number(n))
}

func (c *catalogue) number(n int) string { return strconv.Itoa(n) }

// date formats a day.
func (c *catalogue) date(t time.Time) string {
	return c.text("date", "day", c.number(t.Day()), "month", c.months[t.Month()-1], "year", t.Format("2006"))
}

// moment is a point in time, for people and for programs.
type moment struct {
	Machine string // RFC 3339
	Text    string // in a zone that stands with it
	UTC     string // the same in UTC
}

// moment formats a time in the zone of now; the day is left out if it is the day of now.
func (c *catalogue) moment(t, now time.Time) moment {
	m := moment{Machine: t.UTC().Format(time.RFC3339), UTC: t.UTC().Format("2006-01-02 15:04") + " UTC"}
	t = t.In(now.Location())
	m.Text = t.Format("15:04 MST")
	if t.Format(time.DateOnly) != now.Format(time.DateOnly) {
		m.Text = c.text("moment.day", "day", c.date(t), "time", m.Text)
	}
	return m
}

// minutes gives a span in whole minutes, rounded to the nearest.
func (c *catalogue) minutes(d time.Duration) string {
	return c.counted("minutes.one", "minutes.other", int(d.Round(time.Minute)/time.Minute))
}

// spell reads digits out in the page's language.
func (c *catalogue) spell(groups []string) string { return spell(groups, c.spoken[c.lang]) }

// spell reads digits out, with a comma between groups to pause at.
func spell(groups, words []string) string {
	spelt := make([]string, 0, len(groups))
	for _, g := range groups {
		var digits []string
		for _, d := range g {
			if d >= '0' && d <= '9' {
				digits = append(digits, words[d-'0'])
			}
		}
		spelt = append(spelt, strings.Join(digits, " "))
	}
	return strings.Join(spelt, ", ")
}

// testType is a kind of test result in words.
type testType struct{ value, label, hint string }

// testTypes lists the kinds that a caseworker may choose from (verification protocol
// §4.1), the most frequent one first.
func (c *catalogue) testTypes() []testType {
	return []testType{
		{"confirmed", c.text("test_type.confirmed"), c.text("test_type.confirmed.hint")},
		{"likely", c.text("test_type.likely"), c.text("test_type.likely.hint")},
		{"negative", c.text("test_type.negative"), c.text("test_type.negative.hint")},
		{"user-report", c.text("test_type.user_report"), c.text("test_type.user_report.hint")},
	}
}

// state says what became of a code, and what to do next.
func (c *catalogue) state(s state) (label, advice string) {
	switch s {
	case stateUsed:
		return c.text("state.used"), c.text("state.used.advice")
	case stateExpired:
		return c.text("state.expired"), c.text("state.expired.advice")
	case stateUnused:
		return c.text("state.unused"), c.text("state.unused.advice")
	}
	return string(s), ""
}

// sharing says how an offer of keys stands.
func (c *catalogue) sharing(s sharing.State) string {
	switch s {
	case sharing.Waiting:
		return c.text("sharing.state.waiting")
	case sharing.InForce:
		return c.text("sharing.state.in_force")
	case sharing.Declined:
		return c.text("sharing.state.declined")
	case sharing.Ended:
		return c.text("sharing.state.ended")
	case sharing.Withdrawn:
		return c.text("sharing.state.withdrawn")
	}
	return string(s)
}

// role names a role; one that the authority defined itself has no other name.
func (c *catalogue) role(r authz.Role) string {
	switch r { //nolint:exhaustive // the roles of keys belong to nobody here
	case authz.Operator:
		return c.text("role.operator")
	case authz.Support:
		return c.text("role.support")
	case authz.Owner:
		return c.text("role.owner")
	case authz.Administrator:
		return c.text("role.administrator")
	case authz.Caseworker:
		return c.text("role.caseworker")
	case authz.KeyCustodian:
		return c.text("role.key_custodian")
	case authz.Analyst:
		return c.text("role.analyst")
	case authz.Auditor:
		return c.text("role.auditor")
	}
	return string(r)
}

// action says what an action is.
func (c *catalogue) action(a authz.Action) string {
	key := map[authz.Action]string{
		authz.CodeIssue:            "action.code_issue",
		authz.CodeBulkIssue:        "action.code_bulk_issue",
		authz.CodeRead:             "action.code_read",
		authz.CodeExpire:           "action.code_expire",
		authz.LabSubmit:            "action.lab_submit",
		authz.LabMap:               "action.lab_map",
		authz.StatsRead:            "action.stats_read",
		authz.MemberRead:           "action.member_read",
		authz.MemberWrite:          "action.member_write",
		authz.RoleWrite:            "action.role_write",
		authz.APIKeyRead:           "action.apikey_read",
		authz.APIKeyWrite:          "action.apikey_write",
		authz.KeyRead:              "action.key_read",
		authz.KeyRequestRotation:   "action.key_request_rotation",
		authz.KeyApproveRotation:   "action.key_approve_rotation",
		authz.ExportRead:           "action.export_read",
		authz.ExportRegenerate:     "action.export_regenerate",
		authz.SharingOffer:         "action.sharing_offer",
		authz.SharingAccept:        "action.sharing_accept",
		authz.SharingView:          "action.sharing_view",
		authz.SettingsRead:         "action.settings_read",
		authz.SettingsWrite:        "action.settings_write",
		authz.AuditRead:            "action.audit_read",
		authz.OwnerRequest:         "action.owner_request_change",
		authz.OwnerApprove:         "action.owner_approve_change",
		authz.PackRead:             "action.pack_read",
		authz.PackWrite:            "action.pack_write",
		authz.PackPush:             "action.pack_push",
		authz.SelfTestRun:          "action.selftest_run",
		authz.TenantArchive:        "action.tenant_archive",
		authz.TenantLeave:          "action.tenant_leave",
		authz.TenantApproveErasure: "action.tenant_approve_erasure",
		authz.DeviceVerify:         "action.device_verify",
		authz.DeviceCertificate:    "action.device_certificate",
		authz.DeviceReport:         "action.device_report",
	}[a]
	if key == "" {
		return string(a)
	}
	return c.text(key)
}

func (c *catalogue) actions(list []authz.Action) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = c.action(a)
	}
	return strings.Join(texts, "; ")
}

// ruling says what a role's rules say of an action, and whether it is the authority that
// says so.
func (c *catalogue) ruling(e authz.Effect, own bool) string {
	switch {
	case e == authz.Denied:
		return c.text("ruling.denied")
	case e == authz.Allowed && own:
		return c.text("ruling.allowed_own")
	case e == authz.Allowed:
		return c.text("ruling.allowed")
	}
	return c.text("ruling.nothing")
}

// ownRule says what the authority itself says of an action.
func (c *catalogue) ownRule(e authz.Effect) string {
	switch e {
	case authz.Denied:
		return c.text("roles.rule.deny")
	case authz.Allowed:
		return c.text("roles.rule.allow")
	}
	return c.text("roles.rule.nothing")
}

// roleUse says by what people come to have a role.
func (c *catalogue) roleUse(u role.Use) string {
	switch u.Kind {
	case role.Invitation:
		return c.text("roles.use.invitation", "name", u.Name)
	case role.Group:
		return c.text("roles.use.group", "name", u.Name)
	case role.Provider:
		return c.text("roles.use.provider", "name", u.Name)
	}
	return u.Name
}

// roleMeaning says what a built-in role is for.
func (c *catalogue) roleMeaning(r authz.Role) string {
	switch r { //nolint:exhaustive // as for role
	case authz.Owner:
		return c.text("role.owner.meaning")
	case authz.Administrator:
		return c.text("role.administrator.meaning")
	case authz.Caseworker:
		return c.text("role.caseworker.meaning")
	case authz.KeyCustodian:
		return c.text("role.key_custodian.meaning")
	case authz.Analyst:
		return c.text("role.analyst.meaning")
	case authz.Auditor:
		return c.text("role.auditor.meaning")
	}
	return ""
}

// roles names several.
func (c *catalogue) roles(list []authz.Role) []string {
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = c.role(r)
	}
	return names
}

// memberState says whether a member may work.
func (c *catalogue) memberState(p member.Person) string {
	switch {
	case p.State == member.Suspended:
		return c.text("staff.state.suspended")
	case p.State == member.Deactivated:
		return c.text("staff.state.deactivated")
	case !p.SignedIn:
		return c.text("staff.state.new")
	}
	return c.text("staff.state.active")
}

// rosterProblem says why a row cannot be used, and what to do.
func (c *catalogue) rosterProblem(p member.RosterProblem) string {
	switch p {
	case member.ProblemEncoding:
		return c.text("import.problem.encoding")
	case member.ProblemForm:
		return c.text("import.problem.form")
	case member.ProblemFormula:
		return c.text("import.problem.formula")
	case member.ProblemName:
		return c.text("staff.error.name")
	case member.ProblemEmail:
		return c.text("staff.error.email")
	case member.ProblemRoles:
		return c.text("import.problem.roles")
	case member.ProblemRole:
		return c.text("import.problem.role")
	case member.ProblemGrant:
		return c.text("import.problem.grant")
	case member.ProblemRepeat:
		return c.text("import.problem.repeat")
	case member.ProblemLetters:
		return c.text("import.problem.letters")
	}
	return string(p)
}

// rosterDoubt says what somebody should look at.
func (c *catalogue) rosterDoubt(d member.RosterDoubt) string {
	switch d {
	case member.DoubtScripts:
		return c.text("import.doubt.scripts")
	case member.DoubtDomain:
		return c.text("import.doubt.domain")
	}
	return string(d)
}

// tenantState is the word for a state in which a tenant can be looked for; all states if
// it is empty.
func (c *catalogue) tenantState(state string) string {
	switch state {
	case "":
		return c.text("operator.state.all")
	case string(tenant.Active):
		return c.text("operator.state.active")
	case stateSandbox:
		return c.text("operator.state.sandbox")
	case string(tenant.Suspended):
		return c.text("operator.state.suspended")
	case string(tenant.Leaving):
		return c.text("operator.state.leaving")
	case string(tenant.Erased):
		return c.text("operator.state.erased")
	}
	return state
}

// actorKind says what acted, for what is not a person.
func (c *catalogue) actorKind(kind string) string {
	switch authz.Kind(kind) {
	case authz.APIKey:
		return c.text("audit.kind.key")
	case authz.System:
		return c.text("audit.kind.system")
	case authz.Person:
	}
	return ""
}

// providerState says how far an identity provider is.
func (c *catalogue) providerState(s idp.State) string {
	switch s {
	case idp.Draft:
		return c.text("provider.state.draft")
	case idp.Tested:
		return c.text("provider.state.tested")
	case idp.Active:
		return c.text("provider.state.active")
	case idp.Off:
		return c.text("provider.state.off")
	}
	return string(s)
}
