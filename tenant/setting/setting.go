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

	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// Setting is one thing that a health authority chooses.
type Setting struct {
	// Name is what commands and pages call it.
	Name string
	// Meaning is one line for people, with unit and bounds.
	Meaning string

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
func Sentinels() []error { return []error{ErrUnknown, ErrValue} }

var (
	text     = kind{parse: parseText, cast: "text", show: same}
	flag     = kind{parse: parseFlag, cast: "boolean", show: showFlag}
	number   = kind{parse: parseNumber, cast: "integer", show: same}
	factor   = kind{parse: parseFactor, cast: "numeric", show: same}
	length   = kind{parse: parseLength, cast: "integer", show: showLength}
	words    = kind{parse: parseWords, cast: "text[]", show: showList}
	networks = kind{parse: parseNetworks, cast: "cidr[]", show: showList}
	minute   = kind{parse: parseMinute, cast: "integer", show: showMinute}
	zone     = kind{parse: parseZone, cast: "text", show: same}
)

// List is every setting, in the order in which people read them (verification
// protocol §11.1, key server protocol §15).
func List() []Setting {
	return []Setting{
		{"test-types", "report types that may be issued: some of confirmed, likely, negative, user-report", "test_types", words},
		{"require-date", "whether a code needs a symptom date or a test date", "require_date", flag},
		{"issue-user-report", "whether admin keys may issue codes of type user-report", "issue_user_report", flag},
		{"batch-issue", "whether admin keys may issue codes in batches", "batch_issue", flag},
		{"code-digits", "digits of the short code, 6 to 12; people are asked for 6 to 8", "code_digits", number},
		{"code-life", "life of the short code, 1s to 2h", "code_seconds", length},
		{"long-code-length", "characters of the code in messages, 12 to 16", "long_code_length", number},
		{"long-code-life", "life of the code in messages, 1s to 24h", "long_code_seconds", length},
		{"maintenance", "whether no codes are issued for now", "maintenance", flag},
		{"enx", "whether messages carry links that Exposure Notifications Express opens", "enx", flag},

		{"self-report", "whether people may ask for codes themselves", "self_report", flag},
		{"self-report-page", "whether they may do so on the hosted page; needs self-report", "self_report_page", flag},
		{"self-report-block", "how long a used self-report blocks its telephone number, 720h to 2160h", "self_report_block_seconds", length},
		{"self-report-free", "how long an unused one does, 60m to 90m", "self_report_free_seconds", length},

		{"device-networks", "networks from which phones may come, separated by commas; none means all", "device_networks", networks},
		{"admin-networks", "networks from which back ends may come", "admin_networks", networks},
		{"portal-networks", "networks from which staff may come", "portal_networks", networks},
		{"quota-enforced", "whether codes beyond the daily budget are refused", "quota_enforced", flag},
		{"quota-factor", "what multiplies the forecast budget, 0.10 to 100", "quota_factor", factor},

		{"sms", "whether codes are sent by text message", "sms_enabled", flag},
		{"sms-country", "country whose way of writing telephone numbers is understood, as US", "sms_country", text},
		{"sms-template", "text of messages, up to 800 bytes, with the code's place marked", "sms_template", text},
		{"generate-sms", "whether admin keys may take a message's text instead of having it sent", "generate_sms", flag},
		{"sms-signing", "off; open: unsigned messages go out if signing fails; closed: none do", "sms_signing", text},
		{"language", "the authority's own language, a tag such as en or es-419", "language", text},
		{"time-zone", "the authority's time zone, such as America/Chicago", "time_zone", zone},
		{"quiet-from", "local time from which no message goes out that nobody waits for, as 21:00", "quiet_from", minute},
		{"quiet-until", "local time until which none goes out; the same as quiet-from means no quiet hours", "quiet_until", minute},

		{"certificate-life", "life of a certificate, 1m to 60m", "certificate_seconds", length},
		{"token-life", "life of a long-term token, 1m to 48h", "token_seconds", length},
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
// none. It is [ErrUnknown] or [ErrValue], with the meaning of the setting, if one
// cannot be. tx is under the operator's role.
func Change(ctx context.Context, tx *tenant.Tx, by authz.Subject, values map[string]string, now time.Time) error {
	assignments := make([]string, 0, len(values))
	arguments := make([]any, 0, len(values))
	changed := map[string]string{}
	for name, value := range values {
		s, err := find(name)
		if err != nil {
			return err
		}
		argument, err := s.kind.parse(value)
		if err != nil {
			return s.refuse(value)
		}
		arguments = append(arguments, argument)
		assignments = append(assignments, fmt.Sprintf("%s = $%d::%s", s.column, len(arguments), s.kind.cast))
		changed[name] = value
	}
	if len(arguments) == 0 {
		return nil
	}
	before, err := Read(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "update tenant_setting set "+strings.Join(assignments, ", "), arguments...)
	if err != nil {
		return explain(err, values)
	}
	return audit.Record(ctx, tx, now, by, string(authz.SettingsWrite), "settings", differences(before, changed))
}

func (s Setting) refuse(value string) error {
	return fmt.Errorf("%w: %s=%q: %s", ErrValue, s.Name, value, s.Meaning)
}

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

func parseFactor(s string) (any, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
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

// parseNetworks takes a bare address as the network of that address alone (§11.1).
func parseNetworks(s string) (any, error) {
	list := pq.StringArray{}
	for _, part := range split(s) {
		network, err := netip.ParsePrefix(part)
		if err != nil {
			address, err := netip.ParseAddr(part)
			if err != nil || address.Zone() != "" {
				return nil, ErrValue
			}
			network = netip.PrefixFrom(address, address.BitLen())
		}
		list = append(list, network.Masked().String())
	}
	return list, nil
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

func parseZone(s string) (any, error) {
	if s == "" || s == "Local" {
		return nil, ErrValue
	}
	_, err := time.LoadLocation(s)
	return s, err
}
