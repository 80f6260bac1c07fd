package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/limit"
)

// Keys of what the guards leave for the handlers in a request's own context.
const (
	tenantKey  = "tenant"
	subjectKey = "subject"
	startKey   = "start"
	requestKey = "request"
)

// requestTenant is the tenant that the guards found.
func requestTenant(c *gin.Context) *tenant.Tenant { return c.MustGet(tenantKey).(*tenant.Tenant) }

// requestSubject is the API key that the guards authenticated.
func requestSubject(c *gin.Context) authz.Subject { return c.MustGet(subjectKey).(authz.Subject) }

// guard is what stands before a handler, in the order of the verification protocol
// §0.2: key, cover traffic, rate limit.
func (s *Server) guard(r route) []gin.HandlerFunc {
	chain := []gin.HandlerFunc{s.findTenant(r)}
	if r.key != "" {
		chain = append(chain, s.authenticate(r))
	}
	if r.chaff != "" {
		chain = append(chain, s.answerChaff(r.chaff))
	}
	if r.Limit == perCaller {
		chain = append(chain, s.limitCaller)
	}
	return append(chain, r.handle)
}

// findTenant looks up the tenant of the URL. What it answers for an unknown one is
// what the route answers for an unknown credential.
func (s *Server) findTenant(r route) gin.HandlerFunc {
	return func(c *gin.Context) {
		if r.TenantFrom != authz.TenantFromURL {
			return
		}
		t, err := s.config.Directory.BySlug(c, c.Param("tenant"))
		switch {
		case errors.Is(err, tenant.ErrUnknown) || (err == nil && t.State != tenant.Active):
			s.refuseTenant(c, r)
		case err != nil:
			s.fail(c, err)
		default:
			c.Set(tenantKey, t)
		}
	}
}

func (s *Server) refuseTenant(c *gin.Context, r route) {
	switch {
	case r.key != "":
		unauthorized(c)
	case r.Credential == authz.CredentialCertificate:
		s.refuseUnknownPublish(c)
	default:
		c.String(http.StatusNotFound, "404 page not found\n")
		c.Abort()
	}
}

// authenticate lets enabled keys of the route's kind and tenant through.
func (s *Server) authenticate(r route) gin.HandlerFunc {
	keys := s.config.IssuerKeys
	if r.key == client.Device {
		keys = s.config.DeviceKeys
	}
	return func(c *gin.Context) {
		t := requestTenant(c)
		subject, err := keys.Authenticate(c, t, r.key, c.GetHeader("X-API-Key"))
		if err == nil {
			err = s.config.Policies.Check(c, t.ID.String(), subject, r.Action)
		}
		switch {
		case errors.Is(err, client.ErrUnknownKey) || errors.Is(err, authz.ErrForbidden):
			s.metrics.refused.WithLabelValues(string(r.Credential)).Inc()
			unauthorized(c)
		case err != nil:
			s.fail(c, err)
		default:
			c.Set(subjectKey, subject)
		}
	}
}

// unauthorized answers 401 in the form that the request's headers ask for (§0.2).
func unauthorized(c *gin.Context) {
	switch wanted(c) {
	case "text/html":
		c.Data(http.StatusUnauthorized, "text/html; charset=utf-8",
			[]byte("<!doctype html><html lang=\"en\"><title>Unauthorized</title><h1>Unauthorized</h1><p>A valid API key is needed here.</p></html>\n"))
	case "application/json":
		c.JSON(http.StatusUnauthorized, errorBody{Error: "unauthorized"})
	default:
		c.String(http.StatusUnauthorized, "Unauthorized")
	}
	c.Abort()
}

func wanted(c *gin.Context) string {
	header := c.Request.Header
	elements := strings.Split(strings.Join(append(header.Values("Accept"), header.Values("Content-Type")...), ","), ",")
	for _, kind := range []string{"text/html", "application/json"} {
		for _, e := range elements {
			if strings.HasPrefix(strings.TrimSpace(e), kind) {
				return kind
			}
		}
	}
	return ""
}

// limitCaller counts the request and tells the caller where it stands.
func (s *Server) limitCaller(c *gin.Context) {
	if s.config.Limiter == nil {
		return
	}
	d := s.config.Limiter.Allow(requestTenant(c).ID, s.callerAddress(c.Request))
	limitHeaders(c, d)
	if d.Allowed {
		return
	}
	wait := max(1, int(d.Reset.Sub(s.config.Now()).Seconds()+1))
	c.Header("Retry-After", strconv.Itoa(wait))
	c.String(http.StatusTooManyRequests, "Too Many Requests")
	c.Abort()
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
		if hops := strings.Split(r.Header.Get("X-Forwarded-For"), ","); len(hops) >= 2 {
			address = strings.TrimSpace(hops[len(hops)-2])
		}
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

func securityHeaders(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Strict-Transport-Security", "max-age=315360000; includeSubDomains; preload")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
}

// observe gives each request an ID, and tells log and metrics how it ended: the
// route's pattern and the tenant, never what was in the URL, the headers or the body.
func (s *Server) observe(c *gin.Context) {
	start := s.config.Now()
	id := uuid.NewString()
	c.Set(startKey, start)
	c.Set(requestKey, id)
	c.Header("X-Request-ID", id)
	c.Next()
	pattern := c.FullPath()
	if pattern == "" {
		return // another surface's, or nobody's
	}
	took := s.config.Now().Sub(start)
	status := c.Writer.Status()
	s.metrics.requests.WithLabelValues(c.Request.Method, pattern, strconv.Itoa(status)).Inc()
	s.metrics.latency.WithLabelValues(c.Request.Method, pattern).Observe(took.Seconds())
	slug := ""
	if t, ok := c.Get(tenantKey); ok {
		slug = string(t.(*tenant.Tenant).Slug)
	}
	s.config.Log.LogAttrs(c, slog.LevelInfo, "request",
		slog.String("request", id), slog.String("method", c.Request.Method), slog.String("route", pattern),
		slog.String("tenant", slug), slog.Int("status", status), slog.Duration("took", took))
}

// recover keeps a panic from the client, and from ending the process.
func (s *Server) recover(c *gin.Context) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the server compares it so, too
				panic(p)
			}
			s.fail(c, fmt.Errorf("panic: %v", panicText(p)))
		}
	}()
	c.Next()
}

// panicText keeps values out of the log: a runtime error's text is about types and
// indexes, other panics may carry anything.
func panicText(p any) string {
	if err, ok := p.(interface{ RuntimeError() }); ok {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%T", p)
}

// fail answers 500 without detail; the log has the rest under the request's ID.
func (s *Server) fail(c *gin.Context, err error) {
	c.Abort()
	s.logFailure(c, err)
	if c.Writer.Written() {
		return
	}
	c.JSON(http.StatusInternalServerError, errorBody{Error: "Internal Server Error", Code: "internal_server_error", OldCode: "internal_server_error"})
}

func (s *Server) logFailure(c *gin.Context, err error) {
	s.config.Log.ErrorContext(c, "request failed",
		slog.String("request", c.GetString(requestKey)), slog.String("route", c.FullPath()), slog.Any("error", err))
}

// elapsed is how long the request has taken so far.
func (s *Server) elapsed(c *gin.Context) time.Duration {
	return s.config.Now().Sub(c.GetTime(startKey))
}
