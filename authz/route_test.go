package authz

import (
	"errors"
	"strings"
	"testing"
)

func verifyRoute() Route {
	return Route{
		Method: "POST", Path: "/t/:tenant/api/verify", Audience: AudienceDevice, Credential: CredentialDeviceKey,
		Action: DeviceVerify, Limit: "device", Padding: PaddingResponse, TenantFrom: TenantFromURL,
	}
}

func forOperators(r *Route) {
	r.Audience, r.Credential, r.TenantFrom = AudienceOperator, CredentialSession, TenantFromNone
	r.Action, r.Role, r.Padding = "", Support, ""
}

func TestRouteValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*Route)
		want   string // part of the error; empty for none
	}{
		{"complete", func(*Route) {}, ""},
		{"no limit, said so", func(r *Route) { r.Limit = LimitNone }, ""},
		{"no padding, said so", func(r *Route) { r.Padding = PaddingNone }, ""},
		{"open, with a reason", func(r *Route) { r.Action, r.Open = "", "the caller's own page" }, ""},
		{"certificate", func(r *Route) { r.Credential, r.Action = CredentialCertificate, "" }, ""},
		{"signature", func(r *Route) { r.Credential, r.Action = CredentialSignature, "" }, ""},
		{"no credential, said so", func(r *Route) { r.Credential, r.Action = CredentialNone, "" }, ""},
		{"operators", forOperators, ""},
		{"staff's pages have no padding to declare", func(r *Route) { r.Audience, r.Padding = AudienceStaff, "" }, ""},

		{"method", func(r *Route) { r.Method = "post" }, "unknown method"},
		{"path", func(r *Route) { r.Path = "t/:tenant" }, "does not begin with a slash"},
		{"audience", func(r *Route) { r.Audience = "" }, "no audience"},
		{"audience unknown", func(r *Route) { r.Audience = "friends" }, "no audience"},
		{"credential", func(r *Route) { r.Credential = "" }, "no credential"},
		{"credential unknown", func(r *Route) { r.Credential = "password" }, "no credential"},
		{"limit", func(r *Route) { r.Limit = "" }, "no limit"},
		{"padding", func(r *Route) { r.Padding = "" }, "no padding"},
		{"padding unknown", func(r *Route) { r.Padding = "soft" }, "unknown padding"},
		{"tenant", func(r *Route) { r.TenantFrom = "" }, "no source of the tenant"},
		{"action", func(r *Route) { r.Action = "" }, "neither an action nor the reason"},
		{"action unknown", func(r *Route) { r.Action = "code:forge" }, "unknown action"},
		{"action and reason", func(r *Route) { r.Open = "because" }, "both an action and a reason"},
		{"action without subject", func(r *Route) { r.Credential = CredentialNone }, "no subject"},
		{"action without tenant", func(r *Route) { r.TenantFrom = TenantFromNone }, "no tenant"},
		{"role without a platform", func(r *Route) { r.Action, r.Role = "", Operator }, "a role of the platform, but not for its people"},
		{"operators without a role", func(r *Route) { forOperators(r); r.Role = "" }, "no role of the platform"},
		{"operators with a tenant's role", func(r *Route) { forOperators(r); r.Role = Owner }, "no role of the platform"},
		{"role and action", func(r *Route) { forOperators(r); r.Action = AuditRead }, "both a role and an action"},
		{"role of a tenant's URL", func(r *Route) { forOperators(r); r.TenantFrom = TenantFromURL }, "outside of every tenant"},
		{"nothing at all", func(r *Route) { *r = Route{} }, "no audience, no credential, no limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := verifyRoute()
			tt.change(&r)
			err := r.Validate()
			if tt.want == "" {
				if err != nil {
					t.Errorf("Validate = %v", err)
				}
				return
			}
			if !errors.Is(err, ErrRoute) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate = %v, want ErrRoute with %q", err, tt.want)
			}
		})
	}
}

func TestValidateRoutes(t *testing.T) {
	t.Parallel()
	get := verifyRoute()
	get.Method = "GET"
	if err := ValidateRoutes([]Route{verifyRoute(), get}); err != nil {
		t.Errorf("two methods of a path: %v", err)
	}
	bad := verifyRoute()
	bad.Limit = ""
	err := ValidateRoutes([]Route{verifyRoute(), get, bad})
	if !errors.Is(err, ErrRoute) || !strings.Contains(err.Error(), "declared twice") || !strings.Contains(err.Error(), "no limit") {
		t.Errorf("ValidateRoutes = %v, want both faults", err)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	routes := []Route{
		verifyRoute(),
		{Method: "POST", Path: "/logout", Audience: AudienceStaff, Credential: CredentialSession, Open: "ends one's own session", Limit: LimitNone, TenantFrom: TenantFromNone},
		{Method: "GET", Path: "/health", Audience: AudienceOperations, Credential: CredentialNone, Limit: LimitNone, TenantFrom: TenantFromNone},
		{Method: "GET", Path: "/logout", Audience: AudienceStaff, Credential: CredentialSession, Open: "ends one's own session", Limit: LimitNone, TenantFrom: TenantFromNone},
	}
	if err := ValidateRoutes(routes); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.golden", Table(routes))
}
