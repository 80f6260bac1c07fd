// Package archive takes a health authority to another deployment, or home: everything that
// is its own, in one file whose form is documented, and back from such a file.
//
// An archive is a ZIP file: rows of each table as JSON, one on a line; the audit log as
// package auditchain has it; the published files; and, last, a manifest with the size and
// SHA-256 of each. Whoever makes it may name a recipient by an age public key (see
// https://age-encryption.org/v1): then the authority's keys, and what phones have under way
// that means nothing without the keys, are in it too, encrypted to the recipient and to
// nobody else. They are never on disk otherwise.
//
// Codes, telephone numbers, messages and laboratory results are never in it. An archive
// without keys is for reading; one with keys can be imported. An import happens whole or not
// at all, and believes nothing that the manifest does not vouch for.
package archive

import (
	"errors"
	"regexp"
	"time"

	"github.com/google/uuid"
)

// Format is what a manifest says.
const Format = "carillon archive 1"

const (
	manifestName = "manifest.json"
	auditName    = "audit.ndjson"
	sealedName   = "sealed.age"
	tablePrefix  = "tables/"
	tableSuffix  = ".ndjson"
	filePrefix   = "files/"

	// maxEntries is how many files an archive may have, maxManifest how long its manifest
	// may be, and maxLine a row, in bytes.
	maxEntries  = 100_000
	maxManifest = 32 << 20
	maxLine     = 16 << 20
	// MaxSize is how much an archive may hold, in bytes, when it is unpacked.
	MaxSize = 64 << 30
)

var (
	// ErrArchive means that a file is no archive, or not the one that was made. The error's
	// text says what is wrong.
	ErrArchive = errors.New("not a whole archive")
	// ErrNewer means that an archive comes from a newer release than this one.
	ErrNewer = errors.New("the archive is of a newer release: upgrade first")
	// ErrNoKeys means that an archive has no keys, or that nothing was given to open them.
	ErrNoKeys = errors.New("without the authority's keys it cannot be imported")
	// ErrRecipient means that a text is no age public key.
	ErrRecipient = errors.New("not an age public key (age1…)")
	// ErrNotAsked means that nobody waits for an archive of the authority.
	ErrNotAsked = errors.New("nobody has asked for an archive")
	// ErrHere means that the authority is, or was, in this deployment.
	ErrHere = errors.New("this authority is or was in this deployment")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrArchive, ErrNewer, ErrNoKeys, ErrRecipient, ErrNotAsked, ErrHere}
}

// Manifest says what is in an archive.
type Manifest struct {
	Format string `json:"format"`
	// Schema is the version of the database's schema from which the rows come.
	Schema int64     `json:"schema"`
	MadeAt time.Time `json:"made_at"`
	Tenant Identity  `json:"tenant"`
	// Keys says that sealed.age is there, Outside which keys could not be taken along.
	Keys    bool      `json:"keys"`
	Outside []string  `json:"keys_elsewhere,omitempty"`
	LeftOut []LeftOut `json:"left_out"`
	// Entries are all files of the archive but the manifest itself, in their order.
	Entries []Entry `json:"entries"`
}

// Identity is who an authority is.
type Identity struct {
	ID                uuid.UUID `json:"id" db:"tenant"`
	Slug              string    `json:"slug"`
	Name              string    `json:"name"`
	Region            string    `json:"region"`
	HealthAuthorityID string    `json:"health_authority_id" db:"health_authority_id"`
	Kind              string    `json:"kind"`
}

// LeftOut is what an archive has not, and why.
type LeftOut struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Entry is a file of an archive.
type Entry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

var leftOut = []LeftOut{
	{"verification codes, telephone numbers, text messages, batches, laboratory results", "they are patients' data; what phones have under way is in the sealed part, as digests, if there is one"},
	{"digests of telephone numbers, and their key", "a number can be found from its digest by trying all numbers"},
	{"passwords and secrets at message providers, identity providers and of the laboratory feed; who delivers messages", "they are set anew where the authority goes"},
	{"host names, sign-in domains, invitations, support's invitations, sessions, approvals", "they belong to this deployment"},
	{"daily quotas, counts of wrong codes, the schedule of jobs", "they begin anew"},
	{"files of outside key servers that were imported", "they are imported again"},
}

// table is one whose rows are taken along.
type table struct {
	name string
	// where chooses rows; empty for all. $1 is the moment of the archive.
	where string
	// without are columns that are not taken along.
	without []string
	// readOnly tables are for reading: they are not imported.
	readOnly bool
}

// tables are in an order in which they can be filled: what is referred to comes first.
var tables = []table{
	{name: "tenant_setting"},
	{name: "report_page"},
	{name: "report_text"},
	{name: "message_template"},
	{name: "mobile_app"},
	{name: "lab_mapping"},
	{name: "member", without: []string{"last_seen_at"}},
	{name: "staff_role"},
	{name: "staff_group"},
	{name: "staff_group_member"},
	{name: "api_key"},
	{name: "outside_issuer", without: []string{"fence", "refreshed_at", "failed_at", "failure"}},
	{name: "outside_issuer_key"},
	{name: "import_source", without: []string{"looked_at", "failed_at", "failure"}},
	{name: "import_key"},
	{name: "signing_key", without: []string{"sealed", "provider"}, readOnly: true}, // imported from the sealed part
	{name: "export_config"},
	{name: "export_horizon"},
	{name: "export_batch", where: "state = 'published'", without: []string{"leased_until"}},
	{name: "export_file", where: "state = 'published'"},
	{name: "statistic_day"},
	{name: "statistic_horizon"},
	{name: "share_offer", readOnly: true},
	{name: "share_answer", readOnly: true},
	{name: "audit_entry"},
	{name: "audit_checkpoint"},
}

// sealedTables are taken along with the keys alone.
var sealedTables = []table{
	{name: "verification_code", where: "long_expires_at > $1"},
	{name: "verification_token", where: "expires_at > $1"},
	{name: "exposure", where: "shared_by is null"},
}

var entryForm = regexp.MustCompile(`^(audit\.ndjson|sealed\.age|tables/[a-z_]+\.ndjson|files/([a-z0-9-]{1,40}/)?[a-z0-9][a-z0-9.-]{0,100})$`)
