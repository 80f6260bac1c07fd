package tenant

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/lib/pq"
)

// Settings are what a health authority chooses for itself (verification
// protocol §11.1 and key server protocol §15). Package tenant/setting changes them.
type Settings struct {
	// Issuer and Audience are iss and aud of the tenant's certificates.
	Issuer   string
	Audience string
	// CertificateLife is the life of a certificate, 1 to 60 minutes.
	CertificateLife time.Duration
	// TokenLife is the life of a long-term token, 1 minute to 48 hours.
	TokenLife time.Duration
	// TestTypes are the report types that may be issued.
	TestTypes []string
	// RequireDate refuses codes with neither a symptom date nor a test date.
	RequireDate bool
	// IssueUserReport lets admin keys issue codes of type user-report.
	IssueUserReport bool
	// CodeDigits is the least length of the short code, 6 to 12; CodeLife its life.
	CodeDigits int
	CodeLife   time.Duration
	// LongCodeLength is the length of the code in messages, 12 to 16; LongCodeLife its life.
	LongCodeLength int
	LongCodeLife   time.Duration

	// Maintenance makes the tenant read-only: no codes are issued (§0.4).
	Maintenance bool
	// BatchIssue lets admin keys issue codes in batches (§4.4).
	BatchIssue bool
	// ENX binds templates to links that Exposure Notifications Express opens (§7.1).
	ENX bool

	// SelfReport lets people ask for codes themselves, and SelfReportPage also on the
	// hosted page (§5).
	SelfReport, SelfReportPage bool
	// SelfReportBlock is how long a claimed self-report keeps its telephone number from
	// another one, 30 to 90 days; SelfReportFree is how long an unclaimed one does, 60
	// to 90 minutes (§5.1).
	SelfReportBlock, SelfReportFree time.Duration

	// DeviceNetworks, AdminNetworks and PortalNetworks are from where phones, back ends
	// and staff may come; none means from anywhere (§0.2).
	DeviceNetworks, AdminNetworks, PortalNetworks []netip.Prefix
	// QuotaEnforced refuses codes beyond the daily budget, which QuotaFactor, 0.1 to 100,
	// multiplies (§11.4).
	QuotaEnforced bool
	QuotaFactor   float64

	// SMSEnabled says whether codes are sent by text message; SMSCountry is the
	// default region for telephone numbers, SMSTemplate the text (§7.1).
	SMSEnabled  bool
	SMSCountry  string
	SMSTemplate string
	// EmailEnabled says whether staff may send a code by e-mail.
	EmailEnabled bool
	// GenerateSMS lets admin keys take a message's text instead of having it sent.
	GenerateSMS bool
	// SMSSigning says whether messages are signed (§7.3).
	SMSSigning SMSSigning
	// Language is the tenant's own, a BCP 47 tag; TimeZone its zone, an IANA name.
	Language string
	TimeZone string
	// QuietFrom and QuietUntil bound the hours without messages that nobody waits for,
	// in minutes after local midnight; equal ones mean that there are none.
	QuietFrom, QuietUntil int

	// Welcome is what the authority tells those who issue codes, up to 2,000 characters.
	Welcome string
	// Contacts are mail addresses at which the platform's operators reach the authority, up
	// to 10.
	Contacts []string
	// InviteLetter is the text of invitations in the authority's own words, with the mark
	// [invitelink]; empty for Carillon's.
	InviteLetter string

	// Truncate is the window to which arrival times are cut before storage, which
	// is also the finest granularity of exports (key server protocol §4).
	Truncate time.Duration
	// ReleaseSameDay skips the embargo of keys that are still in use. For
	// development and rehearsal only.
	ReleaseSameDay bool
}

// SMSSigning says whether messages are signed, and what happens if that fails.
type SMSSigning string

// The ways to sign messages.
const (
	SigningOff    SMSSigning = "off"
	SigningOpen   SMSSigning = "open"   // an unsigned message goes out if signing fails
	SigningClosed SMSSigning = "closed" // no message goes out if signing fails
)

// Allows reports whether codes of this test type may be issued.
func (s Settings) Allows(testType string) bool { return slices.Contains(s.TestTypes, testType) }

const settingsSQL = `
select issuer, audience, certificate_seconds, token_seconds, test_types, require_date,
       issue_user_report, code_digits, code_seconds, long_code_length, long_code_seconds,
       maintenance, batch_issue, enx,
       self_report, self_report_page, self_report_block_seconds, self_report_free_seconds,
       device_networks::text[], admin_networks::text[], portal_networks::text[],
       quota_enforced, quota_factor,
       sms_enabled, sms_country, sms_template, email_enabled, generate_sms, sms_signing,
       language, time_zone, quiet_from, quiet_until, welcome, contacts, invite_letter,
       truncate_seconds, release_same_day
  from tenant_setting`

