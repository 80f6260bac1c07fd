package authz

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Audience is whom a route is for.
type Audience string

// The audiences.
const (
	AudienceDevice     Audience = "device"     // phones
	AudienceBackend    Audience = "backend"    // health authorities' own systems, other key servers
	AudienceStaff      Audience = "staff"      // a health authority's people
	AudienceOperator   Audience = "operator"   // those who run the platform
	AudiencePatient    Audience = "patient"    // somebody with a positive test
	AudiencePublic     Audience = "public"     // anybody
	AudienceOperations Audience = "operations" // probes and collectors, on a listener of their own
)

// Credential is what a caller must present.
type Credential string

// The credentials.
const (
	CredentialNone        Credential = "none"
	CredentialDeviceKey   Credential = "device-key"
	CredentialAdminKey    Credential = "admin-key"
	CredentialStatsKey    Credential = "stats-key"
	CredentialSCIMKey     Credential = "scim-key"
	CredentialCertificate Credential = "certificate" // the verification certificate in the body
	CredentialSession     Credential = "session"     // a signed-in browser
	CredentialFresh       Credential = "fresh"       // one whose person proved lately who she is
	CredentialVisit       Credential = "visit"       // the sealed cookie of the hosted page for self-reports
	CredentialBearer      Credential = "bearer"      // a token that the tenant's certificate key signed
	CredentialSignature   Credential = "signature"   // a message provider's, over the request
)

// OfSession reports whether c is a signed-in browser.
func (c Credential) OfSession() bool { return c == CredentialSession || c == CredentialFresh }

// Padding is how a route hides what its answers' sizes would tell.
type Padding string

// The paddings.
const (
	PaddingNone     Padding = "none"
	PaddingResponse Padding = "response" // random bytes in every answer that has a body
)

// TenantFrom is where a route finds its tenant.
type TenantFrom string

// The sources of the tenant.
const (
	TenantFromURL  TenantFrom = "url"
	TenantFromHost TenantFrom = "host"
	// TenantFromCredential is for what the credential alone tells.
	TenantFromCredential TenantFrom = "credential"
	TenantFromNone       TenantFrom = "none" // the route belongs to no tenant
)

// LimitNone declares that a route has no rate limit.
const LimitNone = "none"

// Route declares a URL and its guard. Both surfaces list theirs; the list is a
// golden file, and a route that does not pass [Route.Validate] fails a test.
type Route struct {
	Method string
	// Path is the pattern that the router is given.
	Path       string
	Audience   Audience
	Credential Credential
	// Action is what the policy is asked. Empty: nothing is asked, and Open says
	// why; or the credential is none, a certificate or a signature, which is no
	// subject.
	Action Action
	// Open is the reason for asking nothing of a subject that is known.
	Open string
	// Role is what a route for operators asks instead of an action: whoever holds it on
	// the platform may, and an operator may all that support may.
	Role Role
	// Limit is the name of the rate limit, [LimitNone] if there is none.
	Limit string
	// Padding must be declared on routes for devices; elsewhere empty is none.
	Padding    Padding
	TenantFrom TenantFrom
}

// ErrRoute means that a route is declared without a guard, or with one that
// makes no sense.
var ErrRoute = errors.New("route without a proper guard")

// Validate reports everything that is missing or contradictory, as [ErrRoute].
func (r Route) Validate() error {
	var faults []string
	fault := func(found bool, text string) {
		if found {
			faults = append(faults, text)
		}
	}
	fault(!slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, r.Method), "unknown method")
	fault(!strings.HasPrefix(r.Path, "/"), "path does not begin with a slash")
	fault(!slices.Contains([]Audience{
		AudienceDevice, AudienceBackend, AudienceStaff, AudienceOperator,
		AudiencePatient, AudiencePublic, AudienceOperations,
	}, r.Audience), "no audience")
	fault(!slices.Contains([]Credential{
		CredentialNone, CredentialDeviceKey, CredentialAdminKey, CredentialStatsKey, CredentialSCIMKey,
		CredentialCertificate, CredentialSession, CredentialFresh, CredentialVisit, CredentialSignature, CredentialBearer,
	}, r.Credential), "no credential")
	fault(r.Limit == "", "no limit; say none if there is none")
	fault(!slices.Contains([]TenantFrom{TenantFromURL, TenantFromHost, TenantFromCredential, TenantFromNone}, r.TenantFrom), "no source of the tenant")
	fault(!slices.Contains([]Padding{"", PaddingNone, PaddingResponse}, r.Padding), "unknown padding")
	fault(r.Padding == "" && r.Audience == AudienceDevice, "no padding; say none if there is none")
	faults = append(faults, r.actionFaults()...)
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s %s: %s", ErrRoute, r.Method, r.Path, strings.Join(faults, ", "))
}

func (r Route) actionFaults() []string {
	if slices.Contains([]Credential{CredentialNone, CredentialCertificate, CredentialSignature, CredentialVisit, CredentialBearer}, r.Credential) {
		if r.Action != "" {
			return []string{"an action, but no subject to ask about"}
		}
		return nil
	}
	if r.Audience == AudienceOperator || r.Role != "" {
		return r.roleFaults()
	}
	switch {
	case r.Action == "" && r.Open == "":
		return []string{"neither an action nor the reason for none"}
	case r.Action != "" && r.Open != "":
		return []string{"both an action and a reason for none"}
	case r.Action != "" && !r.Action.Known():
		return []string{"unknown action"}
	case r.Action != "" && r.TenantFrom == TenantFromNone:
		return []string{"an action, but no tenant whose policy to ask"}
	}
	return nil
}

func (r Route) roleFaults() []string {
	switch {
	case r.Audience != AudienceOperator || !r.Credential.OfSession() || r.TenantFrom != TenantFromNone:
		return []string{"a role of the platform, but not for its people, signed in, outside of every tenant"}
	case !slices.Contains(PlatformRoles(), r.Role):
		return []string{"no role of the platform"}
	case r.Action != "" || r.Open != "":
		return []string{"both a role and an action or a reason for none"}
	}
	return nil
}

// ValidateRoutes validates each of routes and that no two have the same method
// and path. The error joins all faults.
func ValidateRoutes(routes []Route) error {
	var errs []error
	seen := map[string]bool{}
	for _, r := range routes {
		errs = append(errs, r.Validate())
		name := r.Method + " " + r.Path
		if seen[name] {
			errs = append(errs, fmt.Errorf("%w: %s: declared twice", ErrRoute, name))
		}
		seen[name] = true
	}
	return errors.Join(errs...)
}

// Table shows routes as aligned text, by path and method, for a golden file.
func Table(routes []Route) string {
	sorted := slices.SortedFunc(slices.Values(routes), func(a, b Route) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
	})
	var rows, out strings.Builder
	rows.WriteString("METHOD\tPATH\tAUDIENCE\tCREDENTIAL\tACTION\tLIMIT\tPADDING\tTENANT\n")
	for _, r := range sorted {
		rows.WriteString(strings.Join([]string{
			r.Method, r.Path, string(r.Audience), string(r.Credential), r.permission(),
			r.Limit, string(cmp.Or(r.Padding, PaddingNone)), string(r.TenantFrom),
		}, "\t") + "\n")
	}
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	_, _ = io.WriteString(w, rows.String()) // a strings.Builder takes everything
	_ = w.Flush()
	return out.String()
}

// permission is the action, or why there is none.
func (r Route) permission() string {
	switch {
	case r.Action != "":
		return string(r.Action)
	case r.Open != "":
		return "open: " + r.Open
	case r.Role != "":
		return "role: " + string(r.Role)
	}
	return "-"
}
