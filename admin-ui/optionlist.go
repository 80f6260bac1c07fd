package adminui

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// option is a setting as people see it: its words, and how its text is typed.
type option struct {
	// name is that of [setting.Setting].
	name               string
	label, meaning     string
	kind               optionKind
	unit               time.Duration // of a span
	unitOne, unitOther string
	bounds             string // empty where there is nothing to get wrong
	effect             string // what phones or people notice; empty if they do not
}

type optionKind int

const (
	textOption optionKind = iota
	flagOption
	typesOption
	signingOption
	networksOption
	addressesOption
	proseOption
	spanOption
)

// optionGroup is a page of settings.
type optionGroup struct {
	// id is its place in the URL.
	id         string
	name, lead string
	// fixed ones are changed by those who run the platform.
	fixed   bool
	options []option
}

func ofText(name, label, meaning, bounds, effect string) option {
	return option{name: name, label: label, meaning: meaning, kind: textOption, bounds: bounds, effect: effect}
}

func ofFlag(name, label, meaning, effect string) option {
	return option{name: name, label: label, meaning: meaning, kind: flagOption, effect: effect}
}

func ofNetworks(name, label, meaning, effect string) option {
	return option{name: name, label: label, meaning: meaning, kind: networksOption, bounds: "option.networks.bounds", effect: effect}
}

func ofMinutes(name, label, meaning, bounds, effect string) option {
	return option{name, label, meaning, spanOption, time.Minute, "minutes.one", "minutes.other", bounds, effect}
}

func ofHours(name, label, meaning, bounds, effect string) option {
	return option{name, label, meaning, spanOption, time.Hour, "hours.one", "hours.other", bounds, effect}
}

func ofDays(name, label, meaning, bounds, effect string) option {
	return option{name, label, meaning, spanOption, 24 * time.Hour, "days.one", "days.other", bounds, effect}
}

// optionGroups are all settings (verification protocol §11.1).
func optionGroups() []optionGroup {
	return []optionGroup{
		{"codes", "options.codes", "options.codes.lead", false, []option{
			ofFlag("enx", "option.enx", "option.enx.meaning", "option.enx.effect"),
			{name: "test-types", label: "option.test_types", meaning: "option.test_types.meaning", kind: typesOption, bounds: "option.test_types.bounds", effect: "option.test_types.effect"},
			ofFlag("require-date", "option.require_date", "option.require_date.meaning", "option.require_date.effect"),
			ofText("code-digits", "option.code_digits", "option.code_digits.meaning", "option.code_digits.bounds", "option.code_digits.effect"),
			ofMinutes("code-life", "option.code_life", "option.code_life.meaning", "option.code_life.bounds", "option.code_life.effect"),
			ofText("long-code-length", "option.long_code_length", "option.long_code_length.meaning", "option.long_code_length.bounds", "option.long_code_length.effect"),
			ofHours("long-code-life", "option.long_code_life", "option.long_code_life.meaning", "option.long_code_life.bounds", "option.long_code_life.effect"),
			ofFlag("batch-issue", "option.batch_issue", "option.batch_issue.meaning", ""),
		}},
		{"self-report", "options.self_report", "options.self_report.lead", false, []option{
			ofFlag("self-report", "option.self_report", "option.self_report.meaning", "option.self_report.effect"),
			ofFlag("self-report-page", "option.self_report_page", "option.self_report_page.meaning", "option.self_report_page.effect"),
			ofFlag("issue-user-report", "option.issue_user_report", "option.issue_user_report.meaning", ""),
			ofDays("self-report-block", "option.self_report_block", "option.self_report_block.meaning", "option.self_report_block.bounds", "option.self_report_block.effect"),
			ofMinutes("self-report-free", "option.self_report_free", "option.self_report_free.meaning", "option.self_report_free.bounds", "option.self_report_free.effect"),
		}},
		{"messages", "options.messages", "options.messages.lead", false, []option{
			ofFlag("sms", "option.sms", "option.sms.meaning", "option.sms.effect"),
			ofFlag("email", "option.email", "option.email.meaning", "option.email.effect"),
			ofText("sms-country", "option.sms_country", "option.sms_country.meaning", "option.sms_country.bounds", "option.sms_country.effect"),
			{name: "sms-signing", label: "option.sms_signing", meaning: "option.sms_signing.meaning", kind: signingOption, effect: "option.sms_signing.effect"},
			ofText("quiet-from", "option.quiet_from", "option.quiet_from.meaning", "option.clock.bounds", "option.quiet.effect"),
			ofText("quiet-until", "option.quiet_until", "option.quiet_until.meaning", "option.clock.bounds", "option.quiet.effect"),
		}},
		{"authority", "options.authority", "options.authority.lead", false, []option{
			{name: "welcome", label: "option.welcome", meaning: "option.welcome.meaning", kind: proseOption, bounds: "option.prose.bounds"},
			{name: "contacts", label: "option.contacts", meaning: "option.contacts.meaning", kind: addressesOption, bounds: "option.contacts.bounds"},
			{name: "invite-letter", label: "option.invite_letter", meaning: "option.invite_letter.meaning", kind: proseOption, bounds: "option.invite_letter.bounds"},
		}},
		{"place", "options.place", "options.place.lead", false, []option{
			ofText("language", "option.language", "option.language.meaning", "option.language.bounds", "option.language.effect"),
			ofText("time-zone", "option.time_zone", "option.time_zone.meaning", "option.time_zone.bounds", "option.time_zone.effect"),
		}},
		{"access", "options.access", "options.access.lead", false, []option{
			ofNetworks("device-networks", "option.device_networks", "option.device_networks.meaning", "option.device_networks.effect"),
			ofNetworks("admin-networks", "option.admin_networks", "option.admin_networks.meaning", "option.admin_networks.effect"),
			ofNetworks("portal-networks", "option.portal_networks", "option.portal_networks.meaning", "option.portal_networks.effect"),
		}},
		{"quota", "options.quota", "options.quota.lead", false, []option{
			ofFlag("quota-enforced", "option.quota_enforced", "option.quota_enforced.meaning", "option.quota_enforced.effect"),
			ofText("quota-factor", "option.quota_factor", "option.quota_factor.meaning", "option.quota_factor.bounds", "option.quota_factor.effect"),
		}},
		{"certificates", "options.certificates", "options.certificates.lead", false, []option{
			ofMinutes("certificate-life", "option.certificate_life", "option.certificate_life.meaning", "option.certificate_life.bounds", "option.certificate_life.effect"),
			ofHours("token-life", "option.token_life", "option.token_life.meaning", "option.token_life.bounds", "option.token_life.effect"),
		}},
		{"platform", "options.platform", "options.platform.lead", true, []option{
			ofFlag("maintenance", "option.maintenance", "option.maintenance.meaning", ""),
			ofFlag("generate-sms", "option.generate_sms", "option.generate_sms.meaning", ""),
		}},
	}
}

