package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"carillon/signing"
	"carillon/signing/provider/vault/vaulttest"
	"carillon/tenant/tenanttest"
)

const (
	adasWord = "a word of Ada's"
	bosWord  = "a word of Bo's"
)

// terminal is a pseudo-terminal with what it has shown.
type terminal struct {
	t          *testing.T
	ours, its  *os.File
	mu         sync.Mutex
	shown      strings.Builder
	seen       int // of what was shown, how much was waited for
	env        []string
	more, done chan struct{}
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	no, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	its, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", no), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, ours: ours, its: its, more: make(chan struct{}, 1), done: make(chan struct{})}
	go x.read()
	t.Cleanup(func() {
		_ = its.Close()
		<-x.done // with the last of its holders gone, reading ends
		_ = ours.Close()
	})
	return x
}

func (x *terminal) read() {
	defer close(x.done)
	part := make([]byte, 4096)
	for {
		n, err := x.ours.Read(part)
		x.mu.Lock()
		x.shown.Write(part[:n])
		x.mu.Unlock()
		select {
		case x.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.shown.String()
}

// await waits until something is shown that was not waited for yet.
func (x *terminal) await(text string) {
	x.t.Helper()
	late := time.After(time.Minute)
	for {
		all := x.text()
		if i := strings.Index(all[x.seen:], text); i >= 0 {
			x.seen += i + len(text)
			return
		}
		select {
		case <-x.more:
		case <-late:
			x.t.Fatalf("it does not say %q:\n%s", text, all)
		}
	}
}

func (x *terminal) enter(text string) {
	x.t.Helper()
	if _, err := io.WriteString(x.ours, text+"\n"); err != nil {
		x.t.Fatal(err)
	}
}

// answer waits for a question, and for the terminal to hide what is typed if it is secret.
func (x *terminal) answer(question, text string, secret bool) {
	x.t.Helper()
	x.asks(question, secret)
	x.enter(text)
}

func (x *terminal) asks(question string, secret bool) {
	x.t.Helper()
	x.await(question)
	for end := time.Now().Add(time.Minute); x.echoes() == secret; {
		if time.Now().After(end) {
			x.t.Fatalf("%q is asked with the wrong echo", question)
		}
	}
}

func (x *terminal) echoes() bool {
	x.t.Helper()
	state, err := unix.IoctlGetTermios(int(x.its.Fd()), unix.TCGETS)
	if err != nil {
		x.t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// both confirm a step.
func (x *terminal) both() {
	x.t.Helper()
	x.answer("Ada Marsh, your word confirms it", adasWord, true)
	x.answer("Bo Lind, your word confirms it", bosWord, true)
}

// start runs the program at the terminal, as a shell would.
func (x *terminal) start(args ...string) *exec.Cmd {
	x.t.Helper()
	c := exec.CommandContext(x.t.Context(), os.Args[0], args...)
	c.Env = append(x.env, asCarillon+"=1")
	c.Stdin, c.Stdout, c.Stderr = x.its, x.its, x.its
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		x.t.Fatal(err)
	}
	return c
}

func (x *terminal) ends(c *exec.Cmd, want int) {
	x.t.Helper()
	late := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	err := c.Wait()
	late.Stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || c.ProcessState.ExitCode() != want {
		x.t.Fatalf("it ended by %v, want %d:\n%s", err, want, x.text())
	}
}

// hall is where a ceremony is held: a deployment whose new keys are kept outside, in Vault.
type hall struct {
	*terminal
	world                    *tenanttest.World
	folder, plan, transcript string
	services, provider       string
}

func newHall(t *testing.T) *hall {
	t.Helper()
	h := &hall{terminal: newTerminal(t), world: tenanttest.New(t), folder: t.TempDir()}
	h.world.Create("north")
	h.transcript = filepath.Join(h.folder, "transcript.jsonl")
	h.keepIn("vault", "vault", vaulttest.NewTLS(t).Config)
	h.plan = write(t, h.folder, "plan.yaml", []byte(strings.ReplaceAll(`
title: A new export key
participants: [Ada Marsh, Bo Lind]
steps:
  - {do: back-up-root, file: ROOT, to: FOLDER/copy.key}
  - {do: check-root, file: FOLDER/copy.key}
  - {do: make-export-key, tenant: north}
  - {do: check-export-key, tenant: north, version: 2}
  - {do: by-hand, text: Seal the copy.}
`, "FOLDER", h.folder)))
	text, err := os.ReadFile(h.plan)
	if err != nil {
		t.Fatal(err)
	}
	write(t, h.folder, "plan.yaml", []byte(strings.ReplaceAll(string(text), "ROOT", h.world.RootFile)))
	return h
}

// keepIn has new keys kept by a provider, which the file of services knows by a name.
func (h *hall) keepIn(provider, name string, config any) {
	h.t.Helper()
	services, err := json.Marshal(map[string]any{name: config})
	if err != nil {
		h.t.Fatal(err)
	}
	h.services, h.provider = write(h.t, h.folder, "services.json", services), provider
}

// begin starts the ceremony, or goes on with it.
func (h *hall) begin() *exec.Cmd {
	h.t.Helper()
	return h.start("ceremony", "run", h.plan, "--transcript", h.transcript, "--database", h.world.Database.DSN(""),
		"--root-key", h.world.RootFile, "--key-services", h.services, "--key-provider", h.provider)
}

func (h *hall) choose() {
	h.t.Helper()
	h.answer("Ada Marsh, choose a secret word", adasWord, true)
	h.answer("Ada Marsh, once more", adasWord, true)
	h.answer("Bo Lind, choose a secret word", bosWord, true)
	h.answer("Bo Lind, once more", bosWord, true)
}

// rootDigits are those of the root key's name that the participants have on paper.
func (h *hall) rootDigits() string {
	h.t.Helper()
	root, err := signing.OpenRootFile(h.world.RootFile)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimPrefix(root.Name(), "file:")[:16]
}

// exportDigits are those of the export key's fingerprint, and the provider that keeps it.
func (h *hall) exportDigits() (digits, provider string) {
	h.t.Helper()
	err := h.world.Database.Super().QueryRowContext(h.t.Context(),
		`select left(encode(sha256(public_der), 'hex'), 16), provider from signing_key where purpose = 'export' and version = 2`).Scan(&digits, &provider)
	if err != nil {
		h.t.Fatal(err)
	}
	return digits, provider
}

func (h *hall) verify(want string) {
	h.t.Helper()
	c := h.start("ceremony", "verify", h.transcript, "--database", h.world.Database.DSN(""))
	h.await(want)
	h.ends(c, 0)
}

// Two people hold a ceremony at a terminal, by the command. It is killed half-way and gone
// on with; the terminal shows what they compare and none of their words; the key that it
// makes is where the command's flags say that keys are kept.
func TestACeremonyAtATerminal(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	c := h.begin()
	h.choose()
	h.both()
	h.await("Step 2 of 5")
	h.await("Ada Marsh, your word")
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	h.ends(c, -1)
	h.sane()
	h.verify("1 of 5 steps, can be resumed")

	c = h.begin()
	h.await("1 of 5 steps are done.")
	h.both()
	h.both()
	for _, name := range []string{"Ada Marsh", "Bo Lind"} {
		h.answer(name+", type the first 16 digits", h.rootDigits(), false)
	}
	h.both()
	h.await("Step 4 of 5")
	digits, provider := h.exportDigits()
	if provider != "vault" {
		t.Errorf("the new key is kept in %s", provider)
	}
	h.both()
	for _, name := range []string{"Ada Marsh", "Bo Lind"} {
		h.answer(name+", type the first 16 digits", digits, false)
	}
	h.both()
	h.await("The ceremony is over.")
	h.ends(c, 0)
	h.verify("5 of 5 steps, ended")
	shown := h.text()
	if strings.Contains(shown, adasWord) || strings.Contains(shown, bosWord) {
		t.Errorf("the terminal shows a word:\n%s", shown)
	}
	if !strings.Contains(shown, digits+"\r\n") {
		t.Errorf("the terminal hides what is compared:\n%s", shown)
	}
	if !h.echoes() {
		t.Error("the terminal hides what is typed after the end")
	}
}

// sane brings the terminal back to showing what is typed, as a shell does after a program
// that was killed.
func (x *terminal) sane() {
	x.t.Helper()
	state, err := unix.IoctlGetTermios(int(x.its.Fd()), unix.TCGETS)
	if err != nil {
		x.t.Fatal(err)
	}
	state.Lflag |= unix.ECHO
	if err := unix.IoctlSetTermios(int(x.its.Fd()), unix.TCSETS, state); err != nil {
		x.t.Fatal(err)
	}
}

// Whoever presses the interrupt key ends the command where it asks, and finds a terminal
// that shows what is typed; the ceremony can be resumed, and aborted.
func TestACeremonyIsInterrupted(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	c := h.begin()
	h.choose()
	h.asks("Ada Marsh, your word", true)
	if _, err := io.WriteString(h.ours, "\x03"); err != nil {
		t.Fatal(err)
	}
	h.ends(c, exitFailed)
	if !h.echoes() {
		t.Error("the terminal hides what is typed")
	}
	c = h.begin()
	h.both()
	h.answer("Ada Marsh, your word confirms it", "abort", true)
	h.ends(c, exitFailed)
	h.verify("0 of 5 steps, was aborted")
}

// Without a root key no step makes a key; the ceremony goes on when it is given.
func TestACeremonyWithoutARootKey(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	write(t, h.folder, "plan.yaml", []byte("title: T\nparticipants: [Ada Marsh, Bo Lind]\nsteps:\n  - {do: make-export-key, tenant: north}\n"))
	c := h.start("ceremony", "run", h.plan, "--transcript", h.transcript, "--database", h.world.Database.DSN(""))
	h.choose()
	h.both()
	h.await("the platform's root key is needed")
	h.ends(c, exitFailed)
	c = h.begin()
	h.both()
	h.both()
	h.await("The ceremony is over.")
	h.ends(c, 0)
}
