package backup

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"carillon/signing/jws"
)

// ErrUnsigned means that a backup is not signed by a key that the restore was told to trust.
// The error's text says what is wrong.
var ErrUnsigned = errors.New("the manifest is not signed by the key of the backups")

const (
	// A signature is a JSON Web Token under ES256 in a file of its own, beside the manifest.
	signatureName = "manifest.jws"
	maxSignature  = 4 << 10

	signatureType = "carillon backup 1"
	signatureKey  = "backup"
)

// vouch is what a signature says.
type vouch struct {
	Type string `json:"type"`
	At   int64  `json:"iat"`
	// Manifest is the SHA-256 of the manifest's file, in hexadecimal. The manifest has the
	// sums of all else.
	Manifest string `json:"manifest"`
}

// sign signs the manifest of a folder.
func sign(dir string, key crypto.Signer, at time.Time) error {
	body, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	statement, err := jws.Sign(key, signatureKey, vouch{Type: signatureType, At: at.Unix(), Manifest: hex.EncodeToString(sum[:])})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, signatureName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(statement + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}

// verifySignature is [ErrUnsigned] unless the manifest of a folder is signed by the key.
func verifySignature(dir string, public *ecdsa.PublicKey) error {
	refuse := func(why any) error { return fmt.Errorf("%w: %v", ErrUnsigned, why) }
	path := filepath.Join(dir, signatureName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() > maxSignature {
		return refuse("there is no " + signatureName)
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return err
	}
	token, err := jws.Parse(string(text[:max(len(text)-1, 0)])) // without the line's end
	if err != nil {
		return refuse(err)
	}
	if err := token.Verify(public); err != nil {
		return refuse(err)
	}
	sum := sha256.Sum256(body)
	var v vouch
	if err := json.Unmarshal(token.Payload(), &v); err != nil || v.Type != signatureType || v.Manifest != hex.EncodeToString(sum[:]) {
		return refuse("the signature is of another manifest")
	}
	return nil
}
