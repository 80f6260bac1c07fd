package document

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// AckCode is what a sender of HL7 messages is told (table 0008).
type AckCode string

// The codes.
const (
	Accepted AckCode = "AA" // the document was taken in, as a whole
	Failed   AckCode = "AE" // it was not, for reasons that may pass: send it again
	Rejected AckCode = "AR" // it was not, and never will be as it is
)

// Ack answers an HL7 document.
type Ack struct {
	Code AckCode
	// Refusal is why, unless accepted; of it only a [Problem]'s own words are sent.
	Refusal error
	// ID begins the control IDs of the answer.
	ID string
	At time.Time
}

// Text writes the answer: one ACK^R01 for each message, in its own encoding
// characters and addressed to its sender; a batch of them for more than one message.
// A document without a readable message gets one that refers to none.
func (a Ack) Text(messages []Header) string {
	if len(messages) == 0 {
		messages = []Header{{Separator: "|", Encoding: `^~\&`}}
	}
	var out strings.Builder
	for i, h := range messages {
		a.write(&out, h, i+1)
	}
	if len(messages) == 1 {
		return out.String()
	}
	f, first := messages[0].Separator, messages[0]
	return "BHS" + f + first.Encoding + "\r" + out.String() + fmt.Sprintf("BTS%s%d\r", f, len(messages))
}

const (
	ackTime    = "20060102150405-0700"
	ackVersion = "2.5.1"
)

func (a Ack) write(out *strings.Builder, h Header, number int) {
	f := h.Separator
	component := h.Encoding[:1]
	processing, version := h.ProcessingID, h.Version
	if processing == "" {
		processing = "P"
	}
	if version == "" {
		version = ackVersion
	}
	line := func(fields ...string) { out.WriteString(strings.Join(fields, f) + "\r") }
	line("MSH", h.Encoding, h.ReceivingApplication, h.ReceivingFac, h.Application, h.Facility, a.At.Format(ackTime), "",
		"ACK"+component+"R01"+component+"ACK", fmt.Sprintf("%s-%d", a.ID, number), processing, version)
	line("MSA", string(a.Code), h.ControlID)
	if a.Code == Accepted {
		return
	}
	code, name := a.errorCode()
	line("ERR", "", "", code+component+name+component+"HL70357", "E", "", "", "", h.escape(a.words()))
}

// errorCode is that of table 0357.
func (a Ack) errorCode() (code, name string) {
	switch {
	case errors.Is(a.Refusal, ErrUnsupported):
		return "200", "Unsupported message type"
	case errors.Is(a.Refusal, ErrMalformed):
		return "100", "Segment sequence error"
	case errors.Is(a.Refusal, ErrEncoding):
		return "102", "Data type error"
	}
	return "207", "Application internal error"
}

func (a Ack) words() string {
	var p *Problem
	if errors.As(a.Refusal, &p) {
		return p.Text
	}
	return "try again later"
}

// escape writes a text in a message's own encoding characters.
func (h Header) escape(text string) string {
	by := encoding{field: h.Separator[0], component: h.Encoding[0], repetition: h.Encoding[1], escape: h.Encoding[2], subcomponent: h.Encoding[3]}
	e := string(by.escape)
	return strings.NewReplacer(
		e, e+"E"+e,
		string(by.field), e+"F"+e,
		string(by.component), e+"S"+e,
		string(by.repetition), e+"R"+e,
		string(by.subcomponent), e+"T"+e,
	).Replace(text)
}
