// Package providertest is the suite that every provider of keys passes, and every root
// key that is kept by one: what they must do, and what they must do when the other side is
// dead, slow, or says what is wrong.
package providertest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"carillon/signing"
)

// Fault is what is wrong with the other side.
type Fault int

// The faults.
const (
	Healthy Fault = iota
	// Dead answers nothing, or that it cannot work now.
	Dead
	// Silent takes a call and never answers; whoever calls must end the wait.
	Silent
	// Nonsense answers with what is no answer.
	Nonsense
	// WrongSignature signs something else.
	WrongSignature
	// WrongCurve has keys of another kind.
	WrongCurve
	// OnceBusy says once that it is busy, then works.
	OnceBusy
)

func (f Fault) String() string {
	return [...]string{"healthy", "dead", "silent", "nonsense", "wrong signature", "wrong curve", "once busy"}[f]
}

// Attempts is how often a provider may try one call.
const Attempts = 3

// Subject is what is tested, with switches for the other side.
type Subject struct {
	Provider signing.KeyProvider
	// Faults are those that can be. Set sets one, for everything that comes after.
	Faults []Fault
	Set    func(Fault)
	// Calls counts what has reached the other side.
	Calls func() int
	// CallsOf is how many of them each operation needs at most while all is well.
	CallsOf map[string]int
	// Arrived gets a value when a silent other side has taken a call.
	Arrived <-chan struct{}
	// Foreign are references to what the other side has and Carillon did not make, or that
	// are none.
	Foreign [][]byte
	// Secrets may be in no error.
	Secrets []string
}

// Tenant is whose the keys of the suite are.
const Tenant = "0b4f7a52-2c52-4a0c-8c2e-111111111111"

var home = signing.Binding{Tenant: Tenant, Purpose: signing.Certificate, KeyID: "north-c1/"}

// strangers differ from home in one thing each.
func strangers() []signing.Binding {
	all := []signing.Binding{home, home, home, home}
	all[0].Tenant = "0b4f7a52-2c52-4a0c-8c2e-222222222222"
	all[1].Purpose = signing.Export
	all[2].KeyID = "north-c2/"
	all[3].KeyID = "north-c1/v1"
	return all
}

type suite struct {
	*testing.T
	Subject
}

// Run runs the suite for a provider. open makes a fresh subject for each part.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	for name, part := range map[string]func(*suite){
		"signs":              (*suite).signs,
		"only digests":       (*suite).onlyDigests,
		"is bound":           (*suite).isBound,
		"refuses references": (*suite).refusesReferences,
		"many at once":       (*suite).manyAtOnce,
		"destroys":           (*suite).destroys,
		"faults":             (*suite).faults,
		"ends with context":  (*suite).endsWithContext,
		"hides":              (*suite).hides,
	} {
		t.Run(name, func(t *testing.T) {
			s := &suite{t, open(t)}
			part(s)
		})
	}
}

// key makes a key and opens it.
func (s *suite) key(b signing.Binding) (ref, der []byte, key crypto.Signer) {
	s.Helper()
	ref, der, err := s.Provider.Generate(s.Context(), b)
	if err != nil {
		s.Fatalf("generate: %v", err)
	}
	key, err = s.Provider.Signer(s.Context(), b, ref)
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	return ref, der, key
}

func digestOf(text string) []byte {
	d := sha256.Sum256([]byte(text))
	return d[:]
}

func (s *suite) signs() {
	ref, der, key := s.key(home)
	public, err := signing.ParsePublicDER(der)
	if err != nil {
		s.Fatal(err)
	}
	if !public.Equal(key.Public()) {
		s.Error("public halves differ")
	}
	if len(ref) == 0 || len(ref) > signing.MaxReference {
		s.Errorf("reference of %d bytes", len(ref))
	}
	for i := range 5 { // leading zeros of the halves of a signature are rare
		digest := digestOf(fmt.Sprint("message ", i))
		signature, err := key.Sign(rand.Reader, digest, crypto.SHA256)
		if err != nil || !ecdsa.VerifyASN1(public, digest, signature) {
			s.Fatalf("signature %d does not verify (%v)", i, err)
		}
	}
	again, other, _ := s.key(home)
	if bytes.Equal(ref, again) || bytes.Equal(der, other) {
		s.Error("two keys are the same")
	}
}

func (s *suite) onlyDigests() {
	_, _, key := s.key(home)
	for name, wrong := range map[string]struct {
		digest []byte
		hash   crypto.Hash
	}{
		"no digest": {nil, crypto.SHA256}, "a short one": {make([]byte, 31), crypto.SHA256},
		"a long one": {make([]byte, 33), crypto.SHA256}, "another hash": {make([]byte, 48), crypto.SHA384},
	} {
		if _, err := signing.Within(s.Context(), key).Sign(nil, wrong.digest, wrong.hash); err == nil {
			s.Errorf("%s is signed", name)
		}
	}
}

func (s *suite) isBound() {
	ref, _, key := s.key(home)
	for _, b := range strangers() {
		if _, err := s.Provider.Signer(s.Context(), b, ref); !errors.Is(err, signing.ErrReference) {
			s.Errorf("open for %v: %v", b, err)
		}
		if err := s.Provider.Destroy(s.Context(), b, ref); !errors.Is(err, signing.ErrReference) {
			s.Errorf("destroy for %v: %v", b, err)
		}
	}
	if _, err := key.Sign(nil, digestOf("still there"), crypto.SHA256); err != nil {
		s.Errorf("after strangers asked for it: %v", err)
	}
}

