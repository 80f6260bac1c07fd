// Package bundle makes a configuration pack of what is known: one zip with all that Apple
// and Google are given of a region (protocol/enx-config.md section 7). It knows no
// database and makes no signature. Equal material gives equal bytes.
package bundle

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"carillon/signing"
	"carillon/signing/authorityname"
	"carillon/tenant/message/template"
	"carillon/tenant/pack/enx"
)

// Material is what a pack is made of.
type Material struct {
	// Number counts an authority's packs; AskedAt and AskedBy say when it was asked for,
	// and by whom.
	Number  int
	AskedAt time.Time
	AskedBy string
	// Authority is the tenant's name, Region its ISO 3166 code.
	Authority, Region string
	// Config is complete: [enx.Check] finds nothing.
	Config enx.Config
	// Last is what was handed over before, LastNumber its number; nil if nothing was.
	Last       *enx.Config
	LastNumber int
	// Export are the public keys of exports, the one that signs now first. SMS are those
	// of text messages; none if they are not signed.
	Export, SMS []Key
	// Sample is an export signed by the first of Export: see [Sample].
	Sample []byte
	// Endpoints is written as JSON.
	Endpoints any
	// Request is the call that brings Apple up to date.
	Request Request
	// Messages are the texts that people are sent.
	Messages []Message
}

// Key is a public key.
type Key struct {
	ID, Version, State string
	DER                []byte
}

// Request is a change call of Apple's as it would be sent.
type Request struct {
	URL string
	// Pair is nil in a pack without the signature.
	Pair *authorityname.Pair
	Body any
}

// Message is the text of a text message with what its length costs.
type Message struct {
	Label, Language, Body string
	template.Measure
}

// file is one of a pack.
type file struct {
	name, meaning string
	body          []byte
}

// Names of files that programs look for.
const (
	ReadmeName   = "README.md"
	AppleName    = "apple-config.json"
	GoogleName   = "google-config.json"
	RequestName  = "apple-update-request.json"
	SampleName   = "sample-export.zip"
	ExpectedName = "sample-export-expected.txt"
	KeyName      = "export-signing-public-key.pem"
)

// Make returns a pack's bytes.
func Make(m Material) ([]byte, error) {
	var files []file
	for _, part := range []func(Material) ([]file, error){configs, keys, sample, request, messages, papers} {
		made, err := part(m)
		if err != nil {
			return nil, err
		}
		files = append(files, made...)
	}
	return pack(append([]file{{name: ReadmeName, body: readme(m, files)}}, files...), m.AskedAt)
}

func pack(files []file, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: at.UTC()})
		if err == nil {
			_, err = w.Write(f.body)
		}
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	return b.Bytes(), nil
}

// configs are the forms of the configuration.
func configs(m Material) ([]file, error) {
	forms := []struct {
		name, meaning string
		make          func() ([]byte, error)
	}{
		{AppleName, "the whole configuration as Apple takes it; thresholds in minutes", func() ([]byte, error) { return document(enx.Apple(m.Config, m.Region)) }},
		{"abr-form.csv", "the same in the order of Apple's web form, to be typed in, and at its end what must be told to Apple", m.Config.Form},
		{"apple-override-staging.json", "for single iPhones from iOS 14.1 on: loaded in Settings, Developer, Exposure Notifications", func() ([]byte, error) { return document(enx.Override(m.Config, m.Region)) }},
		{"apple-override-staging.plist", "the same for iOS 13.7 and 14.0", func() ([]byte, error) {
			d, err := enx.Override(m.Config, m.Region)
			if err != nil {
				return nil, err
			}
			return enx.Plist(d)
		}},
		{GoogleName, "the configuration as Google takes it; thresholds in seconds", func() ([]byte, error) { return document(enx.Google(m.Config, m.Region)) }},
		{"translations.csv", "every text in every language, with lengths and limits", m.Config.Translations},
		{"endpoints.json", "addresses of the servers", func() ([]byte, error) { return enx.JSON(m.Endpoints) }},
	}
	files := make([]file, 0, len(forms))
	for _, f := range forms {
		body, err := f.make()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		files = append(files, file{f.name, f.meaning, body})
	}
	return files, nil
}

func document(d map[string]any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return enx.JSON(d)
}

