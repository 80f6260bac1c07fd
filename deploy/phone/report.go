package phone

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"
)

const (
	nonceSize = 256
	dayForm   = "2006-01-02"
)

// Nonce is what ties a self-report to the phone that made it.
type Nonce string

// NewNonce makes one of random bytes.
func NewNonce() Nonce { return Nonce(base64.StdEncoding.EncodeToString(random(nonceSize))) }

// Report asks for a code for oneself (verification protocol §5.1). It comes by text
// message and is verified with the same nonce.
func (p *Phone) Report(ctx context.Context, number string, tested time.Time, nonce Nonce) error {
	var answer struct {
		Timestamp int64 `json:"expiresAtTimestamp"`
	}
	err := p.device("user-report", "api/user-report").post(ctx, map[string]any{
		"phone": number, "testDate": tested.UTC().Format(dayForm), "nonce": nonce, "padding": padding(),
	}, &answer)
	if err == nil && answer.Timestamp <= p.Now().Unix() {
		err = errors.New("user-report: the answer has no time in the future")
	}
	return err
}

// RandomNumber is a telephone number, in E.164 form, that nobody has: no North American
// one begins with 555 after the country code.
func RandomNumber() string {
	number := []byte("+1555")
	for _, b := range random(7) {
		number = append(number, '0'+b%10)
	}
	return string(number)
}

// Inbox is where a development server shows text messages instead of delivering them.
type Inbox struct {
	// URL answers with messages, the newest first, in JSON.
	URL  string
	HTTP *http.Client // nil is a client with a time limit of its own
}

var errNoMessage = errors.New("inbox: no message with a code for this number")

// A code is in a link, or stands for itself.
var (
	linkedCode = regexp.MustCompile(`[?&]c=([0-9a-z]{6,16})\b`)
	plainCode  = regexp.MustCompile(`\b([0-9]{6,12})\b`)
)

// codeIn reads the code in a message; empty if there is none.
func codeIn(body string) string {
	for _, form := range []*regexp.Regexp{linkedCode, plainCode} {
		if m := form.FindStringSubmatch(body); m != nil {
			return m[1]
		}
	}
	return ""
}

// Code reads the code in the newest message to a number, which is in E.164 form.
func (b Inbox) Code(ctx context.Context, number string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL, nil)
	if err != nil {
		return "", fmt.Errorf("inbox: %w", err)
	}
	response, err := client(b.HTTP).Do(request)
	if err != nil {
		return "", fmt.Errorf("inbox: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("inbox: status %d", response.StatusCode)
	}
	var messages []struct{ To, Body string }
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&messages); err != nil {
		return "", fmt.Errorf("inbox: %w", err)
	}
	for _, m := range messages {
		if m.To != number {
			continue
		}
		if code := codeIn(m.Body); code != "" {
			return code, nil
		}
	}
	return "", errNoMessage
}
