package provider

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"carillon/tenant"
	"carillon/tenant/cache"
	"carillon/tenant/key"
	"carillon/tenant/mail"
	"carillon/tenant/message"
	"carillon/tenant/message/delivery"
)

// Config is what a [Router] works with.
type Config struct {
	// DB is a handle under carillon_issuer, carillon_portal or carillon_report.
	DB *tenant.DB
	// Keys open the providers' secrets.
	Keys *key.Ring
	// Networks reach the providers.
	Networks Networks
	// Platform is the provider of tenants that have none of their own; nil for Fallback.
	Platform *Settings
	// Fallback takes their messages if there is no Platform; nil is [message.None].
	Fallback message.Sender
	// Mail takes what goes to mail addresses; nil for nobody.
	Mail mail.Sender
	// BaseURL is how the world reaches this service, without a trailing slash; empty
	// for no receipts.
	BaseURL string
	Log     *slog.Logger
	Now     func() time.Time
}

// Router sends each message through its tenant's providers. It is safe for concurrent
// use.
type Router struct {
	c        Config
	platform *line
	lines    *cache.Cache[tenant.ID, []line]
	paces    *cache.Aged[string, *rate.Limiter]
}

// Age is how long a change to a tenant's providers may take to be seen everywhere.
const Age = 10 * time.Second

const (
	routesKept = 10_000
	pacesKept  = time.Hour
)

// line is a provider in its place.
type line struct {
	name     string // as deliveries are recorded
	settings Settings
	carrier  carrier
	pace     *rate.Limiter // nil for none
}

// platformName is what deliveries through the platform's provider, or through Fallback,
// are recorded with.
const platformName = "platform"

// own is Fallback as the carrier of one tenant's messages.
type own struct {
	sender message.Sender
	tenant *tenant.Tenant
}

func (o own) send(ctx context.Context, m message.Message, _ string) error {
	if err := o.sender.Send(ctx, o.tenant, m); err != nil {
		return message.AsFailure(err)
	}
	return nil
}

// NewRouter returns a router: [ErrSettings] if the platform's provider cannot be used.
func NewRouter(c Config) (*Router, error) {
	if c.Fallback == nil {
		c.Fallback = message.None{}
	}
	if c.Mail == nil {
		c.Mail = mail.None{}
	}
	r := &Router{c: c, paces: cache.NewAged[string, *rate.Limiter](routesKept, pacesKept)}
	if c.Platform != nil {
		l, err := r.newLine(platformName, platformName, *c.Platform)
		if err != nil {
			return nil, fmt.Errorf("the platform's: %w", err)
		}
		r.platform = &l
	}
	r.lines = cache.New(routesKept, Age, r.load)
	return r, nil
}

