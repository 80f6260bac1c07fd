//go:build !release

package dev

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/deploy/phone"
	"carillon/signing"
	"carillon/signing/certificate"
)

const (
	// seedPhones is how many simulated phones publish on the first start.
	seedPhones = 3
	onsetAge   = 2 * day
)

func (e endpoint) issuerClient() phone.Issuer {
	return phone.Issuer{Base: e.IssueBase, AdminKey: e.AdminKey}
}

func (e endpoint) phone() *phone.Phone {
	return &phone.Phone{
		Server: phone.Server{
			DeviceBase: e.DeviceBase, PublishURL: e.PublishURL, IndexURL: e.IndexURL, DownloadBase: e.DownloadBase,
			DeviceKey: e.DeviceKey, HealthAuthorityID: e.HealthAuthorityID,
		},
		Now: time.Now,
	}
}

func (e endpoint) trust() (phone.Trust, error) {
	public, err := signing.ParsePublicPEM([]byte(e.ExportPublicKeyPEM))
	return phone.Trust{KeyID: e.ExportKeyID, KeyVersion: e.ExportKeyVersion, Key: public}, err
}

// seed sends phones through departments whose index is still empty.
func (s stack) seed(ctx context.Context, e endpoints) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range e.Tenants {
		group.Go(func() error { return s.seedOne(ctx, t) })
	}
	return group.Wait()
}

func (s stack) seedOne(ctx context.Context, e endpoint) error {
	marker := newMarker(s.options.Data, e.Slug)
	if marker.exists() {
		return nil
	}
	for range seedPhones {
		if _, err := e.phone().Flow(ctx, phone.Plan{Issuer: e.issuerClient(), Today: true}); err != nil {
			return fmt.Errorf("%s: %w", e.Slug, err)
		}
	}
	return marker.make()
}

// check runs the whole flow for all departments at once, looks for what must not
// cross between them, and prints each step.
func (s stack) check(ctx context.Context, e endpoints) error {
	c := &checker{stack: s, keys: make([][]certificate.TEK, len(e.Tenants))}
	var group sync.WaitGroup
	for i, t := range e.Tenants {
		group.Go(func() { c.department(ctx, i, t) })
	}
	group.Wait()
	for i, t := range e.Tenants {
		c.timed(t, "links lead on with code and region", func() error { return linkLeads(ctx, s.base, t) })
		c.apart(ctx, t, i, e)
	}
	if !report(s.options.Out, c.steps) {
		return ErrCheckFailed
	}
	fmt.Fprintln(s.options.Out, "Every step did what it should.")
	return nil
}

type checker struct {
	stack stack
	keys  [][]certificate.TEK // of each department's phone, by its number

	mu    sync.Mutex
	steps []step // guarded by mu
}

func (c *checker) note(s step) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, s)
}

// department is one phone's upload, and another phone's download of its keys.
func (c *checker) department(ctx context.Context, i int, e endpoint) {
	const slack = 2 * time.Minute // also for a computer that has much else to do
	ctx, cancel := context.WithTimeout(ctx, 3*c.stack.options.ExportPeriod+slack)
	defer cancel()
	trust, err := e.trust()
	if err != nil {
		c.note(step{department: e.Slug, name: "read the public key", err: err})
		return
	}
	report, _ := e.phone().Flow(ctx, phone.Plan{ // each step's error is noted
		Issuer: e.issuerClient(), Today: true, Trust: &trust, Pause: 200 * time.Millisecond,
		Done: func(s phone.Step) { c.note(step{department: e.Slug, name: s.Name, took: s.Took, err: s.Err}) },
	})
	c.keys[i] = report.Keys.TEKs
	c.selfReport(ctx, e)
}

// selfReport is a phone that asks for its code itself.
func (c *checker) selfReport(ctx context.Context, e endpoint) {
	own := phone.Own{Number: phone.RandomNumber(), Inbox: phone.Inbox{URL: e.InboxURL}}
	_, _ = e.phone().Flow(ctx, phone.Plan{ // each step's error is noted
		Own: &own, Done: func(s phone.Step) {
			c.note(step{department: e.Slug, name: "self-report, " + s.Name, took: s.Took, err: s.Err})
		},
	})
}

// apart tries a department's credentials and keys at every other one.
func (c *checker) apart(ctx context.Context, e endpoint, i int, all endpoints) {
	for j, other := range all.Tenants {
		if i == j {
			continue
		}
		c.timed(e, "API keys are unknown at "+other.Slug, func() error { return crossedKeys(ctx, e, other) })
		c.timed(e, "keys are in no file of "+other.Slug, func() error { return crossedFiles(ctx, c.keys[i], other) })
	}
}

func (c *checker) timed(e endpoint, name string, do func() error) {
	began := time.Now()
	err := do()
	c.note(step{department: e.Slug, name: name, took: time.Since(began), err: err})
}

// linkLeads follows a link of a text message. Names below localhost are for browsers,
// so the request goes to the demo's address and names the host.
func linkLeads(ctx context.Context, base string, e endpoint) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v?c=demo", nil)
	if err != nil {
		return err
	}
	link, err := url.Parse(e.RedirectBase)
	if err != nil {
		return err
	}
	request.Host = link.Host
	request.Header.Set("User-Agent", "Android")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	to := response.Header.Get("Location")
	withCode := strings.HasPrefix(to, "intent://v?c=demo&r="+e.Region+"#Intent;")
	if picker := "ensonboarding://picker/" + strings.ToLower(e.Region); !withCode && to != picker {
		return fmt.Errorf("status %d, leads to %q", response.StatusCode, to)
	}
	return nil
}

func crossedKeys(ctx context.Context, mine, other endpoint) error {
	p := other.phone()
	p.Server.DeviceKey = mine.DeviceKey
	_, verifyErr := p.Verify(ctx, "12345678")
	i := other.issuerClient()
	i.AdminKey = mine.AdminKey
	_, issueErr := i.Issue(ctx, "confirmed", time.Now().Add(-onsetAge))
	for _, err := range []error{verifyErr, issueErr} {
		var refused *phone.Refusal
		if !errors.As(err, &refused) || refused.Status != 401 {
			return fmt.Errorf("wanted status 401, got: %w", err)
		}
	}
	return nil
}

func crossedFiles(ctx context.Context, keys []certificate.TEK, other endpoint) error {
	trust, err := other.trust()
	if err != nil {
		return err
	}
	files, err := other.phone().Download(ctx, trust, nil)
	if err != nil {
		return err
	}
	if found, _ := phone.Contains(files, keys); found > 0 {
		return fmt.Errorf("%d keys crossed", found)
	}
	return nil
}
