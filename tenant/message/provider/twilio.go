package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"carillon/tenant/message"
)

// TwilioOptions are those of a service with Twilio's interface (§7.2).
type TwilioOptions struct {
	// Account is the account's SID.
	Account string `json:"account"`
	// From is who the message is from: a number, a short code, or the ID of a messaging
	// service (MG…).
	From string `json:"from"`
	// ReportFrom is the same for self-reports; empty is From.
	ReportFrom string `json:"reportFrom,omitempty"`
	// API is another server than Twilio's own that speaks like it.
	API string `json:"api,omitempty"`
}

const (
	twilioAPI     = "https://api.twilio.com"
	twilioTimeout = 5 * time.Second
)

var (
	accountForm = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
	senderForm  = regexp.MustCompile(`^(\+[0-9]{1,18}|[0-9]{1,6}|MG[0-9A-Za-z]{32})$`)
)

type twilio struct {
	options  TwilioOptions
	token    string
	endpoint string
	client   *http.Client
}

func (n Networks) newTwilio(s Settings) (*twilio, error) {
	t := &twilio{token: s.Secret, client: n.web.Client()}
	if err := decode(s.Options, &t.options); err != nil {
		return nil, err
	}
	o := t.options
	switch {
	case !accountForm.MatchString(o.Account) || t.token == "":
		return nil, fmt.Errorf("%w: account ID and token come together", ErrSettings)
	case !senderForm.MatchString(o.From), o.ReportFrom != "" && !senderForm.MatchString(o.ReportFrom):
		return nil, fmt.Errorf("%w: a sender is + and digits, a code of up to 6 digits, or MG and 32 characters", ErrSettings)
	case o.API == "":
		o.API = twilioAPI
	}
	api, err := n.web.ParseURL(o.API)
	if err != nil {
		return nil, fmt.Errorf("%w: api: %w", ErrSettings, err)
	}
	t.endpoint = api.JoinPath("2010-04-01", "Accounts", o.Account, "Messages.json").String()
	return t, nil
}

func (t *twilio) send(ctx context.Context, m message.Message, callback string) error {
	form := url.Values{"To": {m.To}, "Body": {m.Body}}
	from := t.options.From
	if m.Purpose == message.UserReport && t.options.ReportFrom != "" {
		from = t.options.ReportFrom
	}
	if strings.HasPrefix(from, "MG") {
		form.Set("MessagingServiceSid", from)
	} else {
		form.Set("From", from)
	}
	if callback != "" {
		form.Set("StatusCallback", callback)
	}
	ctx, cancel := context.WithTimeout(ctx, twilioTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return failure(message.Rejected, true)
	}
	request.SetBasicAuth(t.options.Account, t.token)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, failed := exchange(ctx, t.client, request)
	if failed != nil {
		return failed
	}
	return twilioAnswer(status, body)
}

// twilioAnswer reads an answer: nil if the message was taken.
func twilioAnswer(status int, body []byte) error {
	var answer struct {
		Status    string `json:"status"`
		Code      int    `json:"code"`       // of a refusal
		ErrorCode int    `json:"error_code"` // of a message that failed at once
	}
	_ = json.Unmarshal(body, &answer) // an answer that cannot be read has its status
	switch {
	case status/100 == 2 && (answer.Status == "failed" || answer.Status == "undelivered"):
		return twilioFailure(answer.ErrorCode)
	case status/100 == 2:
		return nil
	case status/100 == 4 && answer.Code > 0 && status != http.StatusTooManyRequests:
		return twilioFailure(answer.Code)
	default:
		return statusFailure(status)
	}
}

func twilioFailure(code int) *message.Failure {
	f := failure(twilioClass(code), true)
	if code > 0 && code < 1_000_000 {
		f.Code = strconv.Itoa(code)
	}
	return f
}

// twilioClass sorts Twilio's error numbers, of refusals (2xxxx) and of receipts (3xxxx).
func twilioClass(code int) message.Class {
	switch code {
	case 21211, 21217, 21401, 30005:
		return message.Invalid
	case 21614, 30006:
		return message.Landline
	case 21610, 30004:
		return message.OptedOut
	case 21214, 21612, 30003:
		return message.Unreachable
	case 30007, 30032, 30033, 30034, 30035:
		return message.Filtered
	case 21215, 21408:
		return message.Region
	case 20429, 21611, 30001, 30022, 30023, 30027:
		return message.QueueFull
	case 20001, 20003, 20005, 20404, 21212, 21603, 21606, 21659, 21660, 21703, 30002:
		return message.Rejected
	default:
		return message.Other
	}
}
