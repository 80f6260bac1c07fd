package export

import (
	"context"
	"fmt"

	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant"
)

// signers are the tenant's export keys that are active now, in the order of a file's
// signatures: the newest is first (key server protocol §6.1). A batch is signed by those
// that are when it is made, not when its window was closed: a key that was retired
// meanwhile was retired for a reason.
func (s *Service) signers(ctx context.Context, t *tenant.Tenant) ([]exportfile.Signer, error) {
	keys, err := s.keys.Signers(ctx, t.ID, signing.Export)
	if err != nil {
		return nil, fmt.Errorf("export key: %w", err)
	}
	list := make([]exportfile.Signer, len(keys))
	for i, k := range keys {
		list[i] = exportfile.Signer{KeyID: k.KeyID, KeyVersion: k.Label, Key: k.Key}
	}
	return list, nil
}
