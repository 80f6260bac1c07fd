package bench

import (
	"context"
	"encoding/base64"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/deploy/phone"
	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/key"
)

// certificateLife is longer than any slice.
const certificateLife = time.Hour

// certified makes patients whose uploads of so many keys are ready to be sent. Their
// certificates are made here, with the tenants' keys, as the server would make them.
func (s *stack) certified(ctx context.Context, n, keys int) (*harvest, error) {
	db, err := tenant.Open(ctx, tenant.Config{DSN: s.dsn("carillon_device")})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ring := key.NewRing(db, s.root)
	h := &harvest{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for range n {
		group.Go(func() error {
			p := s.patient()
			p.keys = (&phone.Phone{Now: time.Now}).NewKeys(fewKeys, false)
			for len(p.keys.TEKs) < keys { // up to three keys may begin at one time
				more := (&phone.Phone{Now: time.Now}).NewKeys(min(fewKeys, keys-len(p.keys.TEKs)), false)
				p.keys.TEKs = append(p.keys.TEKs, more.TEKs...)
			}
			if err := p.certify(ctx, ring); err != nil {
				return fmt.Errorf("certificate: %w", err)
			}
			h.put(p)
			return nil
		})
	}
	return h, group.Wait()
}

func (p *patient) certify(ctx context.Context, ring *key.Ring) error {
	signer, err := ring.Signer(ctx, p.tenant.id, signing.Certificate)
	if err != nil {
		return err
	}
	mac, err := certificate.MAC(p.keys.Secret, p.keys.TEKs)
	if err != nil {
		return err
	}
	now := time.Now()
	p.assigned, err = certificate.Sign(signer.Key, signer.KeyID, certificate.Claims{
		Issuer: p.tenant.issuer, Audience: audience, IssuedAt: now, NotBefore: now, Expires: now.Add(certificateLife),
		ReportType: certificate.Confirmed, TEKMAC: base64.StdEncoding.EncodeToString(mac),
		SymptomOnsetInterval: uint32(now.AddDate(0, 0, -2).Unix() / intervalSeconds),
	})
	if err != nil {
		return err
	}
	p.upload, err = p.body()
	return err
}
