package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/limit"
)

// visit is what is known of a request so far. Guards fill it, handlers read it.
type visit struct {
	id    string
	start time.Time
	// body is how long the body took to arrive. That is the client's time, and not
	// for cover traffic to imitate.
	body time.Duration
	// address is whom the proxies speak for, for limits and lists and nothing else.
	address netip.Addr
	// route is nil for paths that are not in the list.
	route *route
	// tenant is nil until it is found, and if there is none.
	tenant  *tenant.Tenant
	subject authz.Subject
	// region is what the host names, on routes whose tenant is the host's.
	region string
}

const visitKey = "carillon/visit"

// of is the visit of a request.
func of(c *gin.Context) *visit { return c.MustGet(visitKey).(*visit) }

// slug is how logs name the tenant; a text that names none is not repeated.
func (v *visit) slug() string {
	if v.tenant == nil {
		return ""
	}
	return string(v.tenant.Slug)
}

// tenantID is zero for no tenant, whose callers share one account with the limiter.
func (v *visit) tenantID() tenant.ID {
	if v.tenant == nil {
		return tenant.ID{}
	}
	return v.tenant.ID
}

// caller is the address that a request came from.
func (s *Server) caller(r *http.Request) netip.Addr {
	return s.config.Proxies.Caller(r.RemoteAddr, r.Header.Values("X-Forwarded-For"))
}

// asker is the caller as limits know it. The key of an app is on every phone, so only
// a back end's tells who asks.
func (v *visit) asker() limit.Asker {
	a := limit.Asker{Tenant: v.tenantID(), Address: v.address}
	if v.route.Credential != authz.CredentialDeviceKey {
		a.Key = v.subject.ID
	}
	return a
}

func (v *visit) pattern() string {
	if v.route == nil {
		return "none"
	}
	return v.route.Path
}

// method is the route's, because clients may make up any word.
func (v *visit) method() string {
	if v.route == nil {
		return "other"
	}
	return v.route.Method
}

// spent is how long we have worked on a request.
func (s *Server) spent(v *visit) time.Duration {
	return s.config.Now().Sub(v.start) - v.body
}

// workTimeout bounds a request's work, waiting for a database connection included.
const workTimeout = 30 * time.Second

// observe gives each request an ID and a deadline, and tells log and metrics how it
// ended: the route's pattern and the tenant, never what was in the URL, the headers
// or the body.
func (s *Server) observe(c *gin.Context) {
	v := &visit{
		id: uuid.NewString(), start: s.config.Now(),
		address: s.caller(c.Request),
	}
	c.Set(visitKey, v)
	c.Header("X-Request-ID", v.id)
	ctx, cancel := context.WithTimeout(c.Request.Context(), workTimeout)
	defer cancel()
	c.Request = c.Request.WithContext(ctx)
	c.Next()
	if v.route == nil && s.config.NotFound != nil && c.Writer.Status() != http.StatusMethodNotAllowed {
		return // another surface's, which has its own log
	}
	took := s.config.Now().Sub(v.start)
	status := c.Writer.Status()
	s.metrics.requests.WithLabelValues(v.method(), v.pattern(), strconv.Itoa(status)).Inc()
	s.metrics.latency.WithLabelValues(v.method(), v.pattern()).Observe(took.Seconds())
	if v.subject.Kind == authz.APIKey && !v.subject.Rehearsal {
		s.config.Counter.KeyAnswered(v.tenantID(), v.subject.ID, string(v.route.Action), status)
	}
	s.config.Log.LogAttrs(ctx, slog.LevelInfo, "request",
		slog.String("request", v.id), slog.String("method", v.method()), slog.String("route", v.pattern()),
		slog.String("tenant", v.slug()), slog.Int("status", status), slog.Duration("took", took))
}

// recover keeps a panic from the client, and from ending the process.
func (s *Server) recover(c *gin.Context) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the server compares it so, too
				panic(p)
			}
			s.fail(c, fmt.Errorf("panic: %s", panicText(p)))
		}
	}()
	c.Next()
}

// panicText keeps values out of the log: a runtime error's text is about types and
// indexes, other panics may carry anything.
func panicText(p any) string {
	if err, ok := p.(interface {
		error
		RuntimeError()
	}); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", p)
}

// statusGone is what the log has for a client that did not wait. Nobody receives it.
const statusGone = 499

// fail ends a request that met an error which is not in a table: a fixed text for the
// client, one line for the log.
func (s *Server) fail(c *gin.Context, err error) {
	c.Abort()
	if errors.Is(err, context.Canceled) && errors.Is(c.Request.Context().Err(), context.Canceled) {
		if !c.Writer.Written() {
			c.Status(statusGone)
		}
		return
	}
	v := of(c)
	s.logFailure(c, err)
	if c.Writer.Written() {
		return
	}
	if v.route != nil && v.route.chaff == classPublish {
		s.answerPublish(c, http.StatusInternalServerError, publishResponse{Error: internalError, Code: "internal_error"})
		return
	}
	negotiate(c, http.StatusInternalServerError, internalError, "internal_server_error")
}

// logFailure is the log's line for an error that is not in a table.
func (s *Server) logFailure(c *gin.Context, err error) {
	v := of(c)
	s.config.Log.ErrorContext(c.Request.Context(), "request failed",
		slog.String("request", v.id), slog.String("route", v.pattern()), slog.String("tenant", v.slug()),
		slog.Any("error", err))
}

const internalError = "Internal Server Error"
