// Package setting changes what a health authority has chosen for itself.
//
// Every setting is one entry of a list, with its meaning, its bounds and the column
// that holds it, so that a command, a page and a document say the same. A change is
// whole or not at all, and writes its audit entry with it.
package setting

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/mail"
)

// Setting is one thing that a health authority chooses.
type Setting struct {
	// Name is what commands and pages call it.
	Name string
	// Meaning is one line for people, with unit and bounds.
	Meaning string
	// Default is what a new authority has.
	Default string

	column string
	kind   kind
}

// kind is how a setting's text becomes a column's value, and back.
type kind struct {
	parse func(string) (any, error)
	// cast is the type of the column in SQL.
	cast string
	// show turns the column's text into a setting's.
	show func(string) string
}

// Why a change is refused.
var (
	// ErrUnknown means that there is no setting of that name.
	ErrUnknown = errors.New("no such setting")
	// ErrValue means that a setting cannot have that value.
	ErrValue = errors.New("not a possible value")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrUnknown, ErrValue, ErrChanged, ErrLocked, ErrOperator, ErrSame}
}

var (
	text   = kind{parse: parseText, cast: "text", show: same}
	flag   = kind{parse: parseFlag, cast: "boolean", show: showFlag}
	number = kind{parse: parseNumber, cast: "integer", show: same}
	factor = kind{parse: parseFactor, cast: "numeric", show: same}
	length = kind{parse: parseLength, cast: "integer", show: showLength}
	// addresses are words, each a mail address.
	addresses = kind{parse: parseAddresses, cast: "text[]", show: showList}
	words     = kind{parse: parseWords, cast: "text[]", show: showList}
	networks  = kind{parse: parseNetworks, cast: "cidr[]", show: showList}
	minute    = kind{parse: parseMinute, cast: "integer", show: showMinute}
	prose     = kind{parse: parseProse, cast: "text", show: same}
	zone      = kind{parse: parseZone, cast: "text", show: same}
)

// List is every setting, in the order in which people read them (verification
// protocol §11.1, key server protocol §15).
func List() []Setting {
	return []Setting{
		{"test-types", "report types that may be issued: some of confirmed, likely, negative, user-report", "confirmed,likely,negative", "test_types", words},
		{"require-date", "whether a code needs a symptom date or a test date", "on", "require_date", flag},
		{"issue-user-report", "whether admin keys may issue codes of type user-report", "off", "issue_user_report", flag},
		{"batch-issue", "whether admin keys may issue codes in batches", "off", "batch_issue", flag},
		{"code-digits", "digits of the short code, 6 to 12; people are asked for 6 to 8", "8", "code_digits", number},
		{"code-life", "life of the short code, 1s to 2h", "15m0s", "code_seconds", length},
		{"long-code-length", "characters of the code in messages, 12 to 16", "16", "long_code_length", number},
		{"long-code-life", "life of the code in messages, 1s to 24h", "24h0m0s", "long_code_seconds", length},
		{"maintenance", "whether no codes are issued for now", "off", "maintenance", flag},
		{"enx", "whether messages carry links that Exposure Notifications Express opens", "off", "enx", flag},

		{"self-report", "whether people may ask for codes themselves", "off", "self_report", flag},
		{"self-report-page", "whether they may do so on the hosted page; needs self-report", "off", "self_report_page", flag},
		{"self-report-block", "how long a used self-report blocks its telephone number, 720h to 2160h", "2160h0m0s", "self_report_block_seconds", length},
		{"self-report-free", "how long an unused one does, 60m to 90m", "1h0m0s", "self_report_free_seconds", length},

		{"device-networks", "networks from which phones may come, separated by commas; none means all", "", "device_networks", networks},
		{"admin-networks", "networks from which back ends may come", "", "admin_networks", networks},
		{"portal-networks", "networks from which staff may come", "", "portal_networks", networks},
		{"quota-enforced", "whether codes beyond the daily budget are refused", "off", "quota_enforced", flag},
		{"quota-factor", "what multiplies the forecast budget, 0.10 to 100", "1.00", "quota_factor", factor},

		{"sms", "whether codes are sent by text message", "off", "sms_enabled", flag},
		{"email", "whether staff may send a code by e-mail", "off", "email_enabled", flag},
		{"sms-country", "country whose way of writing telephone numbers is understood, as US", "US", "sms_country", text},
		{"sms-template", "text of messages, up to 800 bytes, with the code's place marked", "Your exposure notification code: [longcode]. It expires in [longexpires] hours.", "sms_template", text},
		{"generate-sms", "whether admin keys may take a message's text instead of having it sent", "off", "generate_sms", flag},
		{"sms-signing", "off; open: unsigned messages go out if signing fails; closed: none do", "off", "sms_signing", text},
		{"language", "the authority's own language, a tag such as en or es-419", "en", "language", text},
		{"time-zone", "the authority's time zone, such as America/Chicago", "UTC", "time_zone", zone},
		{"quiet-from", "local time from which no message goes out that nobody waits for, as 21:00", "00:00", "quiet_from", minute},
		{"quiet-until", "local time until which none goes out; the same as quiet-from means no quiet hours", "00:00", "quiet_until", minute},

		{"welcome", "what those read who issue codes, up to 2000 characters", "", "welcome", prose},
		{"contacts", "mail addresses at which operators reach the authority, up to 10, separated by commas", "", "contacts", addresses},
		{"invite-letter", "text of invitations with the mark [invitelink] and, if you like, [realmname], up to 2000 characters; empty is Carillon's", "", "invite_letter", prose},

		{"certificate-life", "life of a certificate, 1m to 60m", "15m0s", "certificate_seconds", length},
		{"token-life", "life of a long-term token, 1m to 48h", "24h0m0s", "token_seconds", length},
	}
}

