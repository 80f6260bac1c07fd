package message_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"carillon/tenant/message"
)

func TestParsePhone(t *testing.T) {
	t.Parallel()
	cases := []struct{ text, country, want string }{
		{"+18558361987", "US", "+18558361987"},
		{"(206) 555-0100", "US", "+12065550100"},
		{"206.555.0100", "US", "+12065550100"},
		{"+44 20 7946 0018", "US", "+442079460018"},
		{"020 7946 0018", "GB", "+442079460018"},
		{" 206 555 0100 ", "US", "+12065550100"},
	}
	for _, c := range cases {
		got, err := message.ParsePhone(c.text, c.country)
		if err != nil || got != c.want {
			t.Errorf("ParsePhone(%q, %s) = %q, %v, want %q", c.text, c.country, got, err, c.want)
		}
	}
}

func TestParsePhoneRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct{ text, country string }{
		{"", "US"},
		{"1", "US"},
		{"call me", "US"},
		{"206 555 0100", "ZZ"},
		{"+999 206 555 0100", "US"},
		{strings.Repeat("2", 251), "US"},
	}
	for _, c := range cases {
		got, err := message.ParsePhone(c.text, c.country)
		if !errors.Is(err, message.ErrPhone) || got != "" {
			t.Errorf("ParsePhone(%q, %s) = %q, %v, want ErrPhone", c.text, c.country, got, err)
			continue
		}
		if len(c.text) > 3 && strings.Contains(err.Error(), c.text) {
			t.Errorf("ParsePhone(%q): error repeats the number: %v", c.text, err)
		}
	}
}

func FuzzParsePhone(f *testing.F) {
	for _, seed := range []string{"+18558361987", "(206) 555-0100 ext. 7", "1-800-FLOWERS", "tel:+1-206-555-0100", "1߀", ""} {
		f.Add(seed)
	}
	e164 := regexp.MustCompile(`^\+[1-9][0-9]{1,19}$`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := message.ParsePhone(text, "US")
		if err == nil && !e164.MatchString(got) {
			t.Errorf("ParsePhone(%q) = %q, which is not E.164", text, got)
		}
	})
}
