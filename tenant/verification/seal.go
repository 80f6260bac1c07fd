package verification

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/token"
	"carillon/tenant"
	"carillon/tenant/key"
)

// sealer makes the token of one claim. All that could fail or take long, the key
// and the randomness, is there before the transaction begins.
type sealer struct {
	tenant  tenant.ID
	key     key.Secret
	id      [token.IDSize]byte
	expires time.Time
}

func (s *Service) newSealer(ctx context.Context, t *tenant.Tenant, now time.Time) (*sealer, error) {
	live, err := s.keys.Secrets(ctx, t.ID, signing.Token)
	if err != nil {
		return nil, fmt.Errorf("keys of tokens: %w", err)
	}
	sl := &sealer{tenant: t.ID, key: live[0], expires: now.Add(t.Settings.TokenLife)}
	if _, err := io.ReadFull(s.rand, sl.id[:]); err != nil {
		return nil, fmt.Errorf("draw token: %w", err)
	}
	return sl, nil
}

// digest is the token as the database knows it.
func (sl *sealer) digest() []byte {
	d := sha256.Sum256(sl.id[:])
	return d[:]
}

// seal puts a code's diagnosis into the token.
func (sl *sealer) seal(kind certificate.ReportType, symptom, test date) (string, error) {
	contents := token.Contents{ID: sl.id, ReportType: kind, Expires: sl.expires}
	var err error
	if contents.SymptomDate, err = symptom.midnight(); err != nil {
		return "", err
	}
	if contents.TestDate, err = test.midnight(); err != nil {
		return "", err
	}
	return token.Seal(sl.key.KeyID, sl.key.Bytes, sl.tenant.String(), contents)
}
