package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// Cover traffic (verification protocol §10, key server protocol §8): phones send
// requests that mean nothing, so that an observer cannot tell who has tested
// positive. They are answered with the headers, sizes and delays of real successes,
// without touching anything.

// The classes of answers that cover traffic is drawn from.
const (
	classVerify      = "verify"
	classCertificate = "certificate"
	classPublish     = "publish"
	classReport      = "user-report"
)

// sample is one real answer, as an observer sees it.
type sample struct {
	size int // of the body, in bytes
	took time.Duration
}

// profile remembers the last real successes of one class. Cover answers are drawn
// from them, so their sizes and delays are spread as real ones are. It is safe for
// concurrent use.
type profile struct {
	// bare is the size of a success without its padding, for as long as there was
	// none.
	bare int

	mu      sync.Mutex
	samples []sample // a ring; guarded by mu
	next    int      // the oldest sample of a full ring; guarded by mu
}

const (
	profileSize = 100
	maxDelay    = time.Second
	// builtInDelay and twice that are the bounds of delays before the first success.
	builtInDelay = 15 * time.Millisecond
)

func newProfiles() map[string]*profile {
	return map[string]*profile{
		classVerify: {bare: 182}, classCertificate: {bare: 486}, classPublish: {bare: 1060},
		classReport: {bare: 89},
	}
}

// record takes in a real success.
func (p *profile) record(s sample) {
	s.took = min(s.took, maxDelay)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.samples) < profileSize {
		p.samples = append(p.samples, s)
		return
	}
	p.samples[p.next] = s
	p.next = (p.next + 1) % profileSize
}

// draw returns one of the remembered successes, each as likely as the others.
func (p *profile) draw() sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.samples) == 0 {
		return sample{
			size: p.bare + base64.StdEncoding.EncodedLen(len(padding())),
			took: builtInDelay + rand.N(builtInDelay), //nolint:gosec // as random says
		}
	}
	return p.samples[rand.IntN(len(p.samples))] //nolint:gosec // as random says
}

// answerChaff answers cover traffic, and lets everything else through. The answer
// comes as long after the body as a real one would; what is in the body does not
// matter.
func (s *Server) answerChaff(c *gin.Context) {
	if c.GetHeader("X-Chaff") == "" {
		return
	}
	c.Abort()
	v := of(c)
	s.metrics.chaff.Inc()
	_, _ = s.takeBody(c)
	like := s.chaff[v.route.chaff].draw()
	body := chaffBody(like.size)
	if !pause(c.Request.Context(), func() time.Duration { return like.took - s.spent(v) }) {
		return
	}
	if s.config.Limiter != nil { // real answers tell where the caller stands
		limitHeaders(c, s.config.Limiter.Peek(v.asker()))
	}
	if v.route.chaff == classPublish {
		c.Header(versionHeader, version)
	}
	send(c, http.StatusOK, contentJSON, body)
}

// coarse is how much of a wait is left to [nap].
const coarse = 2 * time.Millisecond

// pause waits until nothing is left, and reports false if the client has gone.
func pause(ctx context.Context, left func() time.Duration) bool {
	if rough := left() - coarse; rough > 0 {
		timer := time.NewTimer(rough)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	if rest := left(); rest > 0 {
		nap(rest)
	}
	return ctx.Err() == nil
}

// chaffBody has just this size, if that is possible.
func chaffBody(size int) []byte {
	const before, after = `{"padding":"`, `"}`
	n := max(0, size-len(before)-len(after))
	filler := base64.StdEncoding.EncodeToString(random(n))[:n]
	return []byte(before + filler + after)
}

// random makes bytes by the generator of the standard library that the system seeds: nobody
// can tell what comes next, nor padding from ciphertext. Nothing here is a key.
func random(n int) []byte {
	const word = 8
	b := make([]byte, 0, n+word)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, rand.Uint64()) //nolint:gosec // ChaCha8
	}
	return b[:n]
}

// padding is what answers of one kind carry so that their sizes tell nothing: R
// random bytes, in base64 when they are sent, R uniform in 1024 to 2047 (§0.2).
func padding() []byte {
	const least = 1024
	return paddingOf(least)
}

// paddingOf has at least so many bytes, and up to 1023 more.
func paddingOf(least int) []byte {
	const span = 1024
	return random(least + rand.IntN(span)) //nolint:gosec // as random says
}
