package provider

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"carillon/tenant/message"
)

// maxAnswer bounds what is read of a server's answer.
const maxAnswer = 64 << 10

// exchange sends a request and reads the answer. If there is none, it is certain that
// the message was not sent only if the request's head was never written.
func exchange(ctx context.Context, client *http.Client, request *http.Request) (status int, body []byte, failed *message.Failure) {
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaderField: func(string, []string) { written.Store(true) },
		WroteHeaders:     func() { written.Store(true) },
	})
	response, err := client.Do(request.WithContext(ctx))
	if err != nil {
		if written.Load() {
			return 0, nil, failure(message.Uncertain, false)
		}
		return 0, nil, failure(message.Unavailable, true)
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		body = nil // the status counts
	}
	return response.StatusCode, body, nil
}
