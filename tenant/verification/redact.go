package verification

import (
	"fmt"
	"io"
	"log/slog"
)

// Types that hold a code, a token or a telephone number in the clear show this
// instead of their fields, whatever the verb and wherever they are logged.
const hidden = "[verification]"

func hide(f fmt.State) { _, _ = io.WriteString(f, hidden) }

// Format hides the telephone number.
func (IssueRequest) Format(f fmt.State, _ rune) { hide(f) }

// LogValue hides the telephone number.
func (IssueRequest) LogValue() slog.Value { return slog.StringValue(hidden) }

// Format hides the code and the message.
func (Issued) Format(f fmt.State, _ rune) { hide(f) }

// LogValue hides the code and the message.
func (Issued) LogValue() slog.Value { return slog.StringValue(hidden) }

// Format hides the code and the message.
func (Result) Format(f fmt.State, _ rune) { hide(f) }

// LogValue hides the code and the message.
func (Result) LogValue() slog.Value { return slog.StringValue(hidden) }

// Format hides the code.
func (VerifyRequest) Format(f fmt.State, _ rune) { hide(f) }

// LogValue hides the code.
func (VerifyRequest) LogValue() slog.Value { return slog.StringValue(hidden) }

// Format hides the token.
func (Verified) Format(f fmt.State, _ rune) { hide(f) }

// LogValue hides the token.
func (Verified) LogValue() slog.Value { return slog.StringValue(hidden) }

// Format hides the token.
func (CertificateRequest) Format(f fmt.State, _ rune) { hide(f) }

// LogValue hides the token.
func (CertificateRequest) LogValue() slog.Value { return slog.StringValue(hidden) }
