package signing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// NamedRoot is a root key that can be told from others.
type NamedRoot interface {
	Root
	// Name is at most [MaxRootName] printable ASCII characters, the same for as long as the
	// key lives, and no secret: the kind, a colon, and which one of that kind.
	Name() string
}

// MaxRootName is the longest name of a root key, in bytes.
const MaxRootName = 255

// ErrRootUnknown means that a data key was wrapped by a root key that was not given.
var ErrRootUnknown = errors.New("wrapped by a root key that is not configured")

// Roots are the root keys of a process, of which one wraps and all unwrap. While a root key
// is being replaced, a process has both. What Roots wrap is
//
//	version (1 byte, 2) | length of the name (1 byte) | the root key's name | what it wrapped
//
// What a [RootFile] wrapped by itself begins with 1, and opens too.
type Roots struct {
	current NamedRoot
	all     map[string]NamedRoot
}

const namedVersion = 2

// NewRoots returns root keys of which current wraps.
func NewRoots(current NamedRoot, others ...NamedRoot) (*Roots, error) {
	r := &Roots{current: current, all: map[string]NamedRoot{}}
	for _, root := range append([]NamedRoot{current}, others...) {
		name := root.Name()
		if !isRootName(name) {
			return nil, fmt.Errorf("a root key's name is 1 to %d printable ASCII characters", MaxRootName)
		}
		if r.all[name] != nil {
			return nil, fmt.Errorf("root key %s is given twice", name)
		}
		r.all[name] = root
	}
	return r, nil
}

func isRootName(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return name != "" && len(name) <= MaxRootName
}

// Name is the name of the one that wraps.
func (r *Roots) Name() string { return r.current.Name() }

// Names lists the names of all, in order.
func (r *Roots) Names() []string { return slices.Sorted(maps.Keys(r.all)) }

// Wrap implements [Root].
func (r *Roots) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	inner, err := r.current.Wrap(ctx, plaintext, aad)
	if err != nil {
		return nil, err
	}
	return append(named(r.current.Name()), inner...), nil
}

// named is how begins what a root key with a name wrapped.
func named(name string) []byte {
	return append([]byte{namedVersion, byte(len(name))}, name...)
}

// Unwrap implements [Root]: also [ErrRootUnknown].
func (r *Roots) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) < 2 {
		return nil, ErrSealed
	}
	if wrapped[0] == blobVersion {
		return r.unwrapUnnamed(ctx, wrapped, aad)
	}
	end := 2 + int(wrapped[1])
	if wrapped[0] != namedVersion || len(wrapped) < end || !isRootName(string(wrapped[2:end])) {
		return nil, ErrSealed
	}
	name := string(wrapped[2:end])
	root := r.all[name]
	if root == nil {
		return nil, fmt.Errorf("%s: %w", name, ErrRootUnknown)
	}
	return root.Unwrap(ctx, wrapped[end:], aad)
}

// unwrapUnnamed finds out by trying which file's key wrapped it.
func (r *Roots) unwrapUnnamed(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	for _, root := range r.all {
		if file, is := root.(*RootFile); is {
			if plain, err := file.Unwrap(ctx, wrapped, aad); err == nil {
				return plain, nil
			}
		}
	}
	return nil, ErrSealed
}

// Rewrap wraps a data key anew, by the root key that wraps now.
func (r *Roots) Rewrap(ctx context.Context, tenant string, wrapped []byte) ([]byte, error) {
	plain, err := r.Unwrap(ctx, wrapped, dataKeyAAD(tenant))
	if err != nil {
		return nil, fmt.Errorf("unwrap data key: %w", err)
	}
	defer clear(plain)
	again, err := r.Wrap(ctx, plain, dataKeyAAD(tenant))
	if err != nil {
		return nil, fmt.Errorf("wrap data key: %w", err)
	}
	return again, nil
}
