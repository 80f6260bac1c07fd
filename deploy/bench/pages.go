//go:build !release

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/deploy/service"
	"carillon/tenant/export"
	"carillon/tenant/message"
)

// PageOptions say what to measure of the pages for people.
type PageOptions struct {
	// Dir, PostgresBin and Out are as in [Options].
	Dir, PostgresBin string
	Out              io.Writer
	// Codes is how many codes the health authority has.
	Codes int
	// Requests is how often each page is asked for.
	Requests int
}

// The targets of pages.
const (
	pageTarget  = 100 * time.Millisecond // of the median on the server
	firstTarget = 100_000                // bytes of the first page with all that it needs, as sent
	// tripsTarget is for the session, the person, two questions of the page and the session
	// again, which notes once a minute that it was used.
	tripsTarget = 5
)

// pageVariants is how many addresses of one route are asked for: pages with other queries.
const pageVariants = 4

// RunPages fills a health authority, signs in as its owner and as an operator, follows the
// links of all pages, and measures each: what it weighs, how long the server takes, and how
// often it waits for the database. The pages are those in the service's list of routes; those
// to which no link leads, because what they are about is not there, are named. It is
// [ErrMissed] if a target is missed.
func RunPages(ctx context.Context, o PageOptions) error {
	s, err := startStore(ctx, Options{Dir: o.Dir, PostgresBin: o.PostgresBin, Out: o.Out})
	if err != nil {
		return err
	}
	defer s.stop(ctx)
	fmt.Fprint(o.Out, machine(ctx, s))
	r := &pageRun{options: o, stack: s}
	if err := r.fill(ctx); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	stop, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := r.visit(ctx); err != nil {
		return err
	}
	r.print()
	if len(r.missed) > 0 {
		fmt.Fprintf(o.Out, "\nTargets missed:\n  %s\n", strings.Join(r.missed, "\n  "))
		return ErrMissed
	}
	fmt.Fprintln(o.Out, "\nEvery target is met.")
	return nil
}

// pageRun is a measurement of pages under way.
type pageRun struct {
	options PageOptions
	stack   *stack
	service *service.Service
	// issuer is the provider at which people sign in.
	issuer string
	found  []pageFigure
	// seen are the addresses that were asked for, by route.
	seen   map[string][]string
	first  int // bytes of the first page with all that it needs
	missed []string
}

// pageFigure is what one page costs.
type pageFigure struct {
	route, address string
	bytes          int
	took           []time.Duration // sorted
	trips          float64         // for each request
}

const (
	pagesURL  = "https://carillon.example"
	ownerName = "owner"
)

