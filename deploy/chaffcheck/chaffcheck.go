// Package chaffcheck looks at a running server as an observer of the network does, and
// tries to tell cover traffic from real requests (verification protocol §10).
//
// It takes simulated phones through the flow and sends cover traffic in between, at
// random before or after the real request, with bodies of the same size. Then it
// compares status and headers exactly, and sizes and delays by a two-sample
// Kolmogorov–Smirnov test. Delays are measured on one connection, from the request's
// first byte to the answer's last.
package chaffcheck

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"carillon/deploy/phone"
	"carillon/signing/certificate"
)

// Options say whom to ask.
type Options struct {
	// Server and Issuer are those of one health authority.
	Server phone.Server
	Issuer phone.Issuer
	// Reports includes self-reports, with telephone numbers that nobody has.
	Reports bool
	// Rounds is how many real requests and how many of cover traffic go to each
	// endpoint.
	Rounds int
	// Level is the probability of calling a server distinguishable that is not, over
	// all tests together.
	Level float64
	Out   io.Writer
}

// ErrDistinguishable means that cover traffic can be told from real requests; the
// report has been printed.
var ErrDistinguishable = errors.New("cover traffic can be told from real requests")

// warmUp is how many rounds go by before the first that counts: the server learns
// from real requests what cover traffic must look like.
const warmUp = 100

// Run measures and reports: [ErrDistinguishable] if cover traffic can be told.
func Run(ctx context.Context, o Options) error {
	w := &wire{client: newClient()}
	var compared []*endpoint
	for _, name := range []string{"verify", "certificate", "publish", "user-report"} {
		if name != "user-report" || o.Reports {
			compared = append(compared, &endpoint{name: name})
		}
	}
	for round := range warmUp + o.Rounds {
		if err := flow(ctx, w, o, compared, round >= warmUp); err != nil {
			return err
		}
	}
	return report(o, compared)
}

// endpoint is what was seen of one.
type endpoint struct {
	name        string
	real, chaff []seen
}

// flow is one phone's way. Each endpoint sees one real request and one of cover traffic.
func flow(ctx context.Context, w *wire, o Options, compared []*endpoint, counts bool) error {
	code, err := o.Issuer.Issue(ctx, "confirmed", time.Now().AddDate(0, 0, -2))
	if err != nil {
		return err
	}
	p := &patient{options: o, code: code.Code, keys: (&phone.Phone{Now: time.Now}).NewKeys(keysPerUpload, false)}
	for _, e := range compared {
		ask, err := p.request(e.name)
		if err != nil {
			return err
		}
		real, chaff, err := w.pair(ctx, ask)
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if err := p.learn(e.name, real.body); err != nil {
			return err
		}
		if counts {
			e.real, e.chaff = append(e.real, real), append(e.chaff, chaff)
		}
	}
	return nil
}

// pair sends a request for real and as cover traffic, in random order.
func (w *wire) pair(ctx context.Context, ask request) (real, chaff seen, err error) {
	chaffFirst := rand.IntN(2) == 0 //nolint:gosec // no secret
	for _, isChaff := range []bool{chaffFirst, !chaffFirst} {
		ask.chaff = isChaff
		got, err := w.ask(ctx, ask)
		switch {
		case err != nil:
			return real, chaff, err
		case got.status != http.StatusOK:
			return real, chaff, fmt.Errorf("status %d for cover traffic %t: %.200s", got.status, isChaff, got.body)
		case isChaff:
			chaff = got
		default:
			real = got
		}
	}
	return real, chaff, nil
}

// keysPerUpload is what a phone has after two weeks.
const keysPerUpload = 14

// patient is a person on the way from a code to an upload.
type patient struct {
	options           Options
	code, token, cert string
	keys              phone.Keys
}

func (p *patient) request(endpoint string) (request, error) {
	s := p.options.Server
	switch endpoint {
	case "verify":
		return newRequest(s.DeviceBase+"api/verify", s.DeviceKey, map[string]any{"code": p.code, "accept": []string{"confirmed"}})
	case "certificate":
		mac, err := certificate.MAC(p.keys.Secret, p.keys.TEKs)
		if err != nil {
			return request{}, err
		}
		return newRequest(s.DeviceBase+"api/certificate", s.DeviceKey, map[string]any{
			"token": p.token, "ekeyhmac": base64.StdEncoding.EncodeToString(mac),
		})
	case "publish":
		return newRequest(s.PublishURL, "", phone.Upload(s.HealthAuthorityID, p.keys, p.cert, ""))
	default:
		return newRequest(s.DeviceBase+"api/user-report", s.DeviceKey, map[string]any{
			"phone": phone.RandomNumber(), "testDate": time.Now().UTC().Format(time.DateOnly), "nonce": phone.NewNonce(),
		})
	}
}

// report prints what was found.
func report(o Options, compared []*endpoint) error {
	level := o.Level / float64(2*len(compared)) // Bonferroni's correction for so many tests
	fmt.Fprintf(o.Out, "%d real requests and %d of cover traffic at each endpoint; level %v over all, %.5f for each test\n\n", o.Rounds, o.Rounds, o.Level, level)
	fmt.Fprintf(o.Out, "%-12s %-10s %10s %10s %8s %8s\n", "endpoint", "what", "real p50", "chaff p50", "D", "p")
	distinguishable := false
	for _, e := range compared {
		if diff := e.headers(); diff != "" {
			distinguishable = true
			fmt.Fprintf(o.Out, "%-12s headers differ: %s\n", e.name, diff)
		}
		for _, m := range measures {
			real, chaff := valuesOf(e.real, m.of), valuesOf(e.chaff, m.of)
			d := distance(real, chaff)
			p := significance(d, len(real), len(chaff))
			verdict := ""
			if p < level {
				distinguishable, verdict = true, "  distinguishable"
			}
			fmt.Fprintf(o.Out, "%-12s %-10s %10.2f %10.2f %8.4f %8.4f%s\n", e.name, m.name, middle(real), middle(chaff), d, p, verdict)
		}
	}
	if distinguishable {
		return ErrDistinguishable
	}
	fmt.Fprintln(o.Out, "\nCover traffic cannot be told from real requests by this.")
	return nil
}

var measures = []struct {
	name string
	of   func(seen) float64
}{
	{"bytes", func(s seen) float64 { return float64(len(s.body)) }},
	{"ms", func(s seen) float64 { return float64(s.took) / float64(time.Millisecond) }},
}

func valuesOf(all []seen, of func(seen) float64) []float64 {
	values := make([]float64, len(all))
	for i, s := range all {
		values[i] = of(s)
	}
	return values
}

func middle(values []float64) float64 {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
