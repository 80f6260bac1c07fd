package signing

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// KeyProvider keeps P-256 private keys where this program cannot read them: in a hardware
// module or a key service. Every implementation passes the suite of package providertest.
//
// A key belongs to the binding that it was made with, for good: a provider refuses to
// use it for another one. All methods are safe for concurrent use, end when ctx does, and
// try a bounded number of times. Their errors hold no secrets, and wrap one of
// [ErrUnavailable], [ErrReference] and [ErrUntrusted].
type KeyProvider interface {
	// Name is what stored keys say of where they are, such as "vault".
	Name() string
	// Generate makes a key pair, and returns a reference of at most [MaxReference] bytes,
	// which is no secret, and the public half as DER-encoded SPKI.
	Generate(ctx context.Context, b Binding) (ref, publicDER []byte, err error)
	// Signer returns the key that Generate made with the same binding. Its signatures are
	// in ASN.1 form, and have been verified.
	Signer(ctx context.Context, b Binding, ref []byte) (crypto.Signer, error)
	// Destroy makes the key unusable, at once and for good, or as soon as the provider can.
	// A key that is destroyed already is no error.
	Destroy(ctx context.Context, b Binding, ref []byte) error
}

// MaxReference is the longest reference to a key elsewhere, in bytes.
const MaxReference = 512

// What can be wrong with a provider of keys.
var (
	// ErrUnavailable means that the provider gave no answer in time, or said that it cannot
	// work now. Another attempt, later, may succeed.
	ErrUnavailable = errors.New("the provider of the key does not answer")
	// ErrReference means that the provider has no usable P-256 key by this reference and
	// binding: it was destroyed or disabled, is of another kind, or belongs to another.
	ErrReference = errors.New("the provider has no such key")
	// ErrUntrusted means that the provider's answer is wrong: a signature that does not
	// verify, another public key, or no answer of the kind that was asked for.
	ErrUntrusted = errors.New("the provider's answer is not to be believed")
)

// InDatabase is the name of the provider of keys that are stored sealed.
const InDatabase = "sealed"

// Outside reports whether keys for the purpose may be kept by a provider outside of the
// database: those that sign for the world. Checkpoints of the audit log are signed where
// the log is, and symmetric keys are needed for every request.
func (p Purpose) Outside() bool { return p == Certificate || p == Export || p == SMS }

// Call is one call of a provider, for metrics.
type Call struct {
	// Provider is its name; Operation is generate, open, sign or destroy.
	Provider, Operation string
	Took                time.Duration
	Err                 error
}

// Custody is what opens and makes keys: the root key, and where private keys are kept.
type Custody struct {
	Root
	// Providers may be nil: then all keys are sealed in the database.
	Providers *Providers
}

// Providers are those that a process can reach. A nil one has none but the database.
type Providers struct {
	fresh   string
	outside map[string]KeyProvider
	observe func(Call)
}

// NewProviders returns providers of which the one called fresh makes new keys, for the
// purposes that may be outside.
func NewProviders(fresh string, outside ...KeyProvider) (*Providers, error) {
	p := &Providers{fresh: fresh, outside: map[string]KeyProvider{}, observe: func(Call) {}}
	for _, o := range outside {
		if _, twice := p.outside[o.Name()]; twice || o.Name() == InDatabase {
			return nil, fmt.Errorf("provider %s is given twice", o.Name())
		}
		p.outside[o.Name()] = o
	}
	if _, there := p.outside[fresh]; !there && fresh != InDatabase {
		return nil, fmt.Errorf("new keys shall be kept by %s, which is not configured; there are %v", fresh, p.Names())
	}
	return p, nil
}

// Observe has every call told to fn. It is called before the first of them.
func (p *Providers) Observe(fn func(Call)) {
	if p != nil {
		p.observe = fn
	}
}

// Names lists the providers, the database first.
func (p *Providers) Names() []string {
	if p == nil {
		return []string{InDatabase}
	}
	return append([]string{InDatabase}, slices.Sorted(maps.Keys(p.outside))...)
}

// Stored is a key as it is stored: the private half, or a reference to it, sealed under the
// tenant's data key and bound to its provider.
type Stored struct {
	Provider string
	Sealed   []byte
	// PublicDER is the public half as DER-encoded SPKI; nil for a symmetric key.
	PublicDER []byte
}