// open starts the service in this very process, and the provider. It limits nobody.
func (r *pageRun) open(ctx context.Context) (stop func(), err error) {
	files, err := export.NewFileStore(r.stack.files())
	if err != nil {
		return nil, err
	}
	var closeProvider func()
	if r.issuer, closeProvider, err = startProvider(ownerName, string(authz.Operator)); err != nil {
		return nil, err
	}
	r.service, err = service.Open(ctx, service.Config{
		Roles: []service.Role{service.Portal, service.Operator, service.Report}, Root: r.stack.root, Files: files, BaseURL: pagesURL,
		DSN:    func(role string) (string, error) { return r.stack.dsn(role), nil },
		Login:  oidc.Config{Issuer: r.issuer, ClientID: "c", RedirectURL: pagesURL + "/login/callback", Now: time.Now},
		Sender: message.None{}, JobInterval: time.Hour, NoLimits: true, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		closeProvider()
		return nil, err
	}
	return func() {
		_ = r.service.Close() // it has written nothing
		closeProvider()
	}, r.join(ctx)
}

// visit follows the links of the pages, first the owner's, then the operator's.
func (r *pageRun) visit(ctx context.Context) error {
	r.seen = map[string][]string{}
	for name, first := range map[string]string{ownerName: "/portal/" + r.stack.tenants[0].slug + "/", string(authz.Operator): "/operator"} {
		guest, err := signIn(ctx, r.service.Handler(), name)
		if err != nil {
			return fmt.Errorf("sign in: %w", err)
		}
		if err := r.follow(ctx, guest, append(r.plain(name), first)); err != nil {
			return err
		}
	}
	slices.SortFunc(r.found, func(a, b pageFigure) int { return strings.Compare(a.address, b.address) })
	return r.weigh(ctx)
}

// plain are the addresses of a person's pages that need nothing but the health authority.
func (r *pageRun) plain(name string) (addresses []string) {
	for _, route := range r.service.Routes() {
		path := strings.Replace(route.Path, ":tenant", r.stack.tenants[0].slug, 1)
		if r.ofPages(route) && !strings.ContainsAny(path, ":*") && (route.Audience == authz.AudienceOperator) == (name != ownerName) {
			addresses = append(addresses, path)
		}
	}
	return addresses
}

// ofPages tells the routes that browsers get.
func (r *pageRun) ofPages(route authz.Route) bool {
	people := route.Credential.OfSession() || route.Audience == authz.AudiencePublic || route.Audience == authz.AudiencePatient
	return route.Method == http.MethodGet && people && !strings.HasPrefix(route.Path, "/t/") && !strings.HasPrefix(route.Path, "/login")
}

// follow measures pages and those to which they lead, up to [pageVariants] of each route.
func (r *pageRun) follow(ctx context.Context, guest *guest, waiting []string) error {
	for len(waiting) > 0 {
		address := waiting[0]
		waiting = waiting[1:]
		route, is := r.routeOf(address)
		if !is || slices.Contains(r.seen[route], address) || len(r.seen[route]) >= pageVariants {
			continue
		}
		r.seen[route] = append(r.seen[route], address)
		links, err := r.measure(ctx, guest, route, address)
		if err != nil {
			return fmt.Errorf("%s: %w", address, err)
		}
		waiting = append(waiting, links...)
	}
	return nil
}

// routeOf is the path of the route of a page, by an address without a host.
func (r *pageRun) routeOf(address string) (string, bool) {
	path, _, _ := strings.Cut(address, "?")
	parts := strings.Split(path, "/")
	matches := func(route authz.Route) bool {
		return r.ofPages(route) && slices.EqualFunc(strings.Split(route.Path, "/"), parts, func(pattern, part string) bool {
			return pattern == part || strings.HasPrefix(pattern, ":") && part != ""
		})
	}
	var best string // the one with the fewest parameters
	for _, route := range r.service.Routes() {
		if matches(route) && (best == "" || strings.Count(route.Path, ":") < strings.Count(best, ":")) {
			best = route.Path
		}
	}
	return best, best != ""
}

var errPage = errors.New("the page is not shown")

// measure asks for a page until enough is known of it. What leads on, or is a file, is no page.
func (r *pageRun) measure(ctx context.Context, guest *guest, route, address string) (links []string, err error) {
	shown := guest.get(ctx, address)
	if to := shown.header.Get("Location"); to != "" {
		return []string{strings.TrimPrefix(to, pagesURL)}, nil
	}
	if shown.status >= http.StatusInternalServerError {
		r.missed = append(r.missed, fmt.Sprintf("%s: status %d", address, shown.status))
	}
	if shown.status != http.StatusOK || !strings.HasPrefix(shown.header.Get("Content-Type"), "text/html") {
		return nil, nil
	}
	f := pageFigure{route: route, address: address, bytes: len(shown.body)}
	before, err := r.trips(ctx)
	if err != nil {
		return nil, err
	}
	for range r.options.Requests {
		start := time.Now()
		if again := guest.get(ctx, address); again.status != http.StatusOK {
			return nil, fmt.Errorf("%w again: status %d", errPage, again.status)
		}
		f.took = append(f.took, time.Since(start))
	}
	after, err := r.trips(ctx)
	if err != nil {
		return nil, err
	}
	f.trips = (after - before) / float64(r.options.Requests)
	slices.Sort(f.took)
	r.found = append(r.found, f)
	return shown.links(), nil
}

// trips are the round trips of the service to the database so far.
func (r *pageRun) trips(ctx context.Context) (float64, error) {
	answer := ask(ctx, r.service.Operations(), http.MethodGet, "/metrics", nil)
	c, err := readCost(strings.NewReader(answer.body))
	return c.trips, err
}
