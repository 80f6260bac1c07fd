// Package inspect examines export files as a reviewer would: what is in them, whose
// signature they carry, and what is wrong with them, in words.
//
// A place is a file, the URL of a file, or an index, which stands for all files that
// it names. It believes nothing: sizes are bounded, redirects are not followed, and
// what cannot be read is a problem of that file and not the end of the work.
package inspect

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"carillon/signing/exportfile"
)

// Report is what was found out about one file.
type Report struct {
	Name string `json:"name"`
	// Size is in bytes, as phones download it.
	Size   int    `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	// Region, Start and End are what the file says of itself.
	Region string    `json:"region,omitempty"`
	Start  time.Time `json:"start,omitzero"`
	End    time.Time `json:"end,omitzero"`
	// Keys and Revised count the two lists; Types count both by report type.
	Keys    int            `json:"keys"`
	Revised int            `json:"revised"`
	Types   map[string]int `json:"types,omitempty"`
	// Signatures are those that the file carries.
	Signatures []Signature `json:"signatures,omitempty"`
	// Problems say what is wrong; none means that phones take the file.
	Problems []string `json:"problems,omitempty"`

	file exportfile.File
}

// Signature is one signature of a file.
type Signature struct {
	KeyID      string `json:"keyID"`
	KeyVersion string `json:"keyVersion"`
	// Valid tells whether the key that was given made it.
	Valid bool `json:"valid"`
}

// Contents are the keys of the file, new ones and revised ones, in the file's order.
func (r Report) Contents() (keys, revised []exportfile.Key) { return r.file.Keys, r.file.Revised }

// Bounds of what phones take (key server protocol §7): 16 MB, of which iOS reads no
// more.
const phoneLimit = 16 << 20

// File examines the bytes of one file. public may be nil; then signatures are listed
// and not checked.
func File(name string, body []byte, public *ecdsa.PublicKey) Report {
	digest := sha256.Sum256(body)
	r := Report{Name: name, Size: len(body), SHA256: hex.EncodeToString(digest[:])}
	if len(body) > phoneLimit {
		r.problem("it has %d bytes; iOS takes up to %d", len(body), phoneLimit)
	}
	f, signatures, err := exportfile.Decode(body)
	if err != nil {
		r.problem("it cannot be read: %v", err)
		return r
	}
	r.file, r.Region, r.Start, r.End = f, f.Region, f.Start.UTC(), f.End.UTC()
	r.Keys, r.Revised, r.Types = len(f.Keys), len(f.Revised), types(f)
	r.sign(body, signatures, public)
	r.examine()
	return r
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func types(f exportfile.File) map[string]int {
	names := map[exportfile.ReportType]string{
		exportfile.Unknown: "unknown", exportfile.Confirmed: "confirmed", exportfile.Clinical: "likely",
		exportfile.SelfReport: "user-report", exportfile.Recursive: "recursive", exportfile.Revoked: "revoked",
	}
	count := map[string]int{}
	for _, k := range slices.Concat(f.Keys, f.Revised) {
		count[names[k.ReportType]]++
	}
	return count
}

// sign checks each signature that the file carries against the given key.
func (r *Report) sign(body []byte, signatures []exportfile.Signature, public *ecdsa.PublicKey) {
	anyValid := false
	for _, s := range signatures {
		valid := false
		if public != nil {
			_, err := exportfile.Verify(body, s.KeyID, s.KeyVersion, public)
			valid = err == nil
		}
		anyValid = anyValid || valid
		r.Signatures = append(r.Signatures, Signature{KeyID: s.KeyID, KeyVersion: s.KeyVersion, Valid: valid})
	}
	switch {
	case len(signatures) == 0:
		r.problem("it has no signature: no phone believes it")
	case public != nil && !anyValid:
		r.problem("no signature is by the key that was given: it is another key's, or the file was changed")
	}
}

// examine looks for what a file may say and still be of no use.
func (r *Report) examine() {
	if !r.Start.Before(r.End) {
		r.problem("it ends at %s, not after its start", r.End.Format(time.RFC3339))
	}
	if r.Keys == 0 && r.Revised == 0 {
		r.problem("it has no keys; an empty batch has no file")
	}
	for list, keys := range map[string][]exportfile.Key{"keys": r.file.Keys, "revised keys": r.file.Revised} {
		sorted := slices.IsSortedFunc(keys, func(a, b exportfile.Key) int { return bytes.Compare(a.Data[:], b.Data[:]) })
		if !sorted {
			r.problem("its %s are not in the order of their bytes: the order may tell who they belong to", list)
		}
		for i := 1; sorted && i < len(keys); i++ {
			if keys[i-1].Data == keys[i].Data {
				r.problem("a key occurs twice among its %s", list)
				break
			}
		}
	}
	slices.Sort(r.Problems)
}

// Source fetches what is to be examined.
type Source struct {
	// HTTP makes the requests; nil is a client with a time limit of its own.
	HTTP *http.Client
	// Base precedes the names in an index; empty is the index's own folder.
	Base string
}

// maxDownload is more than a file may have, in bytes; timeLimit is each request's.
const (
	maxDownload = exportfile.MaxZip + 1
	timeLimit   = time.Minute
)

// Each examines the file at place, or every file of the index at place, and calls
// visit with each report, in the order of the index.
func (s Source) Each(ctx context.Context, place string, public *ecdsa.PublicKey, visit func(Report) error) error {
	body, err := s.read(ctx, place)
	if err != nil {
		return err
	}
	if !isIndex(place, body) {
		return visit(File(place, body, public))
	}
	names := strings.Fields(string(body))
	for i, name := range names {
		r := s.entry(ctx, place, name, public)
		if slices.Contains(names[:i], name) {
			r.problem("the index names it twice")
		}
		if err := visit(r); err != nil {
			return err
		}
	}
	return nil
}

// entry examines one file of an index. One that is missing stops phones from reading
// the rest.
func (s Source) entry(ctx context.Context, index, name string, public *ecdsa.PublicKey) Report {
	body, err := s.read(ctx, s.base(index)+name)
	if err != nil {
		r := Report{Name: name}
		r.problem("the index names it, and it cannot be fetched: %v", err)
		return r
	}
	return File(name, body, public)
}

func (s Source) base(index string) string {
	if s.Base != "" {
		return s.Base
	}
	return index[:strings.LastIndexAny(index, "/"+string(filepath.Separator))+1]
}

// isIndex tells an index from a file: zips begin with PK.
func isIndex(place string, body []byte) bool {
	return strings.HasSuffix(place, ".txt") || !bytes.HasPrefix(body, []byte("PK")) && !strings.HasSuffix(place, ".zip")
}

func isURL(place string) bool {
	return strings.HasPrefix(place, "http://") || strings.HasPrefix(place, "https://")
}

var errTooLarge = errors.New("it is larger than any export file may be")

func (s Source) read(ctx context.Context, place string) ([]byte, error) {
	from, err := s.open(ctx, place)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	body, err := io.ReadAll(io.LimitReader(from, maxDownload))
	if err == nil && len(body) == maxDownload {
		err = errTooLarge
	}
	return body, err
}

func (s Source) open(ctx context.Context, place string) (io.ReadCloser, error) {
	if !isURL(place) {
		return os.Open(place)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, err
	}
	response, err := s.client().Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("the server answers %s", response.Status), response.Body.Close())
	}
	return response.Body, nil
}

func (s Source) client() *http.Client {
	if s.HTTP != nil {
		return s.HTTP
	}
	return &http.Client{
		Timeout:       timeLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