func (r *Router) load(ctx context.Context, id tenant.ID) ([]line, error) {
	settings, err := load(ctx, r.c.DB, r.c.Keys, id)
	if err != nil {
		return nil, err
	}
	var lines []line
	for place := 1; place <= Places; place++ {
		s, ok := settings[place]
		if !ok {
			continue
		}
		l, err := r.newLine(string(s.Kind)+" "+strconv.Itoa(place), id.String()+" "+strconv.Itoa(place), s)
		if err != nil { // was good when it was set
			r.c.Log.ErrorContext(ctx, "message provider left out", slog.String("tenant", id.String()), slog.Int("place", place), slog.Any("error", err))
			continue
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func (r *Router) newLine(name, paceOf string, s Settings) (line, error) {
	c, err := r.c.Networks.open(s)
	if err != nil {
		return line{}, err
	}
	return line{name: name, settings: s, carrier: c, pace: r.pace(paceOf, s.PerMinute)}, nil
}

// pace outlives the cached settings, or each reading of them would begin a new minute.
func (r *Router) pace(of string, perMinute int) *rate.Limiter {
	if perMinute == 0 {
		return nil
	}
	limit := rate.Every(time.Minute / time.Duration(perMinute))
	p, ok := r.paces.Get(of)
	if !ok {
		p = rate.NewLimiter(limit, 1)
	}
	p.SetLimit(limit)
	r.paces.Add(of, p)
	return p
}

// linesOf are a tenant's providers, or the platform's.
func (r *Router) linesOf(ctx context.Context, id tenant.ID) ([]line, error) {
	lines, err := r.lines.Get(ctx, id)
	if err == nil && len(lines) == 0 && r.platform != nil {
		lines = []line{*r.platform}
	}
	return lines, err
}

// linesFor are the ways that a message may take.
func (r *Router) linesFor(ctx context.Context, t *tenant.Tenant, m message.Message) ([]line, error) {
	if m.ByMail() {
		return []line{{name: mailName, carrier: letters{r.c.Mail, t.Name}}}, nil
	}
	return r.linesOf(ctx, t.ID)
}

// Provided reports whether there is anybody to send the tenant's messages.
func (r *Router) Provided(ctx context.Context, t *tenant.Tenant) (bool, error) {
	if r.hasFallback() || r.platform != nil {
		return true, nil
	}
	lines, err := r.linesOf(ctx, t.ID)
	return len(lines) > 0, err
}

func (r *Router) hasFallback() bool {
	_, nobody := r.c.Fallback.(message.None)
	return !nobody
}

// Send gives the message to the tenant's first provider and, if that surely did not
// take it and not because of the recipient, to the second. What became of it is
// recorded under its code. An error is a [*message.Failure].
func (r *Router) Send(ctx context.Context, t *tenant.Tenant, m message.Message) error {
	lines, err := r.linesFor(ctx, t, m)
	if err != nil {
		r.c.Log.ErrorContext(ctx, "no message providers", slog.String("tenant", string(t.Slug)), slog.Any("error", err))
		return failure(message.Unavailable, true)
	}
	if len(lines) == 0 {
		if !r.hasFallback() {
			return failure(message.NoProvider, true)
		}
		lines = []line{{name: platformName, carrier: own{r.c.Fallback, t}}}
	}
	for i, l := range lines {
		err = r.try(ctx, t, l, m)
		if err == nil {
			return nil
		}
		f := message.AsFailure(err)
		r.c.Log.WarnContext(ctx, "message provider refused", slog.String("tenant", string(t.Slug)), slog.String("provider", l.name),
			slog.String("class", string(f.Class)), slog.String("code", f.Code), slog.Bool("certain", f.Certain))
		if !f.FailOver() || i == len(lines)-1 {
			return f
		}
	}
	return err
}

func (r *Router) try(ctx context.Context, t *tenant.Tenant, l line, m message.Message) error {
	if l.pace != nil {
		if err := l.pace.Wait(ctx); err != nil {
			return failure(message.QueueFull, true) // nobody was asked
		}
	}
	reference := delivery.NewReference()
	recorded := m.Code.ID != uuid.UUID{}
	if recorded {
		if err := delivery.Begin(ctx, r.c.DB, t.ID, m.Code.ID, l.name, reference, r.c.Now()); err != nil {
			r.c.Log.ErrorContext(ctx, "message not recorded, so not sent", slog.String("tenant", string(t.Slug)), slog.Any("error", err))
			return failure(message.Unavailable, true)
		}
	}
	err := l.carrier.send(ctx, m, r.callback(t, reference))
	if recorded {
		r.note(ctx, t, reference, err)
	}
	return err
}

const noteTimeout = 5 * time.Second

// note records an outcome, even if nobody waits for it any more.
func (r *Router) note(ctx context.Context, t *tenant.Tenant, reference delivery.Reference, outcome error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	state, class := delivery.Sent, message.Class("")
	if outcome != nil {
		state, class = delivery.Failed, message.AsFailure(outcome).Class
	}
	if err := delivery.Finish(ctx, r.c.DB, t.ID, reference, state, class, r.c.Now()); err != nil {
		r.c.Log.ErrorContext(ctx, "message outcome not recorded", slog.String("tenant", string(t.Slug)), slog.Any("error", err))
	}
}

// Paths below a tenant's own that receipts come to.
const (
	StatusPath = "/api/receipts/status"
	ErrorPath  = "/api/receipts/errors"
)

const referenceParameter = "m"

// callback is where receipts of a message go.
func (r *Router) callback(t *tenant.Tenant, reference delivery.Reference) string {
	if r.c.BaseURL == "" {
		return ""
	}
	return r.url(t, StatusPath) + "?" + url.Values{referenceParameter: {string(reference)}}.Encode()
}

func (r *Router) url(t *tenant.Tenant, path string) string {
	return r.c.BaseURL + "/t/" + string(t.Slug) + path
}
