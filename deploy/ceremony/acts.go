package ceremony

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/key/rootkey"
)

var (
	// ErrExists means that a step would write to a file that is there already.
	ErrExists = errors.New("there is a file already, which is never replaced")
	// ErrNoRoot means that a step needs the platform's root key, which was not given.
	ErrNoRoot = errors.New("the platform's root key is needed")
	// ErrDiffers means that a fingerprint is not what a participant has.
	ErrDiffers = errors.New("the fingerprints differ")
)

// outcome is what came of a step, for the transcript: fingerprints and names, no secrets.
type outcome map[string]string

// prefixSize is how many hexadecimal digits of a fingerprint are compared: 64 bits.
const prefixSize = 16

// files does the steps about root keys in files. again tells that the step was begun before
// and may have left some of them.
func files(s Step, again bool) (outcome, error) {
	if again {
		if err := s.clean(); err != nil {
			return nil, err
		}
	}
	switch s.Do { //nolint:exhaustive // the others are about no files
	case GenerateRoot:
		return generateRoot(s)
	case RestoreRoot:
		return restoreRoot(s)
	case BackUp:
		return backUp(s)
	case CheckRoot:
		return rootOutcome(s.File)
	}
	return outcome{}, nil
}

// made are the files that a step makes.
func (s Step) made() []string {
	switch s.Do { //nolint:exhaustive // the others make none
	case GenerateRoot:
		return append([]string{s.File}, s.Shares...)
	case RestoreRoot:
		return []string{s.File}
	case BackUp:
		return []string{s.To}
	}
	return nil
}

// fresh makes sure that none of the files is there that a step will make: [ErrExists].
func (s Step) fresh() error {
	for _, path := range s.made() {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", path, errors.Join(ErrExists, err))
		}
	}
	return nil
}

// clean deletes what a step has made that was interrupted. When it was begun there was
// nothing under these names, and nothing has come to use them since.
func (s Step) clean() error {
	for _, path := range s.made() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// rootOutcome opens a root key's file and tells its name, which is computed from the key.
func rootOutcome(path string) (outcome, error) {
	root, err := signing.OpenRootFile(path)
	if err != nil {
		return nil, fmt.Errorf("root key: %w", err)
	}
	return outcome{"root": root.Name()}, nil
}

func generateRoot(s Step) (outcome, error) {
	if _, err := signing.CreateRootFile(s.File); err != nil {
		return nil, fmt.Errorf("root key: %w", err)
	}
	out, err := rootOutcome(s.File)
	if err != nil || len(s.Shares) == 0 {
		return out, err
	}
	root, err := os.ReadFile(s.File)
	if err != nil {
		return nil, err
	}
	defer clear(root)
	texts, err := split(root, s.Need, len(s.Shares))
	if err != nil {
		return nil, err
	}
	for i, text := range texts {
		if err := writeNew(s.Shares[i], text); err != nil {
			return nil, err
		}
		out[fmt.Sprintf("share %d", i+1)] = fingerprint(text)
		clear(text)
	}
	// What was written is read again: shares that are not the key are worth nothing.
	read, err := readShares(s.Shares)
	if err != nil {
		return nil, err
	}
	for first := range len(read) - s.Need + 1 {
		if combined, err := combine(read[first : first+s.Need]); err != nil || !bytes.Equal(combined, root) {
			return nil, errors.Join(ErrShares, err)
		}
	}
	out["needed"] = strconv.Itoa(s.Need)
	return out, nil
}

// writeNew writes a file for good that its owner alone may read.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func restoreRoot(s Step) (outcome, error) {
	texts, err := readShares(s.Shares)
	if err != nil {
		return nil, err
	}
	root, err := combine(texts)
	if err != nil {
		return nil, err
	}
	defer clear(root)
	if err := writeNew(s.File, root); err != nil {
		return nil, err
	}
	return rootOutcome(s.File)
}

func backUp(s Step) (outcome, error) {
	from, err := rootOutcome(s.File)
	if err != nil {
		return nil, err
	}
	root, err := os.ReadFile(s.File)
	if err != nil {
		return nil, err
	}
	defer clear(root)
	if err := writeNew(s.To, root); err != nil {
		return nil, err
	}
	to, err := rootOutcome(s.To)
	if err == nil && to["root"] != from["root"] {
		err = ErrDiffers
	}
	return to, err
}

// destroyRoot deletes a root key's file, unless a tenant's data key is wrapped by it.
func (c *Ceremony) destroyRoot(ctx context.Context, s Step, again bool) (outcome, error) {
	out, err := rootOutcome(s.File)
	if again && errors.Is(err, fs.ErrNotExist) {
		return outcome{"root": "destroyed before the interruption"}, nil
	}
	if err != nil {
		return nil, err
	}
	if c.DB != nil {
		use, err := rootkey.Use(ctx, c.DB)
		if err != nil {
			return nil, err
		}
		if n := use[out["root"]] + use[""]; n > 0 {
			return nil, fmt.Errorf("%s: %d of them: %w", out["root"], n, rootkey.ErrInUse)
		}
	}
	return out, os.Remove(s.File)
}

// exportKey makes a tenant's next export key, in the transaction that records it.
func (c *Ceremony) exportKey(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, at time.Time) (outcome, error) {
	if tx == nil { // a rehearsal
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := signing.PublicDER(&k.PublicKey)
		return outcome{"fingerprint": fingerprint(der)}, err
	}
	custody, err := c.Custody()
	if err != nil {
		return nil, err
	}
	v, err := key.AddExport(ctx, tx, t.ID, custody, c.by(), at)
	if err != nil {
		return nil, err
	}
	return versionOutcome(v), nil
}

func versionOutcome(v key.Version) outcome {
	return outcome{"version": strconv.Itoa(v.No), "key": v.Target(), "fingerprint": fingerprint(v.DER)}
}

// findExportKey is a version of a tenant's export key.
func (c *Ceremony) findExportKey(ctx context.Context, t *tenant.Tenant, no int) (out outcome, err error) {
	if c.DB == nil {
		return outcome{"fingerprint": strings.Repeat("0", 64)}, nil
	}
	err = c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		list, err := key.ExportVersions(ctx, tx)
		for _, v := range list {
			if v.No == no {
				out = versionOutcome(v)
			}
		}
		return err
	})
	if err == nil && out == nil {
		err = key.ErrNoVersion
	}
	return out, err
}

// compare has each participant type the beginning of a fingerprint as she has it from
// elsewhere: [ErrDiffers].
func (c *Ceremony) compare(out outcome) error {
	want := out["fingerprint"]
	if want == "" {
		want = strings.TrimPrefix(out["root"], "file:")
	}
	for _, name := range c.plan.Participants {
		typed, err := c.Console.ask(fmt.Sprintf("%s, type the first %d digits of the fingerprint as you have it:", name, prefixSize))
		if err != nil {
			return err
		}
		if typed = strings.ToLower(strings.TrimSpace(typed)); len(typed) != prefixSize || !strings.HasPrefix(want, typed) {
			return ErrDiffers
		}
	}
	return nil
}

// rehearsed is the step with its files in a folder that is thrown away.
func (s Step) rehearsed(folder string) Step {
	move := func(path string) string {
		if path == "" {
			return ""
		}
		return filepath.Join(folder, strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "_"))
	}
	s.File, s.To = move(s.File), move(s.To)
	shares := make([]string, len(s.Shares))
	for i, path := range s.Shares {
		shares[i] = move(path)
	}
	if len(shares) > 0 {
		s.Shares = shares
	}
	return s
}
