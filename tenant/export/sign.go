package export

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"

	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant"
)

// signers are those that sign a file, in the order of its signatures: the newest key
// is first (key server protocol §6.1).
type signers []exportfile.Signer

// signers are the tenant's export keys that are active now. A batch is signed by those
// that are when it is made, not when its window was closed: a key that was retired
// meanwhile was retired for a reason.
func (s *Service) signers(ctx context.Context, t *tenant.Tenant) (signers, error) {
	keys, err := s.keys.Signers(ctx, t.ID, signing.Export)
	if err != nil {
		return nil, fmt.Errorf("export key: %w", err)
	}
	list := make(signers, len(keys))
	for i, k := range keys {
		list[i] = exportfile.Signer{KeyID: k.KeyID, KeyVersion: k.Label, Key: k.Key}
	}
	return list, nil
}

var errNotECDSA = errors.New("export key is not an ECDSA key")

// verify reads a file as a phone would that has one of the keys, for each of them.
func (list signers) verify(body []byte) error {
	for _, k := range list {
		public, ok := k.Key.Public().(*ecdsa.PublicKey)
		if !ok {
			return errNotECDSA
		}
		if _, err := exportfile.Verify(body, k.KeyID, k.KeyVersion, public); err != nil {
			return err
		}
	}
	return nil
}
