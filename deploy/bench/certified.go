package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/deploy/phone"
	"carillon/signing/certificate"
)

// preparing is how many phones get their certificates at once before uploads are measured.
const preparing = 16

// certified makes patients whose uploads of so many keys are ready to be sent, with
// certificates that they have got as phones do.
func (s *stack) certified(ctx context.Context, n, keys int) (*harvest, error) {
	h := &harvest{}
	var begun atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range preparing {
		group.Go(func() error {
			c := caller{address: s.address}
			defer c.close()
			for begun.Add(1) <= int64(n) && ctx.Err() == nil {
				p := s.patient()
				if err := p.prepare(&c, keys); err != nil { //nolint:contextcheck // a connection outlives its requests
					return fmt.Errorf("certificate: %w", err)
				}
				h.put(p)
			}
			return ctx.Err()
		})
	}
	return h, group.Wait()
}

// prepare takes a patient to an upload of so many keys.
func (p *patient) prepare(c *caller, keys int) (err error) {
	if err = issue(c, p); err != nil {
		return err
	}
	if err = verify(c, p); err != nil {
		return err
	}
	p.keys = (&phone.Phone{Now: time.Now}).NewKeys(min(fewKeys, keys), false)
	for len(p.keys.TEKs) < keys { // up to three keys may begin at one time
		more := (&phone.Phone{Now: time.Now}).NewKeys(min(fewKeys, keys-len(p.keys.TEKs)), false)
		p.keys.TEKs = append(p.keys.TEKs, more.TEKs...)
	}
	if p.mac, err = certificate.MAC(p.keys.Secret, p.keys.TEKs); err != nil {
		return err
	}
	if err = certify(c, p); err != nil {
		return err
	}
	p.upload, err = p.body()
	return err
}
