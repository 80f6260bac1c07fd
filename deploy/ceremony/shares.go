package ceremony

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"
)

// ErrShares means that shares are not whole, not of one key, or too few.
var ErrShares = errors.New("these shares are not a key")

// rootSize is how many bytes a root key has.
const rootSize = 32

// Shares are those of Shamir over the scalars of P-384, which hold a root key's 32 bytes
// with room to spare. The library is used for its arithmetic alone.
var field = group.P384

// set is what shares of one key have in common: how many are needed, and a digest of the
// key under a random salt that stands in each of them. It tells shares of another splitting
// apart and shows that a key is the right one; of 32 random bytes it tells nobody anything.
type set struct {
	need   int
	salt   [16]byte
	digest [sha256.Size]byte
}

func digestOf(key []byte, salt [16]byte) [sha256.Size]byte {
	return sha256.Sum256(append(append([]byte("carillon root key's shares"), salt[:]...), key...))
}

const shareHeader = "carillon root key share 1"

// split makes the texts of count shares of a key, any need of which are the key. Each says
// what it is, and ends with a checksum for whoever copies it by hand.
func split(key []byte, need, count int) ([][]byte, error) {
	secret := field.NewScalar()
	if err := secret.UnmarshalBinary(append(make([]byte, int(field.Params().ScalarLength)-len(key)), key...)); err != nil {
		return nil, fmt.Errorf("split root key: %w", err)
	}
	s := set{need: need}
	rand.Read(s.salt[:])
	s.digest = digestOf(key, s.salt)
	var texts [][]byte
	sharing := secretsharing.New(rand.Reader, uint(need-1), secret)
	for i := range count {
		id := field.NewScalar().SetUint64(uint64(i + 1))
		value, err := sharing.ShareWithID(id).Value.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("split root key: %w", err)
		}
		texts = append(texts, s.text(i+1, value))
		clear(value)
	}
	return texts, nil
}

func (s set) text(no int, value []byte) []byte {
	body := fmt.Sprintf("%s\nnumber %d\nneeded %d\nsalt %x\nkey %x\nvalue %x\n", shareHeader, no, s.need, s.salt, s.digest, value)
	sum := sha256.Sum256([]byte(body))
	return fmt.Appendf(nil, "%scheck %x\n", body, sum[:8])
}

// parseShare reads what [set.text] wrote, and nothing else.
func parseShare(text []byte) (s set, share secretsharing.Share, err error) {
	bad := func() (set, secretsharing.Share, error) { return set{}, secretsharing.Share{}, ErrShares }
	lines := strings.Split(string(text), "\n")
	if len(lines) != 8 || lines[0] != shareHeader {
		return bad()
	}
	values := make([]string, 6)
	for i, name := range []string{"number ", "needed ", "salt ", "key ", "value ", "check "} {
		var found bool
		if values[i], found = strings.CutPrefix(lines[i+1], name); !found {
			return bad()
		}
	}
	no, err1 := strconv.Atoi(values[0])
	need, err2 := strconv.Atoi(values[1])
	salt, err3 := hex.DecodeString(values[2])
	digest, err4 := hex.DecodeString(values[3])
	value, err5 := hex.DecodeString(values[4])
	if errors.Join(err1, err2, err3, err4, err5) != nil || no < 1 || no > maxShares || need < 2 || len(salt) != 16 || len(digest) != sha256.Size {
		return bad()
	}
	s = set{need, [16]byte(salt), [sha256.Size]byte(digest)}
	share = secretsharing.Share{ID: field.NewScalar().SetUint64(uint64(no)), Value: field.NewScalar()}
	if len(value) != int(field.Params().ScalarLength) || share.Value.UnmarshalBinary(value) != nil || !bytes.Equal(s.text(no, value), text) {
		return bad()
	}
	return s, share, nil
}

// combine returns the key of shares: [ErrShares] if they are not one.
func combine(texts [][]byte) ([]byte, error) {
	var first set
	var shares []secretsharing.Share
	for i, text := range texts {
		s, share, err := parseShare(text)
		if err != nil || i > 0 && s != first {
			return nil, ErrShares
		}
		for _, other := range shares {
			if other.ID.IsEqual(share.ID) {
				return nil, ErrShares
			}
		}
		first, shares = s, append(shares, share)
	}
	if len(shares) < 2 || len(shares) < first.need {
		return nil, ErrShares
	}
	secret, err := secretsharing.Recover(uint(first.need-1), shares[:first.need])
	if err != nil {
		return nil, ErrShares
	}
	value, err := secret.MarshalBinary()
	if err != nil {
		return nil, ErrShares
	}
	key := value[len(value)-rootSize:]
	if digestOf(key, first.salt) != first.digest {
		return nil, ErrShares
	}
	return key, nil
}

// readShares reads shares from their files.
func readShares(files []string) ([][]byte, error) {
	var texts [][]byte
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// fingerprint is what people compare: the beginning of a SHA-256 digest.
func fingerprint(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
