package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
)

// A running issuer takes in a batch, issues its codes and sends its messages, once.
func TestBatchesAreWorkedOff(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		return setting.Change(t.Context(), tx, authz.Subject{Kind: authz.System}, map[string]string{
			"sms": "on", "batch-issue": "on", "require-date": "off",
		}, time.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	sms := &messagetest.Sender{}
	c := config(t, w, Issuer)
	c.Sender, c.NoLimits = sms, true
	s := open(t, c)
	ctx, stop := context.WithCancel(t.Context())
	world, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, world, nil) }()

	admin := w.Key(north, client.Admin)
	ask := func(method, path, body string) (answer map[string]any) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, "/t/north/api/codes/batches"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-ndjson")
		r.Header.Set("X-API-Key", admin)
		r.Header.Set("Idempotency-Key", "k")
		recorder := httptest.NewRecorder()
		s.Handler().ServeHTTP(recorder, r)
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || recorder.Code >= http.StatusBadRequest {
			t.Fatalf("%s: %d %s", path, recorder.Code, recorder.Body)
		}
		return answer
	}
	var rows strings.Builder
	const messages = 20
	for i := range messages {
		fmt.Fprintf(&rows, "{\"testType\":\"confirmed\"}\n{\"testType\":\"confirmed\",\"phone\":\"+12065550%03d\"}\n", i)
	}
	id := fmt.Sprint(ask(http.MethodPost, "", rows.String())["id"])
	for ask(http.MethodGet, "/"+id, "")["state"] != "done" || len(sms.Delivered()) < messages {
		if again := ask(http.MethodPost, "", rows.String()); again["id"] != id {
			t.Fatalf("the same again: %v", again)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if counts := fmt.Sprint(ask(http.MethodGet, "/"+id, "")["counts"]); !strings.Contains(counts, "issued:40") {
		t.Errorf("rows: %s", counts)
	}
	if sent := len(sms.Delivered()); sent != messages {
		t.Errorf("%d messages were sent", sent)
	}
}
