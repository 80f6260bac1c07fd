package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/limit"
	"carillon/tenant/verification"
)

// guard is what stands before a handler, in the order of the verification protocol
// §0.2, then maintenance and the tenant's turn. What is declared but not built here is
// [authz.ErrRoute], or the route would be open.
func (s *Server) guard(r route) ([]gin.HandlerFunc, error) {
	if !built(r) {
		return nil, fmt.Errorf("%w: %s %s: this surface has no such guard", authz.ErrRoute, r.Method, r.Path)
	}
	chain := []gin.HandlerFunc{func(c *gin.Context) { of(c).route = &r }}
	switch r.TenantFrom {
	case authz.TenantFromURL:
		chain = append(chain, s.findTenant)
	case authz.TenantFromHost:
		chain = append(chain, s.findPlace)
	default:
	}
	chain = append(chain, s.admit(r)...)
	if r.closed != nil {
		chain = append(chain, s.refuseInMaintenance)
	}
	if r.turns {
		chain = append(chain, s.takeTurn)
	}
	return append(chain, r.handle), nil
}

// admit is the part of the guard that depends on the credential. Phones meet the
// allow-list before the rate limit, back ends after it (§0.2).
func (s *Server) admit(r route) []gin.HandlerFunc {
	var limited, chaff []gin.HandlerFunc
	if r.Limit == perCaller {
		limited = append(limited, s.limitCaller)
	}
	if r.chaff != "" {
		chaff = append(chaff, s.answerChaff)
	}
	switch r.Credential {
	case authz.CredentialDeviceKey:
		return slices.Concat([]gin.HandlerFunc{s.authenticate(s.config.DeviceKeys, client.Device), s.allowNetwork(deviceNetworks)}, chaff, limited)
	case authz.CredentialAdminKey:
		return slices.Concat([]gin.HandlerFunc{s.authenticate(s.config.IssuerKeys, client.Admin)}, limited, []gin.HandlerFunc{s.allowNetwork(adminNetworks)})
	case authz.CredentialStatsKey:
		return slices.Concat([]gin.HandlerFunc{s.authenticate(s.config.IssuerKeys, client.Stats)}, limited, []gin.HandlerFunc{s.allowNetwork(adminNetworks)})
	case authz.CredentialSCIMKey: // what networks it may come from is the key's own matter
		return slices.Concat([]gin.HandlerFunc{s.authenticate(s.config.StaffKeys, client.SCIM)}, limited)
	case authz.CredentialCertificate, authz.CredentialSignature, authz.CredentialBearer: // for the domain to check
		return slices.Concat(chaff, limited)
	case authz.CredentialNone, authz.CredentialSession, authz.CredentialFresh, authz.CredentialVisit: // nothing that this surface asks for
	}
	if r.TenantFrom == authz.TenantFromURL {
		return append([]gin.HandlerFunc{requireTenant}, limited...)
	}
	return limited
}

// built reports whether guard knows everything that a route declares.
func built(r route) bool {
	credentials := []authz.Credential{
		authz.CredentialNone, authz.CredentialDeviceKey, authz.CredentialAdminKey, authz.CredentialStatsKey,
		authz.CredentialSCIMKey, authz.CredentialCertificate, authz.CredentialSignature, authz.CredentialBearer,
	}
	return slices.Contains(credentials, r.Credential) &&
		slices.Contains([]string{authz.LimitNone, perCaller}, r.Limit) &&
		slices.Contains([]authz.TenantFrom{authz.TenantFromURL, authz.TenantFromHost, authz.TenantFromNone}, r.TenantFrom)
}

// findTenant looks up the tenant of the URL. What none means is for the next guard to
// say, and it is what an unknown credential means.
func (s *Server) findTenant(c *gin.Context) {
	if s.config.Directory.StrangeSlug(c.Param("tenant")) && !s.mayAskForNames(c.Writer, of(c).address) {
		c.Abort()
		return
	}
	t, err := s.config.Directory.BySlug(c.Request.Context(), c.Param("tenant"))
	switch {
	case errors.Is(err, tenant.ErrUnknown):
	case err != nil:
		s.fail(c, err)
	default:
		of(c).tenant = t
	}
}