// findOption is the option of a setting; without words if it has none.
func findOption(name string) option {
	for _, g := range optionGroups() {
		if at := slices.IndexFunc(g.options, func(o option) bool { return o.name == name }); at >= 0 {
			return g.options[at]
		}
	}
	return option{name: name}
}

// field is the name of the option's field.
func (o option) field() string { return strings.ReplaceAll(o.name, "-", "_") }

// show is the setting's text as it stands in a field. Spans are numbers of their unit.
func (o option) show(value string) string {
	if o.kind == networksOption || o.kind == addressesOption {
		return networksOf(value)
	}
	if d, err := time.ParseDuration(value); err == nil && o.kind == spanOption {
		return strconv.FormatFloat(float64(d)/float64(o.unit), 'f', -1, 64)
	}
	return value
}

// read is the opposite of show; what makes no sense stays as it is, to be refused.
func (o option) read(values []string) string {
	value := strings.TrimSpace(strings.Join(values, ","))
	switch o.kind {
	case flagOption:
		if len(values) == 0 {
			return "off"
		}
		return "on"
	case proseOption:
		return strings.ReplaceAll(value, "\r\n", "\n")
	case networksOption, addressesOption:
		return strings.Join(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(", \r\n\t;", r) }), ",")
	case spanOption:
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			return time.Duration(n * float64(o.unit)).Round(time.Second).String()
		}
	case textOption, typesOption, signingOption:
	}
	return value
}

// sent is what a form sends for a setting's text.
func (o option) sent(value string) []string {
	switch o.kind {
	case flagOption:
		if value != "on" {
			return nil
		}
	case typesOption:
		return strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
	case textOption, signingOption, networksOption, addressesOption, proseOption, spanOption:
	}
	return []string{o.show(value)}
}

// choices are what there is to choose from.
func (o option) choices(c *catalogue, value string) []choice {
	var list []choice
	add := func(id, of, label, hint string, chosen bool) {
		list = append(list, choice{ID: id, Value: of, Label: label, Hint: hint, Chosen: chosen})
	}
	switch o.kind {
	case flagOption:
		add(o.field(), "on", c.text("options.on"), "", value == "on")
	case typesOption:
		for i, t := range c.testTypes() {
			add(o.field()+suffix(i), t.value, t.label, "", slices.Contains(strings.Split(value, ","), t.value))
		}
	case signingOption:
		for i, way := range c.signings() {
			add(o.field()+suffix(i), way.value, way.label, way.hint, way.value == value)
		}
	case textOption, networksOption, addressesOption, proseOption, spanOption:
	}
	return list
}

// suffix tells the IDs of choices apart; the first is the field's own.
func suffix(i int) string {
	if i == 0 {
		return ""
	}
	return "_" + strconv.Itoa(i)
}

// signings are the ways to sign messages.
func (c *catalogue) signings() []testType {
	return []testType{
		{"off", c.text("option.sms_signing.off"), c.text("option.sms_signing.off.hint")},
		{"open", c.text("option.sms_signing.open"), c.text("option.sms_signing.open.hint")},
		{"closed", c.text("option.sms_signing.closed"), c.text("option.sms_signing.closed.hint")},
	}
}

// option is a setting's text in words.
func (c *catalogue) option(o option, value string) string {
	switch o.kind {
	case flagOption:
		if value == "on" {
			return c.text("options.on")
		}
		return c.text("options.off")
	case networksOption:
		if value == "" {
			return c.text("options.anywhere")
		}
		return networksOf(value)
	case spanOption:
		n := o.show(value)
		if n == "1" {
			return c.text(o.unitOne, "n", n)
		}
		return c.text(o.unitOther, "n", n)
	case typesOption:
		return c.labels(c.testTypes(), strings.Split(value, ","))
	case signingOption:
		return c.labels(c.signings(), []string{value})
	case addressesOption, proseOption:
		if value == "" {
			return c.text("options.none")
		}
		return o.show(value)
	case textOption:
	}
	return value
}

func (c *catalogue) labels(of []testType, values []string) string {
	var list []string
	for _, t := range of {
		if slices.Contains(values, t.value) {
			list = append(list, t.label)
		}
	}
	return strings.Join(list, ", ")
}
