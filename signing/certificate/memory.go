package certificate

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"sync"
)

// Memory knows certificates whose signatures are good, because they were made here or have
// been checked here. A phone publishes right after it was given its certificate, and tries
// again if the answer is lost; checking a signature takes longer than anything else that
// publishing does. What a memory says is about the signature alone: expiry, audience
// and keys that are retired meanwhile are checked all the same.
//
// It forgets the oldest and is safe for concurrent use. A nil one knows nothing.
type Memory struct {
	mu         sync.Mutex
	young, old map[fact]struct{} // guarded by mu
}

// fact is the SHA-256 digest of a public key and the certificate that it has signed.
type fact [sha256.Size]byte

// generation is how many facts are kept before the older half of all is forgotten:
// a megabyte, and certificates of a few seconds of the highest load.
const generation = 8192

// NewMemory returns a memory that knows nothing yet.
func NewMemory() *Memory { return &Memory{young: map[fact]struct{}{}} }

// Note remembers that the private half of this key has signed this certificate.
func (m *Memory) Note(public *ecdsa.PublicKey, token string) {
	f, ok := factOf(public, token)
	if m == nil || !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= generation {
		m.old, m.young = m.young, make(map[fact]struct{}, generation)
	}
	m.young[f] = struct{}{}
}

func (m *Memory) knows(public *ecdsa.PublicKey, token string) bool {
	f, ok := factOf(public, token)
	if m == nil || !ok {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, young := m.young[f]
	_, old := m.old[f]
	return young || old
}

func factOf(public *ecdsa.PublicKey, token string) (fact, bool) {
	point, err := public.Bytes() // of one length for each curve
	if err != nil {
		return fact{}, false
	}
	return sha256.Sum256(append(point, token...)), true
}
