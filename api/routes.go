package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"carillon/authz"
	"carillon/tenant/client"
)

// The rate limits that routes name.
const (
	perCaller = "caller 120/min" // per tenant and network address, verification protocol §0.2
)

// route is a declared guard and what is behind it.
type route struct {
	authz.Route
	// chaff is the class of answers that cover traffic must look like; empty if the
	// route has no cover traffic.
	chaff string
	// key is the kind of API key that the route asks for; empty if none.
	key    client.Kind
	handle gin.HandlerFunc
}

// The classes of answers that cover traffic is drawn from.
const (
	classVerify      = "verify"
	classCertificate = "certificate"
	classPublish     = "publish"
)

// routes is the list of everything that this process serves.
func (s *Server) routes() []route {
	var list []route
	if s.config.Device != nil {
		list = append(list, s.deviceRoutes()...)
	}
	if s.config.Issuer != nil {
		list = append(list, s.issuerRoutes()...)
	}
	if s.config.Publisher != nil {
		list = append(list, s.publishRoutes()...)
	}
	return append(list, s.operationRoutes()...)
}

func (s *Server) deviceRoutes() []route {
	phone := func(path, class string, a authz.Action, h gin.HandlerFunc) route {
		return route{
			Route: authz.Route{
				Method: http.MethodPost, Path: "/t/:tenant" + path,
				Audience: authz.AudienceDevice, Credential: authz.CredentialDeviceKey, Action: a,
				Limit: perCaller, Padding: authz.PaddingResponse, TenantFrom: authz.TenantFromURL,
			},
			key: client.Device, chaff: class, handle: h,
		}
	}
	return []route{
		phone("/api/verify", classVerify, authz.DeviceVerify, s.verify),
		phone("/api/certificate", classCertificate, authz.DeviceCertificate, s.certificate),
	}
}

func (s *Server) issuerRoutes() []route {
	backend := func(path string, a authz.Action, h gin.HandlerFunc) route {
		return route{
			Route: authz.Route{
				Method: http.MethodPost, Path: "/t/:tenant" + path,
				Audience: authz.AudienceBackend, Credential: authz.CredentialAdminKey, Action: a,
				Limit: perCaller, Padding: authz.PaddingResponse, TenantFrom: authz.TenantFromURL,
			},
			key: client.Admin, handle: h,
		}
	}
	return []route{
		backend("/api/issue", authz.CodeIssue, s.issue),
		backend("/api/checkcodestatus", authz.CodeRead, s.checkCodeStatus),
		backend("/api/expirecode", authz.CodeExpire, s.expireCode),
	}
}

func (s *Server) publishRoutes() []route {
	public := func(method, path string, h gin.HandlerFunc) route {
		return route{
			Route: authz.Route{
				Method: method, Path: "/t/:tenant" + path,
				Audience: authz.AudiencePublic, Credential: authz.CredentialNone,
				Limit: authz.LimitNone, Padding: authz.PaddingNone, TenantFrom: authz.TenantFromURL,
			},
			handle: h,
		}
	}
	return []route{
		{
			Route: authz.Route{
				Method: http.MethodPost, Path: "/t/:tenant/v1/publish",
				Audience: authz.AudienceDevice, Credential: authz.CredentialCertificate,
				Limit: perCaller, Padding: authz.PaddingResponse, TenantFrom: authz.TenantFromURL,
			},
			chaff: classPublish, handle: s.publish,
		},
		public(http.MethodGet, "/exports/:file", s.exportFile),
		public(http.MethodHead, "/exports/:file", s.exportFile),
		public(http.MethodGet, "/jwks", s.jwks),
		public(http.MethodGet, "/.well-known/jwks.json", s.jwksSet),
	}
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
