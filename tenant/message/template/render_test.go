package template_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"carillon/tenant/message"
	"carillon/tenant/message/template"
)

func TestRender(t *testing.T) {
	t.Parallel()
	vars := template.Vars{
		Code: "01234567", LongCode: "abcd1234efgh5678",
		Life: 15*time.Minute + 59*time.Second, LongLife: 24*time.Hour - time.Second,
		Region: "us-zz",
	}
	linked := vars
	linked.RedirectDomain = "en.express"
	cases := []struct {
		name, template string
		vars           template.Vars
		want           string
	}{
		{"each variable", "[code] [longcode] [expires] [longexpires] [region]", vars, "01234567 abcd1234efgh5678 15 23 US-ZZ"},
		{"a variable twice", "[code][code]", vars, "0123456701234567"},
		{"link without domain", "Go: [enslink]", vars, "Go: ens://v?r=US-ZZ&c=abcd1234efgh5678"},
		{"link with domain", "Go: [enslink]", linked, "Go: https://us-zz.en.express/v?c=abcd1234efgh5678"},
		{"unknown variables stay", "[Code] [name] [", vars, "[Code] [name] ["},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := template.Render(c.template, c.vars)
			if err != nil || got != c.want {
				t.Errorf("Render(%q) = %q, %v, want %q", c.template, got, err, c.want)
			}
		})
	}
}

// A value is never read as a variable that was substituted before it.
func TestRenderOrder(t *testing.T) {
	t.Parallel()
	got, err := template.Render("[region]|[code]|[longcode]", template.Vars{
		Region: "[code]", Code: "[enslink]", LongCode: "[code]",
	})
	if want := "[CODE]|[enslink]|[code]"; err != nil || got != want {
		t.Errorf("Render = %q, %v, want %q", got, err, want)
	}
}

func TestRenderLimits(t *testing.T) {
	t.Parallel()
	vars := template.Vars{Code: "12345678"}
	cases := []struct {
		name, template string
		want           error
	}{
		{"longest template", strings.Repeat("x", 800), nil},
		{"template too long", strings.Repeat("x", 801), message.ErrTemplate},
		{"template too long in bytes", strings.Repeat("é", 401), message.ErrTemplate},
		{"empty template", "", message.ErrTemplate},
		{"longest message", strings.Repeat("[code]", 59) + strings.Repeat("x", 918-59*8), nil},
		{"message too long", strings.Repeat("[code]", 59) + strings.Repeat("x", 919-59*8), message.ErrTemplate},
	}
	for _, c := range cases {
		if _, err := template.Render(c.template, vars); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
