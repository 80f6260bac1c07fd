package api

import (
	"crypto/rand"
	"encoding/base64"
	"math/big"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"carillon/tenant"
)

// Cover traffic (verification protocol §10, key server protocol §8): phones send
// requests that mean nothing, so that an observer cannot tell who has tested
// positive. They are answered with the headers, sizes and delays of real answers,
// without touching anything.

// sample is one real answer, as an observer sees it.
type sample struct {
	size int
	took time.Duration
}

// profile remembers the last real answers of one class. Cover answers are drawn from
// them, so their sizes and delays are spread as real ones are.
type profile struct {
	mu      sync.Mutex
	samples []sample // a ring
	next    int
}

const (
	profileSize = 100
	maxDelay    = time.Second
)

// builtIn stands in until there was a real answer.
var builtIn = sample{size: 2200, took: 15 * time.Millisecond}

func newProfiles() map[string]*profile {
	return map[string]*profile{classVerify: {}, classCertificate: {}, classPublish: {}}
}

// record takes in a real answer that ended well.
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

// draw returns one of the remembered answers, each as likely as the others.
func (p *profile) draw() sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.samples) == 0 {
		return sample{size: builtIn.size + 4*below(200), took: builtIn.took}
	}
	return p.samples[below(len(p.samples))]
}

func below(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return int(i.Int64())
}

// answerChaff answers cover traffic, and lets everything else through.
func (s *Server) answerChaff(class string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if c.GetHeader("X-Chaff") == "" {
			return
		}
		s.sendChaff(c, class, requestTenant(c).ID)
	}
}

// sendChaff answers after as long as a real answer took. A URL of no tenant is
// answered like any other.
func (s *Server) sendChaff(c *gin.Context, class string, id tenant.ID) {
	c.Abort()
	s.metrics.chaff.Inc()
	like := s.chaff[class].draw()
	if s.config.Limiter != nil { // real answers tell where the caller stands
		limitHeaders(c, s.config.Limiter.Peek(id, s.callerAddress(c.Request)))
	}
	wait := time.NewTimer(like.took - s.elapsed(c))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-c.Request.Context().Done():
		return
	}
	if class == classPublish {
		c.Header(versionHeader, version)
	}
	c.Data(http.StatusOK, contentJSON, chaffBody(like.size))
}

// chaffBody has just this size, if that is possible.
func chaffBody(size int) []byte {
	const before, after = `{"padding":"`, `"}`
	n := max(0, size-len(before)-len(after))
	filler := base64.StdEncoding.EncodeToString(random(n))[:n]
	return []byte(before + filler + after)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// padding is what answers of one kind carry so that their sizes tell nothing: R
// random bytes in base64, R uniform in 1024 to 2047 (§0.2).
func padding() string {
	const least, span = 1024, 1024
	return base64.StdEncoding.EncodeToString(random(least + below(span)))
}
