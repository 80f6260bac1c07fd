package provider

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the provider's signature is an HMAC over SHA-1
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/message/delivery"
)

// Receipt is a provider's request about a message, as it came in.
type Receipt struct {
	// Query is the URL's, without the question mark, byte for byte.
	Query string
	Form  url.Values
	// Signature is the header X-Twilio-Signature.
	Signature string
}

// ErrReceipt means that a receipt is not signed by a provider of the tenant.
var ErrReceipt = errors.New("receipt is not signed by a provider of this tenant")

// Status takes in what became of a message. [ErrReceipt] if the signature is wrong;
// what is signed and says nothing of interest is no error.
func (r *Router) Status(ctx context.Context, t *tenant.Tenant, in Receipt) error {
	if err := r.verify(ctx, t, StatusPath, in); err != nil {
		return err
	}
	query, err := url.ParseQuery(in.Query)
	if err != nil {
		return ErrReceipt
	}
	state, class := receiptState(in.Form)
	if state == "" {
		return nil
	}
	reference := delivery.Reference(query.Get(referenceParameter))
	return delivery.Receive(ctx, r.c.DB, t.ID, reference, state, class, r.c.Now())
}

// receiptState is what a receipt says; an empty state is nothing new.
func receiptState(form url.Values) (delivery.State, message.Class) {
	switch form.Get("MessageStatus") {
	case "sent":
		return delivery.Sent, ""
	case "delivered", "read":
		return delivery.Delivered, ""
	case "failed", "undelivered", "canceled":
		code, err := strconv.Atoi(form.Get("ErrorCode"))
		if err != nil {
			return delivery.Failed, message.Other
		}
		return delivery.Failed, twilioClass(code)
	default:
		return "", ""
	}
}

var errorCodeForm = regexp.MustCompile(`^[0-9]{1,6}$`)

// Error counts an error that the provider reports (§7.2). [ErrReceipt] if the
// signature is wrong; what is not about an error is no error.
func (r *Router) Error(ctx context.Context, t *tenant.Tenant, in Receipt) error {
	if err := r.verify(ctx, t, ErrorPath, in); err != nil {
		return err
	}
	if !strings.EqualFold(in.Form.Get("Level"), "error") || in.Form.Get("PayloadType") != "application/json" {
		return nil
	}
	var payload struct {
		Code json.RawMessage `json:"error_code"` // a number or a text
	}
	if err := json.Unmarshal([]byte(in.Form.Get("Payload")), &payload); err != nil {
		return nil //nolint:nilerr // signed, and not for us
	}
	code := strings.Trim(string(payload.Code), `"`)
	if !errorCodeForm.MatchString(code) {
		return nil
	}
	return delivery.Count(ctx, r.c.DB, t.ID, code, r.c.Now())
}

// verify accepts what an account of the tenant, or the platform's, has signed.
func (r *Router) verify(ctx context.Context, t *tenant.Tenant, path string, in Receipt) error {
	lines, err := r.linesOf(ctx, t.ID)
	if err != nil {
		return err
	}
	given, err := base64.StdEncoding.DecodeString(in.Signature)
	if err != nil || r.c.BaseURL == "" {
		return ErrReceipt
	}
	signed := r.url(t, path)
	if in.Query != "" {
		signed += "?" + in.Query
	}
	for _, l := range lines {
		c, ok := l.carrier.(*twilio)
		if ok && in.Form.Get("AccountSid") == c.options.Account && hmac.Equal(given, twilioSignature(c.token, signed, in.Form)) {
			return nil
		}
	}
	return ErrReceipt
}

// twilioSignature is over the URL and each field's name and values, in order.
func twilioSignature(token, target string, form url.Values) []byte {
	h := hmac.New(sha1.New, []byte(token))
	h.Write([]byte(target))
	names := make([]string, 0, len(form))
	for name := range form {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		values := slices.Sorted(slices.Values(form[name]))
		for _, v := range slices.Compact(values) {
			h.Write([]byte(name + v))
		}
	}
	return h.Sum(nil)
}
