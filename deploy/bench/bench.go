// Package bench measures a running service from outside: how many requests it
// answers, how fast, and at what cost, beside a floor measured in the same run.
//
// Everything is real: a Postgres that writes to disk before it says so, a server
// process of its own, keep-alive HTTP over loopback, tenants made as any tenant is.
// The floor is the least that storing anything durably can cost on this machine at
// this moment: as many callers, each with a connection of its own, each inserting
// one row and committing. Load and floor take turns, so that whatever else the
// machine does meets both.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Options say what to measure.
type Options struct {
	// Dir keeps Postgres's data while the run lasts; it is made below Dir and
	// removed. It must be on a real disk for the floor to mean anything.
	Dir string
	// PostgresBin is the folder of Postgres's programs; empty looks for them.
	PostgresBin string
	// Server is the program and arguments that serve; flags for the database and
	// addresses follow.
	Server []string
	// Bare is the program and arguments that call [ServeBare]; the folder follows.
	Bare []string
	// Slice is how long each figure is measured.
	Slice time.Duration
	// Callers are the numbers of concurrent callers to measure with.
	Callers []int
	// Tenants is how many tenants the last comparison spreads over; fewer than two
	// leave it out.
	Tenants int
	Out     io.Writer
}

// ErrMissed means that a figure is worse than its target; the report has been printed.
var ErrMissed = errors.New("a figure is worse than its target")

// few is how many tenants share the load of the table.
const few = 4

// floorShare is how much of a slice the floor is measured before each figure.
const floorShare = 2

// Run starts everything, measures, and prints: [ErrMissed] if a target is missed.
func Run(ctx context.Context, o Options) error {
	s, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer s.stop(ctx)
	fmt.Fprint(o.Out, machine(ctx, s))
	fmt.Fprintf(o.Out, "Server, Postgres and load share these cores, of which the server uses half; HTTP/1.1 keep-alive over loopback; %d tenants; no rate limits.\n\n", few)
	r := &run{options: o, stack: s}
	if err := r.table(ctx); err != nil {
		return err
	}
	if o.Tenants > 1 {
		if err := r.spread(ctx); err != nil {
			return err
		}
	}
	if !r.targets() {
		return ErrMissed
	}
	return nil
}

// run is a measurement under way.
type run struct {
	options Options
	stack   *stack
	figures []figure
	turns   [2]turn // with one tenant, and with many
}

// figure is one line of the table.
type figure struct {
	kind    kind
	callers int
	load    load
	floor   float64 // operations per second
	cost    cost
}

// table measures every request at every number of callers.
func (r *run) table(ctx context.Context) error {
	header(r.options.Out)
	for _, callers := range r.options.Callers {
		if err := r.level(ctx, callers); err != nil {
			return err
		}
	}
	return nil
}

// level measures with one number of callers. What one kind of request yields, the
// next one uses up, unless that is made ready for it.
func (r *run) level(ctx context.Context, callers int) error {
	var earlier *harvest
	var before float64
	var of *least               // what before was measured with
	for _, k := range kinds() { //nolint:contextcheck // a connection outlives its requests
		var err error
		if of == nil || *of != k.floor {
			if before, err = r.floor(ctx, k.floor, callers); err != nil {
				return err
			}
		}
		if k.ready != nil {
			if earlier, err = k.ready(ctx, r.stack, callers+int(before*r.options.Slice.Seconds())); err != nil {
				return err
			}
		}
		f, harvest, err := r.measure(ctx, callers, k, earlier)
		if err != nil {
			return err
		}
		after, err := r.floor(ctx, k.floor, callers)
		if err != nil {
			return err
		}
		f.floor = (before + after) / 2
		before, of, earlier = after, &k.floor, harvest
		r.figures = append(r.figures, f)
		f.print(r.options.Out)
	}
	return nil
}

func (r *run) floor(ctx context.Context, of least, callers int) (float64, error) {
	l, err := r.stack.floor(ctx, of, callers, r.options.Slice/floorShare)
	return l.rate(), err
}

func (r *run) measure(ctx context.Context, callers int, k kind, earlier *harvest) (figure, *harvest, error) {
	harvest := &harvest{}
	before, err := r.stack.cost(ctx)
	if err != nil {
		return figure{}, nil, err
	}
	l := r.load(ctx, callers, r.options.Slice, func(c *caller) error { return k.once(c, r.stack, earlier, harvest) })
	after, err := r.stack.cost(ctx)
	if err != nil {
		return figure{}, nil, err
	}
	return figure{kind: k, callers: callers, load: l, cost: after.since(before, l.count()*k.requests)}, harvest, l.fatal()
}

// load runs requests on so many keep-alive connections for so long.
func (r *run) load(ctx context.Context, callers int, long time.Duration, once func(*caller) error) load {
	all := make([]caller, callers)
	for i := range all {
		all[i].address = r.stack.address
		defer all[i].close()
	}
	return closedLoop(ctx, callers, long, func(_ context.Context, i int) error { return once(&all[i]) })
}

// spreadCallers is how many callers compare one tenant with many, in turns.
const (
	spreadCallers = 8
	spreadTurns   = 4
)

// turn is what the flows of one or many tenants have met in all their turns.
type turn struct {
	took     []time.Duration
	cost     cost
	requests int
}

// spread compares whole flows at one tenant with flows spread over many. Each tenant
// is visited once before, because the first visit reads what later ones remember.
func (r *run) spread(ctx context.Context) error {
	all, err := r.stack.grow(ctx, r.options.Tenants)
	if err != nil {
		return err
	}
	flow := flow()
	var visited atomic.Int64
	first := r.load(ctx, spreadCallers, time.Hour, func(c *caller) error {
		i := int(visited.Add(1)) - 1
		if i >= len(all) {
			return errExhausted
		}
		return flow.once(c, &stack{tenants: all[i : i+1]}, nil, &harvest{})
	})
	if err := errors.Join(first.fatal(), first.first); err != nil {
		return err
	}
	for i := range 2 * spreadTurns {
		r.stack.tenants = all[:1]
		if i%2 == 1 {
			r.stack.tenants = all
		}
		if err := r.takeTurn(ctx, flow, &r.turns[i%2]); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) takeTurn(ctx context.Context, flow kind, t *turn) error {
	before, err := r.stack.cost(ctx)
	if err != nil {
		return err
	}
	l := r.load(ctx, spreadCallers, r.options.Slice, func(c *caller) error { return flow.once(c, r.stack, nil, &harvest{}) })
	if err := errors.Join(l.fatal(), l.first); err != nil {
		return err
	}
	after, err := r.stack.cost(ctx)
	if err != nil {
		return err
	}
	t.took = append(t.took, l.took...)
	t.requests += l.count() * flow.requests
	t.cost.cpu += after.cpu - before.cpu
	t.cost.trips += after.trips - before.trips
	return nil
}
