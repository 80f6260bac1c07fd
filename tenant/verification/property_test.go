package verification_test

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"carillon/tenant"
	"carillon/tenant/verification"
)

// codeModel is what must be true of one code, whatever happened to it.
type codeModel struct {
	owner            *tenant.Tenant
	id               string
	short, long      string
	shortEnds, ended time.Time // of the short code; of both
	claimed          bool
}

// tokenModel is the same for a token.
type tokenModel struct {
	owner *tenant.Tenant
	text  string
	ends  time.Time
	hmac  string // of its only use
	used  time.Time
}

// history is a sequence of requests at two tenants, and what they must lead to.
type history struct {
	*fixture
	codes  []*codeModel
	tokens []*tokenModel
}

// No sequence of requests claims a code twice, revives an expired one, finds another
// tenant's, or makes two certificates for different keys of one token.
func TestNoSequenceBreaksTheRules(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{fixture: f}
		rt.Repeat(map[string]func(*rapid.T){
			"issue":       h.issueOne,
			"verify":      h.verifyOne,
			"guess":       h.guess,
			"expire":      h.expireOne,
			"certificate": h.certifyOne,
			"wait":        h.wait,
			"clean":       h.clean,
		})
	})
}

func (h *history) tenants() []*tenant.Tenant { return []*tenant.Tenant{h.north, h.south} }

func (h *history) issueOne(rt *rapid.T) {
	to := rapid.SampledFrom(h.tenants()).Draw(rt, "tenant")
	to = with(to, func(s *tenant.Settings) { s.SMSTemplate = "[longcode]" })
	request := verification.IssueRequest{TestType: "confirmed"}
	if rapid.Bool().Draw(rt, "message") {
		request.Phone = phone
	}
	issued, err := h.issuer.Issue(rt.Context(), to, backEnd, request)
	if err != nil {
		rt.Fatalf("Issue: %v", explain(err))
	}
	c := &codeModel{owner: to, id: issued.ID.String(), short: issued.Code, shortEnds: issued.ExpiresAt, ended: issued.LongExpiresAt}
	if request.Phone != "" {
		sent := h.sms.Delivered()
		c.long = sent[len(sent)-1].Body
	}
	h.codes = append(h.codes, c)
}

func (h *history) code(rt *rapid.T) *codeModel {
	if len(h.codes) == 0 {
		rt.Skip("no code yet")
	}
	return rapid.SampledFrom(h.codes).Draw(rt, "code")
}

func (h *history) verifyOne(rt *rapid.T) {
	c := h.code(rt)
	at := rapid.SampledFrom(h.tenants()).Draw(rt, "at")
	text, ends := c.short, c.shortEnds
	if c.long != "" && rapid.Bool().Draw(rt, "long") {
		text, ends = c.long, c.ended
	}
	v, err := h.device.Verify(rt.Context(), at, verification.VerifyRequest{Code: text})
	switch {
	case at.ID != c.owner.ID:
		want(rt, "another tenant's code", err, verification.ErrCodeInvalid)
	case !h.world.Now().Before(ends):
		h.wantEnded(rt, err)
	case c.claimed:
		want(rt, "a claimed code", err, verification.ErrCodeInvalid)
	case err != nil:
		rt.Fatalf("a good code: %v", explain(err))
	default:
		c.claimed = true
		h.tokens = append(h.tokens, &tokenModel{owner: c.owner, text: v.Token, ends: h.world.Now().Truncate(time.Second).Add(c.owner.Settings.TokenLife)})
	}
}

// wantEnded takes either answer of an ended code: after the clean-up nobody knows
// that there was one.
func (h *history) wantEnded(rt *rapid.T, err error) {
	if !errors.Is(err, verification.ErrCodeExpired) && !errors.Is(err, verification.ErrCodeInvalid) {
		rt.Fatalf("an ended code: %v", err)
	}
}

func (h *history) guess(rt *rapid.T) {
	at := rapid.SampledFrom(h.tenants()).Draw(rt, "at")
	text := rapid.StringMatching(`[0-9]{8}|[a-z0-9]{16}|`).Draw(rt, "text")
	if slices.ContainsFunc(h.codes, func(c *codeModel) bool { return c.short == text || c.long == text }) {
		rt.Skip("that is a code")
	}
	_, err := h.device.Verify(rt.Context(), at, verification.VerifyRequest{Code: text})
	if err == nil {
		rt.Fatalf("a guess was right; codes of earlier histories are long")
	}
}

func (h *history) expireOne(rt *rapid.T) {
	c := h.code(rt)
	at := rapid.SampledFrom(h.tenants()).Draw(rt, "at")
	s, err := h.issuer.Expire(rt.Context(), at, backEnd, c.id)
	switch {
	case at.ID != c.owner.ID:
		want(rt, "another tenant's code", err, verification.ErrCodeNotFound)
	case errors.Is(err, verification.ErrCodeNotFound), errors.Is(err, verification.ErrAlreadyClaimed):
	case err != nil:
		rt.Fatalf("Expire: %v", explain(err))
	case s.ExpiresAt.After(h.world.Now()) || s.LongExpiresAt.After(h.world.Now()):
		rt.Fatal("an expired code has not ended")
	default:
		c.shortEnds, c.ended = s.ExpiresAt, s.LongExpiresAt
	}
}

func (h *history) certifyOne(rt *rapid.T) {
	if len(h.tokens) == 0 {
		rt.Skip("no token yet")
	}
	k := rapid.SampledFrom(h.tokens).Draw(rt, "token")
	at := rapid.SampledFrom(h.tenants()).Draw(rt, "at")
	sum := make([]byte, 32)
	_, _ = rand.Read(sum)
	text := base64.StdEncoding.EncodeToString(sum)
	if k.hmac != "" && rapid.Bool().Draw(rt, "again") {
		text = k.hmac
	}
	_, err := h.device.Certificate(rt.Context(), at, verification.CertificateRequest{Token: k.text, EKeyHMAC: text})
	now := h.world.Now()
	switch {
	case at.ID != k.owner.ID:
		want(rt, "another tenant's token", err, verification.ErrTokenInvalid)
	case !now.Before(k.ends):
		want(rt, "an ended token", err, verification.ErrTokenExpired)
	case k.hmac != "" && text != k.hmac:
		want(rt, "a spent token", err, verification.ErrTokenInvalid)
	case k.hmac != "" && !now.Before(k.used.Add(k.owner.Settings.CertificateLife)):
		want(rt, "a repeat too late", err, verification.ErrTokenInvalid)
	case err != nil:
		rt.Fatalf("a good token: %v", explain(err))
	case k.hmac == "":
		k.hmac, k.used = text, now.Truncate(time.Second)
	}
}

func (h *history) wait(rt *rapid.T) {
	h.world.Advance(time.Duration(rapid.IntRange(1, 26*60).Draw(rt, "minutes")) * time.Minute)
}

func (h *history) clean(rt *rapid.T) {
	for _, t := range h.tenants() {
		if err := verification.Cleanup(rt.Context(), h.world.Jobs, t, h.world.Now()); err != nil {
			rt.Fatal(err)
		}
	}
}

func want(rt *rapid.T, what string, err, kind error) {
	if !errors.Is(err, kind) {
		rt.Fatalf("%s: %v, want %v", what, err, kind)
	}
}
