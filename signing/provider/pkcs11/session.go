//go:build pkcs11

package pkcs11

import (
	"context"
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"carillon/signing"
)

// module is what is used of a PKCS#11 library; [*p11.Ctx] is one.
type module interface {
	OpenSession(slot, flags uint) (p11.SessionHandle, error)
	CloseSession(p11.SessionHandle) error
	CloseAllSessions(slot uint) error
	Login(s p11.SessionHandle, user uint, pin string) error
	FindObjectsInit(p11.SessionHandle, []*p11.Attribute) error
	FindObjects(s p11.SessionHandle, most int) ([]p11.ObjectHandle, bool, error)
	FindObjectsFinal(p11.SessionHandle) error
	GetAttributeValue(p11.SessionHandle, p11.ObjectHandle, []*p11.Attribute) ([]*p11.Attribute, error)
	GenerateKeyPair(s p11.SessionHandle, m []*p11.Mechanism, public, private []*p11.Attribute) (publicHandle, privateHandle p11.ObjectHandle, err error)
	DestroyObject(p11.SessionHandle, p11.ObjectHandle) error
	SignInit(p11.SessionHandle, []*p11.Mechanism, p11.ObjectHandle) error
	Sign(s p11.SessionHandle, data []byte) ([]byte, error)
	EncryptInit(p11.SessionHandle, []*p11.Mechanism, p11.ObjectHandle) error
	Encrypt(s p11.SessionHandle, plaintext []byte) ([]byte, error)
	DecryptInit(p11.SessionHandle, []*p11.Mechanism, p11.ObjectHandle) error
	Decrypt(s p11.SessionHandle, ciphertext []byte) ([]byte, error)
}

const (
	// sessions is how many calls may be in the module at once. One that never returns keeps
	// its place for good, so a module that hangs costs this many goroutines and no more.
	sessions = 16
	attempts = 3
)

// pool lends sessions. A place is taken before a session is, and given back after.
type pool struct {
	module module
	slot   uint
	places chan struct{}
	free   chan p11.SessionHandle
}

func newPool(m module, slot uint) *pool {
	return &pool{module: m, slot: slot, places: make(chan struct{}, sessions), free: make(chan p11.SessionHandle, sessions+1)}
}

func (p *pool) session() (p11.SessionHandle, error) {
	select {
	case s := <-p.free:
		return s, nil
	default:
		return p.module.OpenSession(p.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	}
}

// run has work done in a session. A module cannot be interrupted: when ctx ends, whoever
// waits is told so, and the call's outcome is thrown away.
func (m *Module) run(ctx context.Context, work func(p11.SessionHandle) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	select {
	case m.pool.places <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", signing.ErrUnavailable, ctx.Err())
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-m.pool.places }()
		done <- m.attempt(ctx, work)
	}()
	select {
	case err := <-done:
		return classify(err)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", signing.ErrUnavailable, ctx.Err())
	}
}

// attempt tries a few times, each in another session if the one before has gone bad.
func (m *Module) attempt(ctx context.Context, work func(p11.SessionHandle) error) error {
	for attempt := 1; ; attempt++ {
		s, err := m.pool.session()
		if err == nil {
			err = work(s)
			m.pool.give(s, err)
		}
		if err == nil || !passing(err) || attempt == attempts || ctx.Err() != nil {
			return err
		}
	}
}

// give takes a session back; one that has failed is closed.
func (p *pool) give(s p11.SessionHandle, err error) {
	if err == nil || errors.Is(err, signing.ErrReference) {
		select {
		case p.free <- s:
			return
		default:
		}
	}
	_ = p.module.CloseSession(s) // it may be closed already
}

// passing reports whether another attempt may succeed.
func passing(err error) bool {
	var code p11.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case p11.CKR_SESSION_HANDLE_INVALID, p11.CKR_SESSION_CLOSED, p11.CKR_SESSION_COUNT, p11.CKR_OPERATION_ACTIVE,
		p11.CKR_DEVICE_ERROR, p11.CKR_GENERAL_ERROR, p11.CKR_FUNCTION_FAILED, p11.CKR_DEVICE_MEMORY, p11.CKR_HOST_MEMORY:
		return true
	default:
		return false
	}
}

// classify says what an error of the module means.
func classify(err error) error {
	var code p11.Error
	if err == nil || !errors.As(err, &code) {
		return err
	}
	switch code {
	case p11.CKR_OBJECT_HANDLE_INVALID, p11.CKR_KEY_HANDLE_INVALID, p11.CKR_KEY_TYPE_INCONSISTENT, p11.CKR_KEY_FUNCTION_NOT_PERMITTED:
		return fmt.Errorf("%w: code %#x", signing.ErrReference, uint(code))
	case p11.CKR_ENCRYPTED_DATA_INVALID, p11.CKR_ENCRYPTED_DATA_LEN_RANGE:
		return fmt.Errorf("%w: code %#x", signing.ErrSealed, uint(code))
	default:
		return fmt.Errorf("%w: code %#x", signing.ErrUnavailable, uint(code))
	}
}

// Close ends all sessions. Nothing may be asked for any more.
func (m *Module) Close() error { return m.module.CloseAllSessions(m.pool.slot) }
