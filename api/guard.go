package api

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/limit"
)

// guard is what stands before a handler, in the order of the verification protocol
// §0.2: key, cover traffic, rate limit. What is declared but not built here is
// [authz.ErrRoute], or the route would be open.
func (s *Server) guard(r route) ([]gin.HandlerFunc, error) {
	if !built(r) {
		return nil, fmt.Errorf("%w: %s %s: this surface has no such guard", authz.ErrRoute, r.Method, r.Path)
	}
	chain := []gin.HandlerFunc{func(c *gin.Context) { of(c).route = &r }}
	if r.TenantFrom == authz.TenantFromURL {
		chain = append(chain, s.findTenant)
	}
	switch r.Credential {
	case authz.CredentialDeviceKey:
		chain = append(chain, s.authenticate(s.config.DeviceKeys, client.Device))
	case authz.CredentialAdminKey:
		chain = append(chain, s.authenticate(s.config.IssuerKeys, client.Admin))
	case authz.CredentialCertificate: // in the body, for the domain to check
	default:
		if r.TenantFrom == authz.TenantFromURL {
			chain = append(chain, requireTenant)
		}
	}
	if r.chaff != "" {
		chain = append(chain, s.answerChaff)
	}
	if r.Limit == perCaller {
		chain = append(chain, s.limitCaller)
	}
	return append(chain, r.handle), nil
}

// built reports whether guard knows everything that a route declares.
func built(r route) bool {
	credentials := []authz.Credential{
		authz.CredentialNone, authz.CredentialDeviceKey, authz.CredentialAdminKey, authz.CredentialCertificate,
	}
	return slices.Contains(credentials, r.Credential) &&
		slices.Contains([]string{authz.LimitNone, perCaller}, r.Limit) &&
		slices.Contains([]authz.TenantFrom{authz.TenantFromURL, authz.TenantFromNone}, r.TenantFrom)
}

// findTenant looks up the tenant of the URL. A suspended one is none; what none means
// is for the next guard to say, and it is what an unknown credential means.
func (s *Server) findTenant(c *gin.Context) {
	t, err := s.config.Directory.BySlug(c.Request.Context(), c.Param("tenant"))
	switch {
	case errors.Is(err, tenant.ErrUnknown):
	case err != nil:
		s.fail(c, err)
	case t.State == tenant.Active:
		of(c).tenant = t
	}
}

// requireTenant keeps what is public under a tenant's URL from having any other.
func requireTenant(c *gin.Context) {
	if of(c).tenant == nil {
		pageNotFound(c)
	}
}

// authenticate lets enabled keys of this kind and of the URL's tenant through, if the
// tenant's policy allows what the route is for.
func (s *Server) authenticate(keys *client.Authenticator, kind client.Kind) gin.HandlerFunc {
	return func(c *gin.Context) {
		v, presented := of(c), c.GetHeader("X-API-Key")
		subject, err := s.identify(c, keys, kind, presented)
		if err == nil {
			v.subject = subject
			s.crossings.admitted(v.tenantID(), presented)
			return
		}
		if _, refused := accessAnswers().find(err); !refused {
			s.fail(c, err)
			return
		}
		s.metrics.refused.WithLabelValues(string(v.route.Credential)).Inc()
		if s.crossings.crossed(v.tenantID(), presented) {
			s.noteCrossing(v.route.Credential)
		}
		unauthorized(c)
	}
}

func (s *Server) identify(c *gin.Context, keys *client.Authenticator, kind client.Kind, presented string) (authz.Subject, error) {
	v, ctx := of(c), c.Request.Context()
	if v.tenant == nil {
		return authz.Subject{}, client.ErrUnknownKey
	}
	subject, err := keys.Authenticate(ctx, v.tenant, kind, presented)
	if err != nil {
		return authz.Subject{}, err
	}
	return subject, s.config.Policies.Check(ctx, v.tenant.ID.String(), subject, v.route.Action)
}

// limitCaller counts the request and tells the caller where it stands.
func (s *Server) limitCaller(c *gin.Context) {
	if s.config.Limiter == nil {
		return
	}
	d := s.config.Limiter.Allow(of(c).tenantID(), s.callerAddress(c.Request))
	limitHeaders(c, d)
	if d.Allowed {
		return
	}
	wait := max(1, int(d.Reset.Sub(s.config.Now()).Seconds()+1))
	c.Header("Retry-After", strconv.Itoa(wait))
	send(c, http.StatusTooManyRequests, contentText, []byte("Too Many Requests"))
}

func limitHeaders(c *gin.Context, d limit.Decision) {
	c.Header("X-RateLimit-Limit", strconv.Itoa(d.Limit))
	c.Header("X-RateLimit-Remaining", strconv.Itoa(d.Remaining))
	c.Header("X-RateLimit-Reset", d.Reset.UTC().Format(http.TimeFormat))
}

// callerAddress tells callers apart: the second-to-last forwarded address if a proxy
// is trusted (§0.2), else the peer. IPv6 callers count by their network, because one
// caller has all of its addresses.
func (s *Server) callerAddress(r *http.Request) string {
	address := ""
	if s.config.TrustProxy {
		address = forwardedFor(r.Header)
	}
	if address == "" {
		address, _, _ = net.SplitHostPort(r.RemoteAddr) // the server made it
	}
	const network = 64
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		if p, err := ip.WithZone("").Prefix(network); err == nil {
			return p.String()
		}
	}
	return address
}

// forwardedFor is the address that the last but one proxy saw; empty if there was
// none.
func forwardedFor(h http.Header) string {
	hops := strings.Split(strings.Join(h.Values("X-Forwarded-For"), ","), ",")
	if len(hops) < 2 {
		return ""
	}
	return strings.TrimSpace(hops[len(hops)-2])
}
