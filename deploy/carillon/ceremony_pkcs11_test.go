//go:build pkcs11 && linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"carillon/signing/provider/pkcs11"
)

const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// module makes a token of SoftHSM for the programs of a terminal.
func (x *terminal) module() pkcs11.Config {
	x.t.Helper()
	folder := x.t.TempDir()
	const label, pin = "ceremony", "4711-of-the-test"
	tokens := filepath.Join(folder, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		x.t.Fatal(err)
	}
	settings := write(x.t, folder, "softhsm2.conf", []byte("directories.tokendir = "+tokens+"\nobjectstore.backend = file\nlog.level = ERROR\n"))
	x.env = append(x.env, "SOFTHSM2_CONF="+settings)
	c := exec.CommandContext(x.t.Context(), "softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", pin)
	c.Env = append(os.Environ(), x.env...)
	if out, err := c.CombinedOutput(); err != nil {
		x.t.Fatalf("%v: %s", err, out)
	}
	return pkcs11.Config{Module: softHSM, Token: label, PINFile: write(x.t, folder, "pin", []byte(pin+"\n"))}
}

// The key that a ceremony makes is in a module, if the command's flags say so.
func TestACeremonyWithAModule(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	h.keepIn("pkcs11", "pkcs11", h.module())
	write(t, h.folder, "plan.yaml", []byte("title: T\nparticipants: [Ada Marsh, Bo Lind]\nsteps:\n  - {do: make-export-key, tenant: north}\n"))
	c := h.begin()
	h.choose()
	h.both()
	h.await("The ceremony is over.")
	h.ends(c, 0)
	if _, provider := h.exportDigits(); provider != "pkcs11" {
		t.Errorf("the new key is kept in %s", provider)
	}
	h.verify("1 of 1 steps, ended")
}
