//go:build !release

package dev

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/deploy/phone"
	"carillon/signing"
	"carillon/signing/certificate"
)

const (
	keysPerPhone = 14
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
		if _, err := upload(ctx, e, nil); err != nil {
			return fmt.Errorf("%s: %w", e.Slug, err)
		}
	}
	return marker.make()
}

// upload issues a code and takes a phone through verify, certificate and publish.
// Each step is told to done, if that is not nil.
func upload(ctx context.Context, e endpoint, done func(name string, began time.Time, err error)) ([]certificate.TEK, error) {
	if done == nil {
		done = func(string, time.Time, error) {}
	}
	p := e.phone()
	keys := p.NewKeys(keysPerPhone, true)
	var code phone.Code
	var diagnosis phone.Diagnosis
	var cert string
	for _, st := range []struct {
		name string
		do   func() error
	}{
		{"issue a code", func() (err error) {
			code, err = e.issuerClient().Issue(ctx, "confirmed", time.Now().Add(-onsetAge))
			return err
		}},
		{"verify: code to token", func() (err error) { diagnosis, err = p.Verify(ctx, code.Code); return err }},
		{"the code is claimed", func() error { return wantClaimed(ctx, e, code) }},
		{"certificate", func() (err error) { cert, err = p.Certificate(ctx, diagnosis.Token, keys); return err }},
		{fmt.Sprintf("publish %d keys", keysPerPhone), func() error { return wantInserted(ctx, p, keys, cert) }},
	} {
		began := time.Now()
		err := st.do()
		done(st.name, began, err)
		if err != nil {
			return nil, err
		}
	}
	return keys.TEKs, nil
}

func wantClaimed(ctx context.Context, e endpoint, code phone.Code) error {
	claimed, err := e.issuerClient().Claimed(ctx, code.UUID)
	if err == nil && !claimed {
		err = errors.New("the code's status does not say that it was claimed")
	}
	return err
}

func wantInserted(ctx context.Context, p *phone.Phone, keys phone.Keys, cert string) error {
	answer, err := p.Publish(ctx, keys, cert, "")
	switch {
	case err != nil:
		return err
	case answer.Inserted != keysPerPhone:
		return fmt.Errorf("%d of %d keys were inserted", answer.Inserted, keysPerPhone)
	case answer.RevisionToken == "":
		return errors.New("the answer has no revision token")
	}
	return nil
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

func (c *checker) note(e endpoint, name string, began time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, step{department: e.Slug, name: name, took: time.Since(began), err: err})
}

// department is one phone's upload and another phone's download.
func (c *checker) department(ctx context.Context, i int, e endpoint) {
	keys, err := upload(ctx, e, func(name string, began time.Time, err error) { c.note(e, name, began, err) })
	if err != nil {
		return // noted
	}
	c.keys[i] = keys
	began := time.Now()
	err = c.download(ctx, e, keys)
	c.note(e, "another phone finds the keys, signature valid", began, err)
}

func (c *checker) download(ctx context.Context, e endpoint, keys []certificate.TEK) error {
	const slack = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, 3*c.stack.options.ExportPeriod+slack)
	defer cancel()
	trust, err := e.trust()
	if err != nil {
		return err
	}
	files, err := e.phone().AwaitKeys(ctx, trust, keys, 200*time.Millisecond)
	if err != nil {
		return err
	}
	if _, most := phone.Contains(files, keys); most > 1 {
		return fmt.Errorf("a key is in %d files", most)
	}
	return nil
}

// apart tries a department's credentials and keys at every other one.
func (c *checker) apart(ctx context.Context, e endpoint, i int, all endpoints) {
	for j, other := range all.Tenants {
		if i == j {
			continue
		}
		began := time.Now()
		c.note(e, "API keys are unknown at "+other.Slug, began, crossedKeys(ctx, e, other))
		began = time.Now()
		c.note(e, "keys are in no file of "+other.Slug, began, c.crossedFiles(ctx, c.keys[i], other))
	}
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

func (c *checker) crossedFiles(ctx context.Context, keys []certificate.TEK, other endpoint) error {
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
