package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/message/provider"
)

// perCaller is the rate limit per tenant and network address of the verification
// protocol §0.2; its number is the limiter's.
const perCaller = "caller 120/min"

// route is a declared guard and what is behind it.
type route struct {
	authz.Route
	// chaff is the class of answers that cover traffic must look like; empty if the
	// route has no cover traffic.
	chaff string
	// closed tells whether maintenance keeps the route from a tenant (§0.4); nil is
	// never.
	closed func(*tenant.Tenant) bool
	// turns says that tenants take turns here: the work is the database's, and short.
	turns bool
	// rehearsed says that a rehearsal may come here, with its pass instead of a key.
	rehearsed bool
	handle    gin.HandlerFunc
}

// inTurns is the route with tenants taking turns.
func (r route) inTurns() route {
	r.turns = true
	return r
}

// forRehearsals is the route with rehearsals let in.
func (r route) forRehearsals() route {
	r.rehearsed = true
	return r
}

// closedIn is the route with a rule about maintenance.
func (r route) closedIn(rule func(*tenant.Tenant) bool) route {
	r.closed = rule
	return r
}

// routes is the list of everything that this process serves.
func (s *Server) routes() []route {
	var list []route
	if s.config.Device != nil {
		list = append(list, s.deviceRoutes()...)
	}
	if s.config.Reporter != nil {
		list = append(list, s.reportRoutes()...)
	}
	if s.config.Issuer != nil {
		list = append(list, s.issuerRoutes()...)
	}
	if s.config.Receipts != nil {
		list = append(list, s.receiptRoutes()...)
	}
	if s.config.LabFeed != nil {
		list = append(list, s.labFeedRoutes()...)
	}
	if s.config.Shared != nil {
		list = append(list, s.keyStatsRoutes()...)
	}
	if s.config.Stats != nil {
		list = append(list, s.statsRoutes()...)
	}
	if s.config.Publisher != nil {
		list = append(list, s.publishRoutes()...)
	}
	if s.config.Files != nil && s.config.PublicKeys != nil {
		list = append(list, s.downloadRoutes()...)
	}
	if s.config.Provisioner != nil {
		list = append(list, s.scimRoutes()...)
	}
	if s.config.Links != nil {
		list = append(list, s.linkRoutes()...)
	}
	if s.config.Directory != nil {
		list = append(list, s.documentRoutes()...)
	}
	return append(list, s.operationRoutes()...)
}

// phoneRoute is one that a device key opens, and that cover traffic imitates.
func phoneRoute(path, class string, a authz.Action, h gin.HandlerFunc) route {
	return route{
		Route: authz.Route{
			Method: http.MethodPost, Path: tenantPath + path,
			Audience: authz.AudienceDevice, Credential: authz.CredentialDeviceKey, Action: a,
			Limit: perCaller, Padding: authz.PaddingResponse, TenantFrom: authz.TenantFromURL,
		},
		chaff: class, handle: h,
	}
}

func (s *Server) deviceRoutes() []route {
	return []route{
		phoneRoute("/api/verify", classVerify, authz.DeviceVerify, s.verify).closedIn((*tenant.Tenant).ClosedForVerify).inTurns().forRehearsals(),
		phoneRoute("/api/certificate", classCertificate, authz.DeviceCertificate, s.certificate).inTurns().forRehearsals(),
	}
}

// reportRoutes share their class of cover traffic with verify (§10).
func (s *Server) reportRoutes() []route {
	return []route{phoneRoute("/api/user-report", classReport, authz.DeviceReport, s.userReport).closedIn((*tenant.Tenant).ClosedForIssue)}
}

func (s *Server) issuerRoutes() []route {
	backend := func(path string, a authz.Action, h gin.HandlerFunc) route {
		return backendRoute(http.MethodPost, path, a, h, authz.PaddingResponse)
	}
	list := []route{
		backend("/api/issue", authz.CodeIssue, s.issue).closedIn((*tenant.Tenant).ClosedForIssue).forRehearsals(),
		backend("/api/batch-issue", authz.CodeBulkIssue, s.batchIssue).closedIn((*tenant.Tenant).ClosedForIssue),
		backend("/api/checkcodestatus", authz.CodeRead, s.checkCodeStatus),
		backend("/api/expirecode", authz.CodeExpire, s.expireCode),
		backend("/api/codes/resend", authz.CodeIssue, s.resend).closedIn((*tenant.Tenant).ClosedForIssue),
		backend("/api/codes/delivery", authz.CodeRead, s.delivery),
	}
	if s.config.Batches != nil {
		list = append(list, s.batchRoutes()...)
	}
	return list
}

// batchRoutes have no padding: what they answer is not of the protocol.
func (s *Server) batchRoutes() []route {
	backend := func(method, path string, h gin.HandlerFunc) route {
		return backendRoute(method, "/api/codes/batches"+path, authz.CodeBulkIssue, h, authz.PaddingNone)
	}
	return []route{
		backend(http.MethodPost, "", s.createBatch).closedIn((*tenant.Tenant).ClosedForIssue),
		backend(http.MethodGet, "", s.listBatches),
		backend(http.MethodGet, "/:batch", s.getBatch),
		backend(http.MethodGet, "/:batch/rows", s.listBatchRows),
		backend(http.MethodPost, "/:batch/pause", s.pauseBatch),
		backend(http.MethodPost, "/:batch/resume", s.resumeBatch),
		backend(http.MethodPost, "/:batch/cancel", s.cancelBatch),
	}
}

