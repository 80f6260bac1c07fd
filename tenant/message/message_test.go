package message_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/message/messagetest"
)

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	const phone, code = "+12065550100", "12345678"
	values := []any{
		message.Message{To: phone, Body: code},
		&message.Message{To: phone, Body: code},
		message.Code{Short: code},
	}
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&out, verb, v)
		}
		logger.Info("message", "value", v)
	}
	for _, canary := range []string{phone, code, "abcd1234efgh5678"} {
		if strings.Contains(out.String(), canary) {
			t.Errorf("output shows %q:\n%s", canary, out.String())
		}
	}
}

func TestNoneRefuses(t *testing.T) {
	t.Parallel()
	err := message.None{}.Send(t.Context(), &tenant.Tenant{}, message.Message{})
	if !errors.Is(err, message.ErrNoProvider) {
		t.Errorf("Send: %v, want ErrNoProvider", err)
	}
}

func TestInbox(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	inbox := message.NewInbox(func() time.Time { return now })
	north, south := &tenant.Tenant{ID: tenant.NewID()}, &tenant.Tenant{ID: tenant.NewID()}
	for i := range message.InboxSize + 1 {
		send(t, inbox, north, fmt.Sprint(i))
	}
	send(t, inbox, south, "other")

	list := inbox.List(north.ID)
	if got, want := len(list), message.InboxSize-1; got != want {
		t.Fatalf("inbox kept %d messages, want %d", got, want)
	}
	if got, want := list[0], (message.Received{At: now, To: "+12065550100", Body: fmt.Sprint(message.InboxSize)}); got != want {
		t.Errorf("newest message is %+v, want %+v", got, want)
	}
	if got := inbox.List(south.ID); len(got) != 1 || got[0].Body != "other" {
		t.Errorf("the other tenant's messages are %+v, want its own alone", got)
	}
	if got := inbox.List(tenant.NewID()); got != nil {
		t.Errorf("an unknown tenant's messages are %+v, want none", got)
	}
}

func TestInboxRefusesAfterDeadline(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	inbox := message.NewInbox(time.Now)
	id := tenant.NewID()
	err := inbox.Send(ctx, &tenant.Tenant{ID: id}, message.Message{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Send: %v, want context.Canceled", err)
	}
	if got := inbox.List(id); got != nil {
		t.Errorf("messages are %+v, want none", got)
	}
}

func TestFakeSender(t *testing.T) {
	t.Parallel()
	cases := []struct {
		fault     messagetest.Fault
		want      error
		delivered int
	}{
		{messagetest.None, nil, 1},
		{messagetest.Failed, message.ErrFailed, 0},
		{messagetest.QueueFull, message.ErrQueueFull, 0},
		{messagetest.SaidFailed, message.ErrFailed, 1},
		{messagetest.Silent, context.DeadlineExceeded, 0},
	}
	for _, c := range cases {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var s messagetest.Sender
		s.Break(c.fault)
		err := s.Send(ctx, &tenant.Tenant{}, message.Message{To: "+12065550100"})
		if !errors.Is(err, c.want) || len(s.Delivered()) != c.delivered || s.Attempts() != 1 {
			t.Errorf("fault %d: %v, %d delivered of %d; want %v, %d of 1",
				c.fault, err, len(s.Delivered()), s.Attempts(), c.want, c.delivered)
		}
	}
}

func send(t *testing.T, s message.Sender, to *tenant.Tenant, body string) {
	t.Helper()
	if err := s.Send(t.Context(), to, message.Message{To: "+12065550100", Body: body}); err != nil {
		t.Fatalf("Send: %v", err)
	}
}
