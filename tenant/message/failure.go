package message

import "errors"

// Class is why a message was not sent or did not arrive, as far as anybody knows.
type Class string

// The classes. The first ones are about the recipient, so that another
// provider would fare no better.
const (
	Invalid     Class = "invalid-number"
	Address     Class = "invalid-address"
	Landline    Class = "landline"
	OptedOut    Class = "opted-out"
	Unreachable Class = "unreachable"
	Filtered    Class = "filtered"
	Region      Class = "region"
	QueueFull   Class = "queue-full"
	Unavailable Class = "unavailable"
	Rejected    Class = "rejected"
	NoProvider  Class = "no-provider"
	Unsigned    Class = "unsigned"
	Expired     Class = "expired"
	Uncertain   Class = "uncertain"
	Other       Class = "other"
)

// Classes are all of them.
func Classes() []Class {
	return []Class{
		Invalid, Address, Landline, OptedOut, Unreachable, Filtered, Region, QueueFull,
		Unavailable, Rejected, NoProvider, Unsigned, Expired, Uncertain, Other,
	}
}

// Advice says in English what a person can do about a failure of this class.
func (c Class) Advice() string {
	switch c {
	case Invalid:
		return "The number does not exist. Ask for it again."
	case Address:
		return "The mail address does not exist. Ask for it again."
	case Landline:
		return "The number is a landline, which takes no text messages. Ask for a mobile number, or read the code out."
	case OptedOut:
		return "The recipient has blocked messages from this sender, usually by answering STOP. Read the code out."
	case Unreachable:
		return "The phone is switched off or out of reach. Try again later, or read the code out."
	case Filtered:
		return "The carrier took the message for spam. Check the template's wording and the sender's registration."
	case Region:
		return "The provider does not send to this country. Have it enabled in the provider's account."
	case QueueFull:
		return "The provider takes no more messages for now. Try again in some minutes."
	case Unavailable:
		return "The provider did not answer. Try again in some minutes."
	case Rejected:
		return "The provider refuses this account, its password or its sender. Check the provider's settings."
	case NoProvider:
		return "There is no message provider. Configure one."
	case Unsigned:
		return "The message could not be signed. Check the key for text messages."
	case Expired:
		return "The code was used or ended before its message could be sent."
	case Uncertain:
		return "Nobody knows whether the message was sent. Ask the recipient, then send it again."
	case Other:
		return "The provider gave a reason that is not known. Look it up in the provider's own log."
	default:
		return ""
	}
}

// aboutRecipient reports whether another provider, or another try, would fail alike.
func (c Class) aboutRecipient() bool {
	return c == Invalid || c == Address || c == Landline || c == OptedOut
}

// passing reports whether the same provider may succeed a little later.
func (c Class) passing() bool {
	return c == QueueFull || c == Unavailable || c == Unreachable
}

// Failure is a message that was not sent, as a [Sender] tells it. It is [ErrFailed],
// or [ErrQueueFull] or [ErrNoProvider] for the classes of these names. Its text has
// neither number nor body.
type Failure struct {
	Class Class
	// Certain means that the message surely was not sent: it may be sent again, by
	// this provider or another one.
	Certain bool
	// Code is the provider's own number for the error; empty if it gave none.
	Code string
}

// Error names the class and the provider's code.
func (f *Failure) Error() string {
	text := ErrFailed.Error() + ": " + string(f.Class)
	if f.Code != "" {
		text += " (" + f.Code + ")"
	}
	return text
}

// Is makes a failure one of the sentinels.
func (f *Failure) Is(target error) bool {
	switch f.Class {
	case QueueFull:
		return target == ErrQueueFull
	case NoProvider:
		return target == ErrNoProvider
	default:
		return target == ErrFailed
	}
}

// FailOver reports whether another provider should try the same message: it surely
// was not sent, and not because of the recipient.
func (f *Failure) FailOver() bool { return f.Certain && !f.Class.aboutRecipient() }

// Retry reports whether the same message should be tried again later.
func (f *Failure) Retry() bool { return f.Certain && f.Class.passing() }

// AsFailure classifies any error of a [Sender]. One that says nothing of itself is
// uncertain: the message may have been sent.
func AsFailure(err error) *Failure {
	var f *Failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, ErrQueueFull):
		return &Failure{Class: QueueFull, Certain: true}
	case errors.Is(err, ErrNoProvider):
		return &Failure{Class: NoProvider, Certain: true}
	default:
		return &Failure{Class: Uncertain}
	}
}