// settingsRow is a row of tenant_setting.
type settingsRow struct {
	Issuer                 string
	Audience               string
	CertificateSeconds     int            `db:"certificate_seconds"`
	TokenSeconds           int            `db:"token_seconds"`
	TestTypes              pq.StringArray `db:"test_types"`
	RequireDate            bool           `db:"require_date"`
	IssueUserReport        bool           `db:"issue_user_report"`
	CodeDigits             int            `db:"code_digits"`
	CodeSeconds            int            `db:"code_seconds"`
	LongCodeLength         int            `db:"long_code_length"`
	LongCodeSeconds        int            `db:"long_code_seconds"`
	Maintenance            bool
	BatchIssue             bool `db:"batch_issue"`
	ENX                    bool
	SelfReport             bool           `db:"self_report"`
	SelfReportPage         bool           `db:"self_report_page"`
	SelfReportBlockSeconds int            `db:"self_report_block_seconds"`
	SelfReportFreeSeconds  int            `db:"self_report_free_seconds"`
	DeviceNetworks         pq.StringArray `db:"device_networks"`
	AdminNetworks          pq.StringArray `db:"admin_networks"`
	PortalNetworks         pq.StringArray `db:"portal_networks"`
	QuotaEnforced          bool           `db:"quota_enforced"`
	QuotaFactor            float64        `db:"quota_factor"`
	SMSEnabled             bool           `db:"sms_enabled"`
	EmailEnabled           bool           `db:"email_enabled"`
	SMSCountry             string         `db:"sms_country"`
	SMSTemplate            string         `db:"sms_template"`
	GenerateSMS            bool           `db:"generate_sms"`
	SMSSigning             SMSSigning     `db:"sms_signing"`
	Language               string
	TimeZone               string `db:"time_zone"`
	QuietFrom              int    `db:"quiet_from"`
	QuietUntil             int    `db:"quiet_until"`
	Welcome                string
	Contacts               pq.StringArray
	InviteLetter           string `db:"invite_letter"`
	TruncateSeconds        int    `db:"truncate_seconds"`
	ReleaseSameDay         bool   `db:"release_same_day"`
}

func readSettings(ctx context.Context, tx *Tx) (Settings, error) {
	var row settingsRow
	if err := tx.Get(ctx, &row, settingsSQL); err != nil {
		return Settings{}, err
	}
	return row.settings()
}

func (row settingsRow) settings() (Settings, error) {
	device, err := prefixes(row.DeviceNetworks)
	if err != nil {
		return Settings{}, err
	}
	admin, err := prefixes(row.AdminNetworks)
	if err != nil {
		return Settings{}, err
	}
	portal, err := prefixes(row.PortalNetworks)
	if err != nil {
		return Settings{}, err
	}
	return Settings{
		Issuer: row.Issuer, Audience: row.Audience,
		CertificateLife: seconds(row.CertificateSeconds), TokenLife: seconds(row.TokenSeconds),
		TestTypes: row.TestTypes, RequireDate: row.RequireDate, IssueUserReport: row.IssueUserReport,
		CodeDigits: row.CodeDigits, CodeLife: seconds(row.CodeSeconds),
		LongCodeLength: row.LongCodeLength, LongCodeLife: seconds(row.LongCodeSeconds),
		Maintenance: row.Maintenance, BatchIssue: row.BatchIssue, ENX: row.ENX,
		SelfReport: row.SelfReport, SelfReportPage: row.SelfReportPage,
		SelfReportBlock: seconds(row.SelfReportBlockSeconds), SelfReportFree: seconds(row.SelfReportFreeSeconds),
		DeviceNetworks: device, AdminNetworks: admin, PortalNetworks: portal,
		QuotaEnforced: row.QuotaEnforced, QuotaFactor: row.QuotaFactor,
		EmailEnabled: row.EmailEnabled,
		SMSEnabled:   row.SMSEnabled, SMSCountry: row.SMSCountry, SMSTemplate: row.SMSTemplate,
		GenerateSMS: row.GenerateSMS, SMSSigning: row.SMSSigning,
		Language: row.Language, TimeZone: row.TimeZone, QuietFrom: row.QuietFrom, QuietUntil: row.QuietUntil,
		Welcome: row.Welcome, Contacts: row.Contacts, InviteLetter: row.InviteLetter,
		Truncate: seconds(row.TruncateSeconds), ReleaseSameDay: row.ReleaseSameDay,
	}, nil
}

func prefixes(texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
