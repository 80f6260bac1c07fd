//go:build pkcs11

package pkcs11

import (
	"context"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"carillon/signing"
	"carillon/signing/provider/providertest"
)

const (
	label = "carillon-test"
	pin   = "canary-4711"
)

// libraries are where distributions put SoftHSM.
var libraries = []string{
	"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// token is a token of SoftHSM, one for all tests: a library is initialised once in a process.
var token = sync.OnceValues(func() (Config, error) {
	folder, err := os.MkdirTemp("", "carillon-softhsm")
	if err != nil {
		return Config{}, err
	}
	conf := filepath.Join(folder, "softhsm2.conf")
	c := Config{Token: label, PINFile: filepath.Join(folder, "pin")}
	err = errors.Join(
		os.Mkdir(filepath.Join(folder, "tokens"), 0o700),
		os.WriteFile(conf, []byte("directories.tokendir = "+folder+"/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600),
		os.WriteFile(c.PINFile, []byte(pin+"\n"), 0o600),
		os.Setenv("SOFTHSM2_CONF", conf),
	)
	if err != nil {
		return c, err
	}
	for _, path := range libraries {
		if _, err := os.Stat(path); err == nil {
			c.Module = path
			out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", pin).CombinedOutput()
			if err != nil {
				return c, fmt.Errorf("%w: %s", err, out)
			}
			return c, nil
		}
	}
	return c, errors.New("SoftHSM is not installed: run deploy/install-packages softhsm2")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if c, err := token(); err == nil {
		os.RemoveAll(filepath.Dir(c.PINFile))
	}
	os.Exit(code)
}

func config(t *testing.T) Config {
	t.Helper()
	c, err := token()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// opened is SoftHSM, open once.
var opened = sync.OnceValues(func() (*Module, error) {
	c, err := token()
	if err != nil {
		return nil, err
	}
	return Open(c)
})

// faulty is SoftHSM with switches for faults.
type faulty struct {
	module
	*providertest.Switch
	ctx context.Context //nolint:containedctx // a library knows no contexts; this one ends with the test
}

func newFaulty(t *testing.T) (*Module, *faulty) {
	t.Helper()
	m, err := opened()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &faulty{module: m.module, Switch: providertest.NewSwitch(), ctx: ctx}
	t.Cleanup(cancel)
	return &Module{module: f, pool: newPool(f, m.pool.slot), label: label}, f
}

// take is where most calls begin.
func (f *faulty) take() error {
	switch f.Take(f.ctx) {
	case providertest.Dead, providertest.Silent:
		return p11.Error(p11.CKR_DEVICE_ERROR)
	default:
		return nil
	}
}

func (f *faulty) FindObjectsInit(s p11.SessionHandle, a []*p11.Attribute) error {
	if err := f.take(); err != nil {
		return err
	}
	return f.module.FindObjectsInit(s, a)
}

func (f *faulty) FindObjects(s p11.SessionHandle, most int) ([]p11.ObjectHandle, bool, error) {
	found, more, err := f.module.FindObjects(s, most)
	if f.Fault() == providertest.Nonsense && len(found) == 1 {
		found = append(found, found[0]+1)
	}
	return found, more, err
}

func (f *faulty) GenerateKeyPair(s p11.SessionHandle, m []*p11.Mechanism, public, private []*p11.Attribute) (p11.ObjectHandle, p11.ObjectHandle, error) {
	if err := f.take(); err != nil {
		return 0, 0, err
	}
	return f.module.GenerateKeyPair(s, m, public, private)
}

func (f *faulty) GetAttributeValue(s p11.SessionHandle, o p11.ObjectHandle, a []*p11.Attribute) ([]*p11.Attribute, error) {
	got, err := f.module.GetAttributeValue(s, o, a)
	switch f.Fault() {
	case providertest.Nonsense:
		got[1].Value = []byte("<html>")
	case providertest.WrongCurve:
		got[0].Value, err = asn1.Marshal(asn1.ObjectIdentifier{1, 3, 132, 0, 34})
	default:
	}
	return got, err
}

func (f *faulty) Sign(s p11.SessionHandle, digest []byte) ([]byte, error) {
	switch f.Fault() {
	case providertest.WrongSignature:
		digest = append([]byte{digest[0] ^ 1}, digest[1:]...)
	case providertest.Nonsense:
		return []byte("<html>"), nil
	default:
	}
	return f.module.Sign(s, digest)
}

func (f *faulty) Encrypt(s p11.SessionHandle, plain []byte) ([]byte, error) {
	if f.Fault() == providertest.Nonsense {
		return []byte("<html>"), nil
	}
	return f.module.Encrypt(s, plain)
}

func (f *faulty) Decrypt(s p11.SessionHandle, sealed []byte) ([]byte, error) {
	if f.Fault() == providertest.Nonsense {
		return []byte("<html>"), nil
	}
	return f.module.Decrypt(s, sealed)
}

func TestConformance(t *testing.T) {
	providertest.Run(t, func(t *testing.T) providertest.Subject {
		t.Helper()
		m, f := newFaulty(t)
		return providertest.Subject{
			Provider: m.Provider(), Set: f.Set, Calls: f.Calls, Arrived: f.Arrived(),
			Faults: []providertest.Fault{
				providertest.Dead, providertest.Nonsense, providertest.WrongSignature, providertest.WrongCurve, providertest.OnceBusy,
			},
			CallsOf: map[string]int{"generate": 1, "open": 2, "sign": 1, "destroy": 2},
			Foreign: [][]byte{strange(t, m)},
			Secrets: []string{pin},
		}
	})
}

// strange makes a key that Carillon did not make, of another curve.
func strange(t *testing.T, m *Module) []byte {
	t.Helper()
	curve, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 132, 0, 34})
	if err != nil {
		t.Fatal(err)
	}
	id := []byte("somebody-elses " + elliptic.P384().Params().Name)
	err = m.run(t.Context(), func(s p11.SessionHandle) error {
		_, _, err := m.module.GenerateKeyPair(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_EC_KEY_PAIR_GEN, nil)},
			[]*p11.Attribute{p11.NewAttribute(p11.CKA_EC_PARAMS, curve), p11.NewAttribute(p11.CKA_ID, id), p11.NewAttribute(p11.CKA_TOKEN, true)},
			[]*p11.Attribute{p11.NewAttribute(p11.CKA_ID, id), p11.NewAttribute(p11.CKA_TOKEN, true)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestRoot(t *testing.T) {
	providertest.RunRoot(t, func(t *testing.T) providertest.RootSubject {
		t.Helper()
		m, f := newFaulty(t)
		name := strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())
		open := func(id string) Root {
			addRoot(t, m, id)
			r, err := m.Root(id)
			if err != nil {
				t.Fatal(err)
			}
			return r.(Root)
		}
		return providertest.RootSubject{
			Root: open(name + "-1"), Other: open(name + "-2"), Set: f.Set, Calls: f.Calls, Arrived: f.Arrived(),
			Faults:  []providertest.Fault{providertest.Dead, providertest.Nonsense, providertest.OnceBusy},
			Secrets: []string{pin},
		}
	})
}

// addRoot makes a wrapping key, as whoever looks after a token does.
func addRoot(t *testing.T, m *Module, id string) {
	t.Helper()
	err := m.run(t.Context(), func(s p11.SessionHandle) error {
		_, err := m.module.(*faulty).module.(*p11.Ctx).GenerateKey(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)}, []*p11.Attribute{
			p11.NewAttribute(p11.CKA_ID, []byte(id)), p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_VALUE_LEN, 32),
			p11.NewAttribute(p11.CKA_ENCRYPT, true), p11.NewAttribute(p11.CKA_DECRYPT, true),
			p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var home = signing.Binding{Tenant: "north", Purpose: signing.Export, KeyID: "310/v1"}

// A private half cannot be read from the token.
func TestPrivateHalvesStay(t *testing.T) {
	m, _ := newFaulty(t)
	ref, _, err := m.Provider().Generate(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	err = m.run(t.Context(), func(s p11.SessionHandle) error {
		handle, err := m.object(s, p11.CKO_PRIVATE_KEY, ref)
		if err != nil {
			return err
		}
		got, err := m.module.(*faulty).module.GetAttributeValue(s, handle, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE, nil)})
		if !errors.Is(err, p11.Error(p11.CKR_ATTRIBUTE_SENSITIVE)) {
			t.Errorf("the private half is given out: %d values, %v", len(got), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := config(t)
	if _, err := opened(); err != nil {
		t.Fatal(err)
	}
	exposed := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(exposed, []byte(pin), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"another token":   func(c *Config) { c.Token = "another" },
		"no token":        func(c *Config) { c.Token = "" },
		"a relative path": func(c *Config) { c.Module = "libsofthsm2.so" },
		"no library":      func(c *Config) { c.Module = "/nonexistent.so" },
		"an exposed PIN":  func(c *Config) { c.PINFile = exposed },
		"no PIN":          func(c *Config) { c.PINFile += ".none" },
	} {
		c := good
		change(&c)
		if _, err := Open(c); err == nil || strings.Contains(err.Error(), pin) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