func (s *suite) refusesReferences() {
	ref, _, _ := s.key(home)
	wrong := append([][]byte{
		nil,
		{0},
		[]byte("../../sys/seal"), bytes.Repeat([]byte("a"), signing.MaxReference+1),
		ref[:len(ref)-1], append(bytes.Clone(ref), 'a'),
	}, s.Foreign...)
	for _, r := range wrong {
		if _, err := s.Provider.Signer(s.Context(), home, r); !errors.Is(err, signing.ErrReference) {
			s.Errorf("open %q: %v", r, err)
		}
	}
}

func (s *suite) manyAtOnce() {
	_, _, key := s.key(home)
	public := key.Public().(*ecdsa.PublicKey)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			digest := digestOf(fmt.Sprint(i))
			signature, err := signing.Within(s.Context(), key).Sign(nil, digest, crypto.SHA256)
			if err != nil || !ecdsa.VerifyASN1(public, digest, signature) {
				s.Errorf("signature does not verify (%v)", err)
			}
		})
	}
	all.Wait()
}

func (s *suite) destroys() {
	ref, _, key := s.key(home)
	_, _, other := s.key(home)
	for range 2 { // the second time it is destroyed already
		if err := s.Provider.Destroy(s.Context(), home, ref); err != nil {
			s.Fatalf("destroy: %v", err)
		}
	}
	if _, err := s.Provider.Signer(s.Context(), home, ref); !errors.Is(err, signing.ErrReference) {
		s.Errorf("open: %v", err)
	}
	if _, outside := key.(*signing.Remote); outside {
		if _, err := key.Sign(nil, digestOf("too late"), crypto.SHA256); !errors.Is(err, signing.ErrReference) {
			s.Errorf("sign with a key opened before: %v", err)
		}
	}
	if _, err := other.Sign(nil, digestOf("another"), crypto.SHA256); err != nil {
		s.Errorf("another key: %v", err)
	}
}

// operations are what a provider can be asked for, of a key that was made before.
func (s *suite) operations(ref []byte, key crypto.Signer) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"generate": func(ctx context.Context) error {
			_, _, err := s.Provider.Generate(ctx, home)
			return err
		},
		"open": func(ctx context.Context) error {
			_, err := s.Provider.Signer(ctx, home, ref)
			return err
		},
		"sign": func(ctx context.Context) error {
			_, err := signing.Within(ctx, key).Sign(nil, digestOf("message"), crypto.SHA256)
			return err
		},
		"destroy": func(ctx context.Context) error { return s.Provider.Destroy(ctx, home, ref) },
	}
}

// wants are the errors with which an operation may answer a fault; none means success.
func wants(f Fault, operation string) []error {
	switch {
	case f == OnceBusy:
		return nil
	case f == WrongSignature:
		if operation == "sign" {
			return []error{signing.ErrUntrusted}
		}
		return nil
	case f == WrongCurve:
		if operation == "sign" || operation == "destroy" {
			return nil // the key was opened before; what is destroyed need not be looked at
		}
		return []error{signing.ErrReference, signing.ErrUntrusted}
	case f == Nonsense && operation == "destroy":
		return []error{signing.ErrUnavailable, signing.ErrUntrusted, signing.ErrReference}
	case f == Nonsense:
		return []error{signing.ErrUntrusted, signing.ErrReference}
	default:
		return []error{signing.ErrUnavailable}
	}
}

func (s *suite) faults() {
	for _, f := range s.Faults {
		for _, operation := range []string{"generate", "open", "sign", "destroy"} {
			s.Set(Healthy)
			ref, _, key := s.key(home)
			work := s.operations(ref, key)[operation]
			before := s.Calls()
			s.Set(f)
			err := work(s.Context())
			calls := s.Calls() - before
			s.Set(Healthy)
			s.judge(f, operation, err)
			if most := Attempts * s.CallsOf[operation]; calls > most {
				s.Errorf("%s, %s: %d calls, at most %d", f, operation, calls, most)
			}
			if err := work(s.Context()); err != nil {
				s.Errorf("%s is over, %s: %v", f, operation, err)
			}
		}
	}
}

func (s *suite) judge(f Fault, operation string, err error) {
	s.Helper()
	s.silence(err)
	want := wants(f, operation)
	if want == nil {
		if err != nil && f != WrongCurve {
			s.Errorf("%s, %s: %v", f, operation, err)
		}
		return
	}
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	s.Errorf("%s, %s: %v", f, operation, err)
}

// silence fails if an error tells a secret.
func (s *suite) silence(err error) {
	s.Helper()
	if err == nil {
		return
	}
	for _, secret := range s.Secrets {
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, secret) {
			s.Errorf("an error tells a secret: %v", err)
		}
	}
}

// endsWithContext has every operation end because its context does, though the other side
// never answers.
func (s *suite) endsWithContext() {
	if s.Arrived == nil {
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		if _, _, err := s.Provider.Generate(ctx, home); err != nil && !errors.Is(err, context.Canceled) {
			s.Errorf("generate: %v", err)
		}
		return
	}
	ref, _, key := s.key(home)
	for name, work := range s.operations(ref, key) {
		s.Set(Silent)
		ctx, cancel := context.WithCancel(s.Context())
		ended := make(chan error, 1)
		go func() { ended <- work(ctx) }()
		<-s.Arrived
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || !errors.Is(err, signing.ErrUnavailable) {
			s.Errorf("%s: %v", name, err)
		}
		s.Set(Healthy)
	}
}

func (s *suite) hides() {
	_, _, key := s.key(home)
	for _, v := range []any{key, s.Provider} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
			text := fmt.Sprintf(verb, v)
			for _, secret := range s.Secrets {
				if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
					s.Errorf("%s prints a secret", verb)
				}
			}
		}
	}
}