// keys are public keys in the forms that are asked for.
func keys(m Material) ([]file, error) {
	if len(m.Export) == 0 {
		return nil, fmt.Errorf("pack: no export key")
	}
	var files []file
	add := func(name, meaning string, k Key) {
		files = append(files,
			file{name + ".pem", meaning, []byte(signing.PublicPEM(k.DER))},
			file{name + ".txt", "the same on one line, with its ID, version and fingerprint", keyText(k)})
	}
	for i, k := range m.Export {
		if i == 0 {
			add(strings.TrimSuffix(KeyName, ".pem"), "the key that signs exports now (key ID "+k.ID+", version "+k.Version+")", k)
			continue
		}
		add("export-signing-public-key-"+k.Version, "another key of exports ("+k.State+"; key ID "+k.ID+", version "+k.Version+")", k)
	}
	for i, k := range m.SMS {
		name := "sms-signing-public-key"
		if i > 0 {
			name += "-" + strconv.Itoa(i+1)
		}
		add(name, "a key that signs text messages ("+k.State+"; key ID "+k.ID+")", k)
	}
	return files, nil
}

// OneLine is a public key as the configuration has it: base64 without anything else.
func OneLine(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

func keyText(k Key) []byte {
	sum := sha256.Sum256(k.DER)
	return fmt.Appendf(nil, "key ID: %s\nversion: %s\nstate: %s\nSHA-256 of the key (DER, SubjectPublicKeyInfo): %s\npublic key: %s\n",
		k.ID, k.Version, k.State, hex.EncodeToString(sum[:]), OneLine(k.DER))
}

func sample(m Material) ([]file, error) {
	return []file{
		{SampleName, "an export file with keys of nobody, signed by the key that signs exports now", m.Sample},
		{ExpectedName, "what `carillon export verify " + SampleName + " --key " + KeyName + "` prints", []byte(Expected(m.Region))},
	}, nil
}

func request(m Material) ([]file, error) {
	headers := map[string]string{"Content-Type": "application/json"}
	call := map[string]any{"method": "POST", "url": m.Request.URL, "headers": headers, "body": m.Request.Body}
	meaning := "the call that brings Apple from pack " + strconv.Itoa(m.LastNumber) + " to this one"
	if m.Last == nil {
		meaning = "the call that tells Apple everything its table has"
	}
	if p := m.Request.Pair; p != nil {
		headers[authorityname.HeaderName], headers[authorityname.HeaderSignature] = p.Name, p.Signature
		meaning += ". IT IS SIGNED: whoever has its two headers can change the region at Apple until the key is another. Keep it like a password"
	} else {
		call["unsigned"] = "The two headers with the signature were left out."
		meaning += ", without its signature"
	}
	body, err := enx.JSON(call)
	if err != nil {
		return nil, err
	}
	return []file{{RequestName, meaning, body}}, nil
}

func messages(m Material) ([]file, error) {
	rows := [][]string{{"label", "language", "text", "encoding", "characters", "segments", "characters with signature", "segments with signature"}}
	for _, t := range m.Messages {
		rows = append(rows, []string{
			t.Label, t.Language, t.Body, string(t.Encoding), strconv.Itoa(t.Units), strconv.Itoa(t.Segments),
			strconv.Itoa(t.Signed.Units), strconv.Itoa(t.Signed.Segments),
		})
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(rows); err != nil {
		return nil, err
	}
	return []file{{"sms-templates.csv", "texts of text messages, measured with the longest values", b.Bytes()}}, nil
}

// papers are for people.
func papers(m Material) ([]file, error) {
	files := []file{{"test-protocol.md", "what to try on phones before the region goes live, to be signed", testProtocol(m)}}
	files = append(files, drafts(m)...)
	if m.Last != nil {
		files = append(files, file{"changes.csv", "what is different from pack " + strconv.Itoa(m.LastNumber), changes(m)})
	}
	return files, nil
}

func changes(m Material) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	write := func(row ...string) { _ = w.Write(row) } // a buffer takes all
	write("key", "language", "before", "after")
	for _, c := range enx.Differences(*m.Last, m.Config) {
		write(c.ID, c.Language, c.Before, c.After)
	}
	w.Flush()
	return b.Bytes()
}

// Open returns the files of a pack by their names, of at most so many bytes each. It is
// for programs that check one.
func Open(body []byte, most int64) (map[string][]byte, error) {
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, fmt.Errorf("open pack: %w", err)
	}
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("open pack: %w", err)
		}
		text, err := io.ReadAll(io.LimitReader(r, most))
		if err = closeAfter(r, err); err != nil {
			return nil, fmt.Errorf("open pack: %w", err)
		}
		files[f.Name] = text
	}
	return files, nil
}

func closeAfter(c io.Closer, err error) error {
	if err != nil {
		_ = c.Close()
		return err
	}
	return c.Close()
}
