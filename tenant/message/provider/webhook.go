package provider

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"carillon/tenant/message"
)

// WebhookOptions are those of a tenant's own system (§5.3).
type WebhookOptions struct {
	URL string `json:"url"`
}

const (
	minWebhookSecret = 12
	webhookTimeout   = 10 * time.Second
)

type webhook struct {
	url    string
	secret []byte
	client *http.Client
}

func (n Networks) newWebhook(s Settings) (*webhook, error) {
	var o WebhookOptions
	if err := decode(s.Options, &o); err != nil {
		return nil, err
	}
	if len(s.Secret) < minWebhookSecret {
		return nil, fmt.Errorf("%w: a webhook's secret has at least %d characters", ErrSettings, minWebhookSecret)
	}
	u, err := n.web.ParseURL(o.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: url: %w", ErrSettings, err)
	}
	return &webhook{url: u.String(), secret: []byte(s.Secret), client: n.web.Client()}, nil
}

// webhookBody has the members of the answer to an issue request (§4.3).
type webhookBody struct {
	Padding                string `json:"padding"`
	UUID                   string `json:"uuid"`
	Code                   string `json:"code"`
	ExpiresAt              string `json:"expiresAt"`
	ExpiresAtTimestamp     int64  `json:"expiresAtTimestamp"`
	LongExpiresAt          string `json:"longExpiresAt"`
	LongExpiresAtTimestamp int64  `json:"longExpiresAtTimestamp"`
	GeneratedSMS           string `json:"generatedSMS"`
	Phone                  string `json:"phone"`
}

func (w *webhook) send(ctx context.Context, m message.Message, _ string) error {
	padding, err := webhookPadding()
	if err != nil {
		return failure(message.Unavailable, true)
	}
	body, err := json.Marshal(webhookBody{
		Padding: padding, UUID: m.Code.ID.String(), Code: m.Code.Short,
		ExpiresAt: m.Code.ExpiresAt.UTC().Format(time.RFC1123), ExpiresAtTimestamp: m.Code.ExpiresAt.Unix(),
		LongExpiresAt: m.Code.LongExpiresAt.UTC().Format(time.RFC1123), LongExpiresAtTimestamp: m.Code.LongExpiresAt.Unix(),
		GeneratedSMS: m.Body, Phone: m.To,
	})
	if err != nil {
		return failure(message.Rejected, true)
	}
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return failure(message.Rejected, true)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Signature", webhookSignature(w.secret, body))
	status, _, failed := exchange(ctx, w.client, request)
	switch {
	case failed != nil:
		return failed
	case status == http.StatusOK:
		return nil
	default:
		return statusFailure(status)
	}
}

// webhookSignature is lower-case hexadecimal over the exact bytes of the body.
func webhookSignature(secret, body []byte) string {
	h := hmac.New(sha512.New, secret)
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

const maxPadding = 1024 // bytes, before their encoding

// webhookPadding hides how long the texts are.
func webhookPadding() (string, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(maxPadding))
	if err != nil {
		return "", err
	}
	filling := make([]byte, n.Int64())
	rand.Read(filling)
	return base64.StdEncoding.EncodeToString(filling), nil
}
