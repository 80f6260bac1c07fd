package mail_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"carillon/tenant/mail"
	"carillon/tenant/mail/mailtest"
)

func TestSMTP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		to     string
		refuse map[string]string
		want   error
	}{
		{"good", "robin@health.example", nil, nil},
		{"trouble after the letter was taken", "robin@health.example", map[string]string{"RSET": "421 closing", "QUIT": ""}, nil},
		{"unknown recipient", "robin@health.example", map[string]string{"RCPT": "550 no robin@health.example"}, mail.ErrRecipient},
		{"full mailbox", "robin@health.example", map[string]string{"RCPT": "452 full"}, mail.ErrUnavailable},
		{"sender refused", "robin@health.example", map[string]string{"MAIL": "550 not you"}, mail.ErrUnavailable},
		{"letter refused", "robin@health.example", map[string]string{"END": "554 spam"}, mail.ErrUnavailable},
		{"no answer to the letter", "robin@health.example", map[string]string{"END": ""}, mail.ErrUnavailable},
		{"no greeting", "robin@health.example", map[string]string{"EHLO": "", "HELO": ""}, mail.ErrUnavailable},
		{"no address", "robin", nil, mail.ErrRecipient},
		{"two addresses", "robin@health.example, sam@health.example", nil, mail.ErrRecipient},
		{"a second header", "robin@health.example\r\nBcc: sam@health.example", nil, mail.ErrRecipient},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.NewServer(t, c.refuse)
			s, err := mail.NewSMTP(mail.Server{Host: "127.0.0.1", Port: server.Port}, "Carillon <no-reply@platform.example>")
			if err != nil {
				t.Fatal(err)
			}
			err = s.Send(t.Context(), mail.Letter{To: c.to, Subject: "You are invited", Text: "Follow this link:\nhttps://platform.example/join\n"})
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "robin") {
				t.Errorf("the error names the recipient: %v", err)
			}
			letters := server.Taken()
			if c.want != nil {
				if len(letters) != 0 {
					t.Errorf("letters %q", letters)
				}
				return
			}
			for _, want := range []string{
				"RCPT TO:<robin@health.example>", "From: \"Carillon\" <no-reply@platform.example>", "To: <robin@health.example>",
				"Subject: You are invited", "Date: ", "Message-ID: ", "https://platform.example/join",
			} {
				if len(letters) != 1 || !strings.Contains(letters[0], want) {
					t.Errorf("letters %q lack %s", letters, want)
				}
			}
		})
	}
}

func TestServerThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]mail.Server{
		"no host":         {},
		"a URL":           {Host: "smtp://mail.example"},
		"port":            {Host: "mail.example", Port: 70000},
		"user alone":      {Host: "mail.example", User: "u"},
		"password alone":  {Host: "mail.example", Password: "p"},
		"host with space": {Host: "mail. example"},
	} {
		if _, err := mail.NewSMTP(s, "no-reply@platform.example"); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := mail.NewSMTP(mail.Server{Host: "mail.example"}, "nobody"); err == nil {
		t.Error("a sender that is no address is taken")
	}
}

func TestIsAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"robin@health.example":          true,
		"r.o+b@sub.health.example":      true,
		"":                              false,
		"robin":                         false,
		"Robin <robin@health.example>":  false,
		"<robin@health.example>":        false,
		"robin@health.example ":         false,
		"a@b.example,c@d.example":       false,
		"a@b.example\nBcc: c@d.example": false,
		strings.Repeat("r", 250) + "@health.example": false,
	} {
		if got := mail.IsAddress(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestBoxKeepsTheNewestLetters(t *testing.T) {
	t.Parallel()
	box := mail.NewBox(time.Now)
	for i := range mail.BoxSize + 1 {
		if err := box.Send(t.Context(), mail.Letter{To: "robin@health.example", Subject: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	list := box.List()
	if len(list) != mail.BoxSize || list[0].Subject != fmt.Sprint(mail.BoxSize) || list[len(list)-1].Subject != "1" {
		t.Errorf("%d letters, %s to %s", len(list), list[0].Subject, list[len(list)-1].Subject)
	}
	if err := box.Send(t.Context(), mail.Letter{To: "robin"}); !errors.Is(err, mail.ErrRecipient) {
		t.Errorf("no address: %v", err)
	}
}

func TestNoneFails(t *testing.T) {
	t.Parallel()
	if err := (mail.None{}).Send(t.Context(), mail.Letter{To: "robin@health.example"}); !errors.Is(err, mail.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
