package provider_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/provider"
	"carillon/tenant/message/provider/providertest"
	"carillon/tenant/outbound"
)

func TestSecretsAreSealedAndNotListed(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, twilio(f.first))
	var row string
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select p::text || encode(sealed, 'escape') from message_provider p`).Scan(&row); err != nil {
		t.Fatal(err)
	}
	list, err := provider.List(t.Context(), f.world.Operator, f.north.ID)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if text := row + fmt.Sprintf("%+v %s %+v", list, list[0].Options, twilio(f.first)); strings.Contains(text, providertest.Token) {
		t.Errorf("shows the secret: %s", text)
	}
	if list, err := provider.List(t.Context(), f.world.Operator, f.south.ID); err != nil || len(list) != 0 {
		t.Errorf("the other tenant sees %v, %v", list, err)
	}
	// A row that was moved to another tenant opens nothing.
	if _, err := f.world.Database.Super().ExecContext(t.Context(), `update message_provider set tenant_id = $1`, f.south.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.send(t, f.south); class(err) != "unavailable true " || f.first.Asked() != 0 {
		t.Errorf("moved: %s", class(err))
	}
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	public, dev := provider.NewNetworks(false), provider.NewNetworks(true)
	good := func(kind provider.Kind, options, secret string) provider.Settings {
		return provider.Settings{Kind: kind, Options: json.RawMessage(options), Secret: secret}
	}
	const account = `"account":"AC1","from":"+15005550006"`
	for _, s := range []provider.Settings{
		good("twilio", `{`+account+`}`, "t"), good("twilio", `{"account":"AC1","from":"123456"}`, "t"),
		good("twilio", `{`+account+`,"api":"https://sms.example"}`, "t"),
		good("webhook", `{"url":"https://health.example/hook"}`, "123456789012"),
		good("smtp", `{"host":"mail.example","from":"codes@health.example","to":"[digits]@sms.example"}`, ""),
		good("smtp", `{"host":"mail.example","port":465,"user":"u","from":"codes@health.example","to":"[number]@sms.example"}`, "p"),
	} {
		if err := public.Check(s); err != nil {
			t.Errorf("%s %s: %v", s.Kind, s.Options, err)
		}
	}
	for _, s := range []provider.Settings{
		good("pigeon", `{}`, "t"), good("twilio", `{`+account+`}`, ""), good("twilio", `{"account":"","from":"1"}`, "t"),
		good("twilio", `{"account":"A/../B","from":"1"}`, "t"), good("twilio", `{"account":"AC1","from":"1234567"}`, "t"),
		good("twilio", `{"account":"AC1","from":"MG1"}`, "t"), good("twilio", `{`+account+`,"api":"http://sms.example"}`, "t"),
		good("twilio", `{`+account+`,"token":"t"}`, "t"), good("twilio", `not JSON`, "t"),
		good("webhook", `{"url":"https://health.example/hook"}`, "12345678901"), good("webhook", `{"url":"http://health.example/"}`, "123456789012"),
		good("webhook", `{"url":""}`, "123456789012"),
		good("smtp", `{"host":"","from":"codes@health.example","to":"[digits]@sms.example"}`, ""), good("smtp", `{"host":"mail.example","from":"codes","to":"[digits]@sms.example"}`, ""),
		good("smtp", `{"host":"mail.example","from":"c@h.example"}`, ""),
		good("smtp", `{"host":"mail.example","from":"c@h.example","to":"all@sms.example"}`, ""),
		good("smtp", `{"host":"mail.example","from":"c@h.example","user":"u","to":"[digits]@sms.example"}`, ""),
		good("smtp", `{"host":"a b","from":"c@h.example","to":"[digits]@sms.example"}`, ""),
		{Kind: "webhook", Options: json.RawMessage(`{"url":"https://health.example/hook"}`), Secret: "123456789012", PerMinute: -1},
	} {
		for _, n := range []provider.Networks{public, dev} {
			if err := n.Check(s); !errors.Is(err, provider.ErrSettings) {
				t.Errorf("%s %s: %v, want ErrSettings", s.Kind, s.Options, err)
			}
		}
	}
	loopback := good("webhook", `{"url":"http://127.0.0.1:8080/hook"}`, "123456789012")
	if err := public.Check(loopback); !errors.Is(err, outbound.ErrAddress) {
		t.Errorf("loopback: %v", err)
	}
	if err := dev.Check(loopback); err != nil {
		t.Errorf("loopback in development: %v", err)
	}
}

// What a tenant writes into its settings reaches no address of ours.
func TestPrivateAddressesAreNotReached(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north, 1, webhook(f.first)) // as if its name had resolved to a public address then
	keys := key.NewRing(f.world.Issuer, f.world.Root)
	router, err := provider.NewRouter(provider.Config{
		DB: f.world.Issuer, Keys: keys, Networks: provider.NewNetworks(false), Fallback: message.None{},
		Log: slog.New(slog.DiscardHandler), Now: f.world.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = router.Send(t.Context(), f.north, message.Message{To: phone, Body: "text", Code: f.code(t, f.north)})
	if err == nil || f.first.Asked() != 0 {
		t.Errorf("%v, %d requests", err, f.first.Asked())
	}
}
