package adminui

import (
	"carillon/signing"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
)

func (c *catalogue) keyName(p signing.Purpose) string {
	switch p {
	case signing.Certificate:
		return c.text("keys.name.certificate")
	case signing.Export:
		return c.text("keys.name.export")
	case signing.SMS:
		return c.text("keys.name.sms")
	case signing.Token:
		return c.text("keys.name.token")
	case signing.Revision:
		return c.text("keys.name.revision")
	case signing.CodeMAC:
		return c.text("keys.name.code_mac")
	case signing.PhoneMAC:
		return c.text("keys.name.phone_mac")
	case signing.Audit:
		return c.text("keys.name.audit")
	case signing.Message, signing.Provider, signing.Batch, signing.Archive, signing.Rehearsal, signing.Erasure:
	}
	return string(p)
}

func (c *catalogue) keyUse(p signing.Purpose) string {
	switch p {
	case signing.Certificate:
		return c.text("keys.use.certificate")
	case signing.Export:
		return c.text("keys.use.export")
	case signing.SMS:
		return c.text("keys.use.sms")
	case signing.Token:
		return c.text("keys.use.token")
	case signing.Revision:
		return c.text("keys.use.revision")
	case signing.CodeMAC:
		return c.text("keys.use.code_mac")
	case signing.PhoneMAC:
		return c.text("keys.use.phone_mac")
	case signing.Audit:
		return c.text("keys.use.audit")
	case signing.Message, signing.Provider, signing.Batch, signing.Archive, signing.Rehearsal, signing.Erasure:
	}
	return string(p)
}

func (c *catalogue) keyState(s key.State) string {
	switch s {
	case key.Next:
		return c.text("keys.state.next")
	case key.Active:
		return c.text("keys.state.active")
	case key.VerifyOnly:
		return c.text("keys.state.verify")
	case key.Destroyed:
		return c.text("keys.state.destroyed")
	}
	return string(s)
}

func (c *catalogue) rotationStep(s custody.Step) string {
	switch s {
	case custody.Requested:
		return c.text("keys.step.requested")
	case custody.Made:
		return c.text("keys.step.made")
	case custody.Activating:
		return c.text("keys.step.activating")
	case custody.InUse:
		return c.text("keys.step.active")
	case custody.Retiring:
		return c.text("keys.step.retiring")
	case custody.Done:
		return c.text("keys.step.done")
	case custody.Cancelled:
		return c.text("keys.step.cancelled")
	}
	return string(s)
}

func (c *catalogue) checkName(n custody.CheckName) string {
	switch n {
	case custody.Tested:
		return c.text("keys.check.tested")
	case custody.Room:
		return c.text("keys.check.room")
	case custody.HandedOver:
		return c.text("keys.check.handed")
	case custody.ByApple:
		return c.text("keys.check.apple")
	case custody.ByGoogle:
		return c.text("keys.check.google")
	case custody.Rehearsed:
		return c.text("keys.check.rehearsed")
	}
	return string(n)
}

// urgencyHint says what waiting is for.
func (c *catalogue) urgencyHint(p signing.Purpose) string {
	if p == signing.Certificate {
		return c.text("keys.urgency.now.certificate")
	}
	return c.text("keys.urgency.now.hint")
}

// alarm says what is wrong, and what to do.
func (s *Server) alarm(a custody.Alarm) string {
	name := s.words.keyName(a.Purpose)
	switch a.Kind {
	case custody.Late:
		return s.words.text("keys.alarm.late", "key", name, "time", s.span(s.config.Now().Sub(a.Since)))
	case custody.Old:
		return s.words.text("keys.alarm.old", "key", name)
	case custody.Waiting:
		return s.words.text("keys.alarm.waiting", "key", name)
	case custody.Failed:
		return s.words.text("keys.alarm.failed", "key", name)
	case custody.Missing:
		return s.words.text("keys.alarm.missing", "key", name)
	}
	return string(a.Kind)
}