func backendRoute(method, path string, a authz.Action, h gin.HandlerFunc, p authz.Padding) route {
	return route{
		Route: authz.Route{
			Method: method, Path: tenantPath + path,
			Audience: authz.AudienceBackend, Credential: authz.CredentialAdminKey, Action: a,
			Limit: perCaller, Padding: p, TenantFrom: authz.TenantFromURL,
		},
		handle: h,
	}
}

func (s *Server) receiptRoutes() []route {
	signed := func(path string, h gin.HandlerFunc) route {
		return route{
			Route: authz.Route{
				Method: http.MethodPost, Path: tenantPath + path,
				Audience: authz.AudienceBackend, Credential: authz.CredentialSignature,
				Limit: authz.LimitNone, Padding: authz.PaddingNone, TenantFrom: authz.TenantFromURL,
			},
			handle: h,
		}
	}
	return []route{
		signed(provider.StatusPath, s.receipt(s.config.Receipts.Status)),
		signed(provider.ErrorPath, s.receipt(s.config.Receipts.Error)),
	}
}

func (s *Server) publishRoutes() []route {
	return []route{{
		Route: authz.Route{
			Method: http.MethodPost, Path: tenantPath + "/v1/publish",
			Audience: authz.AudienceDevice, Credential: authz.CredentialCertificate,
			Limit: perCaller, Padding: authz.PaddingResponse, TenantFrom: authz.TenantFromURL,
		},
		chaff: classPublish, turns: true, handle: s.publish,
	}}
}

func (s *Server) downloadRoutes() []route {
	public := func(method, path string, h gin.HandlerFunc) route {
		return route{
			Route: authz.Route{
				Method: method, Path: tenantPath + path,
				Audience: authz.AudiencePublic, Credential: authz.CredentialNone,
				Limit: authz.LimitNone, Padding: authz.PaddingNone, TenantFrom: authz.TenantFromURL,
			},
			handle: h,
		}
	}
	return []route{
		public(http.MethodGet, "/exports/index.txt", s.exportIndex),
		public(http.MethodHead, "/exports/index.txt", s.exportIndex),
		public(http.MethodGet, "/exports/:entry", s.exportFile),
		public(http.MethodHead, "/exports/:entry", s.exportFile),
		public(http.MethodGet, "/exports/:entry/index.txt", s.furtherIndex),
		public(http.MethodHead, "/exports/:entry/index.txt", s.furtherIndex),
		public(http.MethodGet, "/exports/:entry/:file", s.furtherFile),
		public(http.MethodHead, "/exports/:entry/:file", s.furtherFile),
		public(http.MethodGet, "/jwks", s.jwks),
		public(http.MethodGet, "/.well-known/jwks.json", s.jwksSet),
	}
}

// linkRoutes are those of hosts. The first two are asked for at every host, the last
// is what remains of a host that links have.
func (s *Server) linkRoutes() []route {
	public := func(method, path string, h gin.HandlerFunc) route {
		return route{
			Route: authz.Route{
				Method: method, Path: path,
				Audience: authz.AudiencePublic, Credential: authz.CredentialNone,
				Limit: authz.LimitNone, Padding: authz.PaddingNone, TenantFrom: authz.TenantFromHost,
			},
			handle: h,
		}
	}
	const apple, android = "/.well-known/apple-app-site-association", "/.well-known/assetlinks.json"
	return []route{
		public(http.MethodGet, apple, s.appleAssociation),
		public(http.MethodHead, apple, s.appleAssociation),
		public(http.MethodGet, android, s.assetLinks),
		public(http.MethodHead, android, s.assetLinks),
		public(http.MethodGet, anyPath, s.redirect),
		public(http.MethodHead, anyPath, s.redirect),
	}
}

func (s *Server) documentRoutes() []route {
	public := func(path string, h gin.HandlerFunc) route {
		return route{
			Route: authz.Route{
				Method: http.MethodGet, Path: tenantPath + path,
				Audience: authz.AudiencePublic, Credential: authz.CredentialNone,
				Limit: perCaller, Padding: authz.PaddingNone, TenantFrom: authz.TenantFromURL,
			},
			handle: h,
		}
	}
	return []route{public("/openapi.json", s.document), public("/docs", s.documentPage)}
}

func (s *Server) operationRoutes() []route {
	probe := func(path string, h gin.HandlerFunc) route {
		return route{
			Route: authz.Route{
				Method: http.MethodGet, Path: path,
				Audience: authz.AudienceOperations, Credential: authz.CredentialNone,
				Limit: authz.LimitNone, Padding: authz.PaddingNone, TenantFrom: authz.TenantFromNone,
			},
			handle: h,
		}
	}
	return []route{probe("/health", s.health), probe("/ready", s.ready)}
}

func declared(list []route) []authz.Route {
	routes := make([]authz.Route, len(list))
	for i, r := range list {
		routes[i] = r.Route
	}
	return routes
}
