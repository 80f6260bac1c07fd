package exposure

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"carillon/signing/certificate"
	"carillon/tenant"
)

// receipt is how an upload is known again when its phone, which lost the answer and
// with it the revision token, sends the same once more.
type receipt struct {
	digest [sha256.Size]byte
	// certified tells the certificate's HMAC from any other.
	certified [sha256.Size]byte
	// expires is when nobody can send the same again, because the certificate ends.
	expires time.Time
}

const (
	// receiptGrain cuts the times of receipts: they need not tell when a phone published.
	receiptGrain = time.Hour
	// believed is how far from now the times of a certificate may be to be of use. Those
	// of an outside server may be good for years, or not tell when they were made.
	believed = 24 * time.Hour
)

// receiptOf digests what the upload and its certificate say. The HMAC in the
// certificate covers every key with its numbers, and was made with a secret of the
// phone: whoever knows the keys, as everybody does after an export, does not know it.
func receiptOf(u Upload, c certificate.Claims, now time.Time) receipt {
	h := sha256.New()
	h.Write([]byte("publish\x00" + c.TEKMAC + "\x00" + string(c.ReportType) + "\x00"))
	var rest [9]byte
	binary.BigEndian.PutUint32(rest[:], uint32(u.SymptomOnsetInterval))
	binary.BigEndian.PutUint32(rest[4:], c.SymptomOnsetInterval)
	if u.Traveler {
		rest[8] = 1
	}
	h.Write(rest[:])
	expires := c.Expires
	if latest := now.Add(believed); expires.After(latest) {
		expires = latest
	}
	return receipt{
		digest:    [sha256.Size]byte(h.Sum(nil)),
		certified: sha256.Sum256([]byte(c.TEKMAC)),
		expires:   expires.UTC().Truncate(receiptGrain).Add(2 * receiptGrain),
	}
}

const repeatedSQL = `select exists (select from publish_receipt where digest = $1)`

// repeats reports whether this is an upload that was stored before, sent again without
// a token. Then there is nothing to do but to answer as if it were the first time. An
// upload that brought a new key is no repetition; its own receipt proves nothing.
func (r receipt) repeats(ctx context.Context, tx *tenant.Tx, found []known, done *outcome, token tokenState) (bool, error) {
	if len(found) == 0 || len(done.inserted) > 0 || token.given {
		return false, nil
	}
	var stored bool
	if err := tx.Get(ctx, &stored, repeatedSQL, r.digest[:]); err != nil {
		return false, fmt.Errorf("look for receipt: %w", err)
	}
	return stored, nil
}
