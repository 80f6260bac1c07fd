package provider_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"carillon/tenant/mail/mailtest"
	"carillon/tenant/message/provider"
)

func TestSMTP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		refuse map[string]string
		want   string
	}{
		{"good", nil, "sent"},
		{"trouble after the letter was taken", map[string]string{"RSET": "421 closing", "QUIT": ""}, "sent"},
		{"unknown recipient", map[string]string{"RCPT": "550 no such user"}, "invalid-number true "},
		{"full mailbox", map[string]string{"RCPT": "452 full"}, "unavailable true "},
		{"sender refused", map[string]string{"MAIL": "550 not you"}, "rejected true "},
		{"letter refused", map[string]string{"END": "554 spam"}, "rejected true "},
		{"no answer to the letter", map[string]string{"END": ""}, "uncertain false "},
		{"no greeting", map[string]string{"EHLO": "", "HELO": ""}, "unavailable true "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			server := mailtest.NewServer(t, c.refuse)
			f.set(t, f.north, 1, provider.Settings{Kind: provider.SMTP, Options: json.RawMessage(fmt.Sprintf(
				`{"host":"127.0.0.1","port":%d,"from":"codes@health.example","to":"[digits]@sms.example"}`, server.Port))})
			m, err := f.send(t, f.north)
			if class(err) != c.want {
				t.Fatalf("%s, want %s", class(err), c.want)
			}
			if c.want != "sent" {
				return
			}
			letters := server.Taken()
			if len(letters) != 1 || !strings.HasPrefix(letters[0], "RCPT TO:<12065550100@sms.example>") || !strings.Contains(letters[0], m.Body) {
				t.Errorf("letters %q", letters)
			}
		})
	}
}
