package export

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"

	"carillon/tenant/job"
)

// Store keeps published files. Names are paths with slashes; see [ValidName].
// Implementations pass the suite of package storetest.
//
// An error tells nothing about whether the object was written: callers repeat what
// they did.
type Store interface {
	// PutIfAbsent creates an object whole or not at all. The same bytes under an
	// existing name are success, other bytes are [ErrConflict]. When it returns nil
	// the object survives a power failure.
	PutIfAbsent(ctx context.Context, name string, body []byte) error
	// Replace creates or replaces an object; readers see the old one or the new one.
	Replace(ctx context.Context, name string, body []byte) error
	// Open reads an object: [ErrNotFound] if there is none. What is read stays the
	// same while the object is replaced or deleted. The caller closes it.
	Open(ctx context.Context, name string) (Object, error)
	// Delete removes an object: [ErrNotFound] if there is none.
	Delete(ctx context.Context, name string) error
	// List returns the names of all objects below prefix, sorted by their bytes.
	// A prefix is empty or ends with a slash.
	List(ctx context.Context, prefix string) ([]string, error)
}

// Object is an object being read.
type Object interface {
	io.ReadSeekCloser
	// Size is in bytes; Modified when it was written.
	Size() int64
	Modified() time.Time
}

// Why a store refuses.
var (
	ErrNotFound error = job.Failure("no such object")
	ErrConflict error = job.Failure("an object of this name has other content")
	ErrName           = errors.New("not a name of an object")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrNotFound, ErrConflict, ErrName} }

var nameForm = regexp.MustCompile(`^([a-z0-9][a-z0-9-]{0,60}/)*[a-z0-9][a-z0-9.-]{0,100}$`)

const maxName = 300

// ValidName reports whether a text can name an object: lower-case letters, digits,
// hyphens and dots, in parts that begin with a letter or digit.
func ValidName(name string) bool { return len(name) <= maxName && nameForm.MatchString(name) }

// ValidPrefix reports whether a text is a prefix of names: empty, or folders that
// each end with a slash.
func ValidPrefix(prefix string) bool {
	return prefix == "" || (strings.HasSuffix(prefix, "/") && ValidName(prefix+"x"))
}