// NewP256 makes a key pair for what b names, at the provider of new keys if the purpose
// may be outside. That may take time, and leaves a key behind which somebody has to store
// or to [Providers.Destroy].
func (p *Providers) NewP256(ctx context.Context, dk *DataKey, b Binding) (Stored, error) {
	name := InDatabase
	if p != nil && b.Purpose.Outside() {
		name = p.fresh
	}
	if name == InDatabase {
		sealed, public, err := NewP256(dk, b)
		return Stored{Provider: InDatabase, Sealed: sealed, PublicDER: public}, err
	}
	o := p.outside[name]
	var ref, public []byte
	err := p.call(o, "generate", func() (err error) {
		if ref, public, err = o.Generate(ctx, b); err != nil {
			return err
		}
		if _, err = ParsePublicDER(public); err != nil || len(ref) > MaxReference {
			return fmt.Errorf("new key: %w", ErrUntrusted)
		}
		return nil
	})
	if err != nil {
		return Stored{}, fmt.Errorf("%s: %w", name, err)
	}
	sealed, err := dk.Seal(b.at(name), ref)
	return Stored{Provider: name, Sealed: sealed, PublicDER: public}, err
}

// at is the binding of a reference. A row whose provider was changed does not open, so
// that no private key is sent anywhere as if it were a reference.
func (b Binding) at(provider string) Binding {
	b.KeyID += "@" + provider
	return b
}

// Open returns the key that was stored for b: [ErrSealed] if it does not open,
// [ErrUntrusted] if the private half belongs to another public one.
func (p *Providers) Open(ctx context.Context, dk *DataKey, b Binding, s Stored) (crypto.Signer, error) {
	public, err := ParsePublicDER(s.PublicDER)
	if err != nil {
		return nil, err
	}
	var key crypto.Signer
	if s.Provider == InDatabase {
		key, err = OpenP256(dk, b, s.Sealed)
	} else {
		key, err = p.open(ctx, dk, b, s)
	}
	if err != nil {
		return nil, err
	}
	if !public.Equal(key.Public()) {
		return nil, fmt.Errorf("%s has another public half: %w", s.Provider, ErrUntrusted)
	}
	return key, nil
}

func (p *Providers) open(ctx context.Context, dk *DataKey, b Binding, s Stored) (crypto.Signer, error) {
	o, ref, err := p.reference(dk, b, s)
	if err != nil {
		return nil, err
	}
	var key crypto.Signer
	err = p.call(o, "open", func() (err error) {
		key, err = o.Signer(ctx, b, ref)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Provider, err)
	}
	if r, is := key.(*Remote); is {
		r.observe = func(work func() error) error { return p.call(o, "sign", work) }
	}
	return key, nil
}

// Destroy makes a stored key unusable at its provider. What is sealed in the database is
// destroyed by whoever overwrites its row.
func (p *Providers) Destroy(ctx context.Context, dk *DataKey, b Binding, s Stored) error {
	if s.Provider == InDatabase {
		return nil
	}
	o, ref, err := p.reference(dk, b, s)
	if err != nil {
		return err
	}
	if err := p.call(o, "destroy", func() error { return o.Destroy(ctx, b, ref) }); err != nil {
		return fmt.Errorf("%s: %w", s.Provider, err)
	}
	return nil
}

func (p *Providers) reference(dk *DataKey, b Binding, s Stored) (KeyProvider, []byte, error) {
	var o KeyProvider
	if p != nil {
		o = p.outside[s.Provider]
	}
	if o == nil {
		return nil, nil, fmt.Errorf("the key is kept by %s, which this process is not configured for; it has %v", s.Provider, p.Names())
	}
	ref, err := dk.Open(b.at(s.Provider), s.Sealed)
	return o, ref, err
}

func (p *Providers) call(o KeyProvider, operation string, work func() error) error {
	began := monotonic()
	err := work()
	p.observe(Call{Provider: o.Name(), Operation: operation, Took: time.Since(began), Err: err})
	return err
}

// monotonic is real time, to measure by.
func monotonic() time.Time { return time.Now() } //nolint:forbidigo // durations are no clock