// mayAskForNames counts look-ups of names that nobody has had an answer for, so that
// whoever makes up names is stopped before the database is asked. They have an account
// of their own, that of no tenant.
func (s *Server) mayAskForNames(w http.ResponseWriter, from netip.Addr) bool {
	if s.config.Limiter == nil {
		return true
	}
	d := s.config.Limiter.Allow(limit.Asker{Address: from})
	if !d.Allowed {
		w.Header().Set("Retry-After", s.secondsUntil(d.Reset))
		w.Header().Set("Content-Type", contentText)
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, tooManyRequests)
	}
	return d.Allowed
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
		v := of(c)
		presented := presentedKey(c, v.route.Credential)
		subject, err := s.identify(c, keys, kind, presented)
		if err == nil {
			v.subject = subject
			if kind != client.Device && !subject.Rehearsal { // where phones are is nobody's business
				s.config.Counter.KeyFrom(v.tenantID(), subject.ID, limit.NetworkOf(v.address))
			}
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
	subject, err := keys.Authenticate(ctx, v.tenant, kind, presented, v.address)
	if err == nil && subject.Rehearsal && !v.route.rehearsed {
		err = client.ErrUnknownKey
	}
	if err != nil {
		return authz.Subject{}, err
	}
	policy, err := s.config.Policies.Policy(ctx, v.tenant.ID.String())
	if err != nil {
		return authz.Subject{}, err
	}
	allowed, because := policy.Explain(subject, v.route.Action)
	if !allowed {
		return authz.Subject{}, authz.ErrForbidden
	}
	subject.Request, subject.Because = v.id, because
	return subject, nil
}

// allowNetwork keeps out callers from outside the networks that the tenant has listed
// for this service; an empty list is open (§0.2).
func (s *Server) allowNetwork(list func(tenant.Settings) []netip.Prefix) gin.HandlerFunc {
	return func(c *gin.Context) {
		v := of(c)
		if v.subject.Rehearsal { // it comes from ourselves, wherever that is
			return
		}
		if !limit.Admits(list(v.tenant.Settings), v.address) {
			s.metrics.outside.Inc()
			unauthorized(c)
		}
	}
}

func deviceNetworks(set tenant.Settings) []netip.Prefix { return set.DeviceNetworks }
func adminNetworks(set tenant.Settings) []netip.Prefix  { return set.AdminNetworks }

// limitCaller counts the request and tells the caller where it stands.
func (s *Server) limitCaller(c *gin.Context) {
	if s.config.Limiter == nil {
		return
	}
	d := s.config.Limiter.Allow(of(c).asker())
	limitHeaders(c, d)
	if !d.Allowed {
		s.tooMany(c, d.Reset)
	}
}

// refuseInMaintenance comes before the body is looked at (§1.2).
func (s *Server) refuseInMaintenance(c *gin.Context) {
	if v := of(c); v.route.closed(v.tenant) {
		s.refuse(c, verification.ErrMaintenance, nil)
	}
}

// takeTurn waits until it is the tenant's turn to be worked for. The body comes first,
// or a phone on a slow line would keep others from theirs.
func (s *Server) takeTurn(c *gin.Context) {
	v := of(c)
	body, err := s.takeBody(c)
	c.Request.Body = replayed(body, err)
	done, err := s.config.Turns.Enter(c.Request.Context(), v.tenantID())
	switch {
	case errors.Is(err, limit.ErrCrowded):
		s.tooMany(c, s.config.Now())
	case err != nil:
		s.fail(c, err)
	default:
		defer done()
		c.Next()
	}
}

// tooMany asks the caller to come back at a time.
func (s *Server) tooMany(c *gin.Context, until time.Time) {
	c.Header("Retry-After", s.secondsUntil(until))
	send(c, http.StatusTooManyRequests, contentText, []byte(tooManyRequests))
}

const tooManyRequests = "Too Many Requests"

// secondsUntil is for Retry-After, in whole seconds and at least one.
func (s *Server) secondsUntil(t time.Time) string {
	return strconv.Itoa(max(1, int(t.Sub(s.config.Now()).Seconds()+1)))
}

func limitHeaders(c *gin.Context, d limit.Decision) {
	c.Header("X-RateLimit-Limit", strconv.Itoa(d.Limit))
	c.Header("X-RateLimit-Remaining", strconv.Itoa(d.Remaining))
	c.Header("X-RateLimit-Reset", d.Reset.UTC().Format(http.TimeFormat))
}
