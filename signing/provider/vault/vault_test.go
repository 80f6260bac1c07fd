package vault_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"carillon/signing"
	"carillon/signing/provider/providertest"
	"carillon/signing/provider/vault"
	"carillon/signing/provider/vault/vaulttest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	providertest.Run(t, func(t *testing.T) providertest.Subject {
		t.Helper()
		server := vaulttest.New(t)
		server.AddKey("somebody-elses")
		p, err := vault.New(server.Config)
		if err != nil {
			t.Fatal(err)
		}
		return providertest.Subject{
			Provider: p, Set: server.Set, Calls: server.Calls, Arrived: server.Arrived(),
			Faults: []providertest.Fault{
				providertest.Dead, providertest.Nonsense, providertest.WrongSignature, providertest.WrongCurve, providertest.OnceBusy,
			},
			CallsOf: map[string]int{"generate": 2, "open": 1, "sign": 1, "destroy": 2},
			Foreign: [][]byte{[]byte("somebody-elses"), []byte("carillon-00000000000000000000000000000000-0000000000000000")},
			Secrets: []string{vaulttest.Token},
		}
	})
}

func TestRoot(t *testing.T) {
	t.Parallel()
	providertest.RunRoot(t, func(t *testing.T) providertest.RootSubject {
		t.Helper()
		server := vaulttest.New(t, "root-1", "root-2")
		open := func(key string) *vault.Root {
			r, err := vault.NewRoot(server.Config, key)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		return providertest.RootSubject{
			Root: open("root-1"), Other: open("root-2"), Set: server.Set, Calls: server.Calls, Arrived: server.Arrived(),
			Faults:  []providertest.Fault{providertest.Dead, providertest.Nonsense, providertest.OnceBusy},
			Secrets: []string{vaulttest.Token},
		}
	})
}

// A token that has ended can be renewed without a restart, and a root key that is not there
// is told apart from what does not open.
func TestToken(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, "root-1")
	root, err := vault.NewRoot(server.Config, "root-1")
	if err != nil {
		t.Fatal(err)
	}
	server.Deny(true)
	if _, err := root.Wrap(t.Context(), []byte("x"), nil); !errors.Is(err, signing.ErrUnavailable) {
		t.Errorf("with a token that has ended: %v", err)
	}
	if got := server.Calls(); got != 1 {
		t.Errorf("%d calls: what is forbidden is not tried again", got)
	}
	server.Deny(false)
	if _, err := root.Wrap(t.Context(), []byte("x"), nil); err != nil {
		t.Errorf("renewed: %v", err)
	}
	if err := os.Remove(server.Config.TokenFile); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Wrap(t.Context(), []byte("x"), nil); !errors.Is(err, signing.ErrUnavailable) {
		t.Errorf("without the file: %v", err)
	}
}

func TestConfigIsStrict(t *testing.T) {
	t.Parallel()
	good := vault.Config{Address: "https://vault.example:8200", Mount: "transit", TokenFile: "/run/token"}
	if _, err := vault.New(good); err != nil {
		t.Fatal(err)
	}
	noCA := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noCA, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*vault.Config){
		"no TLS":              func(c *vault.Config) { c.Address = "http://vault.example:8200" },
		"no address":          func(c *vault.Config) { c.Address = "" },
		"a path":              func(c *vault.Config) { c.Address += "/v1" },
		"a password":          func(c *vault.Config) { c.Address = "https://u:p@vault.example" },
		"a mount with a path": func(c *vault.Config) { c.Mount = "../sys" },
		"no mount":            func(c *vault.Config) { c.Mount = "" },
		"no token":            func(c *vault.Config) { c.TokenFile = "" },
		"no authorities":      func(c *vault.Config) { c.CAFile = noCA },
	} {
		c := good
		change(&c)
		if _, err := vault.New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := vault.NewRoot(good, "a/b"); err == nil {
		t.Error("a key's name with a slash is accepted")
	}
}