func find(name string) (Setting, error) {
	list := List()
	at := slices.IndexFunc(list, func(s Setting) bool { return s.Name == name })
	if at < 0 {
		return Setting{}, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return list[at], nil
}

// Change sets settings of tx's tenant, given as texts by their names. All are set or
// none. It is [ErrUnknown], or [ErrValue] with a [ValueError] for each setting that is
// known to be wrong, if one cannot be set. tx is under carillon_operator, or under
// carillon_portal for what staff may change.
func Change(ctx context.Context, tx *tenant.Tx, by authz.Subject, values map[string]string, now time.Time) error {
	if len(values) == 0 {
		return nil
	}
	before, err := Read(ctx, tx)
	if err != nil {
		return err
	}
	if err := set(ctx, tx, values); err != nil {
		return err
	}
	return audit.Record(ctx, tx, now, by, string(authz.SettingsWrite), "settings", differences(before, values))
}

// set writes values, in the order of the list.
func set(ctx context.Context, tx *tenant.Tx, values map[string]string) error {
	for name := range values {
		if _, err := find(name); err != nil {
			return err
		}
	}
	var assignments []string
	var arguments []any
	var faults []error
	for _, s := range List() {
		value, given := values[s.Name]
		if !given {
			continue
		}
		argument, err := s.kind.parse(value)
		if err != nil {
			faults = append(faults, s.refuse(value))
			continue
		}
		arguments = append(arguments, argument)
		assignments = append(assignments, fmt.Sprintf("%s = $%d::%s", s.column, len(arguments), s.kind.cast))
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	if _, err := tx.Exec(ctx, "update tenant_setting set "+strings.Join(assignments, ", "), arguments...); err != nil {
		return explain(err, values)
	}
	return nil
}

// ValueError is an [ErrValue] about one setting.
type ValueError struct {
	// Name is the setting's, Value what it cannot have, Meaning what it can.
	Name, Value, Meaning string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("%v: %s=%q: %s", ErrValue, e.Name, e.Value, e.Meaning)
}

// Unwrap makes it an [ErrValue].
func (*ValueError) Unwrap() error { return ErrValue }

// Faults lists the settings that an error is about, in the order of the list.
func Faults(err error) []string {
	switch e := err.(type) { //nolint:errorlint // it looks into every branch of a tree
	case nil:
		return nil
	case *ValueError:
		return []string{e.Name}
	case interface{ Unwrap() []error }:
		var names []string
		for _, one := range e.Unwrap() {
			names = append(names, Faults(one)...)
		}
		return names
	}
	return Faults(errors.Unwrap(err))
}

func (s Setting) refuse(value string) error { return &ValueError{s.Name, value, s.Meaning} }

// explain turns the schema's refusal into one that names the setting: constraints are
// called after their columns.
func explain(err error, values map[string]string) error {
	var answer *pq.Error
	if !errors.As(err, &answer) || answer.Constraint == "" {
		return fmt.Errorf("change settings: %w", err)
	}
	var broken Setting
	longest := ""
	for _, s := range List() {
		of := "tenant_setting_" + strings.TrimSuffix(s.column, "_seconds") + "_"
		if strings.HasPrefix(answer.Constraint, of) && len(of) > len(longest) {
			broken, longest = s, of
		}
	}
	value, given := values[broken.Name]
	if !given {
		return fmt.Errorf("%w: %s", ErrValue, answer.Constraint)
	}
	return broken.refuse(value)
}

func differences(before, changed map[string]string) map[string]string {
	detail := map[string]string{}
	for name, value := range changed {
		if before[name] != value {
			detail["-"+name], detail["+"+name] = before[name], value
		}
	}
	return detail
}

// Read returns every setting of tx's tenant by its name.
func Read(ctx context.Context, tx *tenant.Tx) (map[string]string, error) {
	list := List()
	columns := make([]string, len(list))
	for i, s := range list {
		columns[i] = s.column + "::text"
	}
	var found pq.StringArray
	err := tx.Get(ctx, &found, "select array["+strings.Join(columns, ", ")+"] from tenant_setting")
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	values := map[string]string{}
	for i, s := range list {
		values[s.Name] = s.kind.show(found[i])
	}
	return values, nil
}

func same(s string) string { return s }

func parseText(s string) (any, error) { return s, nil }

func parseFlag(s string) (any, error) {
	switch s {
	case "on", "true", "yes":
		return true, nil
	case "off", "false", "no":
		return false, nil
	}
	return nil, ErrValue
}

func showFlag(s string) string {
	if s == "true" {
		return "on"
	}
	return "off"
}

func parseNumber(s string) (any, error) { return strconv.ParseInt(s, 10, 32) }

// mostFactor is beyond what the schema takes, within what its column can hold.
const mostFactor = 1000

func parseFactor(s string) (any, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > mostFactor {
		return nil, ErrValue
	}
	return f, nil
}

func parseLength(s string) (any, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d != d.Truncate(time.Second) || d/time.Second != time.Duration(int32(d/time.Second)) {
		return nil, ErrValue
	}
	return int(d / time.Second), nil
}

func showLength(s string) string {
	n, err := strconv.Atoi(s)
	if err != nil {
		return s
	}
	return (time.Duration(n) * time.Second).String()
}

func split(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	parts := strings.Split(s, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func parseWords(s string) (any, error) { return pq.StringArray(append([]string{}, split(s)...)), nil }

// ParseNetworks reads a list of networks, separated by commas: [ErrValue] if it is none.
// A bare address is the network of that address alone (§11.1).
func ParseNetworks(s string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, part := range split(s) {
		network, err := netip.ParsePrefix(part)
		if err != nil {
			address, err := netip.ParseAddr(part)
			if err != nil || address.Zone() != "" {
				return nil, ErrValue
			}
			network = netip.PrefixFrom(address, address.BitLen())
		}
		list = append(list, network.Masked())
	}
	return list, nil
}

func parseNetworks(s string) (any, error) {
	list, err := ParseNetworks(s)
	texts := make(pq.StringArray, len(list))
	for i, network := range list {
		texts[i] = network.String()
	}
	return texts, err
}

func showList(s string) string { return strings.Trim(s, "{}") }

const clock = "15:04"

func parseMinute(s string) (any, error) {
	t, err := time.Parse(clock, s)
	if err != nil {
		return nil, err
	}
	return t.Hour()*60 + t.Minute(), nil
}

func showMinute(s string) string {
	n, err := strconv.Atoi(s)
	if err != nil {
		return s
	}
	return fmt.Sprintf("%02d:%02d", n/60, n%60)
}

// parseProse takes text of several lines that shows all it has.
func parseProse(s string) (any, error) {
	s = strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n"))
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }) {
		return nil, ErrValue
	}
	return s, nil
}

func parseAddresses(s string) (any, error) {
	list := split(s)
	for _, address := range list {
		if !mail.IsAddress(address) || strings.ContainsFunc(address, func(c rune) bool { return c > unicode.MaxASCII || strings.ContainsRune(`{}\,`, c) }) {
			return nil, ErrValue
		}
	}
	return pq.StringArray(append([]string{}, list...)), nil
}

func parseZone(s string) (any, error) {
	if s == "" || s == "Local" {
		return nil, ErrValue
	}
	_, err := time.LoadLocation(s)
	return s, err
}
