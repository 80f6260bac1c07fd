package phone

import (
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"carillon/signing/certificate"
	"carillon/signing/exportfile"
)

// Trust is the public key that a phone was given for a health authority.
type Trust struct {
	KeyID, KeyVersion string
	Key               *ecdsa.PublicKey
}

// IndexStep is what a phone does first to download: a [Refusal] of it is about the index.
const IndexStep = "download index"

// Downloaded is one export file, with its signature checked.
type Downloaded struct {
	Name string
	Size int
	File exportfile.File
}

// Download fetches the files that the index names and that seen, if not nil, does not
// hold, and verifies each. Like real phones it fails if one file is missing.
func (p *Phone) Download(ctx context.Context, trust Trust, seen map[string]bool) ([]Downloaded, error) {
	index, err := p.get(ctx, IndexStep, p.Server.IndexURL)
	if err != nil {
		return nil, err
	}
	var files []Downloaded
	for name := range strings.FieldsSeq(string(index)) {
		if seen[name] {
			continue
		}
		zip, err := p.get(ctx, "download "+name, p.Server.DownloadBase+name)
		if err != nil {
			return nil, err
		}
		f, err := exportfile.Verify(zip, trust.KeyID, trust.KeyVersion, trust.Key)
		if err != nil {
			return nil, fmt.Errorf("download %s: %w", name, err)
		}
		files = append(files, Downloaded{Name: name, Size: len(zip), File: f})
		if seen != nil {
			seen[name] = true
		}
	}
	return files, nil
}

func (p *Phone) get(ctx context.Context, step, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", step, err)
	}
	response, err := client(p.HTTP).Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", step, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDownload))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", step, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, &Refusal{Step: step, Status: response.StatusCode, Text: string(body[:min(len(body), 200)])}
	}
	return body, nil
}

// Contains counts how many of the keys are in the files, and tells in how many files
// a key occurs at most.
func Contains(files []Downloaded, keys []certificate.TEK) (found, most int) {
	times := map[[tekSize]byte]int{}
	for _, f := range files {
		for _, k := range f.File.Keys {
			times[k.Data]++
		}
	}
	for _, t := range keys {
		raw, err := base64.StdEncoding.DecodeString(t.Key)
		if err != nil || len(raw) != tekSize {
			continue
		}
		n := times[[tekSize]byte(raw)]
		if n > 0 {
			found++
		}
		most = max(most, n)
	}
	return found, most
}

// AwaitKeys downloads until the keys have all appeared, or ctx ends. It asks every
// pause.
func (p *Phone) AwaitKeys(ctx context.Context, trust Trust, keys []certificate.TEK, pause time.Duration) ([]Downloaded, error) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	var files []Downloaded
	seen := map[string]bool{}
	for {
		fresh, err := p.Download(ctx, trust, seen)
		if err != nil {
			return nil, err
		}
		files = append(files, fresh...)
		if found, _ := Contains(files, keys); found == len(keys) {
			return files, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			found, _ := Contains(files, keys)
			return nil, fmt.Errorf("download: %d of %d keys have appeared: %w", found, len(keys), ctx.Err())
		}
	}
}
