// Package auditchain is the format of an audit log that shows when it was tampered
// with.
//
// Entries are numbered from 1 without gap, and each has a digest over its content and
// the digest of the one before: whoever changes, drops, adds or reorders an entry must
// make all later digests anew. A [Checkpoint] is a signed statement of how many entries
// there were at an instant, and of the digest of the last: that one cannot be made
// anew without the key. What was taken off the end shows against a checkpoint that was
// kept elsewhere.
//
// The database computes the same digests when it stores an entry: see migrations.
package auditchain

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Entry is one act, as it is chained.
type Entry struct {
	// No counts the tenant's entries, from 1.
	No int64
	// At is in whole microseconds.
	At time.Time
	// ActorKind, ActorID and ActorName say who acted; Action and Target what was done
	// to what; Detail is a JSON object, byte for byte as it was exported.
	ActorKind, ActorID, ActorName, Action, Target, Detail string
	// Request is the ID of the request in which it was done, and Because the rule that
	// allowed it. Either may be empty.
	Request, Because string
}

// Digest is a link of the chain.
type Digest [sha256.Size]byte

const entryDomain = "carillon audit entry 1"

// Digest chains the entry to the one before it in the tenant's log. Before the first
// one stand zeros.
func (e Entry) Digest(tenant [16]byte, previous Digest) Digest {
	content := make([]byte, 0, 512)
	content = append(content, entryDomain...)
	content = append(content, previous[:]...)
	content = append(content, tenant[:]...)
	content = binary.BigEndian.AppendUint64(content, uint64(e.No))
	content = binary.BigEndian.AppendUint64(content, uint64(e.At.UnixMicro()))
	for _, text := range []string{
		e.ActorKind, e.ActorID, e.ActorName, e.Action, e.Target, e.Detail, e.Request, e.Because,
	} {
		content = binary.BigEndian.AppendUint32(content, uint32(len(text)))
		content = append(content, text...)
	}
	return sha256.Sum256(content)
}
