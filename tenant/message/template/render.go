package template

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"carillon/tenant/message"
)

const hidden = "[template's values]"

// Vars is what a template may speak of. It prints and logs as a fixed word.
type Vars struct {
	Code     string        // [code]
	LongCode string        // [longcode]
	Life     time.Duration // [expires], in whole minutes
	LongLife time.Duration // [longexpires], in whole hours
	Region   string        // [region], written in upper case
	// RedirectDomain is the domain under which every region's links live, for
	// [enslink]; without one the link is of the ens: scheme.
	RedirectDomain string
}

// Format hides the codes from every verb of package fmt.
func (Vars) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the codes from package slog.
func (Vars) LogValue() slog.Value { return slog.StringValue(hidden) }

// Longest template and longest message, in bytes. The latter is six segments of
// 153 characters.
const (
	MaxTemplate = 800
	MaxBody     = 918
)

// Render writes a template's message (verification protocol §7.1). A template or
// a message that is empty or too long is [message.ErrTemplate].
func Render(template string, v Vars) (string, error) {
	if template == "" || len(template) > MaxTemplate {
		return "", fmt.Errorf("%w: template of %d bytes, want 1 to %d", message.ErrTemplate, len(template), MaxTemplate)
	}
	body := v.fill(template)
	if len(body) > MaxBody {
		return "", fmt.Errorf("%w: message of %d bytes, want at most %d", message.ErrTemplate, len(body), MaxBody)
	}
	return body, nil
}

func (v Vars) fill(body string) string {
	for _, s := range v.substitutions() {
		body = strings.ReplaceAll(body, s.variable, s.value)
	}
	return body
}

type substitution struct{ variable, value string }

// substitutions are in the order of the specification: a link holds variables
// that come later.
func (v Vars) substitutions() []substitution {
	return []substitution{
		{"[enslink]", v.link()},
		{"[region]", strings.ToUpper(v.Region)},
		{"[code]", v.Code},
		{"[expires]", strconv.FormatInt(int64(v.Life/time.Minute), 10)},
		{"[longcode]", v.LongCode},
		{"[longexpires]", strconv.FormatInt(int64(v.LongLife/time.Hour), 10)},
	}
}

func (v Vars) link() string {
	if v.RedirectDomain == "" {
		return "ens://v?r=[region]&c=[longcode]"
	}
	return "https://" + strings.ToLower(v.Region) + "." + v.RedirectDomain + "/v?c=[longcode]"
}
