package adminui

import (
	"encoding/json"
	"fmt"
	"time"

	"carillon/tenant/message/delivery"
	"carillon/tenant/verification"
)

// progress is how a code and its message stand, in words: for the page on which a code
// was issued, which asks for it again and again, and for the one that looks a code up.
type progress struct {
	State  state  `json:"state"`
	Label  string `json:"label"`
	Advice string `json:"advice"`
	// Message and MessageAdvice are empty if the code has no message.
	Message       string `json:"message"`
	MessageAdvice string `json:"messageAdvice"`
	// Refusal is why a phone was last refused the code, and what to do; before any phone
	// was, what to think of if one says that the code is wrong.
	Refusal string `json:"refusal"`
	// Over says that the code will not change any more.
	Over bool `json:"over"`
}

func (s *Server) progressOf(p verification.Progress, now time.Time) progress {
	state := stateOf(p.Status, now)
	label, advice := s.words.state(state)
	shown := progress{State: state, Label: label, Advice: advice, Over: state != stateUnused, Refusal: s.refusal(p.Status, now)}
	if p.Message == nil {
		return shown
	}
	shown.Message = s.words.delivery(p.Message.State)
	if p.Message.State == delivery.Failed {
		shown.MessageAdvice = s.words.failure(p.Message.Class)
	}
	return shown
}

// refusal says why a phone was refused a code. Who enters a code that does not exist leaves
// no trace, so that of a code that nobody was refused this can only guess.
func (s *Server) refusal(c verification.Status, now time.Time) string {
	if c.Refused == nil {
		if stateOf(c, now) == stateUnused {
			return s.words.text("refusal.none")
		}
		return ""
	}
	at := s.words.moment(c.Refused.At, now).Text
	switch c.Refused.Cause {
	case verification.CauseExpired:
		return s.words.text("refusal.expired", "time", at)
	case verification.CauseUsed:
		return s.words.text("refusal.used", "time", at)
	case verification.CauseType:
		return s.words.text("refusal.type", "time", at)
	case verification.CauseNonce:
		return s.words.text("refusal.nonce", "time", at)
	}
	return ""
}

// showState tells scripts how a code stands.
func (s *Server) showState(v *visit) (answer, error) {
	p, err := s.config.Codes.Progress(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	if err != nil {
		return s.noSuchCode(v, err)
	}
	text, err := json.Marshal(s.progressOf(p, s.now(v)))
	if err != nil {
		return answer{}, fmt.Errorf("code's state: %w", err)
	}
	return answer{json: string(text)}, nil
}
